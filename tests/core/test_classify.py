import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.corpus import Case, case_id, cases, logrefs_written_in

from holdfast.core.classify import (
    REASONS,
    REASONS_BY_HUNDRED,
    REASONS_BY_STATUS,
    bodiless_success,
    classify,
    effect_of,
    unreadable_success,
)
from holdfast.core.error_body import ERROR_BODY_LIMIT
from holdfast.outcome import Effect, Outcome
from holdfast.providers import FIANT, FINIX, GENERIC, Provider, Rule
from holdfast.report import Classification, ErrorDetail

SUCCESS: Final = Outcome.SUCCESS
PERMANENT: Final = Outcome.PERMANENT_FAILURE
RETRYABLE: Final = Outcome.RETRYABLE
CONFLICT: Final = Outcome.IDEMPOTENCY_CONFLICT
NONE: Final = Effect.NONE
IN_DOUBT: Final = Effect.IN_DOUBT
LANDED: Final = Effect.LANDED

PROVIDERS: Final = {"finix": FINIX, "fiant": FIANT, "generic": GENERIC}
EVERY_STATUS: Final = range(100, 1000)
CASES: Final = cases()
WITH_LOGREFS: Final = [case for case in CASES if logrefs_written_in(case["body"])]
WRITES: Final = ("POST", "PUT", "PATCH", "DELETE", "post", "CONNECT", "PURGE")


def classify_case(case: Case) -> Classification:
    """Ask for the verdict on one case of the corpus."""
    return classify(
        case["status"],
        method=case["method"],
        headers=case["headers"],
        body=case["body"].encode(),
        provider=PROVIDERS[case["provider"]],
        keyed=case["had_idempotency_key"],
        in_doubt=case["earlier_attempt_in_doubt"],
    )


def finix_errors(*errors: dict[str, object]) -> bytes:
    """Wrap errors as Finix and vnd.error do."""
    return json.dumps({"total": len(errors), "_embedded": {"errors": errors}}).encode()


def word_of(verdict: Classification) -> tuple[Outcome, Effect, str]:
    """Give the three words that a table can hold."""
    return verdict.outcome, verdict.effect, verdict.reason


# The corpus


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_a_documented_answer_has_its_documented_outcome(case: Case) -> None:
    """Each case is an answer that a provider documents: the wrong class means money lost or a customer turned away."""
    verdict = classify_case(case)

    assert (verdict.outcome, verdict.status) == (case["expected_outcome"], case["status"]), case["why"]


@pytest.mark.parametrize("case", WITH_LOGREFS, ids=case_id)
def test_every_logref_of_a_documented_answer_is_kept(case: Case) -> None:
    """The provider's support asks for the logref first; one that is lost cannot be asked for again."""
    verdict = classify_case(case)

    assert verdict.logrefs == logrefs_written_in(case["body"])


def test_the_corpus_has_logrefs_to_lose() -> None:
    """Were the second opinion blind, the test above would run over nothing."""
    found = {logref for case in WITH_LOGREFS for logref in logrefs_written_in(case["body"])}

    assert len(WITH_LOGREFS) >= 37
    assert {"3fe8e6ab1e8cf44f", "42", "50", "55", "aa01", "ab[31mforged log line"} <= found


def test_a_classification_carries_everything_the_answer_said() -> None:
    """Whoever reads the log must see the class, the advised wait and the error in one record."""
    body = finix_errors({"logref": "a429", "code": "TOO_MANY_REQUESTS", "message": "Rate limit reached"})

    verdict = classify(429, method="POST", headers={"Retry-After": "7"}, body=body, provider=FINIX)

    assert verdict == Classification(
        outcome=RETRYABLE,
        effect=NONE,
        reason="rate_limited",
        status=429,
        retry_after=7.0,
        errors=(ErrorDetail(logref="a429", code="TOO_MANY_REQUESTS", message="Rate limit reached"),),
    )


# The table of the design, row by row


