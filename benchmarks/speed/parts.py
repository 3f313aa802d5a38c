"""Where the instructions of a quiet, successful GET go: each part of the way by itself, under callgrind.

    python -m benchmarks.speed.parts

A stretch of each part is counted, and that of an empty function taken off. What no part names is the coroutines
between them. Keeps the table in ``RESULTS.md``.
"""

import argparse
import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import structlog
from benchmarks.results import keep, machine, table
from benchmarks.speed.instructions import total_of
from benchmarks.speed.server import serving

from holdfast import ResilientSession
from holdfast.engine import events
from holdfast.engine.drive import make_call
from holdfast.protocols import Answer, Fault
from holdfast.transport.timers import AttemptTimer

REPEATS: Final = 1_000
WARM: Final = 60

WHY: Final = """\
Why a quiet GET does not come to 1.05: that leaves 16 000 instructions, of which this Python takes 400 for each call of
a function, 650 for a property, 2 500 for a coroutine. Circuit, gate, budget, record and timer take more than that
together, and each of them is a safety that somebody pays for. It comes to less than the sum of its parts because the
way through aiohttp is shorter: `_request` without `get` (10 000 less), no timer of the loop for each request (24 000
less), no client middleware for a request that needs no guard (8 000 less).

Why an event does not come to 1.15: from `info()` to the file structlog takes 51 000 instructions for the 14 fields of
an `outbound.call`, orjson's 4 000 among them: 1.16 by itself. Bare aiohttp with a line of five fields comes to 1.14."""

Part = Callable[[], object]


class _Still:
    """An exchange that answers at once, so that only the engine is counted."""

    replayable, bytes_sent, status = True, None, None

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def send(self, total_s: float, connect_s: float) -> Answer | Fault:
        del total_s, connect_s
        return self._answer

    async def look_up(self, address: str, total_s: float, connect_s: float) -> Answer | Fault:
        del address, total_s, connect_s
        return self._answer

    def discard(self, ended: Answer | Fault) -> None:
        """Have nothing to give back."""


def _nothing() -> None:
    """Cost what being called costs."""


def _run(coroutine: Coroutine[Any, Any, object]) -> None:
    with suppress(StopIteration):
        coroutine.send(None)


async def _parts(session: ResilientSession, url: str) -> dict[str, Part]:
    response = await session.get(url)
    await response.read()
    await (await session.get(url)).read()  # which is read as a request that was made before
    reader, runtime, task = session._calls.reader, session._calls.runtime, asyncio.current_task()  # noqa: SLF001 - its parts
    now, answer = runtime.now(), Answer(200, response.headers)

    def read() -> Any:  # noqa: ANN401 - a tuple of four
        return reader.read(session, "get", "GET", url, {}, now)

    call, exchange, *_ = read()
    limits, line = runtime.limits.of(call.origin, call.policy), exchange.asked.line
    ended = read()[0]
    ended.begin_attempt(now)
    verdict = ended.end_attempt(answer, now)
    ended.outcome, ended.stop_reason = verdict.outcome, type(ended.stop_reason).SUCCEEDED

    def start() -> None:
        session.get(url)._coro.close()  # noqa: SLF001 - so that nobody misses its await

    def record() -> None:
        call.begin_attempt(now)
        call.end_attempt(answer, now)
        call.attempts.clear()

    def protect() -> None:
        guard = runtime.limits.of(call.origin, call.policy)
        ticket = guard.try_enter(now, now + 300.0, False, True)  # noqa: FBT003 - as the port has them
        guard.leave(ticket or 0, answer, verdict, sent_at=now, now=now)

    def time() -> None:
        assert line is not None
        assert task is not None
        AttemptTimer(line, task, now).stop()

    def count_in_flight() -> None:
        runtime.in_flight.begin(call)
        runtime.in_flight.end(call)

    def tell() -> None:
        events.attempt_ended(runtime, ended, ended.attempts[-1])
        events.call_ended(runtime, ended)

    assert limits is not None
    return {
        "nothing": _nothing,
        "`session.get()`, as far as its coroutine": start,
        "reading the request: its call and its exchange": read,
        "counting the call as in flight": count_in_flight,
        "the engine, with the three below, and a second reading": lambda: _run(
            make_call(read()[0], _Still(answer), runtime)
        ),
        "of it: circuit, rate gate, retry budget": protect,
        "of it: the attempt's record and its classification": record,
        "of it: asking the log twice whether it listens": tell,
        "the timer of the attempt": time,
    }


async def _count(url: str) -> None:
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING), cache_logger_on_first_use=True
    )
    async with ResilientSession() as session:
        parts = await _parts(session, url)
        for part in parts.values():
            for _ in range(WARM):
                part()
        os.getppid()
        for part in parts.values():
            for _ in range(REPEATS):
                part()
            os.getppid()
    print("\n".join(parts))


def main() -> None:
    """Count every part in a process of its own, print the table and keep it."""
    parser = argparse.ArgumentParser(description="Count where the instructions of a quiet GET go.")
    parser.add_argument("--counted", metavar="URL", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.counted:
        asyncio.run(_count(chosen.counted))
        return
    with serving() as server, TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        valgrind = ["valgrind", "-q", "--tool=callgrind", "--dump-before=getppid", f"--callgrind-out-file={out}"]
        command = [*valgrind, sys.executable, "-m", "benchmarks.speed.parts", "--counted", f"{server.url}/accounts/AC1"]
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, env=os.environ | {"PYTHONHASHSEED": "0"}
        )
        names = done.stdout.splitlines()
        totals = [total_of(Path(f"{out}.{number}")) for number in range(2, len(names) + 2)]
    rows = [[name, f"{(total - totals[0]) / REPEATS:,.0f}"] for name, total in zip(names, totals, strict=True)][1:]
    parts = [
        f"`python -m benchmarks.speed.parts`. {machine('aiohttp', 'structlog')}",
        table(["part", "instructions"], *rows),
        WHY,
    ]
    print("\n\n".join(parts))
    keep("parts", "Where the instructions of a quiet GET go", parts)


if __name__ == "__main__":
    main()
