"""Finished calls for the tests of this folder."""

from dataclasses import replace
from typing import Final

from holdfast.outcome import Effect, Outcome, StopReason
from holdfast.report import AttemptReport, CallReport, ErrorDetail

KEY: Final = "idem-key-7f1b4c82"

DECLINE: Final = ErrorDetail(
    logref="3fe8e6ab",
    code="DECLINED",
    message="Transfer TRabc was declined",
    failure_code="GENERIC_DECLINE",
    failure_message="Declined for an unknown reason.",
    field="source",
    resources={"transfer": "TRabc"},
    links={"self": "https://finix.test/transfers"},
)

FIRST: Final = AttemptReport(
    number=1,
    started_s=0.0,
    elapsed_s=0.25,
    status=None,
    outcome=Outcome.RETRYABLE,
    effect=Effect.IN_DOUBT,
    reason="disconnected",
    pause_s=0.5,
    bytes_sent=True,
    error="ServerDisconnectedError",
)
SECOND: Final = AttemptReport(
    number=2,
    started_s=0.75,
    elapsed_s=0.125,
    status=402,
    outcome=Outcome.PERMANENT_FAILURE,
    effect=Effect.NONE,
    reason="declined",
    pause_s=None,
    bytes_sent=True,
    error=None,
)

DECLINED: Final = CallReport(
    call_id="c0ffee",
    provider="finix",
    operation="charge",
    method="POST",
    url="https://finix.test/transfers",
    outcome=Outcome.PERMANENT_FAILURE,
    effect=Effect.NONE,
    reason="declined",
    stop_reason=StopReason.PERMANENT,
    attempts=(FIRST, SECOND),
    idempotency_key=KEY,
    logrefs=("3fe8e6ab", "aa01"),
    errors=(DECLINE,),
    request_ids=("85894eae",),
    elapsed_s=0.875,
    retry_after_s=None,
)
"""A card was declined on the second attempt."""

DOUBTFUL: Final = replace(
    DECLINED,
    outcome=Outcome.RETRYABLE,
    effect=Effect.IN_DOUBT,
    reason="server_error",
    stop_reason=StopReason.ATTEMPTS_EXHAUSTED,
    logrefs=(),
    errors=(),
)
"""Nobody knows what became of it."""

OUT_OF_TIME: Final = replace(DOUBTFUL, reason="timeout", stop_reason=StopReason.DEADLINE, elapsed_s=300.0)
"""The deadline cut the last attempt off."""
