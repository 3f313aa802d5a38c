"""Instructions per call, counted by callgrind: they do not mind what else the machine does.

They repeat to two in a thousand; those of a POST with 64 in flight to two in a hundred.

    python -m benchmarks.speed.instructions --adapter bare --adapter holdfast_quiet --scenario get --concurrency 1

The client runs under valgrind, the server does not. Counting begins when everything is loaded and warm. The difference
of two stretches is divided by the difference of their calls, so that what a stretch costs by itself drops out. The
garbage collector is off meanwhile. It runs once in 2 000 calls, of bare aiohttp and of ours, and takes as much as four
of them: a stretch of 120 that it happened to fall into would show 4 % more.
"""

import argparse
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks.results import table
from benchmarks.speed.adapters import ADAPTERS, BARE, Adapter
from benchmarks.speed.scenarios import SCENARIOS, Case
from benchmarks.speed.server import serving
from benchmarks.speed.worker import Stretch, Worker, command_for

_SLOWER: Final = 4
"""By this is divided what a client of ten times the instructions is asked for."""

_PLANS: Final = {1: (40, 20, 100), 64: (80, 80, 200)}
"""Calls to warm up, of the short stretch and of the long one, by concurrency; whole tens, which 503s divide."""


def can_count() -> bool:
    """Say whether valgrind is here."""
    return all(map(shutil.which, ("valgrind", "vgdb")))


def per_call(short: int, long: int, calls: tuple[int, int]) -> float:
    """Take from two counts what one call costs."""
    return (long - short) / (calls[1] - calls[0])


def plan(adapter: Adapter, case: Case) -> tuple[int, int, int]:
    """Say how many calls to make for a case."""
    warm, short, long = _PLANS[64 if case[1] > 1 else 1]
    return (warm, short, short + (long - short) // _SLOWER) if adapter.slow else (warm, short, long)


def count(name: str, cases: Sequence[Case]) -> dict[Case, float]:
    """Count the instructions per call of one client, in a process of its own."""
    adapter = ADAPTERS[name]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        server = stack.enter_context(serving())
        valgrind = [
            "valgrind",
            "-q",
            "--tool=callgrind",
            "--instr-atstart=no",
            "--dump-line=no",
            "--dump-before=getppid",
        ]
        valgrind.append(f"--callgrind-out-file={folder / 'out'}")
        command = valgrind + command_for(name, server.url, folder / "log", f"--vgdb={shutil.which('vgdb')}")
        with Worker.started(command) as worker:
            for case in cases:
                for calls in plan(adapter, case):
                    worker.do(Stretch(*case, calls, collects=False))
        return read_counts(folder, adapter, cases)


def read_counts(folder: Path, adapter: Adapter, cases: Sequence[Case]) -> dict[Case, float]:
    """Read the dumps: every second one is of a stretch, the others of what lies between."""
    counts = iter([total_of(folder / f"out.{2 * number}") for number in range(1, 3 * len(cases) + 1)])
    figures = {}
    for case in cases:
        _, short, long = next(counts), next(counts), next(counts)
        figures[case] = per_call(short, long, plan(adapter, case)[1:])
    return figures


def total_of(dump: Path) -> int:
    """Read how many instructions one dump of callgrind holds."""
    found = re.search(r"^totals: (\d+)", dump.read_text(), re.MULTILINE)
    if found is None:
        raise ValueError(f"{dump.name} has no totals: callgrind did not end well")
    return int(found[1])


def count_all(wanted: Mapping[str, Sequence[Case]]) -> dict[str, dict[Case, float]]:
    """Count for several clients, as many at a time as there are cores: instructions do not mind."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = {name: pool.submit(count, name, cases) for name, cases in wanted.items()}
        return {name: job.result() for name, job in jobs.items()}


def _rows(figures: Mapping[str, Mapping[Case, float]], cases: Iterable[Case]) -> list[list[str]]:
    bare = figures.get(BARE, {})
    return [
        [
            name,
            *(f"{found[case]:,.0f}" + (f" ({found[case] / bare[case]:.3f})" if case in bare else "") for case in cases),
        ]
        for name, found in figures.items()
    ]


def main() -> None:
    """Count and print, with the ratio to bare aiohttp where that is among them."""
    parser = argparse.ArgumentParser(description="Count instructions per call under callgrind.")
    parser.add_argument("--adapter", action="append", choices=ADAPTERS, help="again for each; all without it")
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="again for each; get without it")
    parser.add_argument("--concurrency", action="append", type=int, help="again for each; 1 without it")
    chosen = parser.parse_args()
    if not can_count():
        parser.error("valgrind is not here: install it, for instance with apt-get install valgrind")
    cases = [
        (scenario, concurrency) for scenario in chosen.scenario or ["get"] for concurrency in chosen.concurrency or [1]
    ]
    figures = count_all(dict.fromkeys(chosen.adapter or ADAPTERS, cases))
    print(table(["client", *(f"{scenario}, {at} in flight" for scenario, at in cases)], *_rows(figures, cases)))


if __name__ == "__main__":
    main()
