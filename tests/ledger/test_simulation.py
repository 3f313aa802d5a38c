"""The ledger test on a virtual clock, where five-minute deadlines really pass. The long form is ``make simulate``."""

from tests.ledger.plan import Kind
from tests.ledger.simulation import ROUNDING_S, simulate

CALLS = 10_000


def test_no_verdict_differs_from_the_books_and_the_same_seed_makes_the_same_run() -> None:
    """A user would pay twice, or wait beyond five minutes; and a failure found once could never be looked at again."""
    run, again = simulate(1, CALLS), simulate(1, CALLS)

    figures = run.figures
    assert (figures.calls, figures.violations, figures.examples) == (CALLS, {}, {})
    assert figures.faulted > figures.requests / 4
    assert run.worst_over_s <= ROUNDING_S
    assert run.at_five_minutes > 0
    assert (again.trace, again.figures, again.virtual_s) == (run.trace, figures, run.virtual_s)


def test_another_seed_makes_another_run() -> None:
    """A trace that is the same for every run would prove nothing."""
    assert simulate(2, 100).trace != simulate(3, 100).trace


def test_without_faults_nothing_is_in_doubt() -> None:
    """A user who is told "in doubt" for nothing would stop to believe it."""
    calm = simulate(-1, CALLS // 10)

    assert (calm.figures.in_doubt, calm.figures.faulted, calm.figures.violations) == (0, 0, {})
    assert calm.figures.requests == CALLS // 10
    assert {kind for kind, _, _ in calm.figures.effects} == set(Kind)
