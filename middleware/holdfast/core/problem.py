"""What a service answers when an error of ours is left to it: problem details (RFC 9457).

Pure: an error in, status, headers and body out. The texts are constant; of the error only its effect and the
``logref`` values are told, because the answer goes to somebody else's machine. Proof: ``tests/core/test_problem.py``.
"""

import json
from http import HTTPStatus
from math import ceil, isfinite
from typing import Any, Final

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
from holdfast.values import dataclass

MEDIA_TYPE: Final = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Problem:
    """An answer that any framework can send."""

    status: int
    headers: tuple[tuple[str, str], ...]
    """Names in lower case."""

    body: bytes


_TABLE: Final[tuple[tuple[type[HoldfastError], HTTPStatus, str], ...]] = (
    (DeadlineExceededError, HTTPStatus.GATEWAY_TIMEOUT, "The time for this request ran out."),
    (
        IdempotencyConflictError,
        HTTPStatus.CONFLICT,
        "An operation under this idempotency key was made before: look it up before you try again.",
    ),
    (
        CircuitOpenError,
        HTTPStatus.SERVICE_UNAVAILABLE,
        "A service that this one needs is unwell. Nothing was sent to it.",
    ),
    (
        RateLimitedError,
        HTTPStatus.SERVICE_UNAVAILABLE,
        "A service that this one needs asks for a pause. Nothing was sent to it.",
    ),
    (PermanentFailureError, HTTPStatus.BAD_GATEWAY, "A service that this one needs refused what was asked of it."),
    (RetriesExhaustedError, HTTPStatus.BAD_GATEWAY, "A service that this one needs gave no final answer."),
    (HoldfastError, HTTPStatus.BAD_GATEWAY, "A call to a service that this one needs failed."),
)
"""Which error is which problem, most specific first (DESIGN section 9)."""


def problem_of(error: HoldfastError, request_id: str | None = None) -> Problem:
    """Turn an error into an answer for our own caller.

    Args:
        error: What a call was left to end in.
        request_id: Id of the inbound request, for the caller to quote.

    Returns:
        Status, headers and JSON body: ``type``, ``title``, ``status``, ``detail``, and as extension members
        ``request_id``, ``effect`` (``none``, ``in_doubt`` or ``landed``) and ``logrefs``, the last two where a call was
        made. ``Retry-After`` stands where a wait is known and nothing has happened; with a provider's own advice the
        status is 503.
    """
    status, detail = next((status, detail) for kind, status, detail in _TABLE if isinstance(error, kind))
    wait_s = _wait(error)
    if wait_s is not None:
        status = HTTPStatus.SERVICE_UNAVAILABLE
    report = error.report
    members: dict[str, Any] = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": detail,
        "request_id": request_id,
        "effect": None if report is None else report.effect.value,
        "logrefs": None if report is None else list(report.logrefs),
    }
    body = json.dumps({name: value for name, value in members.items() if value is not None}).encode()
    headers = [("content-type", MEDIA_TYPE), ("content-length", str(len(body))), ("cache-control", "no-store")]
    if wait_s is not None:
        headers.append(("retry-after", str(wait_s)))
    return Problem(status.value, tuple(headers), body)


def _wait(error: HoldfastError) -> int | None:
    """Give the whole seconds after which another try makes sense; ``None`` where nobody said."""
    seconds = None
    if isinstance(error, CircuitOpenError | RateLimitedError):
        seconds = error.retry_after
    elif isinstance(error, RetriesExhaustedError) and error.report.effect is Effect.NONE:
        # In doubt, "try again then" would tell gateways and clients, who obey it by themselves, that nothing happened.
        seconds = error.report.retry_after_s
    return None if seconds is None or not isfinite(seconds) else max(1, ceil(seconds))
