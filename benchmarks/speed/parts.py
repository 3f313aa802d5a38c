"""Where the instructions of a call go: each part of the way by itself, under callgrind.

    python -m benchmarks.speed.parts

A stretch of each part is counted, and that of an empty function taken off. Keeps the tables in ``RESULTS.md``.
"""

import argparse
import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import structlog
from benchmarks.results import keep, machine, table
from benchmarks.speed.instructions import total_of
from benchmarks.speed.logs import log_to
from benchmarks.speed.scenarios import ORDER, SCENARIOS
from benchmarks.speed.server import serving

from holdfast import ResilientSession
from holdfast.core.classify import classify
from holdfast.core.error_body import decode_errors
from holdfast.core.redact import allowed
from holdfast.engine import events
from holdfast.protocols import Answer
from holdfast.providers import FINIX
from holdfast.telemetry.structlog import LogSink
from holdfast.transport.timers import AttemptTimer

REPEATS: Final = 500
WARM: Final = 60

QUIET: Final = "a quiet GET"
EVENT: Final = "its event"
REFUSED: Final = "a 422, decoded and logged"

WHY: Final = """\
A quiet GET comes to less than the sum of its parts because the way through aiohttp is shorter: `_request` without `get`
(10 000 less), no timer of the loop for each request (24 000 less), no client middleware for a request that needs no
guard (8 000 less).

Why an event does not come to 1.15, nor on uvloop to 1.00: from `bind()` to the file structlog takes 37 000 instructions
for the 13 fields of an `outbound.call`, 0.11 of a bare GET. Were the rest of the event free, a GET would stand at 1.16,
and on uvloop, where a quiet one stands at 0.92, at 1.03. (Bare aiohttp with a line of five fields stands at 1.14.) Of
the rest, the record of the call is what the event is made from, and a key that is put into a dictionary costs 400.

Why a 422 does not come to 1.20: it is a keyed POST, which stands at 1.21 when it succeeds, and then writes two such
lines, 0.15 of a bare POST, and reads an error body, which bare aiohttp leaves alone."""


class Part(NamedTuple):
    """A stretch of the way."""

    of: str
    name: str
    run: Callable[[], object]


def _nothing() -> None:
    """Cost what being called costs."""


def _sink(level: int) -> LogSink:
    return LogSink(structlog.get_logger().bind() if level == logging.INFO else _deaf())


def _deaf() -> Any:  # noqa: ANN401 - structlog loggers share no type
    return structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING)).bind()


async def _quiet_parts(session: ResilientSession, url: str) -> list[Part]:
    calls, task = session._calls, asyncio.current_task()  # noqa: SLF001 - its parts
    reader, runtime = calls.reader, calls.runtime
    for _ in range(2):  # from the second time on it is a request that was made before
        response = await session.get(url)
        await response.read()
    bare, now = reader.bare.find("get", url), runtime.now()
    assert bare is not None
    assert task is not None
    call, answer, in_flight = calls._begun(bare, now), Answer(200, response.headers), runtime.in_flight  # noqa: SLF001
    assert call is not None

    def count_in_flight() -> None:
        in_flight.begin(call, asyncio.current_task())
        in_flight.end(call)

    return [
        Part(QUIET, "`session.get()`, as far as its coroutine", lambda: session.get(url).close()),
        Part(QUIET, "looking the request up, and whether all is as it was", lambda: reader.bare.find("get", url)),
        Part(QUIET, "a turn: circuit, rate gate, retry budget", lambda: calls._begun(bare, now)),  # noqa: SLF001
        Part(QUIET, "counting the call as in flight", count_in_flight),
        Part(QUIET, "the timer of the attempt", lambda: AttemptTimer(bare.line, task, now).stop()),
        Part(
            QUIET,
            "telling the limits, and asking the log whether it listens",
            lambda: call.succeed(answer, now, runtime),
        ),
    ]


