"""The ledger test in full: 10^5 calls for each of three seeds; and the same through plain aiohttp and aiohttp-retry.

Run it with ``make ledger``; ``ARGS="--calls 10000"`` makes it shorter. It fails when any verdict of holdfast's differs
from the bank's books, and keeps its figures in ``RESULTS.md``.
"""

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.results import keep, machine, table
from tests.ledger.audit import Figures, audit
from tests.ledger.plan import Kind
from tests.ledger.rivals import HAS_LIBRARY, RIVALS
from tests.ledger.running import Run, run_holdfast, run_rival

RSS_CAP: Final = 5_000_000
"""Bytes that memory may grow by after the warm-up."""


@dataclass(slots=True)
class Sum:
    """The figures of one client over all seeds."""

    runs: list[tuple[Run, Figures]] = field(default_factory=list)

    def of(self, name: str) -> int:
        """Add one figure up."""
        return sum(getattr(figures, name) for _, figures in self.runs)

    def effects(self) -> Counter[tuple[Kind, str, int]]:
        """Add up the calls by kind, effect as told, and effects in the books."""
        return sum((figures.effects for _, figures in self.runs), Counter())

    def violations(self) -> Counter[str]:
        """Add up what did not hold."""
        return sum((figures.violations for _, figures in self.runs), Counter())


def main() -> None:
    """Run every client over every seed, print the tables and keep them."""
    parser = argparse.ArgumentParser(description="Hold verdicts against the books of a failing bank.")
    parser.add_argument("--calls", type=int, default=100_000, help="for each seed")
    parser.add_argument("--rival-calls", type=int, default=None, help="for each seed and rival; default: as --calls")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    chosen = parser.parse_args()
    rival_calls = chosen.calls if chosen.rival_calls is None else chosen.rival_calls
    sums: dict[str, Sum] = {"holdfast": Sum()} | {name: Sum() for name in RIVALS}
    for seed in chosen.seeds:
        sums["holdfast"].runs.append(_one("holdfast", seed, lambda to: run_holdfast(seed, chosen.calls, to)))  # noqa: B023
        for name, make_caller in RIVALS.items():
            sums[name].runs.append(_one(name, seed, lambda to: run_rival(make_caller, seed, rival_calls, to)))  # noqa: B023
    parts = [
        f"`make ledger`, {chosen.calls} calls for each seed of {', '.join(map(str, chosen.seeds))}. "
        + machine("aiohttp", *(["aiohttp-retry"] if HAS_LIBRARY else [])),
        _by_seed(sums["holdfast"]),
        _in_doubt(sums["holdfast"]),
        f"The same harness and seeds, {rival_calls} calls for each rival and seed:",
        _side_by_side(sums),
    ]
    print("\n\n".join(parts))
    keep("ledger", "No lie under any fault: the ledger test", parts)
    failed = sums["holdfast"].violations()
    grown = max(run.rss_growth for run, _ in sums["holdfast"].runs)
    left = [run.left_over for run, _ in sums["holdfast"].runs if run.left_over or run.late_events]
    if failed or left or grown > RSS_CAP:
        sys.exit(f"violations: {dict(failed)}, left over: {left}, memory: {grown}")


def _one(name: str, seed: int, runs: Callable[[Path], Coroutine[Any, Any, Run]]) -> tuple[Run, Figures]:
    with tempfile.TemporaryDirectory() as folder:
        run = asyncio.run(runs(Path(folder)))
        figures = audit(run.folder, run.lag.late_between)
    print(
        f"{name}, seed {seed}: {run.seconds:.0f} s, {run.calls / run.seconds:.0f} calls/s", file=sys.stderr, flush=True
    )
    for what, example in figures.examples.items() if name == "holdfast" else ():
        print(f"  {what}: {example}", file=sys.stderr, flush=True)
    return run, figures


def _by_seed(sums: Sum) -> str:
    head = [
        "seed",
        "calls",
        "requests",
        "faulted",
        "lookups",
        "effects twice",
        "verdicts that lie",
        "lost or told twice",
    ]
    head += [
        "hidden requests",
        "attempts that met a closed connection",
        "latest return after the deadline (less loop lag)",
    ]
    head += ["memory growth", "left over", "calls/s"]
    rows = []
    for run, figures in sums.runs:
        lies = sum(count for (_, told, effects), count in figures.effects.items() if _lies(told, effects))
        lost = sum(figures.violations[f"a call had no {what} or two"] for what in ("verdict", "outbound.call event"))
        late = f"{figures.worst_over_s * 1000:.0f} ms ({figures.worst_over_less_lag_s * 1000:.0f} ms)"
        share, grown = f"{figures.faulted / figures.requests:.1%}", f"{run.rss_growth / 1e6:.1f} MB"
        row = [run.seed, figures.calls, figures.requests, share, figures.lookups, figures.twice, lies, lost]
        row += [figures.hidden, figures.unseen + figures.raced, late, grown, len(run.left_over)]
        rows.append([*row, f"{run.calls / run.seconds:.0f}"])
    return table(head, *rows)


def _lies(told: str, effects: int) -> bool:
    return (told, effects) not in {("landed", 1), ("none", 0), ("in_doubt", 0), ("in_doubt", 1)}


def _in_doubt(sums: Sum) -> str:
    effects, looked_up, repeated = sums.effects(), Counter[tuple[Kind, str]](), Counter[tuple[Kind, str]]()
    for run, _ in sums.runs:
        looked_up.update(run.settled.looked_up)
        repeated.update(run.settled.repeated)
    rows = []
    for kind in Kind:
        calls = sum(count for (of, _, _), count in effects.items() if of is kind)
        doubts = {made: effects[kind, "in_doubt", made] for made in (0, 1)}
        shares = [f"{count / calls:.2%}" for count in (sum(doubts.values()), doubts[1], doubts[0])]
        later = f"{looked_up[kind, 'in_doubt'] / calls:.2%}" if kind is Kind.KEYED_LOOKUP else "as before"
        again = f"{repeated[kind, 'in_doubt'] / calls:.2%}" if kind.keyed else "as before"
        rows.append([kind, calls, *shares, later, again])
    head = ["kind of call", "calls", "in doubt at return", "of which landed", "of which not"]
    return table([*head, "after `session.reconcile`", "after that and a repeat under the same key"], *rows)


def _side_by_side(sums: dict[str, Sum]) -> str:
    rows = []
    for name, total in sums.items():
        rate = 100_000 / total.of("calls")
        counts = [total.of(what) for what in ("twice", "landed_called_failed", "landed_called_none", "hidden")]
        rows.append([name, total.of("calls"), *(f"{count} ({count * rate:.0f})" for count in counts)])
    head = ["client", "calls", "effects made twice (per 100 000 calls)", 'landed, called "failed"']
    return table([*head, 'landed, called "nothing happened"', "requests beyond the attempts its user knows of"], *rows)


if __name__ == "__main__":
    main()
