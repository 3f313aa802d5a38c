import json
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.vocabulary.reports import DECLINE, DECLINED, DOUBTFUL, FIRST

from holdfast.errors import CircuitOpenError, DeadlineExceededError, PermanentFailureError
from holdfast.outcome import Effect, Outcome, StopReason
from holdfast.report import (
    REPORT_ATTRIBUTE,
    CallReport,
    Classification,
    ErrorDetail,
    logrefs_of,
    report_of,
)

BARE: Final = CallReport(
    call_id="c",
    provider="generic",
    operation=None,
    method="GET",
    url="https://api.test/",
    outcome=Outcome.SUCCESS,
    effect=Effect.NONE,
    reason="ok",
    stop_reason=StopReason.SUCCEEDED,
    attempts=(),
    idempotency_key=None,
    logrefs=(),
    errors=(),
    request_ids=(),
    elapsed_s=0.0,
    retry_after_s=None,
)


class Ended:
    """Stands for a response or an exception: something that attributes can be set on."""

    def __init__(self, **attributes: object) -> None:
        vars(self).update(attributes)


def test_a_report_as_json_is_what_the_call_did() -> None:
    """Reports are stored and sent on: a field that is renamed or lost is lost in every audit trail."""
    plain = DECLINED.to_dict()

    assert plain == {
        "call_id": "c0ffee",
        "provider": "finix",
        "operation": "charge",
        "method": "POST",
        "url": "https://finix.test/transfers",
        "outcome": "permanent_failure",
        "effect": "none",
        "reason": "declined",
        "stop_reason": "permanent",
        "attempts": [
            {
                "number": 1,
                "started_s": 0.0,
                "elapsed_s": 0.25,
                "status": None,
                "outcome": "retryable",
                "effect": "in_doubt",
                "reason": "disconnected",
                "pause_s": 0.5,
                "bytes_sent": True,
                "error": "ServerDisconnectedError",
            },
            {
                "number": 2,
                "started_s": 0.75,
                "elapsed_s": 0.125,
                "status": 402,
                "outcome": "permanent_failure",
                "effect": "none",
                "reason": "declined",
                "pause_s": None,
                "bytes_sent": True,
                "error": None,
            },
        ],
        "idempotency_key": "idem-key-7f1b4c82",
        "logrefs": ["3fe8e6ab", "aa01"],
        "errors": [
            {
                "logref": "3fe8e6ab",
                "code": "DECLINED",
                "message": "Transfer TRabc was declined",
                "failure_code": "GENERIC_DECLINE",
                "failure_message": "Declined for an unknown reason.",
                "field": "source",
                "resources": {"transfer": "TRabc"},
                "links": {"self": "https://finix.test/transfers"},
            }
        ],
        "request_ids": ["85894eae"],
        "elapsed_s": 0.875,
        "retry_after_s": None,
    }


def types_in(value: object) -> set[type]:
    """Collect the exact type of everything in a plain value."""
    inner: list[object] = []
    if isinstance(value, dict):
        inner = [*value.keys(), *value.values()]
    elif isinstance(value, list):
        inner = value
    return {type(value)}.union(*(types_in(each) for each in inner))


DETAILS: Final = st.builds(
    ErrorDetail,
    logref=st.none() | st.text(max_size=5),
    code=st.none() | st.text(max_size=5),
    resources=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
    links=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
)
SECONDS: Final = st.floats(0, 1e9)
ATTEMPTS: Final = st.builds(
    lambda effect, seconds, status: replace(
        FIRST, effect=effect, started_s=seconds, elapsed_s=seconds, pause_s=seconds, status=status
    ),
    st.sampled_from(Effect),
    SECONDS,
    st.none() | st.integers(100, 999),
)
REPORTS: Final = st.builds(
    lambda outcome, stop_reason, attempts, errors, url, seconds: replace(
        DECLINED,
        outcome=outcome,
        stop_reason=stop_reason,
        attempts=tuple(attempts),
        errors=tuple(errors),
        url=url,
        elapsed_s=seconds,
        retry_after_s=seconds,
    ),
    st.sampled_from(Outcome),
    st.sampled_from(StopReason),
    st.lists(ATTEMPTS, max_size=3),
    st.lists(DETAILS, max_size=2),
    st.text(max_size=10),
    SECONDS,
)


@given(REPORTS | st.sampled_from([BARE, DECLINED]))
def test_a_report_goes_through_json_unchanged(report: CallReport) -> None:
    """A report that does not serialize is one that is missing from the audit trail of exactly that call."""
    plain = report.to_dict()

    assert json.loads(json.dumps(plain)) == plain
    assert types_in(plain) <= {dict, list, str, int, float, bool, type(None)}
    assert list(plain) == [field.name for field in fields(CallReport)]


@given(REPORTS | st.sampled_from([BARE, DECLINED]))
def test_a_report_goes_through_pickle_unchanged(report: CallReport) -> None:
    """Task queues pickle results: an in-doubt call must be looked up later from its report."""
    same = pickle.loads(pickle.dumps(report))  # noqa: S301 - our own bytes

    assert same == report


