"""Every fault of the catalogue, made on real sockets: the verdict is the catalogue's, and the server's books agree."""

from typing import Final

import pytest
from tests.faults.bench import run_row
from tests.faults.catalogue import LEFT_OUT, ROWS, cases, catalogue, difference, expected, said_of
from tests.faults.judge import judge
from tests.faults.rows import Row, Variant
from tests.faults.rows_beyond import ROWS as BEYOND

DEVIATIONS: Final = 72
"""Cases in which we expect something else than the catalogue; each row says why."""


@pytest.mark.parametrize(
    ("row", "case", "hits"),
    [pytest.param(row, case, hits, id=f"{row.name}-{case}-{hits}") for row, case, hits in cases(ROWS)],
)
def test_a_fault_ends_in_the_catalogues_verdict(row: Row, case: str, hits: Variant) -> None:
    """A wrong verdict makes somebody pay twice, or not at all."""
    wanted = expected(row, case, hits)

    ended = run_row(row, case, hits)

    judge(ended, row, case, hits, wanted)


@pytest.mark.parametrize(
    ("row", "case", "hits"),
    [pytest.param(row, case, hits, id=f"{row.name}-{case}-{hits}") for row, case, hits in cases(BEYOND)],
)
def test_a_fault_beyond_the_catalogue_ends_in_an_honest_verdict(row: Row, case: str, hits: Variant) -> None:
    """The catalogue skips numbers; the network does not."""
    wanted = expected(row, case, hits)

    ended = run_row(row, case, hits)

    judge(ended, row, case, hits, wanted)


def test_every_fault_of_the_catalogue_is_made_or_left_out_with_a_reason() -> None:
    """A fault that is forgotten is a fault that nobody has looked at."""
    known = {number.rpartition("-")[0] for number in catalogue()}

    made = {row.id for row in ROWS}

    assert made.isdisjoint(LEFT_OUT)
    assert made | set(LEFT_OUT) == known


def test_every_deviation_from_the_catalogue_is_counted() -> None:
    """An expectation that is bent to fit a bug would otherwise pass unseen."""
    bent = [(row.name, case) for row in ROWS for case in ("G", "PK", "P", "U") if difference(row, case)]

    idle = [(row.name, case) for row in ROWS for case in ("G", "PK", "P", "U") if _agrees(row, case)]

    assert not idle
    assert len(bent) == DEVIATIONS


def _agrees(row: Row, case: str) -> bool:
    """Say whether a deviation deviates in nothing."""
    ours, said = difference(row, case), said_of(row, case)
    if ours is None or said is None or ours.outcome is not None:
        return False
    return (ours.final, ours.retry, ours.first) == (said.final, said.retry, said.first)
