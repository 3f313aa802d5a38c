"""The functions that are timed, and which of their calls each figure stands for.

A row whose ``when`` is given counts only the calls whose arguments it accepts, so that a 503 is not charged with the
price of a 422.
"""

import json
from collections.abc import Callable, Mapping
from types import CodeType
from typing import Any, Final, NamedTuple

from holdfast import CallReport, Classification, LocalLimits, LogSink, Policy, Provider, classify, problem_of
from holdfast.core.breaker import Circuit, health_of
from holdfast.core.budget import RetryBucket
from holdfast.core.bulkhead import Bulkhead
from holdfast.core.deadline import Deadline, deadline_after
from holdfast.core.decide import decide
from holdfast.core.effect import join_effects
from holdfast.core.error_body import decode_errors
from holdfast.core.idempotency import fingerprint, plan_key
from holdfast.core.inbound import derive_key, read_headers
from holdfast.core.rate_gate import RateGate
from holdfast.core.redact import allowed, clean, origin_of, safe_url
from holdfast.core.retry_after import advised_wait, quota_wait
from holdfast.core.schedule import pause_before
from holdfast.core.well_formed import is_json, takes
from holdfast.outcome import Outcome
from holdfast.providers import FINIX

Arguments = Mapping[str, Any]


class Row(NamedTuple):
    """One figure of the table."""

    function: Callable[..., Any]
    """A function, a method, or a class, whose ``__init__`` is meant."""

    when: Callable[[Arguments], bool] = lambda _: True

    def code(self) -> CodeType:
        """Give the code that runs. Ask after a first call: a value's ``__init__`` is written for its first instance."""
        function = self.function.__init__ if isinstance(self.function, type) else self.function
        return getattr(function, "__wrapped__", function).__code__


def _with_status(*statuses: int) -> Callable[[Arguments], bool]:
    return lambda given: given["status"] in statuses


def _with_outcome(outcome: Outcome) -> Callable[[Arguments], bool]:
    return lambda given: given["situation"].answer.outcome is outcome


def _make_key() -> Callable[[], str]:
    make_key = FINIX.key_slots[0].make_key
    assert make_key is not None
    return make_key


ROWS: Final = {
    "classify: 200": Row(classify, _with_status(200, 201)),
    "classify: 422 with a vnd.error body": Row(classify, _with_status(422)),
    "classify: 429 with Retry-After": Row(classify, _with_status(429)),
    "classify: 503": Row(classify, _with_status(503)),
    "decode_errors: vnd.error, 2 errors, 0.6 KB": Row(decode_errors, lambda given: b"logref" in given["body"]),
    "decode_errors: cut in the middle": Row(decode_errors, lambda given: not given["body"].endswith(b"}")),
    "decode_errors: HTML": Row(decode_errors, lambda given: given["body"].startswith(b"<")),
    "is_json: 2.9 KB, with orjson": Row(is_json),
    "is_json: 2.9 KB, without it": Row(takes, lambda given: given["loads"] is json.loads),
    "advised_wait: no such header": Row(advised_wait, lambda given: "Retry-After" not in given["headers"]),
    "advised_wait: Retry-After and Date": Row(advised_wait, lambda given: "Retry-After" in given["headers"]),
    "quota_wait: no such header": Row(quota_wait),
    "join_effects": Row(join_effects),
    "Classification: made": Row(Classification),
    "decide: success": Row(decide, _with_outcome(Outcome.SUCCESS)),
    "decide: permanent failure": Row(decide, _with_outcome(Outcome.PERMANENT_FAILURE)),
    "decide: retry": Row(decide, _with_outcome(Outcome.RETRYABLE)),
    "pause_before": Row(pause_before),
    "deadline_after": Row(deadline_after),
    "Deadline.limits": Row(Deadline.limits),
    "Deadline.left": Row(Deadline.left),
    "Policy: made": Row(Policy),
    "Provider.slot_for": Row(Provider.slot_for),
    "plan_key: no key": Row(plan_key, lambda given: given["given"] is None),
    "plan_key: the caller's": Row(plan_key, lambda given: given["given"] is not None),
    "a new key of Finix's": Row(_make_key()),
    "fingerprint: 1 KB": Row(fingerprint),
    "origin_of": Row(origin_of),
    "safe_url": Row(safe_url),
    "clean: 40 characters": Row(clean),
    "LocalLimits.of": Row(LocalLimits.of),
    "Circuit.refuses": Row(Circuit.refuses),
    "Circuit.admit": Row(Circuit.admit),
    "Circuit.succeeded": Row(Circuit.succeeded),
    "Circuit.failed": Row(Circuit.failed),
    "health_of": Row(health_of),
    "RateGate.reserve": Row(RateGate.reserve),
    "RateGate.succeeded": Row(RateGate.succeeded),
    "RetryBucket.deposit": Row(RetryBucket.deposit),
    "RetryBucket.take": Row(RetryBucket.take),
    "Bulkhead: enter and leave": Row(Bulkhead.enter),
    "LogSink.enabled": Row(LogSink.enabled),
    "LogSink.emit: JSON": Row(LogSink.emit),
    "allowed: 15 fields": Row(allowed),
    "CallReport: made": Row(CallReport),
    "CallReport.to_dict": Row(CallReport.to_dict),
    "problem_of": Row(problem_of),
    "read_headers": Row(read_headers),
    "derive_key": Row(derive_key),
}
"""By name, in the order of the table."""
