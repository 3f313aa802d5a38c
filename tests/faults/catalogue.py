"""The catalogue of faults, read from its file, and our rows beside it."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from tests.faults import rows_before, rows_body, rows_call, rows_sent, rows_status
from tests.faults.rows import PATIENT, Differs, Row, Said, Variant

from holdfast import Effect, Outcome

_HERE: Final = Path(__file__).resolve()
_PLACES: Final = (
    _HERE.parents[3] / "shared" / "data" / "faults.json",  # where the catalogue is kept
    _HERE.parents[1] / "data" / "faults.json",  # our copy of it
)

ROWS: Final = (*rows_before.ROWS, *rows_sent.ROWS, *rows_body.ROWS, *rows_status.ROWS, *rows_call.ROWS)

NO_JOURNAL: Final = "needs the journal, which is a later step"
LEFT_OUT: Final = {
    "L08": NO_JOURNAL,
    "L09": "needs shared state in Redis, which is a later step",
    "L10": "needs shared state in Redis, which is a later step",
    "B17": "holdfast sets no cap on a success's body",
    "A06": "holdfast does not hedge",
    "I04": "no provider declares how long it keeps a key",
    "I05": "no provider declares that it stores successes only",
    "J02": NO_JOURNAL,
    "J02S": NO_JOURNAL,
    "J03": NO_JOURNAL,
    "J04": NO_JOURNAL,
    "J06": NO_JOURNAL,
    "J07": NO_JOURNAL,
    "J08": NO_JOURNAL,
}
"""Faults of the catalogue that are not made here, and why not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What must come of one call."""

    outcome: Outcome
    effect: Effect
    reason: str | None
    attempts: int
    processed: str
    """Whether the server acts on a faulted attempt: ``yes``, ``no`` or ``maybe``."""


@lru_cache(maxsize=1)
def catalogue() -> dict[str, dict[str, Any]]:
    """Read every row of the catalogue, by its id."""
    place = next(place for place in _PLACES if place.is_file())
    return {row["id"]: row for row in json.loads(place.read_text(encoding="utf-8"))}


def cases(rows: Iterable[Row]) -> Iterator[tuple[Row, str, Variant]]:
    """List every row in every case that somebody has said something of, under both variants."""
    for row in rows:
        for case in ("G", "PK", "P", "U"):
            if said_of(row, case) is not None:
                yield from ((row, case, hits) for hits in row.hits)


def said_of(row: Row, case: str) -> Said | None:
    """Give what the catalogue says of a row's case, a PUT being held to another's; ``None`` where it is silent."""
    if row.says:
        return row.says.get(case)
    said = catalogue().get(f"{row.id}-{row.put if case == 'U' else case}")
    if said is None:
        return None
    first = said["expected_if_only_first_attempt_hit"]
    return Said(said["expected_final"], said["retry"], first, said["processed_by_server"])


def difference(row: Row, case: str) -> Differs | None:
    """Give our own expectation of a row's case, where it is not the catalogue's."""
    return next((differs for differs in row.differs if case in differs.cases.split()), None)


def expected(row: Row, case: str, hits: Variant) -> Expected:
    """Say what must come of a row's case, in holdfast's words."""
    said, differs = said_of(row, case), difference(row, case)
    assert said is not None
    ours = differs or said
    word = ours.first if hits == "first" else ours.final
    outcome, effect = _IN_OUR_WORDS[word](case != "G", ours.retry)
    if word == ours.final:
        outcome = (differs and differs.outcome) or row.outcome or outcome
    limit: int = row.ask.policy.get("max_attempts", PATIENT["max_attempts"])
    sends = (limit if hits == "every" else 2) if ours.retry else 1
    return Expected(
        outcome=outcome,
        effect=effect,
        reason=row.reason if word == ours.final else None,
        attempts=sends if row.attempts is None else row.attempts,
        processed=said.processed,
    )


def _landed(unsafe: bool) -> Effect:  # noqa: FBT001 - the one thing it depends on
    return Effect.LANDED if unsafe else Effect.NONE


_AGAIN: Final = {True: Outcome.RETRYABLE, False: Outcome.PERMANENT_FAILURE}

_IN_OUR_WORDS: Final[Mapping[str, Callable[[bool, bool], tuple[Outcome, Effect]]]] = {
    "ok": lambda unsafe, _: (Outcome.SUCCESS, _landed(unsafe)),
    "ok_pending": lambda unsafe, _: (Outcome.SUCCESS, _landed(unsafe)),
    "rejected": lambda *_: (Outcome.PERMANENT_FAILURE, Effect.NONE),
    "failed": lambda *_: (Outcome.RETRYABLE, Effect.NONE),
    "failed_not_sent": lambda _, retry: (_AGAIN[retry], Effect.NONE),
    "failed_not_processed": lambda _, retry: (_AGAIN[retry], Effect.NONE),
    "in_doubt": lambda *_: (Outcome.RETRYABLE, Effect.IN_DOUBT),
    "applied_unreadable": lambda *_: (Outcome.SUCCESS, Effect.LANDED),
    "key_conflict": lambda *_: (Outcome.IDEMPOTENCY_CONFLICT, Effect.NONE),
    "cancelled": lambda *_: (Outcome.RETRYABLE, Effect.NONE),
}
"""The catalogue's verdicts as outcome and effect; from: is the method unsafe, and may it be sent again."""
