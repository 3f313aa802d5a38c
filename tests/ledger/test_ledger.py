"""Ten thousand calls at a bank that fails as its seed says. The long form is ``make ledger``."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from tests.ledger.audit import Figures, audit
from tests.ledger.plan import POLICIES, Kind
from tests.ledger.running import Run, run_holdfast

CALLS = 10_000
CALM_SEED = -1


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Figures]:
    """Make the calls of one seed, once for all tests here."""
    run = asyncio.run(run_holdfast(1, CALLS, tmp_path_factory.mktemp("bank")))
    return run, audit(run.folder, run.lag.around)


def test_no_verdict_differs_from_the_books(faulty: tuple[Run, Figures]) -> None:
    """A user would pay twice, or be told that a payment failed which landed, or the other way round."""
    _, figures = faulty

    assert (figures.calls, figures.violations, figures.examples) == (CALLS, {}, {})


def test_a_quarter_of_the_requests_met_trouble(faulty: tuple[Run, Figures]) -> None:
    """A bank that never fails would prove nothing to a user."""
    _, figures = faulty

    assert figures.faulted > figures.requests / 4
    assert figures.raced > 0


def test_nothing_is_left_over(faulty: tuple[Run, Figures]) -> None:
    """A user's service would run out of sockets after a bad day at the bank."""
    run, _ = faulty

    assert (run.left_over, run.late_events) == ([], {})


def test_every_doubt_under_a_key_is_settled_later(faulty: tuple[Run, Figures]) -> None:
    """A user would have to call the bank for payments that the bank's own API could tell him about."""
    run, figures = faulty
    doubtful = sum(n for (kind, told, _), n in figures.effects.items() if kind.keyed and told == "in_doubt")

    settled = {(kind, effect): n for (kind, effect), n in run.repeated.items() if effect != "in_doubt"}

    assert doubtful > 0
    assert sum(settled.values()) == doubtful


def test_without_faults_nothing_is_in_doubt(tmp_path: Path) -> None:
    """A user who is told "in doubt" for nothing would stop to believe it."""
    patient = replace(POLICIES[0], deadline=60.0, attempt_timeout=30.0)

    run = asyncio.run(run_holdfast(CALM_SEED, CALLS // 10, tmp_path, (patient,)))

    figures = audit(run.folder, run.lag.around)
    assert (figures.in_doubt, figures.faulted, figures.violations) == (0, 0, {})
    assert figures.requests == CALLS // 10
    assert {kind for kind, _, _ in figures.effects} == set(Kind)
