"""The log events of a call: which there are, how loud each is, and what it says.

Field names and meanings are those of ``telemetry/events.schema.json``; ``core.redact`` drops anything else. Message
texts, bodies, header values and query strings are never gathered here.
"""

import logging
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from holdfast.core.deadline import Deadline
from holdfast.core.redact import clean, place_of
from holdfast.engine.call import Attempt, Call
from holdfast.engine.runtime import Runtime
from holdfast.outcome import Effect, Outcome, StopReason
from holdfast.report import CallReport, ErrorDetail

# Looked up once: a member of an enumeration costs more than a call of a function.
_SUCCESS: Final = Outcome.SUCCESS
_IN_DOUBT: Final = Effect.IN_DOUBT
_DEBUG: Final = logging.DEBUG
_INFO: Final = logging.INFO
_WARNING: Final = logging.WARNING
_ERROR: Final = logging.ERROR

# Tuples, which compare by identity first: to look a member up in a set costs more than a call of a function, too.
_QUIET_STOPS: Final = (StopReason.SUCCEEDED, StopReason.RECONCILED)
_LOUD_STOPS: Final = (StopReason.PERMANENT, StopReason.CONFLICT, StopReason.RECONCILED, StopReason.CANCELLED)


def attempt_ended(runtime: Runtime, call: Call, attempt: Attempt) -> None:
    """Tell that one attempt ended: debug, or warning when it failed."""
    verdict = attempt.answer
    level = _DEBUG if verdict is not None and verdict.outcome is _SUCCESS else _WARNING
    if listeners := runtime.listeners(level):
        runtime.emit(listeners, "outbound.attempt", level, _of_attempt(call, attempt))


def pause_begins(runtime: Runtime, call: Call, attempt: Attempt, now: float) -> None:
    """Tell that a pause begins: warning."""
    if listeners := runtime.listeners(_WARNING):
        fields = _of_attempt(call, attempt)
        if (pause_s := attempt.pause_s) is not None:
            fields["pause_s"] = _round(pause_s)
        fields["deadline_left_s"] = _round(call.deadline.left(now))
        runtime.emit(listeners, "outbound.retry", _WARNING, fields)


def call_ended(runtime: Runtime, call: Call) -> None:
    """Tell that a call ended: once per call, always."""
    level = _level_of(call)
    if listeners := runtime.listeners(level):
        runtime.emit(listeners, "outbound.call", level, _of_verdict(call))


def circuit_changed(runtime: Runtime, call: Call, state: str) -> None:
    """Tell that the circuit of the call's origin is now ``open``, ``half_open`` or ``closed``: warning."""
    if listeners := runtime.listeners(_WARNING):
        fields = _of_call(call) | {"reason": f"circuit_{state}"}
        runtime.emit(listeners, "outbound.circuit", logging.WARNING, fields)


def deadline_clamped(runtime: Runtime, call: Call | None, deadline: Deadline | None, now: float) -> None:
    """Tell that a caller asked for more time than the deadline allows: warning."""
    if listeners := runtime.listeners(_WARNING):
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
        return _ERROR
    stop, success = call.stop_reason, call.outcome is _SUCCESS
    if success and stop in _QUIET_STOPS and call.reason != "body_unreadable":
        return _INFO
    return _WARNING if success or stop in _LOUD_STOPS else _ERROR


def _of_call(call: Call) -> dict[str, Any]:
    host, path = place_of(call.url)
    fields: dict[str, Any] = {"call_id": call.call_id, "provider": call.provider.name}
    if (operation := call.operation) is not None:
        fields["operation"] = operation
    fields["method"] = call.method
    fields["host"] = host
    fields["path"] = path
    return fields


def _of_attempt(call: Call, attempt: Attempt) -> dict[str, Any]:
    # Of our words ``_value_`` is read: what ``value`` gives, without the price of a property.
    fields = _of_call(call)
    fields["attempt"] = attempt.number
    fields["elapsed_s"] = _round(attempt.elapsed_s)
    if (error := attempt.error) is not None:
        fields["error_type"] = error
    verdict = attempt.answer
    if verdict is None:
        return fields
    if (status := verdict.status) is not None:
        fields["status"] = status
    fields["outcome"] = verdict.outcome._value_
    fields["effect"] = verdict.effect._value_
    fields["reason"] = verdict.reason
    if verdict.errors:
        logrefs: dict[str, None] = {}
        _collect_logrefs(logrefs, verdict.errors)
        _tell_logrefs(fields, logrefs)
    if (retry_after := verdict.retry_after) is not None:
        fields["retry_after_s"] = _round(retry_after)
    return fields


def _of_verdict(call: Call) -> dict[str, Any]:
    """Gather what the call says of itself; its report holds the same, and is built when somebody asks for it."""
    fields, attempts, errors = _of_call(call), call.attempts, call.errors
    fields["attempts"] = len(attempts)
    if (status := call.status) is not None:
        fields["status"] = status
    fields["outcome"] = call.outcome._value_
    fields["effect"] = call.effect._value_
    fields["reason"] = call.reason
    fields["stop_reason"] = call.stop_reason._value_
    if errors:  # those of the last answer that had any: without them, no attempt had one
        _tell_errors(fields, attempts, errors)
    if (request_id := _request_id(call)) is not None:
        fields["request_id"] = request_id
    if (key := call.key.key) is not None:
        fields["idempotency_key"] = key
    elapsed_s = call.elapsed_s
    fields["elapsed_s"] = _round(elapsed_s)
    fields["deadline_left_s"] = _round(call.deadline.left(call.started + elapsed_s))
    if (retry_after_s := call.retry_after_s) is not None:
        fields["retry_after_s"] = _round(retry_after_s)
    if attempts and (error := attempts[-1].error) is not None:
        fields["error_type"] = error
    return fields


def _tell_errors(fields: dict[str, Any], attempts: Sequence[Attempt], errors: Sequence[ErrorDetail]) -> None:
    logrefs: dict[str, None] = {}  # a set that keeps its order
    for attempt in attempts:
        if (verdict := attempt.answer) is not None:
            _collect_logrefs(logrefs, verdict.errors)
    _tell_logrefs(fields, logrefs)
    codes: dict[str, None] = {}
    failure_code: str | None = None
    for error in errors:
        if error.code:
            codes[error.code] = None
        failure_code = failure_code or error.failure_code
    if codes:
        fields["error_codes"] = [*codes]
    if failure_code:
        fields["failure_code"] = failure_code


def _collect_logrefs(logrefs: dict[str, None], errors: Sequence[ErrorDetail]) -> None:
    for error in errors:
        if error.logref is not None:
            logrefs[error.logref] = None


def _tell_logrefs(fields: dict[str, Any], logrefs: dict[str, None]) -> None:
    if logrefs:
        every = [*logrefs]
        fields["logref"], fields["logrefs"] = every[0], every


def _request_id(call: Call) -> str | None:
    """Give the last of the provider's ids; of a call that was sent once it is looked up without gathering them."""
    attempts = call.attempts
    if len(attempts) == 1 and (headers := attempts[0].headers) is not None:
        for name in call.provider.request_id_header:
            if found := headers.get(name):
                return clean(found)
        if call.key.key is None:
            return None
    request_ids = call.request_ids
    return request_ids[-1] if request_ids else None


def _round(seconds: float) -> float:
    """Round to milliseconds. ``round(seconds, 3)`` writes the number out and reads it again."""
    return (seconds * 1000.0 + 0.5) // 1.0 / 1000.0
