"""The log events of a call: which there are, how loud each is, and what it says.

Field names and meanings are those of ``telemetry/events.schema.json``; ``core.redact`` drops anything else. Message
texts, bodies, header values and query strings are never gathered here.
"""

import logging
from typing import Any, Final
from urllib.parse import urlsplit

from holdfast.core.deadline import Deadline
from holdfast.engine.call import Attempt, Call
from holdfast.engine.runtime import Runtime
from holdfast.outcome import Effect, Outcome, StopReason
from holdfast.report import CallReport, Classification

# Looked up once: a member of an enumeration costs more than a call of a function.
_SUCCESS: Final = Outcome.SUCCESS
_IN_DOUBT: Final = Effect.IN_DOUBT

_QUIET_STOPS: Final = frozenset({StopReason.SUCCEEDED, StopReason.RECONCILED})
_LOUD_STOPS: Final = frozenset({StopReason.PERMANENT, StopReason.CONFLICT, StopReason.RECONCILED, StopReason.CANCELLED})


def attempt_ended(runtime: Runtime, call: Call, attempt: Attempt) -> None:
    """Tell that one attempt ended: debug, or warning when it failed."""
    verdict = attempt.answer
    level = logging.DEBUG if verdict is not None and verdict.outcome is _SUCCESS else logging.WARNING
    if listeners := runtime.listeners(level):
        runtime.emit(listeners, "outbound.attempt", level, _of_call(call) | _of_attempt(attempt))


def pause_begins(runtime: Runtime, call: Call, attempt: Attempt, now: float) -> None:
    """Tell that a pause begins: warning."""
    if listeners := runtime.listeners(logging.WARNING):
        pause = {"pause_s": _round(attempt.pause_s), "deadline_left_s": _round(call.deadline.left(now))}
        fields = _of_call(call) | _of_attempt(attempt) | pause
        runtime.emit(listeners, "outbound.retry", logging.WARNING, fields)


def call_ended(runtime: Runtime, call: Call) -> None:
    """Tell that a call ended: once per call, always."""
    level = _level_of(call)
    if listeners := runtime.listeners(level):
        runtime.emit(listeners, "outbound.call", level, _of_verdict(call))


def circuit_changed(runtime: Runtime, call: Call, state: str) -> None:
    """Tell that the circuit of the call's origin is now ``open``, ``half_open`` or ``closed``: warning."""
    if listeners := runtime.listeners(logging.WARNING):
        fields = _of_call(call) | {"reason": f"circuit_{state}"}
        runtime.emit(listeners, "outbound.circuit", logging.WARNING, fields)


def deadline_clamped(runtime: Runtime, call: Call | None, deadline: Deadline | None, now: float) -> None:
    """Tell that a caller asked for more time than the deadline allows: warning."""
    if listeners := runtime.listeners(logging.WARNING):
        known = {"provider": runtime.provider.name} if call is None else _of_call(call)
        left = None if deadline is None else _round(deadline.left(now))
        runtime.emit(listeners, "outbound.deadline.clamped", logging.WARNING, known | {"deadline_left_s": left})


def lookup_ended(runtime: Runtime, known: dict[str, Any], *, settled: bool, elapsed_s: float) -> None:
    """Tell that a lookup ended: info."""
    if listeners := runtime.listeners(logging.INFO):
        stop = {"stop_reason": StopReason.RECONCILED.value} if settled else {}
        fields = known | stop | {"elapsed_s": _round(elapsed_s)}
        runtime.emit(listeners, "outbound.reconcile", logging.INFO, fields)


def describe(call: Call) -> dict[str, Any]:
    """Gather what a lookup's event says of its call."""
    verdict = {"outcome": call.outcome.value, "effect": call.effect.value, "reason": call.reason}
    return _of_call(call) | verdict | {"idempotency_key": call.key.key}


def describe_report(report: CallReport) -> dict[str, Any]:
    """Gather the same of a call that ended earlier, perhaps in another process."""
    place = urlsplit(report.url)
    return {
        "call_id": report.call_id,
        "provider": report.provider,
        "operation": report.operation,
        "method": report.method,
        "host": place.netloc,
        "path": place.path,
        "outcome": report.outcome.value,
        "effect": report.effect.value,
        "reason": report.reason,
        "idempotency_key": report.idempotency_key,
    }


def _level_of(call: Call) -> int:
    if call.effect is _IN_DOUBT:
        return logging.ERROR
    if call.outcome is _SUCCESS and call.stop_reason in _QUIET_STOPS and call.reason != "body_unreadable":
        return logging.INFO
    return logging.WARNING if call.stop_reason in _LOUD_STOPS or call.outcome is Outcome.SUCCESS else logging.ERROR


def _of_call(call: Call) -> dict[str, Any]:
    place = call.place
    return {
        "call_id": call.call_id,
        "provider": call.provider.name,
        "operation": call.operation,
        "method": call.method,
        "host": place.netloc,
        "path": place.path,
    }


def _of_attempt(attempt: Attempt) -> dict[str, Any]:
    verdict = attempt.answer
    known = {
        "attempt": attempt.number,
        "elapsed_s": _round(attempt.elapsed_s),
        "error_type": attempt.error,
    }
    return known if verdict is None else known | _of_classification(verdict)


def _of_classification(verdict: Classification) -> dict[str, Any]:
    logrefs = verdict.logrefs
    return {
        "status": verdict.status,
        "outcome": verdict.outcome.value,
        "effect": verdict.effect.value,
        "reason": verdict.reason,
        "logref": logrefs[0] if logrefs else None,
        "logrefs": list(logrefs) or None,
        "retry_after_s": _round(verdict.retry_after),
    }


def _of_verdict(call: Call) -> dict[str, Any]:
    report = call.report()
    return _of_call(call) | {
        "attempts": len(report.attempts),
        "status": call.status,
        "outcome": report.outcome.value,
        "effect": report.effect.value,
        "reason": report.reason,
        "stop_reason": report.stop_reason.value,
        "logref": report.logrefs[0] if report.logrefs else None,
        "logrefs": list(report.logrefs) or None,
        "error_codes": list(dict.fromkeys(error.code for error in report.errors if error.code)) or None,
        "failure_code": next((error.failure_code for error in report.errors if error.failure_code), None),
        "request_id": report.request_ids[-1] if report.request_ids else None,
        "idempotency_key": report.idempotency_key,
        "elapsed_s": _round(report.elapsed_s),
        "deadline_left_s": _round(call.deadline.left(call.started + call.elapsed_s)),
        "retry_after_s": _round(report.retry_after_s),
        "error_type": report.attempts[-1].error if report.attempts else None,
    }


def _round(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
