"""Runs the calls of one seed against a bank of its own, and watches what the process holds on to."""

import asyncio
import gc
import os
import sys
from array import array
from bisect import bisect
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TextIO

from tests.ledger import verdicts
from tests.ledger.callers import Caller, HoldfastCaller, Settled, settle
from tests.ledger.plan import LATE_S, POLICIES, Order, orders

from holdfast import Policy

ROOT: Final = Path(__file__).resolve().parents[2]
CONCURRENCY: Final = 48
WARM_UP: Final = 0.2
"""Share of the calls that are made before memory is first measured."""

_TICK_S: Final = 0.002
_WORTH_NOTING_S: Final = 0.001


@dataclass(slots=True)
class LoopLag:
    """Notes how late the event loop runs its timers. Confined to one event loop."""

    at: "array[float]" = field(default_factory=lambda: array("d"))
    lag_s: "array[float]" = field(default_factory=lambda: array("d"))

    def late_between(self, first: float, last: float) -> float:
        """Give the seconds between two moments during which a timer that was due did not run."""
        late_s = 0.0
        for number in range(bisect(self.at, first), len(self.at)):
            begun = self.at[number] - self.lag_s[number]
            if begun >= last:
                break
            late_s += min(last, self.at[number]) - max(first, begun)
        return late_s

    async def watch(self) -> None:
        """Note every lag worth noting, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _TICK_S
            await asyncio.sleep(_TICK_S)
            now = loop.time()
            if now - due > _WORTH_NOTING_S:
                self.at.append(now)
                self.lag_s.append(now - due)


@dataclass(slots=True)
class Run:
    """What is left of one run: files for the audit, and what the process held before and after."""

    folder: Path
    seed: int
    calls: int
    lag: LoopLag = field(default_factory=LoopLag)
    seconds: float = 0.0
    rss_growth: int = 0
    """Bytes, from the end of the warm-up to the end of the calls."""

    left_over: list[str] = field(default_factory=list)
    """Tasks, sockets and descriptors that were not there before."""

    late_events: Counter[str] = field(default_factory=Counter)
    """``outbound.call`` events that came when the call had ended."""

    settled: Settled = field(default_factory=Settled)


@asynccontextmanager
async def bank(seed: int, folder: Path) -> AsyncIterator[str]:
    """Run a bank, and give its address. At the end, wait for its last late effect."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.ledger.bank", str(seed), str(folder)),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = int(await asyncio.wait_for(process.stdout.readline(), 30))
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 30)
        except TimeoutError:
            process.kill()
            raise


async def run_holdfast(seed: int, calls: int, folder: Path, policies: tuple[Policy, ...] = POLICIES) -> Run:
    """Make the calls of one seed through holdfast, and settle later what was left in doubt."""
    run = Run(folder, seed, calls)
    async with bank(seed, folder) as base_url:
        caller = HoldfastCaller(base_url, folder / "doubts")
        await _measure(run, caller, policies)
        run.late_events = caller.sink.ended
        await asyncio.sleep(LATE_S)
        run.settled = await settle(base_url, folder / "doubts")
    return run


async def run_rival(
    make_caller: Callable[[str], Caller], seed: int, calls: int, folder: Path, policies: tuple[Policy, ...] = POLICIES
) -> Run:
    """Make the same calls through something else."""
    run = Run(folder, seed, calls)
    async with bank(seed, folder) as base_url:
        await _measure(run, make_caller(base_url), policies)
    return run


async def _measure(run: Run, caller: Caller, policies: tuple[Policy, ...]) -> None:
    before = _held()
    warm_up = int(run.calls * WARM_UP)
    every_order = orders(run.seed, run.calls, policies)
    watching = asyncio.create_task(run.lag.watch())
    started = asyncio.get_running_loop().time()
    with (run.folder / "verdicts").open("w") as file:
        async with caller:
            await _make_all(caller, every_order, warm_up, file)
            warm = _resident()
            await _make_all(caller, every_order, run.calls - warm_up, file)
            run.rss_growth = _resident() - warm
    run.seconds = asyncio.get_running_loop().time() - started
    await asyncio.sleep(0.05)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    run.left_over = sorted((_held() - before).elements())


async def _make_all(caller: Caller, every_order: Iterator[Order], calls: int, file: TextIO) -> None:
    counted = iter(range(calls))

    async def work() -> None:
        for _ in counted:
            verdicts.write(await caller.make(next(every_order)), file)

    workers: list[Awaitable[None]] = [work() for _ in range(CONCURRENCY)]
    await asyncio.gather(*workers)


def _held() -> Counter[str]:
    """Name what the process holds: tasks by coroutine, and descriptors by kind."""
    held: Counter[str] = Counter(f"task {task.get_coro()!r}" for task in asyncio.all_tasks())
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists the folder
            held[f"descriptor {str(descriptor.readlink()).partition('[')[0]}"] += 1
    return held


def _resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
