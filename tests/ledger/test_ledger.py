"""Ten thousand calls at a bank that fails as its seed says. The long form is ``make ledger``."""

from pathlib import Path

from tests.ledger.apart import run_apart
from tests.ledger.audit import audit
from tests.ledger.plan import Kind

CALLS = 10_000
CALM_SEED = -1


def test_no_verdict_differs_from_the_books(tmp_path: Path) -> None:
    """A user would pay twice, be told that a payment failed which landed, or run out of sockets after a bad day.

    And what is left in doubt under a key would stay so, though the bank's own API could tell.
    """
    run = run_apart(1, CALLS, tmp_path)

    figures = audit(run.folder, run.lag.late_between)
    assert (figures.calls, figures.violations, figures.examples) == (CALLS, {}, {})
    assert (run.left_over, run.late_events) == ([], {})
    assert figures.faulted > figures.requests / 4
    doubts = {made: figures.effects[Kind.KEYED_LOOKUP, "in_doubt", made] for made in (0, 1)}
    looked_up = {0: "in_doubt", 1: "landed"}  # an absent record is no proof
    assert run.settled.looked_up == {(Kind.KEYED_LOOKUP, looked_up[made]): n for made, n in doubts.items()}
    assert "in_doubt" not in {effect for _, effect in run.settled.repeated}


def test_without_faults_nothing_is_in_doubt(tmp_path: Path) -> None:
    """A user who is told "in doubt" for nothing would stop to believe it."""
    run = run_apart(CALM_SEED, CALLS // 10, tmp_path)

    figures = audit(run.folder, run.lag.late_between)
    assert (figures.in_doubt, figures.faulted, figures.violations) == (0, 0, {})
    assert figures.requests == CALLS // 10
    assert {kind for kind, _, _ in figures.effects} == set(Kind)
