"""What a call costs, beside every alternative.

Run it with ``make bench``: ten minutes on two cores that do nothing else. Prints the tables and keeps them in
``RESULTS.md`` and the README, the figures in ``speed.json`` and the ratios in ``speed.svg``. ``--only`` and ``--quick``
keep nothing. ``--check`` measures what the bars need, keeps nothing, and fails when one is missed.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Final

from benchmarks.results import keep, machine
from benchmarks.speed import tables
from benchmarks.speed.adapters import ADAPTERS, BARE
from benchmarks.speed.bars import NEEDED, verdicts
from benchmarks.speed.figures import JSON, Figures, by_case
from benchmarks.speed.imports import measure_imports
from benchmarks.speed.instructions import can_count, count_all
from benchmarks.speed.memory import CALLS, CALLS_IN_FLIGHT, WARM_CALLS, measure_growth, measure_in_flight
from benchmarks.speed.plot import draw
from benchmarks.speed.rounds import take_turns
from benchmarks.speed.scenarios import COUNTED, IN_FLIGHT, TIMED, Case

HERE: Final = Path(__file__).parents[1]
README: Final = HERE.parent / "README.md"
VERSIONS: Final = ("aiohttp", "aiohttp-retry", "backoff", "httpx", "httpx-retries", "orjson", "stamina", "structlog")
MORE_VERSIONS: Final = ("tenacity", "uvloop")
_GETS: Final[tuple[Case, ...]] = tuple(("get", at) for at in IN_FLIGHT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much is measured."""

    names: Sequence[str] = tuple(ADAPTERS)
    timed: Sequence[Case] = TIMED
    counted: Sequence[Case] = COUNTED
    rounds: int = 8
    calls_in_flight: int = CALLS_IN_FLIGHT
    warm_calls: int = WARM_CALLS
    calls: int = CALLS
    processes: int = 20


_REFUSED: Final[tuple[Case, ...]] = tuple(("refused", at) for at in IN_FLIGHT)
WHOLE: Final = Extent()
QUICK: Final = Extent(rounds=2, calls_in_flight=200, warm_calls=2_000, calls=5_000, processes=3)
NEEDFUL: Final = Extent(
    names=NEEDED,
    timed=_GETS + _REFUSED,
    counted=_GETS + _REFUSED,
    rounds=5,
    warm_calls=10_000,
    calls=50_000,
    processes=7,
)


def count(figures: Figures, extent: Extent) -> Figures:
    """Add instructions per call."""
    if not can_count():
        print("valgrind is not here: no instructions are counted")
        return figures
    wanted = {name: _GETS if ADAPTERS[name].slow else extent.counted for name in extent.names}
    return replace(figures, instructions=by_case(count_all(wanted)))


def time(figures: Figures, extent: Extent) -> Figures:
    """Add CPU time per call."""
    return replace(figures, rounds=extent.rounds, cpu=take_turns(extent.names, extent.timed, extent.rounds))


def weigh(figures: Figures, extent: Extent) -> Figures:
    """Add the memory of calls in flight."""
    names = [name for name in (BARE, "holdfast_quiet", "holdfast_event") if name in extent.names]
    return replace(figures, in_flight=measure_in_flight(names, extent.calls_in_flight))


def watch(figures: Figures, extent: Extent) -> Figures:
    """Add the growth over many calls."""
    names = [name for name in (BARE, "holdfast_event") if name in extent.names]
    return replace(figures, growth=measure_growth(names, extent.warm_calls, extent.calls))


def import_it(figures: Figures, extent: Extent) -> Figures:
    """Add the time of the imports."""
    return replace(figures, imports=measure_imports(extent.processes))


PARTS: Final[dict[str, Callable[[Figures, Extent], Figures]]] = {
    "cpu": time,
    "import": import_it,
    "flight": weigh,
    "instructions": count,
    "growth": watch,
}


def measure(parts: Sequence[str], extent: Extent) -> Figures:
    """Measure one part after the other; say how long each took."""
    load = f" Load average when it began: {os.getloadavg()[0]:.1f}." if hasattr(os, "getloadavg") else ""
    figures = Figures(machine=machine(*VERSIONS, *MORE_VERSIONS) + load)
    for part in parts:
        begun = monotonic()
        figures = PARTS[part](figures, extent)
        print(f"{part}: {monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    return figures


def tell(figures: Figures, command: str, *, kept: bool) -> None:
    """Print the tables; keep them where everything was measured."""
    parts = tables.results(figures, command)
    print("\n\n".join(parts))
    if kept:
        figures.write(JSON)
        draw(figures, JSON.with_suffix(".svg"))
        keep("speed", "What a call costs", parts)
        tables.keep_between(README, "speed", tables.readme(figures))


def main() -> None:
    """Measure, print, keep, and judge."""
    parser = argparse.ArgumentParser(description="Measure what a call costs, beside every alternative.")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts; the figures are not kept")
    parser.add_argument("--adapter", nargs="+", choices=ADAPTERS, help="clients; the figures are not kept")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--quick", action="store_true", help="a few of everything, to see that it works; not kept")
    how.add_argument("--check", action="store_true", help="only what the bars need; fails when one is missed; not kept")
    how.add_argument("--redraw", action="store_true", help="write tables and plot anew from speed.json")
    chosen = parser.parse_args()
    if chosen.redraw:
        tell(Figures.read(JSON), "make bench", kept=True)
        return
    extent = QUICK if chosen.quick else NEEDFUL if chosen.check else WHOLE
    if chosen.adapter is not None:
        extent = replace(extent, names=tuple(dict.fromkeys((BARE, *chosen.adapter))))
    figures = measure(chosen.only, extent)
    arguments = " ".join(sys.argv[1:])
    tell(figures, f'make bench ARGS="{arguments}"' if arguments else "make bench", kept=not arguments)
    missed = [each.bar for each in verdicts(figures) if not each.met]
    if chosen.check and missed:
        sys.exit("missed: " + "; ".join(missed))


if __name__ == "__main__":
    main()
