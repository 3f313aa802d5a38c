"""What the demo found: the client's word on every call, held against the sandbox's ledger.

Pure values. A call is found in the ledger by its ``X-Call`` header. One that says it landed may also be found by its
idempotency key, endpoint and amount, because a key that was used before with the same body answers for the first use.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from holdfast.cli.plain_screen import Row
from holdfast.outcome import Effect, Outcome
from holdfast.providers.provider import SAFE_METHODS
from holdfast.report import CallReport
from holdfast.sandbox import Ledger, LedgerEntry, SeenRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeCall:
    """One call as the demo made it, and what the client said of it."""

    name: str
    """Its ``X-Call`` header."""

    provider: str
    operation: str
    method: str
    path: str
    amount: int | None
    report: CallReport | None
    """``None`` when the call ended without one, which no call may."""

    readable: bool
    """Whether the body of the answer could be read; ``True`` where there was no answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The demo in numbers."""

    calls: int
    by_provider: Mapping[str, int]
    attempts: int
    requests: int
    """What reached the sandbox, lookups included."""

    faults: Mapping[str, int]
    outcomes: Mapping[str, int]
    stops: Mapping[str, int]
    said: Mapping[str, int]
    """Calls by the effect the client says."""

    real: Mapping[str, int]
    """Of these, the calls that the ledger shows an effect of."""

    charged_twice: tuple[str, ...]
    misreported: tuple[str, ...]
    """One line per call whose report the ledger contradicts."""

    slowest: str
    slowest_s: float
    elapsed_s: float

    @property
    def honest(self) -> bool:
        """Whether nothing was charged twice and nothing misreported."""
        return not self.charged_twice and not self.misreported

    def to_dict(self) -> dict[str, Any]:
        """Give the numbers as plain JSON values."""
        return {
            "calls": self.calls,
            "calls_by_provider": dict(self.by_provider),
            "attempts": self.attempts,
            "requests": self.requests,
            "faults": dict(self.faults),
            "outcomes": dict(self.outcomes),
            "stop_reasons": dict(self.stops),
            "effects": {word: {"said": self.said[word], "in_ledger": self.real[word]} for word in self.said},
            "charged_twice": len(self.charged_twice),
            "charged_twice_keys": list(self.charged_twice),
            "misreported": len(self.misreported),
            "misreports": list(self.misreported),
            "slowest_call": self.slowest,
            "slowest_call_s": round(self.slowest_s, 3),
            "elapsed_s": round(self.elapsed_s, 3),
        }

    def rows(self) -> list[Row]:
        """Give the numbers as a table for people."""
        return [
            Row("calls", f"{self.calls}: {_counted(self.by_provider)}"),
            Row("attempts", f"{self.attempts}; with lookups, {self.requests} requests reached the sandbox"),
            Row("faults met", f"{sum(self.faults.values())}: {_counted(self.faults)}"),
            Row("outcomes", _counted(self.outcomes)),
            Row("stopped because", _counted(self.stops)),
            *(Row(*_held_against_ledger(word, self.said[word], self.real[word])) for word in self.said),
            Row("charges made twice", str(len(self.charged_twice)), good=not self.charged_twice),
            Row("outcomes misreported", str(len(self.misreported)), good=not self.misreported),
            Row("slowest call", f"{self.slowest_s:.2f} s: {self.slowest}"),
            Row("took", f"{self.elapsed_s:.2f} s"),
        ]


_LEDGER_SAYS: Final[Mapping[str, str]] = {
    Effect.LANDED: "{real} of them in the ledger",
    Effect.NONE: "{real} of them in the ledger",
    Effect.IN_DOUBT: "{real} of them had landed, which the client did not claim to know",
}


def add_up(calls: Sequence[MadeCall], ledger: Ledger, requests: Sequence[SeenRequest], *, elapsed_s: float) -> Tally:
    """Hold every report against the ledger.

    Args:
        calls: Every call that was made; at least one.
        ledger: What really happened.
        requests: What reached the sandbox, with the faults it met.
        elapsed_s: Duration of the demo, in seconds.
    """
    entries = ledger.effects()
    reports = [call.report for call in calls if call.report is not None]
    slowest = max(calls, key=_elapsed_s)
    return Tally(
        calls=len(calls),
        by_provider=_count(call.provider for call in calls),
        attempts=sum(len(report.attempts) for report in reports),
        requests=len(requests),
        faults=_count(request.fault.value for request in requests if request.fault is not None),
        outcomes=_count(report.outcome.value for report in reports),
        stops=_count(report.stop_reason.value for report in reports),
        said={word.value: sum(report.effect is word for report in reports) for word in Effect},
        real={word.value: sum(_said(call, word) and _SEEN[word](call, entries) for call in calls) for word in Effect},
        charged_twice=ledger.charged_twice(),
        misreported=_misreports(calls, entries),
        slowest=f"{slowest.method} {slowest.path} ({_attempts(slowest)})",
        slowest_s=_elapsed_s(slowest),
        elapsed_s=elapsed_s,
    )


def contradiction(call: MadeCall, entries: Sequence[LedgerEntry]) -> str | None:
    """Say in which way the ledger contradicts a report; ``None`` when it does not.

    A call in doubt claims nothing, so nothing can contradict it; those are counted apart.
    """
    report = call.report
    if report is None:
        return "ended without a report"
    if report.effect is Effect.LANDED and not _happened(call, entries):
        return "says landed, but the ledger has no such effect"
    if report.effect is Effect.NONE and _own(call, entries):
        return "says nothing happened, but it is in the ledger"
    changes = call.method not in SAFE_METHODS
    if report.outcome is Outcome.SUCCESS and changes and report.effect is not Effect.LANDED:
        return f"says success with effect {report.effect}"
    if report.outcome is Outcome.SUCCESS and not call.readable and report.reason != "body_unreadable":
        return "says success, but its body could not be read"
    return None


def _misreports(calls: Sequence[MadeCall], entries: Sequence[LedgerEntry]) -> tuple[str, ...]:
    found = [(call, why) for call in calls if (why := contradiction(call, entries)) is not None]
    named = {call.name for call in calls}
    return (
        *(f"{call.name} {call.provider} {call.method} {call.path} {why}{_verdict(call)}" for call, why in found),
        *(
            f"{entry.operation} {entry.resource_id} is in the ledger, but no call made it"
            for entry in entries
            if entry.reference not in named
        ),
    )


def _own(call: MadeCall, entries: Sequence[LedgerEntry]) -> bool:
    return any(entry.reference == call.name for entry in entries)


def _happened(call: MadeCall, entries: Sequence[LedgerEntry]) -> bool:
    key = None if call.report is None else call.report.idempotency_key
    same = (call.provider, key, call.amount)
    return _own(call, entries) or (
        key is not None and any((entry.provider, entry.key, entry.amount) == same for entry in entries)
    )


# Another call's effect under the same key is no effect of a call that says it had none, or does not know.
_SEEN: Final = {Effect.NONE: _own, Effect.IN_DOUBT: _own, Effect.LANDED: _happened}


def _said(call: MadeCall, word: Effect) -> bool:
    return call.report is not None and call.report.effect is word


def _elapsed_s(call: MadeCall) -> float:
    return 0.0 if call.report is None else call.report.elapsed_s


def _attempts(call: MadeCall) -> str:
    number = 0 if call.report is None else len(call.report.attempts)
    return "1 attempt" if number == 1 else f"{number} attempts"


def _verdict(call: MadeCall) -> str:
    report = call.report
    if report is None:
        return ""
    tried = ", ".join(f"{attempt.status or attempt.error} {attempt.reason}" for attempt in report.attempts)
    return f" [{report.outcome}, {report.effect}, {report.reason}, {report.stop_reason}; attempts: {tried}]"


def _count(words: Any) -> dict[str, int]:  # noqa: ANN401 - any iterable of strings
    return dict(Counter(words).most_common())


def _counted(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{word} {number}" for word, number in numbers.items()) or "none"


def _held_against_ledger(word: str, said: int, real: int) -> tuple[str, str, bool | None]:
    good = {Effect.LANDED.value: said == real, Effect.NONE.value: None}.get(word)
    return f"said {word}", f"{said}; {_LEDGER_SAYS[word].format(real=real)}", good