async def _event_parts(session: ResilientSession, url: str) -> list[Part]:
    calls = session._calls  # noqa: SLF001 - its parts
    for _ in range(2):
        response = await session.get(url)
        await response.read()
    runtime, now = calls.runtime, calls.runtime.now()
    bare = calls.reader.bare.find("get", url)
    assert bare is not None
    answer, sink = Answer(200, response.headers), runtime.sinks[0]

    def succeed() -> None:
        call = calls._begun(bare, now)  # noqa: SLF001
        assert call is not None
        call.succeed(answer, now, runtime)

    def record() -> Any:  # noqa: ANN401 - a Call
        call = calls._begun(bare, now)  # noqa: SLF001
        assert call is not None
        call._answer, call._ended = answer, now  # noqa: SLF001
        return call.record()

    known = record()
    fields = allowed(events._of_verdict(known))  # noqa: SLF001
    return [
        Part(EVENT, "a turn, and telling of a success with a log that listens", succeed),
        Part(EVENT, "of it: a turn, and the record of the call", record),
        Part(EVENT, "of it: gathering the fields", lambda: events._of_verdict(known)),  # noqa: SLF001
        Part(EVENT, "of it: what may leave", lambda: allowed(fields)),
        Part(EVENT, "of it: structlog, orjson and the file", lambda: sink.emit("outbound.call", logging.INFO, fields)),
    ]


async def _refused_parts(session: ResilientSession, url: str) -> list[Part]:
    calls, body = session._calls, SCENARIOS["refused"].body  # noqa: SLF001 - its parts
    runtime, now = calls.runtime, calls.runtime.now()
    headers = {"Content-Type": "application/json", "X-Request-ID": "7f3a5c"}
    answer = Answer(422, headers, body)

    def read() -> Any:  # noqa: ANN401 - a tuple of four
        return calls.reader.read(session, "post", "POST", url, {"json": ORDER}, now)

    call = read()[0]
    call.begin_attempt(now)
    call.end_attempt(answer, now)
    return [
        Part(REFUSED, "reading the request: its key, its body, its guard", read),
        Part(
            REFUSED,
            "the verdict on the answer",
            lambda: classify(422, method="POST", headers=headers, body=body, provider=FINIX, keyed=True),
        ),
        Part(REFUSED, "of it: decoding its errors", lambda: decode_errors(body)),
        Part(REFUSED, "the event of the attempt", lambda: events.attempt_ended(runtime, call, call.attempts[-1])),
        Part(REFUSED, "the event of the call", lambda: events.call_ended(runtime, call)),
    ]


async def _count(url: str, log: Path) -> None:
    log_to(log, logging.INFO)
    async with (
        ResilientSession(sinks=[_sink(logging.WARNING)]) as quiet,
        ResilientSession(sinks=[_sink(logging.INFO)]) as loud,
        ResilientSession(sinks=[_sink(logging.INFO)], provider=FINIX) as finix,
    ):
        parts = [
            Part("", "nothing", _nothing),
            *await _quiet_parts(quiet, f"{url}{SCENARIOS['get'].path}"),
            *await _event_parts(loud, f"{url}{SCENARIOS['get'].path}"),
            *await _refused_parts(finix, f"{url}{SCENARIOS['refused'].path}"),
        ]
        for part in parts:
            for _ in range(WARM):
                part.run()
        os.getppid()
        for part in parts:
            for _ in range(REPEATS):
                part.run()
            os.getppid()
    print("\n".join(f"{part.of}: {part.name}" for part in parts))


def _tables(counted: list[tuple[str, int]]) -> Iterator[str]:
    nothing = counted[0][1]
    rows = [(*name.split(": ", 1), f"{(total - nothing) / REPEATS:,.0f}") for name, total in counted[1:]]
    for of, some in groupby(rows, lambda row: row[0]):
        yield table([f"of {of}", "instructions"], *[list(row[1:]) for row in some])


def main() -> None:
    """Count every part in a process of its own, print the tables and keep them."""
    parser = argparse.ArgumentParser(description="Count where the instructions of a call go.")
    parser.add_argument("--counted", metavar=("URL", "LOG"), nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.counted:
        url, log = chosen.counted
        asyncio.run(_count(url, Path(log)))
        return
    with serving() as server, TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        valgrind = ["valgrind", "-q", "--tool=callgrind", "--dump-before=getppid", f"--callgrind-out-file={out}"]
        command = [*valgrind, sys.executable, "-m", "benchmarks.speed.parts", "--counted", server.url, f"{folder}/log"]
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, env=os.environ | {"PYTHONHASHSEED": "0"}
        )
        names = done.stdout.splitlines()
        counted = [(name, total_of(Path(f"{out}.{number}"))) for number, name in enumerate(names, start=2)]
    parts = [f"`python -m benchmarks.speed.parts`. {machine('aiohttp', 'structlog')}", *_tables(counted), WHY]
    print("\n\n".join(parts))
    keep("parts", "Where the instructions of a call go", parts)


if __name__ == "__main__":
    main()
