"""The ledger test on a virtual clock in full: 10^6 calls with deadlines of up to five minutes, some cancelled.

Run it with ``make simulate``; ``ARGS="--calls 20000"`` makes it shorter. Each shard has a seed and a process of its
own. It fails when any verdict of holdfast's differs from the bank's books, or any call comes back after its deadline,
and keeps its figures in ``RESULTS.md``.
"""

import argparse
import os
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from benchmarks.results import keep, machine, table
from tests.ledger.plan import Kind
from tests.ledger.simulation import Simulation, simulate


def main() -> None:
    """Run every shard, print the tables and keep them."""
    parser = argparse.ArgumentParser(
        description="Hold verdicts against the books of a failing bank, on a virtual clock."
    )
    parser.add_argument("--calls", type=int, default=1_000_000, help="in total")
    parser.add_argument("--shards", type=int, default=os.cpu_count() or 1, help="processes, each with its own seed")
    parser.add_argument("--seed", type=int, default=1, help="of the first shard; the next has the next")
    chosen = parser.parse_args()
    seeds = [chosen.seed + shard for shard in range(chosen.shards)]
    with ProcessPoolExecutor(chosen.shards) as processes:
        runs = list(processes.map(_shard, seeds, [chosen.calls // chosen.shards] * chosen.shards))
    parts = [f"`make simulate`, {chosen.calls} calls. {machine('aiohttp')}", _by_seed(runs), _by_effect(runs)]
    print("\n\n".join(parts))
    keep("simulate", "The same on a virtual clock", parts)
    violations = sum((run.figures.violations for run in runs), Counter())
    if violations:
        examples = [example for run in runs for example in run.figures.examples.items()]
        sys.exit(f"violations: {dict(violations)}, for example {examples}")


def _shard(seed: int, calls: int) -> Simulation:
    return simulate(seed, calls).without_machinery()


def _by_seed(runs: list[Simulation]) -> str:
    head = ["seed", "calls", "cancelled", "requests", "faulted", "lookups", "violations", "past one minute"]
    head += [
        "cut off at 300 s",
        "latest return after a deadline",
        "virtual time",
        "calls per second of processor time",
        "trace",
    ]
    rows = [
        [
            run.seed,
            run.figures.calls,
            run.cancelled,
            run.figures.requests,
            f"{run.figures.faulted / run.figures.requests:.1%}",
            run.figures.lookups,
            run.figures.violations.total(),
            run.past_a_minute,
            run.at_five_minutes,
            f"{run.worst_over_s * 1e9:.1f} ns",
            f"{run.virtual_s / 3600:.1f} h",
            f"{run.figures.calls / run.seconds:.0f}",
            f"`{run.trace}`",
        ]
        for run in runs
    ]
    return table(head, *rows)


def _by_effect(runs: list[Simulation]) -> str:
    effects = sum((run.figures.effects for run in runs), Counter[tuple[Kind, str, int]]())
    columns = [("landed", 1), ("none", 0), ("in_doubt", 1), ("in_doubt", 0)]
    rows = [[kind, *(effects[kind, told, made] for told, made in columns)] for kind in Kind]
    return table(["kind of call", "landed", "none", "in doubt, had landed", "in doubt, had not"], *rows)


if __name__ == "__main__":
    main()
