"""CPU time per call: every client is alive in a process of its own, and they take turns in an order drawn anew."""

import random
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks.speed.adapters import ADAPTERS, BARE
from benchmarks.speed.cpus import two_cpus
from benchmarks.speed.figures import Ratio, key_of, ratios
from benchmarks.speed.scenarios import Case
from benchmarks.speed.server import serving
from benchmarks.speed.worker import Stretch, Worker, command_for

_CALLS: Final = {1: 200, 64: 320}
_SLOWER: Final = 4
"""By this is divided what a client of ten times the time is asked for."""

_WARM: Final = {1: 10, 64: 80}
"""Calls before each stretch: connections that idled too long are opened anew outside of it.

All are whole tens, so that each stretch meets as many 503s.
"""


def take_turns(names: Iterable[str], cases: Sequence[Case], rounds: int) -> dict[str, dict[str, Ratio]]:
    """Measure all clients in all cases, for some rounds."""
    drawn = random.Random(1)  # noqa: S311 - an order, not a secret
    server_cpu, client_cpu = two_cpus() or (None, None)
    pinned = [] if client_cpu is None else [f"--cpu={client_cpu}"]
    spent: dict[Case, dict[str, list[float]]] = {case: {name: [] for name in names} for case in cases}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        url = stack.enter_context(serving(server_cpu)).url
        workers = {
            name: stack.enter_context(Worker.started(command_for(name, url, folder / name, *pinned)))
            for name in spent[cases[0]]
        }
        for case in list(cases) * rounds:
            for name in drawn.sample(list(workers), len(workers)):
                spent[case][name].append(_turn(workers[name], case, slow=ADAPTERS[name].slow))
    return {key_of(case): ratios(found, BARE) for case, found in spent.items()}


def _turn(worker: Worker, case: Case, *, slow: bool) -> float:
    """Give the seconds of CPU time per call."""
    scenario, at = case
    calls = _CALLS[at] // (_SLOWER if slow else 1)
    worker.do(Stretch(scenario, at, _WARM[at]))
    return worker.do(Stretch(scenario, at, calls)).cpu_s / calls