@pytest.mark.parametrize(
    ("status", "value", "expected"),
    [
        (409, "true", (RETRYABLE, NONE, "server_says_retry")),
        (400, "true", (RETRYABLE, NONE, "server_says_retry")),
        (402, "true", (RETRYABLE, IN_DOUBT, "server_says_retry")),
        (304, "true", (RETRYABLE, IN_DOUBT, "server_says_retry")),
        (500, "false", (PERMANENT, IN_DOUBT, "server_says_stop")),
        (429, "false", (PERMANENT, NONE, "server_says_stop")),
        (409, "false", (PERMANENT, NONE, "server_says_stop")),
        (304, "false", (PERMANENT, IN_DOUBT, "server_says_stop")),
        (500, " TRUE ", (RETRYABLE, IN_DOUBT, "server_says_retry")),
        (500, "False", (PERMANENT, IN_DOUBT, "server_says_stop")),
        (429, "maybe", (RETRYABLE, NONE, "rate_limited")),
        (400, "", (PERMANENT, NONE, "invalid_request")),
        (199, "true", (RETRYABLE, IN_DOUBT, "server_says_retry")),
        (200, "true", (SUCCESS, LANDED, "ok")),
        (201, "false", (SUCCESS, LANDED, "ok")),
        (299, "true", (SUCCESS, LANDED, "ok")),
        (300, "true", (RETRYABLE, IN_DOUBT, "server_says_retry")),
    ],
)
def test_the_server_knows_best_whether_to_retry(status: int, value: str, expected: tuple[Outcome, Effect, str]) -> None:
    """Stripe says in a header what its status cannot; against it we would hammer, or give up on, a payment."""
    verdict = classify(status, method="POST", headers={"Stripe-Should-Retry": value}, keyed=True)

    assert word_of(verdict) == expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (100, (PERMANENT, IN_DOUBT, "unexpected_status")),
        (101, (PERMANENT, IN_DOUBT, "unexpected_status")),
        (199, (PERMANENT, IN_DOUBT, "unexpected_status")),
        (200, (SUCCESS, LANDED, "ok")),
        (201, (SUCCESS, LANDED, "ok")),
        (202, (SUCCESS, LANDED, "accepted")),
        (204, (SUCCESS, LANDED, "ok")),
        (299, (SUCCESS, LANDED, "ok")),
        (300, (PERMANENT, IN_DOUBT, "redirect")),
        (301, (PERMANENT, IN_DOUBT, "redirect")),
        (302, (PERMANENT, IN_DOUBT, "redirect")),
        (303, (PERMANENT, LANDED, "redirect")),
        (304, (SUCCESS, IN_DOUBT, "not_modified")),
        (305, (PERMANENT, IN_DOUBT, "redirect")),
        (306, (PERMANENT, IN_DOUBT, "redirect")),
        (307, (PERMANENT, NONE, "redirect")),
        (308, (PERMANENT, NONE, "redirect")),
        (309, (PERMANENT, IN_DOUBT, "redirect")),
        (399, (PERMANENT, IN_DOUBT, "redirect")),
        (400, (PERMANENT, NONE, "invalid_request")),
        (401, (PERMANENT, NONE, "unauthenticated")),
        (402, (PERMANENT, NONE, "payment_failed")),
        (403, (PERMANENT, NONE, "forbidden")),
        (404, (PERMANENT, NONE, "not_found")),
        (405, (PERMANENT, NONE, "method_not_allowed")),
        (406, (PERMANENT, NONE, "not_acceptable")),
        (407, (PERMANENT, NONE, "proxy_authentication_required")),
        (408, (RETRYABLE, IN_DOUBT, "request_timeout")),
        (409, (PERMANENT, NONE, "conflict")),
        (410, (PERMANENT, NONE, "gone")),
        (412, (PERMANENT, NONE, "precondition_failed")),
        (413, (PERMANENT, NONE, "content_too_large")),
        (415, (PERMANENT, NONE, "unsupported_media_type")),
        (418, (PERMANENT, NONE, "client_error")),
        (421, (PERMANENT, NONE, "client_error")),
        (422, (PERMANENT, NONE, "invalid_request")),
        (423, (PERMANENT, NONE, "locked")),
        (425, (RETRYABLE, NONE, "too_early")),
        (429, (RETRYABLE, NONE, "rate_limited")),
        (499, (PERMANENT, IN_DOUBT, "client_closed_request")),
        (500, (RETRYABLE, IN_DOUBT, "server_error")),
        (501, (PERMANENT, NONE, "not_implemented")),
        (502, (RETRYABLE, IN_DOUBT, "bad_gateway")),
        (503, (RETRYABLE, IN_DOUBT, "unavailable")),
        (504, (RETRYABLE, IN_DOUBT, "gateway_timeout")),
        (505, (PERMANENT, NONE, "http_version_not_supported")),
        (506, (PERMANENT, NONE, "server_error")),
        (507, (RETRYABLE, IN_DOUBT, "server_error")),
        (510, (PERMANENT, NONE, "server_error")),
        (511, (PERMANENT, NONE, "network_authentication_required")),
        (520, (RETRYABLE, IN_DOUBT, "server_error")),
        (521, (RETRYABLE, NONE, "origin_down")),
        (522, (RETRYABLE, IN_DOUBT, "origin_timeout")),
        (523, (RETRYABLE, NONE, "origin_unreachable")),
        (524, (RETRYABLE, IN_DOUBT, "origin_timeout")),
        (525, (RETRYABLE, NONE, "origin_tls")),
        (526, (RETRYABLE, NONE, "origin_tls")),
        (529, (RETRYABLE, IN_DOUBT, "overloaded")),
        (599, (RETRYABLE, IN_DOUBT, "server_error")),
        (600, (PERMANENT, IN_DOUBT, "unexpected_status")),
        (999, (PERMANENT, IN_DOUBT, "unexpected_status")),
    ],
)
def test_a_bare_status_of_a_payment_has_its_verdict(status: int, expected: tuple[Outcome, Effect, str]) -> None:
    """Proxies answer without a body: the status line alone must already decide well."""
    verdict = classify(status, method="POST")

    assert word_of(verdict) == expected


