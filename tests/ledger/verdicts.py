"""What one caller was told about one call, as one line of a file: memory must not grow with the run."""

import json
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, TextIO

from tests.ledger.plan import Kind

from holdfast import CallReport


@dataclass(slots=True, kw_only=True)
class Verdict:
    """One call as its caller saw it end. Times in seconds."""

    call: str
    kind: Kind
    effect: str
    """``none``, ``in_doubt`` or ``landed``; a rival without the middle word says ``failed``."""

    outcome: str = ""
    reason: str = ""
    stop_reason: str = ""
    attempts: int = 1
    """That the caller knows of."""

    proven_sent: int = 0
    """Attempts of which some byte left this process, by its own evidence."""

    proven_unsent: int = 0
    """Attempts of which none did."""

    last_start_s: float = 0.0
    deadline_s: float = 0.0
    elapsed_s: float = 0.0
    ended_at: float = 0.0
    """On the event loop's clock."""

    events: int = 1
    """How often ``outbound.call`` told of it."""

    own_body: bool | None = None
    """Whether the body is the one that the bank made for this call; ``None`` where none came whole."""


def verdict_of(call: str, kind: Kind, report: CallReport, deadline_s: float) -> Verdict:
    """Take from a report what the books are held against."""
    return Verdict(
        call=call,
        kind=kind,
        effect=report.effect.value,
        outcome=report.outcome.value,
        reason=report.reason,
        stop_reason=report.stop_reason.value,
        attempts=len(report.attempts),
        proven_sent=sum(attempt.bytes_sent is True for attempt in report.attempts),
        proven_unsent=sum(attempt.bytes_sent is False for attempt in report.attempts),
        last_start_s=report.attempts[-1].started_s if report.attempts else 0.0,
        deadline_s=deadline_s,
    )


def write(verdict: Verdict, file: TextIO) -> None:
    """Append one verdict."""
    file.write(json.dumps(astuple(verdict)) + "\n")


def read(path: Path) -> Iterator[Verdict]:
    """Give the verdicts of a run in the order in which the calls ended."""
    for line in lines(path):
        call, kind, *rest = line
        yield Verdict(**dict(zip(Verdict.__slots__, (call, Kind(kind), *rest), strict=True)))


def lines(path: Path) -> Iterator[list[Any]]:
    """Give a file's JSON lines."""
    with path.open() as file:
        for line in file:
            yield json.loads(line)
