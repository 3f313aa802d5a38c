"""Outbound HTTP calls that end in one honest verdict.

A drop-in for ``aiohttp.ClientSession`` that classifies every response and failure, sends again only what is safe to
send again, ends within five minutes, and says whether a call took effect. Start with ``ResilientSession``.
"""

from typing import TYPE_CHECKING

from holdfast.core.classify import classify
from holdfast.engine.inbound import detached, inherited_key
from holdfast.engine.limits import LocalLimits
from holdfast.errors import (
    CircuitOpenError,
    DeadlineExceededError,
    HoldfastError,
    IdempotencyConflictError,
    PermanentFailureError,
    RateLimitedError,
    RetriesExhaustedError,
)
from holdfast.outcome import Effect, Outcome, StopReason
from holdfast.policy import CircuitBreaker, Policy, RateLimit, RetryBudget
from holdfast.protocols import EventSink
from holdfast.providers.provider import KeySlot, Lookup, Provider
from holdfast.report import AttemptReport, CallReport, Classification, ErrorDetail, report_of
from holdfast.session import ResilientSession
from holdfast.telemetry.structlog import LogSink

if TYPE_CHECKING:
    from holdfast.client_middleware import resilient_middleware
    from holdfast.core.problem import Problem, problem_of
else:
    # What a session does without is imported when it is asked for: it would be a fifth of this import.
    from importlib import import_module

    _LATER = {
        "Problem": "holdfast.core.problem",
        "problem_of": "holdfast.core.problem",
        "resilient_middleware": "holdfast.client_middleware",
    }

    def __getattr__(name: str) -> object:
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = getattr(import_module(_LATER[name]), name)
        return globals()[name]

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__version__ = "0.1.0"

__all__ = [
    "AttemptReport",
    "CallReport",
    "CircuitBreaker",
    "CircuitOpenError",
    "Classification",
    "DeadlineExceededError",
    "Effect",
    "ErrorDetail",
    "EventSink",
    "HoldfastError",
    "IdempotencyConflictError",
    "KeySlot",
    "LocalLimits",
    "LogSink",
    "Lookup",
    "Outcome",
    "PermanentFailureError",
    "Policy",
    "Problem",
    "Provider",
    "RateLimit",
    "RateLimitedError",
    "ResilientSession",
    "RetriesExhaustedError",
    "RetryBudget",
    "StopReason",
    "classify",
    "detached",
    "inherited_key",
    "problem_of",
    "report_of",
    "resilient_middleware",
]