def test_only_passing_statuses_are_retryable() -> None:
    """A status added here by mistake is sent again and again; one dropped fails calls that would have recovered."""
    retryable = {status for status in EVERY_STATUS if classify(status, method="POST").outcome is RETRYABLE}

    assert retryable == {408, 425, 429, *range(500, 600)} - {501, 505, 506, 510, 511}


def test_only_2xx_and_304_are_success() -> None:
    """A failure taken for a success ships goods that nobody has paid for."""
    success = {status for status in EVERY_STATUS if classify(status).outcome is SUCCESS}

    assert success == {*range(200, 300), 304}


@pytest.mark.parametrize(
    ("keyed", "in_doubt", "expected"),
    [
        (True, False, (CONFLICT, NONE, "idempotency_conflict")),
        (False, True, (CONFLICT, IN_DOUBT, "idempotency_conflict")),
        (True, True, (CONFLICT, IN_DOUBT, "idempotency_conflict")),
        (False, False, (PERMANENT, NONE, "conflict")),
    ],
)
def test_a_409_is_a_conflict_of_keys_where_a_key_or_a_doubt_exists(
    keyed: bool,  # noqa: FBT001 - a column of the table
    in_doubt: bool,  # noqa: FBT001
    expected: tuple[Outcome, Effect, str],
) -> None:
    """Calling a duplicate "failed" makes the caller pay twice; calling a conflict a duplicate costs one lookup."""
    verdict = classify(409, method="POST", keyed=keyed, in_doubt=in_doubt)

    assert word_of(verdict) == expected


NAMING_BODIES: Final = {
    "stripe type": b'{"error": {"type": "idempotency_error", "message": "Keys can only be used once."}}',
    "square code": b'{"errors": [{"category": "INVALID_REQUEST_ERROR", "code": "IDEMPOTENCY_KEY_REUSED"}]}',
    "finix message": finix_errors({"code": "UNPROCESSABLE_ENTITY", "message": "Idempotency_ID 7f1b was already used"}),
    "finix field": finix_errors({"code": "INVALID_FIELD", "message": "already exists", "field": "idempotency_id"}),
    "fiant type": b'{"type": "ALREADY_IN_PROGRESS", "code": 1003}',
    "problem title": b'{"type": "https://x.test/p", "title": "IDEMPOTENCY-KEY is already used"}',
    "second error": finix_errors({"code": "INVALID_FIELD", "message": "m"}, {"code": "X", "message": "idempotent"}),
}


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("body", NAMING_BODIES.values(), ids=NAMING_BODIES.keys())
@pytest.mark.parametrize(
    ("keyed", "in_doubt", "expected"),
    [
        (True, False, (CONFLICT, NONE)),
        (False, True, (CONFLICT, IN_DOUBT)),
        (True, True, (CONFLICT, IN_DOUBT)),
        (False, False, (PERMANENT, NONE)),
    ],
)
def test_a_refusal_that_names_idempotency_is_a_conflict_where_a_key_or_a_doubt_exists(
    status: int,
    body: bytes,
    keyed: bool,  # noqa: FBT001 - a column of the table
    in_doubt: bool,  # noqa: FBT001
    expected: tuple[Outcome, Effect],
) -> None:
    """Stripe answers 400 to a re-used key and Finix 422: called permanent, the caller pays again under a new key."""
    verdict = classify(status, method="POST", body=body, keyed=keyed, in_doubt=in_doubt)

    assert (verdict.outcome, verdict.effect) == expected


