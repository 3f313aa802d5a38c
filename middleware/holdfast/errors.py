"""Every exception that holdfast raises.

Each one says whether the peer may have acted (``.report.effect``), pickles, and holds no secret: neither ``str`` nor
``repr`` contains a header, body, query string or key, and a pickle only what the report holds. All are
``aiohttp.ClientError``, so that code written for a plain ``aiohttp.ClientSession`` catches them where it catches
aiohttp's own.
"""

from collections.abc import Mapping
from typing import Any, Final, Self, cast

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from holdfast.outcome import Effect, Outcome, StopReason
from holdfast.report import CallReport

_NO_HEADERS: Final[CIMultiDictProxy[str]] = CIMultiDictProxy(CIMultiDict())


class HoldfastError(aiohttp.ClientError):
    """Base of everything that holdfast raises by itself."""

    _holdfast_report: CallReport | None = None

    @property
    def report(self) -> CallReport | None:
        """The record of the call; ``None`` only where no call had begun."""
        return self._holdfast_report

    def __repr__(self) -> str:
        """Name the class and say what ``str`` says, and nothing else."""
        return f"{type(self).__name__}({str(self)!r})"


class _OfACallError(HoldfastError):
    """Base of errors that only a call can end in."""

    @property
    def report(self) -> CallReport:
        """The record of the call."""
        return cast(CallReport, self._holdfast_report)


class DeadlineExceededError(_OfACallError, TimeoutError):
    """Raised when the call's time ran out before an answer came.

    ``report.effect`` says whether the provider may have acted; ``in_doubt`` calls can be looked up later with
    ``ResilientSession.reconcile``.
    """

    def __init__(self, report: CallReport) -> None:
        """Keep the record of the call that ran out of time."""
        super().__init__()
        self._holdfast_report = report

    def __str__(self) -> str:
        """Name the call, the time it took and its effect."""
        return f"{_headline(self.report)} after {self.report.elapsed_s:.3f} s"

    def __reduce__(self) -> tuple[type[Self], tuple[CallReport]]:
        """Pickle by the report alone."""
        return type(self), (self.report,)


class _NotSentError(HoldfastError):
    """Base of refusals made before anything is sent: the request never left this process."""

    def __init__(self, origin: str, retry_after: float | None, report: CallReport | None = None) -> None:
        """Keep the peer, the wait and the record of the call."""
        super().__init__(origin, retry_after)
        self.origin = origin
        self.retry_after = retry_after
        self._holdfast_report = report

    def __str__(self) -> str:
        """Name the peer and the wait."""
        wait = "" if self.retry_after is None else f"; try again in {self.retry_after:.3f} s"
        return f"{self._why} {self.origin}: nothing was sent{wait}"

    def __reduce__(self) -> tuple[type[Self], tuple[str, float | None, CallReport | None]]:
        """Pickle by the public attributes."""
        return type(self), (self.origin, self.retry_after, self.report)

    _why = "refused"


class CircuitOpenError(_NotSentError):
    """Raised before anything is sent, because the origin's circuit is open.

    The request never left this process: it is always safe to try it again.

    Attributes:
        origin: Scheme, host and port of the peer, e.g. ``https://api.test``.
        retry_after: Seconds until the circuit lets one probe through; ``None`` when that is not known.
    """

    _why = "circuit open for"


class RateLimitedError(_NotSentError):
    """Raised before anything is sent, because the origin asked for a pause that ends after the deadline.

    The request never left this process: it is always safe to try it again, after the wait.

    Attributes:
        origin: Scheme, host and port of the peer, e.g. ``https://api.test``.
        retry_after: Seconds the origin asked us to wait; ``None`` when that is not known.
    """

    _why = "rate limit closed for"


class AnswerError(_OfACallError, aiohttp.ClientResponseError):
    """Base of the errors that stand for an answer; raised only where ``raise_for_status`` asks for it.

    ``request_info`` holds the method and the address without query, and no headers. ``headers`` are the response's,
    kept on the living object only: they are neither printed nor pickled.

    Attributes:
        status: Status of the last answer.
        message: Its reason phrase.
    """

    def __init__(
        self, report: CallReport, *, status: int = 0, message: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Build the error from the record of the call and the head of its last answer."""
        url = URL(report.url)
        request_info = aiohttp.RequestInfo(url, report.method, _NO_HEADERS, url)
        kept = None if headers is None else CIMultiDictProxy(CIMultiDict(headers))
        aiohttp.ClientResponseError.__init__(self, request_info, (), status=status, message=message, headers=kept)
        self._holdfast_report = report

    def __str__(self) -> str:
        """Name the call, its outcome and what to quote to the provider's support."""
        logrefs = ", ".join(self.report.logrefs)
        return f"{_headline(self.report)}, status {self.status}" + (f", logref {logrefs}" if logrefs else "")

    def __repr__(self) -> str:
        """Show what every error of ours shows; aiohttp's own would print the request's headers."""
        return HoldfastError.__repr__(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by report, status and reason phrase; the response's headers stay behind."""
        return _restore, (type(self), self.report, self.status, self.message)


class PermanentFailureError(AnswerError):
    """Raised when the provider refused the call for good: sending the same request again cannot help."""


class RetriesExhaustedError(AnswerError):
    """Raised when the last answer was a passing fault and no further attempt was allowed.

    ``report.stop_reason`` says why not; ``report.effect`` says whether the provider may have acted.
    """


class IdempotencyConflictError(AnswerError):
    """Raised when the provider says that this key or payment was there before.

    Look the first one up (``report.idempotency_key``); a second payment under a new key would pay twice.
    """


ANSWER_ERRORS: Final[Mapping[Outcome, type[AnswerError]]] = {
    Outcome.PERMANENT_FAILURE: PermanentFailureError,
    Outcome.RETRYABLE: RetriesExhaustedError,
    Outcome.IDEMPOTENCY_CONFLICT: IdempotencyConflictError,
}
"""Which error stands for which outcome of an answered call."""


def _restore(kind: type[AnswerError], report: CallReport, status: int, message: str) -> AnswerError:
    return kind(report, status=status, message=message)


def _headline(report: CallReport) -> str:
    doubt = "; it may have taken effect" if report.effect is Effect.IN_DOUBT else ""
    landed = "; it took effect" if report.effect is Effect.LANDED else ""
    verdict = (
        "deadline exceeded" if report.stop_reason is StopReason.DEADLINE else f"{report.outcome} ({report.reason})"
    )
    return f"{report.method} {report.url}: {verdict}{doubt}{landed}"
