"""The words every verdict is made of.

Three closed vocabularies: what a response or failure was (``Outcome``), whether the call changed anything at the
provider (``Effect``), and why no further attempt is made (``StopReason``). The values are the words that stand in
reports and log lines, and they do not change within a major version.
"""

from enum import StrEnum


class Outcome(StrEnum):
    """The class a response or a transport failure falls in."""

    SUCCESS = "success"
    """The provider accepted the request. A 202 is accepted, not finished."""

    PERMANENT_FAILURE = "permanent_failure"
    """Sending the same request again cannot help."""

    RETRYABLE = "retryable"
    """A passing fault. Whether it *may* be sent again is a second question, answered by ``core.decide``."""

    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    """The provider says that this key, or this payment, was there before: look it up, never pay again."""


class Effect(StrEnum):
    """Whether a call changed anything at the provider."""

    NONE = "none"
    """This call changed nothing. After a conflict an earlier one may have: look it up before paying anew."""

    IN_DOUBT = "in_doubt"
    """It may or may not have happened; only a lookup or the same key can tell."""

    LANDED = "landed"
    """It happened, even where the answer's body was lost."""


class StopReason(StrEnum):
    """Why no further attempt is made. Decisions, errors, reports and log lines carry the same word."""

    SUCCEEDED = "succeeded"
    RECONCILED = "reconciled"
    """A lookup told what became of a call that was in doubt."""

    PERMANENT = "permanent"
    CONFLICT = "conflict"
    UNSAFE_TO_RESEND = "unsafe_to_resend"
    """Retryable, but the request may have taken effect and carries no key the provider honours."""

    BODY_NOT_REPLAYABLE = "body_not_replayable"
    """The request body was a stream, and a stream can be read once."""

    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    DEADLINE = "deadline"
    RETRY_AFTER_TOO_LONG = "retry_after_too_long"
    """The provider asks for a wait that ends after the deadline."""

    BUDGET_EXHAUSTED = "budget_exhausted"
    CIRCUIT_OPEN = "circuit_open"
    CANCELLED = "cancelled"