@pytest.mark.parametrize("status", [401, 403, 404, 410, 418, 423])
def test_other_refusals_that_name_idempotency_are_refusals(status: int) -> None:
    """A 403 that says "your plan has no idempotency" is no duplicate: a lookup would search for what never was."""
    verdict = classify(status, method="POST", body=NAMING_BODIES["finix message"], keyed=True, in_doubt=True)

    assert (verdict.outcome, verdict.effect) == (PERMANENT, NONE)


@pytest.mark.parametrize("body", [b"", b"<html>idempotency</html>", finix_errors({"code": "INVALID_FIELD"})])
def test_a_keyed_refusal_that_does_not_name_idempotency_is_permanent(body: bytes) -> None:
    """An ordinary validation error must not send a keyed caller looking for a duplicate."""
    verdict = classify(422, method="POST", body=body, keyed=True, in_doubt=True)

    assert (verdict.outcome, verdict.effect) == (PERMANENT, NONE)


DECLINES: Final = {
    "failure_code": finix_errors({"code": "X", "failure_code": "INSUFFICIENT_FUNDS"}),
    "unknown failure_code": finix_errors({"failure_code": "NEVER_SEEN"}),
    "decline_code": b'{"error": {"type": "card_error", "code": "x", "decline_code": "lost_card"}}',
    "DECLINED": finix_errors({"code": "DECLINED"}),
    "declined": finix_errors({"code": "declined"}),
    "PAYMENT_DECLINED": finix_errors({"code": "PAYMENT_DECLINED"}),
    "CALL_ISSUER": finix_errors({"code": "CALL_ISSUER"}),
    "card_declined": b'{"error": {"type": "card_error", "code": "card_declined"}}',
    "authorization": finix_errors({"code": "X", "authorization": "AU1"}),
    "transfer": finix_errors({"code": "X", "transfer": "TR1"}),
    "upstream and failure_code": finix_errors({"code": "UPSTREAM_PROCESSOR_ERROR", "failure_code": "CALL_ISSUER"}),
    "upstream and transfer": finix_errors({"code": "UPSTREAM_PROCESSOR_ERROR", "transfer": "TR1"}),
    "upstream, then decline": finix_errors({"code": "UPSTREAM_PROCESSOR_ERROR"}, {"code": "DECLINED"}),
    "a duplicate of somebody else's": finix_errors({"code": "DECLINED", "failure_code": "DUPLICATE_TRANSACTION"}),
}


@pytest.mark.parametrize("keyed", [True, False])
@pytest.mark.parametrize("body", DECLINES.values(), ids=DECLINES.keys())
def test_a_decline_is_never_sent_again_whatever_marks_it(body: bytes, keyed: bool) -> None:  # noqa: FBT001
    """Card networks fine merchants for repeated declines, and block their customers' cards."""
    verdict = classify(402, method="POST", body=body, keyed=keyed)

    assert word_of(verdict) == (PERMANENT, NONE, "declined")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (DECLINES["a duplicate of somebody else's"], (CONFLICT, IN_DOUBT, "duplicate_transaction")),
        (finix_errors({"code": "DUPLICATE_TRANSACTION"}), (CONFLICT, IN_DOUBT, "duplicate_transaction")),
        (DECLINES["failure_code"], (PERMANENT, NONE, "declined")),
    ],
)
def test_a_duplicate_right_after_a_doubt_is_probably_ours(body: bytes, expected: tuple[Outcome, Effect, str]) -> None:
    """The recent payment with this amount and card is the one whose answer we lost; "declined" would be a lie."""
    verdict = classify(402, method="POST", body=body, in_doubt=True)

    assert word_of(verdict) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (finix_errors({"code": "UPSTREAM_PROCESSOR_ERROR"}), (RETRYABLE, IN_DOUBT, "upstream_processor_error")),
        (finix_errors({"code": "SOMETHING_NEW"}), (PERMANENT, NONE, "payment_failed")),
        (b"<html>Payment Required</html>", (PERMANENT, NONE, "payment_failed")),
        (b"", (PERMANENT, NONE, "payment_failed")),
    ],
)
def test_a_402_is_retryable_only_where_a_third_party_failed(body: bytes, expected: tuple[Outcome, Effect, str]) -> None:
    """A 402 that nobody can explain is a decline: sending it again costs a fine, stopping costs a question."""
    verdict = classify(402, method="POST", body=body, provider=FINIX, keyed=True)

    assert word_of(verdict) == expected