def test_the_plain_form_is_a_copy() -> None:
    """A log processor that edits the dict it was given must not edit the report of the call."""
    plain = DECLINED.to_dict()
    plain["errors"][0]["resources"]["transfer"] = "TRother"
    plain["attempts"].clear()

    again = DECLINED.to_dict()

    assert (again["errors"][0]["resources"], len(again["attempts"])) == ({"transfer": "TRabc"}, 2)


VERDICT: Final = Classification(outcome=Outcome.SUCCESS, effect=Effect.NONE, reason="ok")


@pytest.mark.parametrize("record", [DECLINED, FIRST, DECLINE, VERDICT], ids=lambda record: type(record).__name__)
def test_nobody_can_rewrite_what_a_call_did(record: Any) -> None:
    """The record of a payment is evidence."""
    before = repr(record)

    for field in fields(record):
        with pytest.raises(FrozenInstanceError):
            setattr(record, field.name, "changed")

    assert repr(record) == before


# Logrefs


@pytest.mark.parametrize(
    ("logrefs", "expected"),
    [
        ((), ()),
        ((None,), ()),
        (("a",), ("a",)),
        (("b", "a"), ("b", "a")),
        (("outer", None, "inner"), ("outer", "inner")),
        (("a", "b", "a", None, "b", "c"), ("a", "b", "c")),
        (("", "a"), ("", "a")),
    ],
)
def test_logrefs_are_given_outer_then_inner_without_repeats(
    logrefs: tuple[str | None, ...], expected: tuple[str, ...]
) -> None:
    """Support is quoted the first one: it must be the one of the whole answer, and none may be missing."""
    errors = tuple(ErrorDetail(logref=logref) for logref in logrefs)
    verdict = Classification(outcome=Outcome.RETRYABLE, effect=Effect.NONE, reason="any", errors=errors)

    found = verdict.logrefs, logrefs_of(errors)

    assert found == (expected, expected)


def test_a_detail_without_a_word_is_empty() -> None:
    """Absent members are told from empty texts by ``None``; two errors must not share one dict."""
    detail = ErrorDetail()

    assert detail == ErrorDetail(
        logref=None,
        code=None,
        message=None,
        failure_code=None,
        failure_message=None,
        field=None,
        resources={},
        links={},
    )
    assert detail.resources is not ErrorDetail().resources


# The report of what a call ended in


@pytest.mark.parametrize(
    ("ended", "expected"),
    [
        (Ended(**{REPORT_ATTRIBUTE: DECLINED}), DECLINED),
        (Ended(**{REPORT_ATTRIBUTE: lambda: DECLINED}), DECLINED),
        (Ended(**{REPORT_ATTRIBUTE: DECLINED, "report": DOUBTFUL}), DECLINED),
        (PermanentFailureError(DECLINED), DECLINED),
        (DeadlineExceededError(DOUBTFUL), DOUBTFUL),
        (CircuitOpenError("https://api.test", 1.0, DOUBTFUL), DOUBTFUL),
        (CircuitOpenError("https://api.test", 1.0), None),
        (Ended(), None),
        (Ended(**{REPORT_ATTRIBUTE: None}), None),
        (Ended(**{REPORT_ATTRIBUTE: "a report"}), None),
        (Ended(**{REPORT_ATTRIBUTE: lambda: "a report"}), None),
        (Ended(**{REPORT_ATTRIBUTE: lambda: None}), None),
        (Ended(report="quarterly"), None),
        (ValueError("x"), None),
        (None, None),
        (200, None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_report_is_found_on_whatever_a_call_ended_in(ended: object, expected: CallReport | None) -> None:
    """One function answers "what became of it", for answers, for errors and for aiohttp's own exceptions."""
    found = report_of(ended)

    assert found == expected


def test_an_aiohttp_failure_can_carry_a_report() -> None:
    """Aiohttp's exceptions are raised as themselves: their report hangs on them and must survive ``raise``."""
    failure = ConnectionResetError("gone")
    setattr(failure, REPORT_ATTRIBUTE, DOUBTFUL)

    try:
        raise failure
    except OSError as caught:
        found = report_of(caught)

    assert found == DOUBTFUL


def wipe_the_disk() -> CallReport:
    """Stand for a method that has a ``report`` of its own, which is not ours to call."""
    raise AssertionError("somebody else's function was called")


@pytest.mark.parametrize("report", [wipe_the_disk, lambda _needed: DECLINED], ids=["acts", "needs an argument"])
def test_a_report_method_of_somebody_elses_is_not_called(report: Callable[..., CallReport]) -> None:
    """Error handlers pass any exception in: asking about one must not run its code."""
    found = report_of(Ended(report=report))

    assert found is None


def test_a_lazy_report_is_built_each_time_it_is_asked_for() -> None:
    """The response keeps the function that builds it: asking twice must give the same record."""
    ended = Ended(**{REPORT_ATTRIBUTE: lambda: replace(DECLINED)})

    twice = report_of(ended), report_of(ended)

    assert twice == (DECLINED, DECLINED)
