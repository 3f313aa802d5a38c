"""What the benchmarks and the counted calls are made with."""

import json
import logging
from typing import Any, Final, TextIO

import structlog

from holdfast import CallReport, Effect, ErrorDetail, Outcome, StopReason
from holdfast.report import AttemptReport

VND_ERROR: Final = json.dumps(
    {
        "total": 2,
        "_embedded": {
            "errors": [
                {
                    "logref": logref,
                    "message": f"{field} must be a positive number of the smallest unit of its currency",
                    "code": "INVALID_FIELD",
                    "field": field,
                    "_links": {"self": {"href": f"https://api.example.test/errors/{logref}"}},
                }
                for logref, field in (("3fe8e6ab1e8cf44f", "amount"), ("3fe8e6ab1e8cf450", "fee"))
            ]
        },
        "_links": {"help": {"href": "https://docs.example.test/errors"}},
    }
).encode()

TRANSFERS: Final = json.dumps(
    [
        {
            "id": f"TR{number:020}",
            "amount": 1000 + number,
            "currency": "USD",
            "fee": 0.25,
            "ready_to_settle_at": None,
            "created_at": "2026-11-22T10:00:00.00Z",
            "tags": {"order": "7"},
            "_links": {"self": {"href": f"https://finix.example.test/transfers/TR{number:020}"}},
        }
        for number in range(11)
    ]
).encode()

HEADERS: Final = {
    "Content-Type": "application/json",
    "Date": "Sun, 06 Nov 1994 08:49:37 GMT",
    "Content-Length": "600",
    "Server": "example",
    "X-Request-ID": "3fe8e6ab1e8cf44f",
}

FIELDS: Final = {
    "call_id": "3fe8e6ab1e8cf44f",
    "provider": "generic",
    "operation": "charge",
    "method": "POST",
    "host": "api.example.test",
    "path": "/v1/transfers",
    "attempts": 1,
    "status": 201,
    "outcome": "success",
    "effect": "landed",
    "reason": "ok",
    "stop_reason": "succeeded",
    "idempotency_key": "order-7",
    "elapsed_s": 0.012,
    "deadline_left_s": 299.988,
}

REPORT: Final = {
    "call_id": "3fe8e6ab1e8cf44f",
    "provider": "generic",
    "operation": "charge",
    "method": "POST",
    "url": "https://api.example.test/v1/transfers",
    "outcome": Outcome.PERMANENT_FAILURE,
    "effect": Effect.NONE,
    "reason": "invalid_request",
    "stop_reason": StopReason.PERMANENT,
    "attempts": (
        AttemptReport(
            number=1,
            started_s=0.0,
            elapsed_s=0.012,
            status=422,
            outcome=Outcome.PERMANENT_FAILURE,
            effect=Effect.NONE,
            reason="invalid_request",
            pause_s=None,
            bytes_sent=True,
            error=None,
        ),
    ),
    "idempotency_key": "order-7",
    "logrefs": ("3fe8e6ab1e8cf44f",),
    "errors": (ErrorDetail(logref="3fe8e6ab1e8cf44f", code="INVALID_FIELD", field="amount"),),
    "request_ids": ("3fe8e6ab1e8cf44f",),
    "elapsed_s": 0.012,
    "retry_after_s": None,
}


def a_report() -> CallReport:
    """Make the report of a call that was refused."""
    return CallReport(**REPORT)


def json_lines(file: TextIO) -> Any:  # noqa: ANN401 - structlog's loggers share no type
    """Make a logger that writes JSON lines as cheaply as the standard library lets it."""
    return structlog.wrap_logger(
        structlog.WriteLogger(file),
        processors=[structlog.processors.add_log_level, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