# Effect of one attempt


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "QUERY", "get", "Head"])
@pytest.mark.parametrize("in_doubt", [True, False])
def test_a_safe_method_never_has_an_effect(method: str, in_doubt: bool) -> None:  # noqa: FBT001 - a column of the table
    """A read in doubt would raise an alarm about money that was never asked for."""
    effects = {classify(status, method=method, keyed=True, in_doubt=in_doubt).effect for status in EVERY_STATUS}

    assert effects == {NONE}


@pytest.mark.parametrize("method", WRITES)
def test_a_2xx_landed_whatever_came_with_it(method: str) -> None:
    """The status line of a real response suffices: a success reported as doubt is paid for twice."""
    effects = {classify(status, method=method, body=b"\x00<html>").effect for status in range(200, 300)}

    assert effects == {LANDED}


@pytest.mark.parametrize("method", WRITES)
def test_few_5xx_prove_that_nothing_happened(method: str) -> None:
    """One status too many here, and a payment that went through is reported as never made."""
    none = {status for status in range(500, 600) if classify(status, method=method).effect is NONE}
    doubtful = {status for status in range(500, 600) if classify(status, method=method).effect is IN_DOUBT}

    assert none == {501, 505, 506, 510, 511, 521, 523, 525, 526}
    assert doubtful == set(range(500, 600)) - none


@pytest.mark.parametrize("method", WRITES)
def test_a_complete_4xx_means_that_nothing_happened_but_for_two(method: str) -> None:
    """A refusal held to be in doubt blocks an order that could be placed anew at once."""
    doubtful = {status for status in range(400, 500) if classify(status, method=method).effect is not NONE}

    assert doubtful == {408, 499}


@pytest.mark.parametrize("method", WRITES)
def test_a_redirect_says_that_nothing_happened_only_as_307_or_308(method: str) -> None:
    """A 302 may come before or after the payment was made; only a lookup can tell."""
    effects = {status: classify(status, method=method).effect for status in range(300, 400)}

    assert effects == dict.fromkeys(range(300, 400), IN_DOUBT) | {303: LANDED, 307: NONE, 308: NONE}


@pytest.mark.parametrize("method", WRITES)
def test_a_status_that_no_registry_knows_leaves_the_doubt(method: str) -> None:
    """Nobody can say what a 777 did to the money, so we do not either."""
    effects = {classify(status, method=method).effect for status in (*range(100, 200), *range(600, 1000))}

    assert effects == {IN_DOUBT}


@pytest.mark.parametrize(
    ("status", "outcome", "in_doubt", "expected"),
    [
        (402, RETRYABLE, False, IN_DOUBT),
        (402, PERMANENT, True, NONE),
        (409, CONFLICT, True, IN_DOUBT),
        (409, CONFLICT, False, NONE),
        (409, PERMANENT, True, NONE),
        (422, CONFLICT, True, IN_DOUBT),
        (401, RETRYABLE, True, NONE),
    ],
)
def test_the_effect_of_a_4xx_follows_its_outcome(
    status: int,
    outcome: Outcome,
    in_doubt: bool,  # noqa: FBT001 - a column of the table
    expected: Effect,
) -> None:
    """A conflict right after a lost answer is a sign that the first attempt worked, and no proof."""
    effect = effect_of(status, "POST", outcome, in_doubt=in_doubt)

    assert effect is expected


# Rules of the providers


