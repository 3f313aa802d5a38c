"""No doubt that could be resolved: what looks the same to the client did the one thing here and the other there."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Final

from tests.faults.bench import run_row
from tests.faults.catalogue import ROWS, expected, said_of
from tests.faults.drivers import Driver
from tests.faults.rows import Row
from tests.faults.rows_beyond import ROWS as BEYOND
from tests.faults.scene import Ended, Scene

from holdfast import Effect

CASE: Final = "P"
"""An unkeyed POST: the call to which a doubt costs most, and that makes one attempt."""

TOSSES: Final = 16
"""Runs in which a coin must show both faces; what it shows is fixed by the row's name."""

BOTH: Final = frozenset({True, False})
SETTLED_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What the client can see of an attempt. Bytes on the wire that aiohttp keeps to itself are not of it."""

    error: str | None
    errno: int | None
    head_begun: int | None
    """Status in the part of a head that aiohttp shows with a lost connection."""

    status: int | None
    reason: str
    wait_advised: float | None
    bytes_sent: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """One fault as the client saw it, and what the server's books say it did."""

    row: str
    trace: Trace
    executed: bool


def alone(witnesses: Iterable[Witness]) -> dict[Trace, list[str]]:
    """Give every trace that only ever meant one effect, with the rows that left it."""
    groups: defaultdict[Trace, list[Witness]] = defaultdict(list)
    for witness in witnesses:
        groups[witness.trace].append(witness)
    return {
        trace: sorted({witness.row for witness in group})
        for trace, group in groups.items()
        if {witness.executed for witness in group} != BOTH
    }


def test_every_doubt_has_a_twin_that_looks_the_same_and_did_the_opposite() -> None:
    """A doubt that the client could have resolved sends somebody to reconcile by hand what was certain all along."""
    doubtful = [row for row in (*ROWS, *BEYOND) if _ends_in_doubt(row)]

    seen = [witness for row in doubtful for witness in _witnesses(row)]

    assert {witness.row for witness in seen} == {row.name for row in doubtful}
    assert alone(seen) == {}


def test_a_doubt_without_a_twin_is_found() -> None:
    """A check that cannot fail would let every timeout be called a doubt."""
    (paid, unpaid) = (row for row in (*ROWS, *BEYOND) if row.id in {"S504", "+S504"})

    (one,), (other,) = _witnesses(paid), _witnesses(unpaid)
    stranger = replace(other, trace=replace(other.trace, status=599))

    assert alone([one]) == {one.trace: ["S504"]}
    assert alone([one, stranger]) == {one.trace: ["S504"], stranger.trace: ["+S504"]}
    assert alone([one, other]) == {}


def _ends_in_doubt(row: Row) -> bool:
    said = said_of(row, CASE)
    return said is not None and "every" in row.hits and expected(row, CASE, "every").effect is Effect.IN_DOUBT


def _witnesses(row: Row) -> Iterator[Witness]:
    """Run a row once, or until its coin has shown both faces."""
    processed = expected(row, CASE, "every").processed
    if processed != "maybe":
        witness = _witness(row, row.name)
        assert witness.executed is (processed == "yes"), f"{row.name} is said to be processed: {processed}"
        yield witness
        return
    faces: set[bool] = set()
    for toss in count():
        assert toss < TOSSES, f"{row.name} is said to be open, and is always {faces}"
        witness = _witness(replace(row, flavour=f"{row.flavour}{toss}"), row.name)
        yield witness
        faces.add(witness.executed)
        if faces == BOTH:
            return


def _witness(row: Row, name: str) -> Witness:
    late = expected(row, CASE, "every").processed == "yes"
    ended = run_row(replace(row, drive=_settling(row.drive)) if late else row, CASE, "every")
    assert ended.report.effect is Effect.IN_DOUBT, f"{name} ended in {ended.report.effect}"
    return Witness(row=name, trace=_trace(ended), executed=bool(ended.ledger.effects))


def _settling(drive: Driver) -> Driver:
    """Make the call and wait for its effect, which may come when the client has long gone."""

    async def drive_and_wait(scene: Scene) -> Ended:
        ended = await drive(scene)
        async with asyncio.timeout(SETTLED_S):
            while not scene.ledger.effects:  # noqa: ASYNC110 - the effect is the server's
                await asyncio.sleep(0.005)
        return ended

    return drive_and_wait


def _trace(ended: Ended) -> Trace:
    (attempt,) = ended.report.attempts
    return Trace(
        error=attempt.error,
        errno=getattr(ended.error, "errno", None),
        head_begun=getattr(getattr(ended.error, "message", None), "code", None),
        status=attempt.status,
        reason=attempt.reason,
        wait_advised=ended.report.retry_after_s,
        bytes_sent=attempt.bytes_sent,
    )
