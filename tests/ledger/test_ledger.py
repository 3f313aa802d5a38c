"""Ten thousand calls at a bank that fails as its seed says. The long form is ``make ledger``."""

import asyncio

import pytest
from tests.ledger.audit import Figures, audit
from tests.ledger.running import Run, run_holdfast

CALLS = 10_000


@pytest.fixture(scope="module")
def faulty_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Figures]:
    """Make the calls of one seed, once for all tests here."""
    run = asyncio.run(run_holdfast(1, CALLS, tmp_path_factory.mktemp("bank")))
    return run, audit(run.folder, run.lag.around)


def test_no_verdict_differs_from_the_books(faulty_run: tuple[Run, Figures]) -> None:
    """A user would pay twice, or be told that a payment failed which landed, or the other way round."""
    _, figures = faulty_run

    assert (figures.calls, figures.violations, figures.examples) == (CALLS, {}, {})
    assert figures.faulted > figures.requests / 4
