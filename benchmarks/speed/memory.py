"""Memory: of calls in flight, and over many calls. Each figure comes from a fresh process, with a server of its own."""

import argparse
import asyncio
import gc
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from benchmarks.speed.adapters import ADAPTERS, Adapter, Send
from benchmarks.speed.cpus import open_many_files
from benchmarks.speed.figures import Growth, InFlight
from benchmarks.speed.logs import log_to
from benchmarks.speed.scenarios import SCENARIOS
from benchmarks.speed.server import Server, serving
from benchmarks.speed.worker import Stretch, environment, make_calls, opened

CALLS_IN_FLIGHT: Final = 2_000
WARM_CALLS: Final = 20_000
CALLS: Final = 200_000
_TASKS: Final = 64
_STATM: Final = Path("/proc/self/statm")


def resident() -> int:
    """Bytes of memory that this process has; 0 where the system does not say."""
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if _STATM.exists() else 0


async def hold(send: Send, server: Server, calls: int, *, traced: bool) -> float:
    """Have calls in flight, all at the same time; give the bytes of each."""

    def size() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0] if traced else resident()

    before = size()
    tasks = [asyncio.create_task(send()) for _ in range(calls)]
    while server.held() < calls:  # noqa: ASYNC110 - another process counts them
        await asyncio.sleep(0.02)
    held = size()
    assert server.release() == calls
    for status, _ in await asyncio.gather(*tasks):
        assert status == 200, status
    return (held - before) / calls


def in_flight(adapter: Adapter, calls: int, *, traced: bool) -> float:
    """Measure calls in flight, after some calls that have ended."""
    get = SCENARIOS["get"]
    with serving() as server, opened(adapter, server.url, limit=0) as (runner, sends):
        runner.run(make_calls(sends["get"], get, Stretch("get", 1, 50)))
        if not traced:
            return runner.run(hold(sends["held"], server, calls, traced=False))
        tracemalloc.start()
        try:
            return runner.run(hold(sends["held"], server, calls, traced=True))
        finally:
            tracemalloc.stop()


def growth(adapter: Adapter, warm: int, calls: int) -> Growth:
    """Make calls until warm, then up to their whole number; give what was kept of the latter."""
    get, more = SCENARIOS["get"], calls - warm
    with serving() as server, opened(adapter, server.url) as (runner, sends):
        runner.run(make_calls(sends["get"], get, Stretch("get", _TASKS, warm)))
        gc.collect()
        bytes_before, blocks_before = resident(), sys.getallocatedblocks()
        runner.run(make_calls(sends["get"], get, Stretch("get", _TASKS, more)))
        gc.collect()
        return Growth(more, resident() - bytes_before, sys.getallocatedblocks() - blocks_before)


def _measured(words: tuple[str, ...]) -> Any:  # noqa: ANN401 - what JSON holds
    command = [sys.executable, "-m", "benchmarks.speed.memory", *words]
    answer = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, check=True).stdout
    return json.loads(answer)


def measure_in_flight(names: Iterable[str], calls: int = CALLS_IN_FLIGHT) -> dict[str, InFlight]:
    """Measure several clients, one after the other."""
    return {
        name: InFlight(*(round(_measured(("held", name, str(calls), size)), 1) for size in ("traced", "resident")))
        for name in names
    }


def measure_growth(names: Iterable[str], warm: int = WARM_CALLS, calls: int = CALLS) -> Mapping[str, Growth]:
    """Measure several clients side by side."""
    with ThreadPoolExecutor() as pool:
        jobs = {name: pool.submit(_measured, ("growth", name, str(warm), str(calls))) for name in names}
        return {name: Growth(*job.result()) for name, job in jobs.items()}


def main() -> None:
    """Be one of the processes that are measured."""
    parser = argparse.ArgumentParser(description="Measure the memory of one client.")
    parser.add_argument("what", choices=("held", "growth"))
    parser.add_argument("adapter", choices=ADAPTERS)
    parser.add_argument("numbers", nargs=2)
    chosen = parser.parse_args()
    adapter = ADAPTERS[chosen.adapter]
    first, second = chosen.numbers
    open_many_files()
    with TemporaryDirectory() as folder:
        if adapter.log_level is not None:
            log_to(Path(folder) / "log", adapter.log_level)
        if chosen.what == "held":
            print(json.dumps(in_flight(adapter, int(first), traced=second == "traced")))
            return
        grown = growth(adapter, int(first), int(second))
        print(json.dumps([grown.calls, grown.resident, grown.blocks]))


if __name__ == "__main__":
    main()