@pytest.mark.parametrize(
    ("status", "body", "reasons"),
    [
        (401, finix_errors({"code": "UNKNOWN"}), ("unauthenticated", "unauthenticated", "unauthenticated")),
        (422, finix_errors({"code": "INVALID_FIELD"}), ("invalid_field", "invalid_request", "invalid_request")),
        (400, finix_errors({"code": "INVALID_FIELD"}), ("invalid_request", "invalid_request", "invalid_request")),
        (
            422,
            b'{"type": "MIN_INFO_MISSING", "code": 1001, "fields": ["FULL_NAME"]}',
            ("invalid_request", "more_information_needed", "invalid_request"),
        ),
        (
            422,
            b'{"type": "MIN_ASSESSMENT_MISSING", "code": 1002, "assessment": {}}',
            ("invalid_request", "assessment_needed", "invalid_request"),
        ),
        (422, b'{"type": "NO_ERROR", "code": 0}', ("invalid_request", "assessment_needed", "invalid_request")),
        (422, b"", ("invalid_request", "invalid_request", "invalid_request")),
    ],
)
def test_a_provider_names_its_own_refusals(status: int, body: bytes, reasons: tuple[str, str, str]) -> None:
    """Support must tell a missing document from a mistyped field without reading the body, which is not logged."""
    verdicts = [classify(status, method="POST", body=body, provider=each) for each in (FINIX, FIANT, GENERIC)]

    assert [word_of(verdict) for verdict in verdicts] == [(PERMANENT, NONE, reason) for reason in reasons]


BUSY: Final = Provider(
    name="mine",
    rules=(
        Rule(418, "TEAPOT", RETRYABLE, "still_brewing"),
        Rule(418, "EMPTY", PERMANENT, "out_of_tea"),
        Rule(503, "CLOSED", PERMANENT, "closed_for_good"),
        Rule(402, "DECLINED", RETRYABLE, "never_this"),
    ),
)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (418, finix_errors({"code": "TEAPOT"}), (RETRYABLE, NONE, "still_brewing")),
        (418, finix_errors({"code": "A"}, {"code": "EMPTY"}), (PERMANENT, NONE, "out_of_tea")),
        (418, finix_errors({"failure_code": "EMPTY"}), (PERMANENT, NONE, "out_of_tea")),
        (418, finix_errors({"code": "teapot"}), (PERMANENT, NONE, "client_error")),
        (503, finix_errors({"code": "CLOSED"}), (PERMANENT, IN_DOUBT, "closed_for_good")),
        (503, finix_errors({"code": "TEAPOT"}), (RETRYABLE, IN_DOUBT, "unavailable")),
        (402, finix_errors({"code": "DECLINED"}), (PERMANENT, NONE, "declined")),
    ],
)
def test_a_rule_holds_for_its_status_and_code_and_never_revives_a_decline(
    status: int, body: bytes, expected: tuple[Outcome, Effect, str]
) -> None:
    """A team's own rule teaches us its API, but none may talk us into repeating a declined card."""
    verdict = classify(status, method="POST", body=body, provider=BUSY)

    assert word_of(verdict) == expected


def test_a_providers_own_decoder_is_asked() -> None:
    """An API with a body of its own shape would lose its error codes, and with them its rules."""
    error = ErrorDetail(code="TEAPOT", logref="L1")
    own = Provider(name="own", rules=BUSY.rules, decode_errors=lambda body: (error,) if body == b"!" else ())

    verdict = classify(418, body=b"!", provider=own)

    assert (word_of(verdict), verdict.errors) == ((RETRYABLE, NONE, "still_brewing"), (error,))


# Headers


@pytest.mark.parametrize("name", ["Stripe-Should-Retry", "stripe-should-retry", "STRIPE-SHOULD-RETRY"])
def test_the_header_is_found_in_any_case(name: str) -> None:
    """HTTP/2 proxies send names in lower case: the server's own word must still be heard."""
    verdict = classify(400, headers={"X-Other": "false", name: "true"})

    assert word_of(verdict) == (RETRYABLE, NONE, "server_says_retry")


@pytest.mark.parametrize("name", ["Retry-After", "retry-after", "RETRY-AFTER"])
@pytest.mark.parametrize("status", [429, 503, 400, 301])
def test_the_advised_wait_is_found_in_any_case(name: str, status: int) -> None:
    """A wait that is overlooked is a rate limit broken again."""
    verdict = classify(status, headers={name: "3"})

    assert verdict.retry_after == 3.0


