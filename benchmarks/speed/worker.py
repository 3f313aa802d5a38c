"""One client in a process of its own, which makes calls when it is told to.

Commands are lines of JSON on standard input, answers are lines of JSON on standard output. ``getppid`` is called before
and after each measured stretch, and nowhere else: callgrind dumps its counters there.
"""

import argparse
import asyncio
import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import islice, repeat
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Final, Self

from benchmarks.speed.adapters import ADAPTERS, Adapter, Send, Sends
from benchmarks.speed.cpus import keep_to, open_many_files
from benchmarks.speed.logs import log_to
from benchmarks.speed.scenarios import SCENARIOS, Scenario

LIMIT: Final = 100
"""Connections of one session at most, aiohttp's own default."""

ALLOCATOR: Final = {
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TOP_PAD_": str(16 << 20),
}
"""Keeps glibc from giving memory back between two calls. By default a process may do so at each receive, or never, by
the chance of where its heap ends; that alone moves a call by a quarter."""


def environment() -> dict[str, str]:
    """Give what every measured process has in its environment."""
    return os.environ | ALLOCATOR | {"PYTHONHASHSEED": "0"}


@dataclass(frozen=True, slots=True)
class Stretch:
    """What a worker is asked for: calls, in so many tasks."""

    scenario: str
    concurrency: int
    calls: int
    collects: bool = True
    """Whether the garbage collector runs meanwhile."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What it took, in seconds of the process and of the clock."""

    cpu_s: float
    wall_s: float


async def make_calls(send: Send, scenario: Scenario, stretch: Stretch) -> Spent:
    """Make the calls of a stretch and check every answer: a fast wrong one is not a result."""
    wanted = (scenario.status, scenario.body)
    turns = islice(repeat(None), stretch.calls)

    async def work() -> None:
        for _ in turns:
            answer = await send()
            if answer != wanted:
                raise AssertionError(f"{scenario.name}: wanted {wanted}, got {answer}")

    gc.collect()
    if not stretch.collects:
        gc.disable()
    os.getppid()
    cpu, wall = process_time(), perf_counter()
    if stretch.concurrency == 1:
        await work()
    else:
        await asyncio.gather(*(work() for _ in range(stretch.concurrency)))
    spent = Spent(process_time() - cpu, perf_counter() - wall)
    os.getppid()
    gc.enable()
    return spent


def event_loop(adapter: Adapter) -> asyncio.AbstractEventLoop:
    """Make the loop that an adapter runs on."""
    if not adapter.uvloop:
        return asyncio.new_event_loop()
    import uvloop  # noqa: PLC0415 - the others must not pay for it

    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


@contextmanager
def opened(adapter: Adapter, url: str, limit: int = LIMIT) -> Iterator[tuple[asyncio.Runner, Sends]]:
    """Open a client in a loop of its own."""
    with asyncio.Runner(loop_factory=lambda: event_loop(adapter)) as runner:
        stack = AsyncExitStack()
        sends = runner.run(stack.enter_async_context(adapter.opener()(url, limit)))
        yield runner, sends
        runner.run(stack.aclose())


def obey(adapter: Adapter, url: str) -> None:
    """Do what standard input says, until it ends."""
    with opened(adapter, url) as (runner, sends):
        for line in sys.stdin:
            stretch = Stretch(**json.loads(line))
            scenario = SCENARIOS[stretch.scenario]
            spent = runner.run(make_calls(sends[scenario.name], scenario, stretch))
            print(json.dumps(asdict(spent)), flush=True)


class Worker:
    """The process, seen from outside."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        """Take its pipes."""
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._to, self._from = process, process.stdin, process.stdout

    def do(self, stretch: Stretch) -> Spent:
        """Have the calls of a stretch made."""
        print(json.dumps(asdict(stretch)), file=self._to, flush=True)
        answer = self._from.readline()
        if not answer:
            raise RuntimeError(f"the worker ended with {self._process.wait()}; its own words are above")
        known: dict[str, Any] = json.loads(answer)
        return Spent(**known)

    @classmethod
    @contextmanager
    def started(cls, command: list[str]) -> Iterator[Self]:
        """Start one, and end it by closing its standard input."""
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
        ) as process:
            yield cls(process)


def command_for(adapter: str, url: str, log: Path, *more: str) -> list[str]:
    """Write the command line of a worker."""
    return [sys.executable, "-m", "benchmarks.speed.worker", adapter, url, str(log), *more]


def count_from_now(vgdb: str) -> None:
    """Ask the valgrind that runs this process to count instructions."""
    command = [vgdb, f"--pid={os.getpid()}", "instrumentation", "on"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as turning:
        while turning.poll() is None:
            pass  # valgrind looks for messages while the process runs; one that sleeps would need ptrace
    assert turning.returncode == 0, "vgdb could not turn the counting on"


def main() -> None:
    """Be the worker."""
    parser = argparse.ArgumentParser(description="Make calls when told to.")
    parser.add_argument("adapter", choices=ADAPTERS)
    parser.add_argument("url")
    parser.add_argument("log", type=Path, help="file for what the client logs")
    parser.add_argument("--cpu", type=int)
    parser.add_argument("--vgdb", help="have this program turn valgrind's instrumentation on when all is loaded")
    chosen = parser.parse_args()
    adapter = ADAPTERS[chosen.adapter]
    keep_to(chosen.cpu)
    open_many_files()
    if adapter.log_level is not None:
        log_to(chosen.log, adapter.log_level)
    adapter.opener()
    if chosen.vgdb is not None:
        count_from_now(chosen.vgdb)
    obey(adapter, chosen.url)


if __name__ == "__main__":
    main()
