"""The other side of the benchmark: fixed bytes from a bare ``asyncio.Protocol``, in a process of its own.

It reads no more of a request than its first line and where it ends, so that the client is what is measured.
Words on standard input: ``release`` answers all that is held, ``held`` counts it. The server ends with its input.
"""

import argparse
import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from benchmarks.speed.cpus import keep_to
from benchmarks.speed.scenarios import AGAIN, HELD, SCENARIOS

_REASONS: Final = {200: b"OK", 201: b"Created", 422: b"Unprocessable Entity", 503: b"Service Unavailable"}


def _raw(status: int, body: bytes) -> bytes:
    head = b"HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nX-Request-ID: 7f3a5c\r\nContent-Length: %d\r\n\r\n"
    return head % (status, _REASONS[status], len(body)) + body


_ANSWERS: Final = {
    f"{scenario.method} {scenario.path}".encode(): _raw(scenario.status, scenario.body)
    for scenario in SCENARIOS.values()
}
_FLAKY: Final = f"{SCENARIOS['flaky'].method} {SCENARIOS['flaky'].path}".encode()
_FAILS_ONCE: Final = _FLAKY + b"/"
_FAILED: Final = _raw(AGAIN, b'{"message": "try again"}')
_HELD: Final = f"GET {HELD}".encode()


class Peer(asyncio.Protocol):
    """Answers one request at a time on each connection. Confined to one event loop."""

    failed: Final[set[bytes]] = set()
    """Addresses that have failed and not been asked for again."""

    held: Final[list[asyncio.Transport]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._got = b""

    def data_received(self, data: bytes) -> None:
        """Answer a request that is complete: a GET ends with its head, a POST with the brace of its JSON."""
        got = self._got = self._got + data
        if not got.endswith(b"}" if got.startswith(b"POST") else b"\r\n\r\n"):
            return
        self._got = b""
        wanted = got[: got.index(b" HTTP/1.1\r\n")]
        if wanted == _HELD:
            self.held.append(self._transport)
            return
        if wanted.startswith(_FAILS_ONCE):
            if wanted not in self.failed:
                self.failed.add(wanted)
                self._transport.write(_FAILED)
                return
            self.failed.discard(wanted)
            wanted = _FLAKY
        self._transport.write(_ANSWERS[wanted])


async def serve() -> None:
    """Print the port, obey standard input, and end with it."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Peer, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    while word := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
        print(len(Peer.held), flush=True)
        if word == "release":
            for transport in Peer.held:
                transport.write(_ANSWERS[b"GET /accounts/AC1"])
            Peer.held.clear()


class Server:
    """The process, seen from outside."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        """Wait until it listens."""
        assert process.stdin is not None
        assert process.stdout is not None
        self._to, self._from = process.stdin, process.stdout
        self.url = f"http://127.0.0.1:{self._from.readline().strip()}"

    def held(self) -> int:
        """Say how many requests wait for their answer."""
        return self._ask("held")

    def release(self) -> int:
        """Answer them; say how many they were."""
        return self._ask("release")

    def _ask(self, word: str) -> int:
        print(word, file=self._to, flush=True)
        return int(self._from.readline())


@contextmanager
def serving(cpu: int | None = None) -> Iterator[Server]:
    """Run the server as a process, kept to one core if there is one for it."""
    command = [sys.executable, "-m", "benchmarks.speed.server", *([] if cpu is None else ["--cpu", str(cpu)])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Server(process)


def main() -> None:
    """Be the server."""
    parser = argparse.ArgumentParser(description="Serve fixed bytes until standard input ends.")
    parser.add_argument("--cpu", type=int)
    keep_to(parser.parse_args().cpu)
    asyncio.run(serve())


if __name__ == "__main__":
    main()