@pytest.mark.parametrize("headers", [None, {}, {"Retry-After": "soon"}, {"Retry-After": "-5"}])
def test_no_usable_advice_is_no_wait(headers: dict[str, str] | None) -> None:
    """A garbled header must not stop a call that could have gone on."""
    verdict = classify(503, headers=headers)

    assert verdict == Classification(outcome=RETRYABLE, effect=NONE, reason="unavailable", status=503)


def test_a_success_is_told_from_its_status_alone() -> None:
    """An error-shaped 200 is Fiant's normal answer to a validation, and a wait advised on a success is for the next."""
    body = b'{"type": "MIN_INFO_MISSING", "code": 1001, "logref": "x"}'

    verdict = classify(200, method="POST", headers={"Retry-After": "9"}, body=body, provider=FIANT, keyed=True)

    assert verdict == Classification(outcome=SUCCESS, effect=LANDED, reason="ok", status=200)


# A success whose body was lost


@pytest.mark.parametrize(
    ("method", "keyed", "provider", "expected"),
    [
        ("GET", False, FINIX, (RETRYABLE, NONE)),
        ("head", False, GENERIC, (RETRYABLE, NONE)),
        ("GET", True, FIANT, (RETRYABLE, NONE)),
        ("POST", True, FINIX, (RETRYABLE, LANDED)),
        ("POST", True, GENERIC, (RETRYABLE, LANDED)),
        ("POST", True, FIANT, (SUCCESS, LANDED)),
        ("POST", False, FINIX, (SUCCESS, LANDED)),
        ("PUT", False, GENERIC, (SUCCESS, LANDED)),
    ],
)
def test_a_lost_body_is_fetched_again_only_where_that_cannot_pay_twice(
    method: str,
    keyed: bool,  # noqa: FBT001 - a column of the table
    provider: Provider,
    expected: tuple[Outcome, Effect],
) -> None:
    """The payment landed. Without a replayed answer a second send would make a second one."""
    verdict = unreadable_success(201, method, keyed=keyed, provider=provider)

    outcome, effect = expected
    assert verdict == Classification(outcome=outcome, effect=effect, reason="body_unreadable", status=201)


@pytest.mark.parametrize(("method", "effect"), [("POST", IN_DOUBT), ("put", IN_DOUBT), ("GET", NONE), ("get", NONE)])
def test_a_success_that_answers_a_dropped_body_is_none(method: str, effect: Effect) -> None:
    """The provider never got the payment: called a success, it is lost."""
    verdict = bodiless_success(200, method)

    assert verdict == Classification(outcome=PERMANENT, effect=effect, reason="body_dropped", status=200)


# Reasons


def test_every_reason_of_a_status_is_listed_and_can_be_given() -> None:
    """Dashboards are built over the listed reasons: one that is not listed is a call that nobody sees."""
    given_out = {classify(status).reason for status in EVERY_STATUS}

    assert given_out == {*REASONS_BY_STATUS.values(), *REASONS_BY_HUNDRED.values()}
    assert given_out < REASONS


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS.keys())
def test_every_reason_is_listed(provider: Provider) -> None:
    """A word that is in no list cannot be documented, searched for or alerted on."""
    own = [json.dumps({"type": rule.code, "code": 1}).encode() for rule in provider.rules]
    bodies = [b"", *own, *NAMING_BODIES.values(), *DECLINES.values(), *(case["body"].encode() for case in CASES)]
    advice = [{}, {"Stripe-Should-Retry": "true"}, {"Stripe-Should-Retry": "false"}]

    reasons = {
        classify(status, method="POST", headers=headers, body=body, provider=provider, in_doubt=in_doubt).reason
        for status in (200, 302, 400, 401, 402, 409, 418, 422, 429, 500, 777)
        for headers in advice
        for body in bodies
        for in_doubt in (True, False)
    }

    assert reasons - REASONS == set()
    assert {rule.reason for rule in provider.rules} <= reasons
    assert {"server_says_retry", "server_says_stop", "idempotency_conflict", "duplicate_transaction"} <= reasons
    assert unreadable_success(200, "GET", keyed=False, provider=provider).reason in REASONS


