import pickle
import traceback
from dataclasses import replace
from typing import Any, Final

import aiohttp
import pytest
from tests.vocabulary.reports import DECLINED, DOUBTFUL, KEY, OUT_OF_TIME

from holdfast.errors import (
    ANSWER_ERRORS,
    AnswerError,
    CircuitOpenError,
    DeadlineExceededError,
    HoldfastError,
    IdempotencyConflictError,
    PermanentFailureError,
    RateLimitedError,
    RetriesExhaustedError,
)
from holdfast.outcome import Effect, Outcome, StopReason
from holdfast.report import CallReport, report_of

ORIGIN: Final = "https://finix.test"
SECRETS: Final = {"Authorization": "Basic c2VjcmV0", "X-Request-ID": "85894-header", "Set-Cookie": "sid=cookie-secret"}
LANDED: Final = replace(DOUBTFUL, effect=Effect.LANDED)
CONFLICT: Final = replace(
    DOUBTFUL,
    outcome=Outcome.IDEMPOTENCY_CONFLICT,
    reason="idempotency_conflict",
    stop_reason=StopReason.CONFLICT,
    logrefs=("e409",),
)

EVERY_ERROR: Final[list[tuple[HoldfastError, CallReport | None, str]]] = [
    (
        DeadlineExceededError(OUT_OF_TIME),
        OUT_OF_TIME,
        "POST https://finix.test/transfers: deadline exceeded; it may have taken effect after 300.000 s",
    ),
    (
        DeadlineExceededError(replace(OUT_OF_TIME, effect=Effect.NONE)),
        replace(OUT_OF_TIME, effect=Effect.NONE),
        "POST https://finix.test/transfers: deadline exceeded after 300.000 s",
    ),
    (
        CircuitOpenError(ORIGIN, 4.5, DOUBTFUL),
        DOUBTFUL,
        "circuit open for https://finix.test: nothing was sent; try again in 4.500 s",
    ),
    (CircuitOpenError(ORIGIN, None), None, "circuit open for https://finix.test: nothing was sent"),
    (
        RateLimitedError(ORIGIN, 3600.0, DOUBTFUL),
        DOUBTFUL,
        "rate limit closed for https://finix.test: nothing was sent; try again in 3600.000 s",
    ),
    (RateLimitedError(ORIGIN, None), None, "rate limit closed for https://finix.test: nothing was sent"),
    (
        PermanentFailureError(DECLINED, status=402, message="Payment Required", headers=SECRETS),
        DECLINED,
        "POST https://finix.test/transfers: permanent_failure (declined), status 402, logref 3fe8e6ab, aa01",
    ),
    (
        RetriesExhaustedError(DOUBTFUL, status=500, headers=SECRETS),
        DOUBTFUL,
        "POST https://finix.test/transfers: retryable (server_error); it may have taken effect, status 500",
    ),
    (
        RetriesExhaustedError(LANDED, status=503, message="Unavailable"),
        LANDED,
        "POST https://finix.test/transfers: retryable (server_error); it took effect, status 503",
    ),
    (
        IdempotencyConflictError(CONFLICT, status=409, message="Conflict", headers=SECRETS),
        CONFLICT,
        (
            "POST https://finix.test/transfers: idempotency_conflict (idempotency_conflict); it may have taken effect, "
            "status 409, logref e409"
        ),
    ),
]
ERRORS: Final = [error for error, _, _ in EVERY_ERROR]


def name_of(value: object) -> str:
    """Name a case by its class."""
    return type(value).__name__ if isinstance(value, HoldfastError) else ""


def public_state(error: HoldfastError) -> dict[str, Any]:
    """Give what a caller can read off an error, but for the response's headers, which stay behind."""
    names = ("report", "origin", "retry_after", "status", "message", "history", "request_info")
    return {name: getattr(error, name) for name in names if hasattr(error, name)}


@pytest.mark.parametrize(("error", "report", "text"), EVERY_ERROR, ids=name_of)
def test_an_error_says_what_happened_and_whether_it_took_effect(
    error: HoldfastError, report: CallReport | None, text: str
) -> None:
    """The text of the error is what stands in the ticket: it must say whether money may have moved."""
    said = str(error), repr(error), report_of(error)

    assert said == (text, f"{type(error).__name__}({text!r})", report)


@pytest.mark.parametrize("error", ERRORS, ids=name_of)
def test_an_error_survives_pickling(error: HoldfastError) -> None:
    """Task queues pickle what a task raised: an error that does not come back hides the payment's fate."""
    same = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes

    assert (type(same), str(same), repr(same)) == (type(error), str(error), repr(error))
    assert public_state(same) == public_state(error)


