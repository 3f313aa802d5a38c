import json
from dataclasses import replace
from typing import Any, Final

import pytest
from tests.vocabulary.reports import DECLINED, DOUBTFUL, KEY, OUT_OF_TIME

from holdfast.core.problem import Problem, problem_of
from holdfast.errors import (
    CircuitOpenError,
    DeadlineExceededError,
    HoldfastError,
    IdempotencyConflictError,
    PermanentFailureError,
    RateLimitedError,
    RetriesExhaustedError,
)
from holdfast.outcome import Effect
from holdfast.report import CallReport

ORIGIN: Final = "https://finix.test"


def advised(seconds: float) -> CallReport:
    """Make a report of a call whose provider asks for a pause."""
    return replace(DOUBTFUL, retry_after_s=seconds, effect=Effect.NONE)


TABLE: Final[list[tuple[HoldfastError, int, str, str | None]]] = [
    (PermanentFailureError(DECLINED, status=402), 502, "Bad Gateway", None),
    (IdempotencyConflictError(DECLINED, status=409), 409, "Conflict", None),
    (CircuitOpenError(ORIGIN, 4.2), 503, "Service Unavailable", "5"),
    (CircuitOpenError(ORIGIN, 0.0), 503, "Service Unavailable", "1"),
    (CircuitOpenError(ORIGIN, None), 503, "Service Unavailable", None),
    (RateLimitedError(ORIGIN, 30.0), 503, "Service Unavailable", "30"),
    (DeadlineExceededError(OUT_OF_TIME), 504, "Gateway Timeout", None),
    (RetriesExhaustedError(DOUBTFUL, status=500), 502, "Bad Gateway", None),
    (RetriesExhaustedError(advised(7.0), status=429), 503, "Service Unavailable", "7"),
    (RetriesExhaustedError(replace(DOUBTFUL, retry_after_s=7.0), status=429), 502, "Bad Gateway", None),
    (CircuitOpenError(ORIGIN, float("inf")), 503, "Service Unavailable", None),
    (HoldfastError(), 502, "Bad Gateway", None),
]


@pytest.mark.parametrize(("error", "status", "title", "wait"), TABLE, ids=lambda part: type(part).__name__)
def test_an_error_becomes_the_status_that_says_what_to_do(
    error: HoldfastError, status: int, title: str, wait: str | None
) -> None:
    """Our caller would retry what is final, or give up what only needs a pause."""
    problem = problem_of(error, "req-1")

    headers = dict(problem.headers)
    document = json.loads(problem.body)
    assert (problem.status, document["status"], document["title"]) == (status, status, title)
    assert headers.pop("retry-after", None) == wait
    assert headers == {
        "content-type": "application/problem+json",
        "content-length": str(len(problem.body)),
        "cache-control": "no-store",
    }


def test_a_problem_tells_effect_logrefs_and_the_requests_id_and_nothing_else() -> None:
    """Our caller could not quote the error, or would learn our keys, our providers and their words."""
    problem = problem_of(PermanentFailureError(DECLINED, status=402, headers={"Set-Cookie": "s3cret"}), "req-1")

    assert json.loads(problem.body) == {
        "type": "about:blank",
        "title": "Bad Gateway",
        "status": 502,
        "detail": "A service that this one needs refused what was asked of it.",
        "request_id": "req-1",
        "effect": "none",
        "logrefs": ["3fe8e6ab", "aa01"],
    }
    for secret in (KEY, "finix", "s3cret", "declined", "TRabc"):
        assert secret not in problem.body.decode().lower()


def test_an_error_without_a_call_tells_no_effect() -> None:
    """A refusal before anything was sent would look like a doubt, or fail to be told at all."""
    problem = problem_of(CircuitOpenError(ORIGIN, 1.0))

    assert json.loads(problem.body) == {
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "A service that this one needs is unwell. Nothing was sent to it.",
    }


def test_a_doubt_is_told_as_one() -> None:
    """Our caller would take a payment that may have happened for one that has not."""
    documents: list[Any] = [
        json.loads(problem_of(error).body)
        for error in (RetriesExhaustedError(DOUBTFUL, status=500), DeadlineExceededError(OUT_OF_TIME))
    ]

    assert [document["effect"] for document in documents] == ["in_doubt", "in_doubt"]


def test_problems_compare_by_what_they_say() -> None:
    """A user's test could not hold its answer against the expected one."""
    error = PermanentFailureError(DECLINED, status=402)

    assert problem_of(error) == problem_of(error) != Problem(502, (), b"")