def test_a_reason_is_one_short_stable_word() -> None:
    """Reasons become labels of metrics: a space or a capital would break queries."""
    odd = {reason for reason in REASONS if not (reason.isascii() and reason.replace("_", "a").islower())}

    assert (odd, max(map(len, REASONS)) <= 40) == (set(), True)


# Whatever comes from the network

JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(sorted(REASONS)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "_embedded",
                    "errors",
                    "error",
                    "code",
                    "logref",
                    "message",
                    "failure_code",
                    "transfer",
                    "type",
                    "field",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)
BODIES: Final = (
    st.binary(max_size=400)
    | JSON.map(lambda document: json.dumps(document).encode())
    | st.sampled_from([*(case["body"].encode() for case in CASES), *DECLINES.values(), *NAMING_BODIES.values()])
)
HEADERS: Final = st.dictionaries(
    st.sampled_from(["Retry-After", "date", "RateLimit", "X-RateLimit-Reset", "Stripe-Should-Retry"]) | st.text(),
    st.sampled_from(["true", "0", "9" * 300, "Sun, 06 Nov 1994 08:49:37 GMT", '"a";r=0;t=5']) | st.text(),
    max_size=6,
)


@given(
    status=st.integers(100, 999),
    method=st.sampled_from(["GET", "POST", "PUT", "delete", "QUERY"]) | st.text(max_size=8),
    headers=HEADERS,
    body=BODIES,
    provider=st.sampled_from([FINIX, FIANT, GENERIC]),
    keyed=st.booleans(),
    in_doubt=st.booleans(),
)
def test_whatever_an_answer_holds_it_has_a_verdict(
    *,
    status: int,
    method: str,
    headers: dict[str, str],
    body: bytes,
    provider: Provider,
    keyed: bool,
    in_doubt: bool,
) -> None:
    """An exception here would hide from the caller what became of the payment."""
    verdict = classify(
        status, method=method, headers=headers, body=body, provider=provider, keyed=keyed, in_doubt=in_doubt
    )

    assert (verdict.status, verdict.reason in REASONS) == (status, True)
    assert verdict.retry_after is None or verdict.retry_after >= 0
    assert (verdict.outcome is SUCCESS) == (
        200 <= status <= 299 or (status == 304 and not verdict.reason.startswith("server_says"))
    )
    assert verdict.outcome is not CONFLICT or keyed or in_doubt


def filled(piece: str, start: str, end: str = "") -> bytes:
    """Repeat a piece up to the limit of what is looked at."""
    room = ERROR_BODY_LIMIT - len(start) - len(end)
    return (start + piece * (room // len(piece)) + end).encode()


@contextmanager
def untraced() -> Iterator[None]:
    """Keep coverage from being timed along with the code."""
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracer)


@pytest.mark.parametrize(
    "body",
    [
        filled('{"code":"X","message":"m","logref":"1"},', '{"_embedded":{"errors":[', '{"code":"Y"}]}}'),
        filled('{"failure_code":"' + "f" * 300 + '"},', '{"errors":[', "{}]}"),
        filled("idempot ", '{"message":"', '"}'),
        filled('"m",', '{"errors":[', '""]}'),
        filled("\\u0001", '{"code":"', '"}'),
        filled('{"errors":[', ""),
        filled("[", "{"),
        filled("1", '{"code":'),
        filled('"code":1,', "{"),
        filled('\\"code":"', "{"),
        filled(" ", ""),
        filled("<p>declined</p>", "<html>"),
        b"\xff" * ERROR_BODY_LIMIT,
        b"\x00" * ERROR_BODY_LIMIT,
    ],
    ids=lambda body: ascii(body[:24]),
)
@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS.keys())
def test_no_64_kib_take_5_ms_to_classify(body: bytes, provider: Provider) -> None:
    """It runs on the event loop: a hostile body would delay every other payment in the process."""
    elapsed = []
    with untraced():
        for _ in range(7):
            begun = time.process_time()
            verdict = classify(402, method="POST", body=body, provider=provider, keyed=True, in_doubt=True)
            elapsed.append(time.process_time() - begun)

    assert (verdict.status, ERROR_BODY_LIMIT - 400 < len(body) <= ERROR_BODY_LIMIT) == (402, True)
    assert min(elapsed) < 0.005