@pytest.mark.parametrize("error", ERRORS, ids=name_of)
def test_an_error_holds_no_secret(error: HoldfastError) -> None:
    """Errors are printed, logged and sent to trackers; a credential in one is a credential given away."""
    printed = "".join([str(error), repr(error), f"{error.args!r}", *traceback.format_exception(error)])
    pickled = pickle.dumps(error)

    headers = [word for item in SECRETS.items() for word in item]
    assert [word for word in headers if word in printed or word.encode() in pickled] == []
    assert KEY not in printed


@pytest.mark.parametrize("kind", [PermanentFailureError, RetriesExhaustedError, IdempotencyConflictError])
def test_the_response_headers_are_there_for_the_caller_and_for_nobody_else(kind: type[AnswerError]) -> None:
    """Code written for aiohttp reads ``error.headers``; a pickle or a log line must not."""
    error = kind(DECLINED, status=402, headers=SECRETS)

    living, pickled = error.headers, pickle.loads(pickle.dumps(error)).headers  # noqa: S301 - our own bytes

    assert living is not None
    assert (dict(living), living["x-request-id"], pickled) == (SECRETS, "85894-header", None)


@pytest.mark.parametrize("kind", ANSWER_ERRORS.values())
def test_an_answer_error_can_be_made_from_its_report_alone(kind: type[AnswerError]) -> None:
    """Tests of the caller's own error handling must not need a response to make an error from."""
    error = kind(DECLINED)

    assert (error.report, error.status, error.message, error.headers) == (DECLINED, 0, "", None)


def test_the_request_of_an_answer_error_is_named_without_its_headers() -> None:
    """Aiohttp keeps the request's headers, Authorization included, where every tracker finds them."""
    error = PermanentFailureError(DECLINED, status=402, message="Payment Required")

    request = error.request_info

    assert (str(request.url), str(request.real_url), request.method, dict(request.headers), error.history) == (
        "https://finix.test/transfers",
        "https://finix.test/transfers",
        "POST",
        {},
        (),
    )
    assert (error.status, error.message) == (402, "Payment Required")


@pytest.mark.parametrize(
    ("kind", "bases"),
    [
        (HoldfastError, {aiohttp.ClientError}),
        (DeadlineExceededError, {HoldfastError, TimeoutError, OSError}),
        (CircuitOpenError, {HoldfastError}),
        (RateLimitedError, {HoldfastError}),
        (PermanentFailureError, {HoldfastError, aiohttp.ClientResponseError}),
        (RetriesExhaustedError, {HoldfastError, aiohttp.ClientResponseError}),
        (IdempotencyConflictError, {HoldfastError, aiohttp.ClientResponseError}),
    ],
)
def test_code_written_for_aiohttp_catches_our_errors(kind: type[HoldfastError], bases: set[type[Exception]]) -> None:
    """A drop-in whose errors slip past ``except aiohttp.ClientError`` takes the caller's service down."""
    kinds = {HoldfastError, TimeoutError, OSError, aiohttp.ClientResponseError, aiohttp.ClientConnectionError}

    caught_as = {each for each in kinds if issubclass(kind, each)}

    assert issubclass(kind, aiohttp.ClientError)
    assert caught_as - {kind} == bases - {aiohttp.ClientError}


def test_a_deadline_can_be_caught_as_a_timeout() -> None:
    """``asyncio.timeout`` and aiohttp raise TimeoutError: the caller's handler for it must see ours."""
    with pytest.raises(TimeoutError) as caught:
        raise DeadlineExceededError(OUT_OF_TIME)

    assert report_of(caught.value) == OUT_OF_TIME


def test_every_outcome_that_is_no_success_has_its_error() -> None:
    """An outcome without an error would be a failure that ``raise_for_status`` lets pass."""
    errors = dict(ANSWER_ERRORS)

    assert errors == {
        Outcome.PERMANENT_FAILURE: PermanentFailureError,
        Outcome.RETRYABLE: RetriesExhaustedError,
        Outcome.IDEMPOTENCY_CONFLICT: IdempotencyConflictError,
    }
    assert errors.keys() == set(Outcome) - {Outcome.SUCCESS}


def test_an_error_that_nobody_gave_a_report_has_none() -> None:
    """``error.report`` must be readable on every error of ours, also where no call had begun."""
    error = HoldfastError("session is closed")

    assert (error.report, str(error), repr(error)) == (
        None,
        "session is closed",
        "HoldfastError('session is closed')",
    )
    assert str(pickle.loads(pickle.dumps(error))) == "session is closed"  # noqa: S301 - our own bytes
