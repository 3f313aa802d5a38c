"""Calls from 32 threads: the blocking session beside ``requests``, and beside ``asyncio.run`` for each call.

Run it with ``make blocking``. A server in a process of its own answers every request at once with the same JSON. The
clients take turns for some rounds, so that a busy moment of the machine hits all of them; the figures are those of all
rounds together. It fails when an answer is wrong, or when the server saw another number of requests than was made.
"""

import argparse
import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from statistics import quantiles
from time import perf_counter
from typing import Any, Final

import aiohttp
import requests
from benchmarks.results import keep, machine, table

from holdfast import ResilientSession
from holdfast.blocking import BlockingSession

THREADS: Final = 32
ORDER: Final = {"amount": 1000, "currency": "USD"}
ANSWER: Final = b'{"id": "TR1", "state": "SUCCEEDED"}'
HEAD: Final = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(ANSWER)

Call = Callable[[], Any]


class Bank(asyncio.Protocol):
    """Answers as soon as a request's body is here. Confined to one event loop."""

    served = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection."""
        self._transport = transport
        self._got = b""

    def data_received(self, data: bytes) -> None:
        """Answer what is complete; GET asks for the count."""
        self._got += data
        if self._got.startswith(b"GET"):
            count = b"%d" % Bank.served
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(count) + count)
            self._got = b""
        elif self._got.endswith(b"}"):
            Bank.served += 1
            self._transport.write(HEAD + ANSWER)
            self._got = b""


async def serve() -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Bank, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


@contextmanager
def bank() -> Iterator[str]:
    """Run the server as a process; give its address."""
    command = [sys.executable, "-m", "benchmarks.blocking", "--serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"


class WithHoldfast:
    """One ``BlockingSession`` for all threads."""

    def __init__(self, url: str) -> None:
        """Open it."""
        self._session = BlockingSession(url)

    def call(self) -> object:
        """Make one call."""
        return self._session.post("/charges", json=ORDER).json()

    def close(self) -> None:
        """Close it."""
        self._session.close()


class WithRequests:
    """A ``requests.Session`` for each thread, as its users are told to."""

    def __init__(self, url: str) -> None:
        """Open none yet."""
        self._url = f"{url}/charges"
        self._own = threading.local()
        self._sessions: list[requests.Session] = []

    def call(self) -> object:
        """Make one call."""
        session = getattr(self._own, "session", None)
        if session is None:
            session = self._own.session = requests.Session()
            self._sessions.append(session)
        return session.post(self._url, json=ORDER, timeout=30).json()

    def close(self) -> None:
        """Close them all."""
        for session in self._sessions:
            session.close()


class WithAsyncioRun:
    """An event loop, and a session, for each call."""

    kind: type[aiohttp.ClientSession] | type[ResilientSession]

    def __init__(self, url: str) -> None:
        """Open nothing."""
        self._url = f"{url}/charges"

    def call(self) -> object:
        """Make one call."""
        return asyncio.run(self._call())

    async def _call(self) -> object:
        async with self.kind() as session, session.post(self._url, json=ORDER) as response:
            return await response.json()

    def close(self) -> None:
        """Close nothing."""


class WithAsyncioRunAndHoldfast(WithAsyncioRun):
    """The same with ``ResilientSession``."""

    kind = ResilientSession


class WithAsyncioRunAndAiohttp(WithAsyncioRun):
    """The same with ``aiohttp.ClientSession``."""

    kind = aiohttp.ClientSession


CLIENTS: Final = {
    "`BlockingSession`, shared": WithHoldfast,
    "`requests.Session` per thread": WithRequests,
    "`asyncio.run` per call, `ResilientSession`": WithAsyncioRunAndHoldfast,
    "`asyncio.run` per call, `aiohttp.ClientSession`": WithAsyncioRunAndAiohttp,
}


def measure(call: Call, threads: int, calls: int) -> tuple[float, list[float]]:
    """Make calls from several threads; give the seconds for all, and those of each."""
    together = threading.Barrier(threads + 1)

    def work() -> list[float]:
        call()  # opens what this thread needs
        together.wait()
        took = []
        for _ in range(calls):
            begun = perf_counter()
            answer = call()
            took.append(perf_counter() - begun)
            assert answer == {"id": "TR1", "state": "SUCCEEDED"}
        return took

    with ThreadPoolExecutor(threads) as pool:
        working = [pool.submit(work) for _ in range(threads)]
        together.wait()
        begun = perf_counter()
        each = [seconds for future in working for seconds in future.result()]
        return perf_counter() - begun, each


def compare(threads: int, calls: int, rounds: int) -> list[list[object]]:
    """Let the clients take turns; give a row for each."""
    total: dict[str, float] = dict.fromkeys(CLIENTS, 0.0)
    each: dict[str, list[float]] = {name: [] for name in CLIENTS}
    with bank() as url:
        for _ in range(rounds):
            for name, kind in CLIENTS.items():
                with closing(kind(url)) as client:
                    seconds, took = measure(client.call, threads, calls)
                total[name] += seconds
                each[name] += took
        served = int(requests.get(url, timeout=30).text)
    assert served == len(CLIENTS) * rounds * threads * (calls + 1), served
    return [_row(name, threads, total[name], each[name]) for name in CLIENTS]


def _row(name: str, threads: int, seconds: float, each: list[float]) -> list[object]:
    cuts = quantiles(each, n=100)
    return [name, threads, len(each), f"{len(each) / seconds:.0f}", f"{cuts[49] * 1000:.2f}", f"{cuts[98] * 1000:.2f}"]


def main() -> None:
    """Measure with 32 threads and with one, print the table and keep it."""
    parser = argparse.ArgumentParser(description="Compare blocking clients.")
    parser.add_argument("--serve", action="store_true", help="be the server")
    parser.add_argument("--calls", type=int, default=100, help="for each thread and round")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    if chosen.serve:
        asyncio.run(serve())
        return
    logging.getLogger("holdfast").setLevel(logging.CRITICAL)
    head: list[object] = ["client", "threads", "calls", "calls/s", "p50 ms", "p99 ms"]
    rows = [head]
    for threads, calls in ((THREADS, chosen.calls), (1, chosen.calls * 5)):
        rows += compare(threads, calls, chosen.rounds)
    print(table(*rows))
    about = f"`make blocking`. {machine('aiohttp', 'requests', 'urllib3')} The server has a process of its own."
    keep("blocking", "Calls that block their thread", [about, table(*rows)])


if __name__ == "__main__":
    main()
