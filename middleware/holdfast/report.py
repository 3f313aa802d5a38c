"""What is known of an error, an attempt and a call, as plain values.

Reports hold only what may leave the process: no body, no header value, no query string, no user-info. They pickle,
compare and print safely. Times are seconds as floats.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from holdfast.outcome import Effect, Outcome, StopReason
from holdfast.values import dataclass

REPORT_ATTRIBUTE: Final = "_holdfast_report"
"""Where a finished call leaves its report on a response or exception: the report, or a function that builds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorDetail:
    """One error that a provider described in its body. Texts are cleaned and at most 256 characters long."""

    logref: str | None = None
    """The provider's identifier of this very error, to quote to its support (vnd.error ``logref``)."""

    code: str | None = None
    message: str | None = None
    """For people; never logged, and never branched on."""

    failure_code: str | None = None
    """Why a payment was declined, e.g. ``INSUFFICIENT_FUNDS``; its presence makes a 402 a decline."""

    failure_message: str | None = None
    field: str | None = None
    """The request field that the error is about."""

    resources: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Ids that the provider attached, e.g. ``{"authorization": "AU..."}``."""

    links: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Relation to address, e.g. ``{"self": "https://..."}``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """What one response means."""

    outcome: Outcome
    effect: Effect
    reason: str
    """A short stable word; all of them are listed in ``holdfast.core.classify.REASONS``."""

    status: int | None = None
    retry_after: float | None = None
    """Seconds the provider asks us to wait; ``None`` when it does not say."""

    errors: tuple[ErrorDetail, ...] = ()

    @property
    def logrefs(self) -> tuple[str, ...]:
        """Every ``logref`` of the body, outer then inner, in order, without repeats."""
        return logrefs_of(self.errors)


def logrefs_of(errors: tuple[ErrorDetail, ...]) -> tuple[str, ...]:
    """Collect every ``logref``, in order, without repeats."""
    return tuple(dict.fromkeys(error.logref for error in errors if error.logref is not None))


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptReport:
    """The record of one send."""

    number: int
    """The first is 1."""

    started_s: float
    """Seconds from the start of the call to the start of this attempt."""

    elapsed_s: float
    status: int | None
    """Status of a real response; ``None`` where none came. An exception's status is never taken for an answer."""

    outcome: Outcome
    effect: Effect
    reason: str
    pause_s: float | None
    """Seconds of pause that followed; ``None`` after the last attempt."""

    bytes_sent: bool | None
    """Whether the request left this process: ``False`` is proof that nothing of its body did, and that it cannot have
    been taken in; ``None`` is not known."""

    error: str | None
    """Class name of the exception the attempt ended in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallReport:
    """The record of a finished call."""

    call_id: str
    provider: str
    operation: str | None
    """The caller's low-cardinality name for this kind of call."""

    method: str
    url: str
    """Scheme, host and path; without user-info, query and fragment."""

    outcome: Outcome
    effect: Effect
    reason: str
    stop_reason: StopReason
    attempts: tuple[AttemptReport, ...]
    idempotency_key: str | None
    logrefs: tuple[str, ...]
    """Every ``logref`` of every attempt, in order, without repeats."""

    errors: tuple[ErrorDetail, ...]
    """What the last answer with an error body said."""

    request_ids: tuple[str, ...]
    """The provider's own ids of our requests, one per answer that carried one."""

    elapsed_s: float
    retry_after_s: float | None
    """The wait the provider advised with its last answer, in seconds; ``None`` when it gave none."""

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON values: dicts, lists, strings, numbers, ``None``."""
        plain: dict[str, Any] = _plain(self)
        return plain


def report_of(ended: object) -> CallReport | None:
    """Give the report of a finished call from what it ended in.

    Args:
        ended: The ``aiohttp.ClientResponse`` the call returned, or the exception it raised.

    Returns:
        The report, or ``None`` when no holdfast call ended in this object.
    """
    report = getattr(ended, REPORT_ATTRIBUTE, None)
    if report is None and isinstance(ended, TimeoutError):
        # asyncio.timeout and wait_for turn the cancellation that the call ended in into this.
        report = getattr(ended.__cause__, REPORT_ATTRIBUTE, None)
    if callable(report):
        report = report()
    if report is None:
        report = getattr(ended, "report", None)
    return report if isinstance(report, CallReport) else None


def _plain(value: Any) -> Any:  # noqa: ANN401 - walks whatever a report holds
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return str(value)
    return value
