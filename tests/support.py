"""A peer that does byte for byte what it is told, and two ways to run a scenario against it.

Everything here is real: an event loop, loopback sockets, aiohttp. Nothing is patched and nothing pretends.
"""

import asyncio
import json
import re
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from holdfast import CallReport, Policy, report_of
from holdfast.testing import VirtualTimeLoop

T = TypeVar("T")

AT_ONCE: Final = Policy(backoff_base=0.0)
"""Four attempts without pauses."""


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a scenario on a plain loop; it must leave no task behind."""
    return asyncio.run(_leaving_nothing(main))


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run a scenario on a loop where minutes take milliseconds; it must leave no task behind."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(_leaving_nothing(main))


async def _leaving_nothing(main: Coroutine[Any, Any, T]) -> T:
    result = await main
    for _ in range(5):  # transports close one turn of the loop later
        await asyncio.sleep(0)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"tasks left behind: {left}"
    return result


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as the peer received it."""

    head: bytes
    body: bytes
    connection: int
    """Number of the connection it came on; the first is 1."""

    @property
    def method(self) -> str:
        return self.head.split(b" ", 2)[0].decode("latin-1")

    @property
    def target(self) -> str:
        return self.head.split(b" ", 2)[1].decode("latin-1")

    @property
    def headers(self) -> dict[str, str]:
        """Header values by lower-case name."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}

    @property
    def document(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Turn:
    """What a behaviour has at hand: the request, and the connection to answer on."""

    request: Seen
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        with suppress(ConnectionError):
            await self.writer.drain()


Behaviour = Callable[[Turn], Awaitable[None]]


def head_of(status: int, headers: Mapping[str, str] | None = None) -> bytes:
    """Write a response head."""
    lines = [f"HTTP/1.1 {status} Said", *(f"{name}: {value}" for name, value in (headers or {}).items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def answer(status: int = 200, body: bytes = b"{}", **headers: str) -> Behaviour:
    """Answer whole and keep the connection. ``retry_after="1"`` sends ``retry-after: 1``."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return raw(head_of(status, {"content-type": "application/json", **given, "content-length": str(len(body))}) + body)


def said(status: int, document: object, **headers: str) -> Behaviour:
    """Answer with a JSON document."""
    return answer(status, json.dumps(document).encode(), **headers)


def raw(data: bytes, *, then: str = "keep") -> Behaviour:
    """Send exactly these bytes, then ``keep``, ``close`` or ``reset`` the connection."""

    async def behave(turn: Turn) -> None:
        await turn.write(data)
        if then == "close":
            turn.writer.close()
        elif then == "reset":
            _reset(turn.writer)

    return behave


def drop() -> Behaviour:
    """Close the connection after the request was read."""
    return raw(b"", then="close")


def reset() -> Behaviour:
    """Reset the connection (RST) after the request was read."""
    return raw(b"", then="reset")


def cut(status: int = 200, body: bytes = b'{"id":', announced: int = 100) -> Behaviour:
    """Announce more body than is sent, and close."""
    return raw(head_of(status, {"content-length": str(announced)}) + body, then="close")


def hang(first: bytes = b"") -> Behaviour:
    """Send this much and then nothing, until the client goes away."""

    async def behave(turn: Turn) -> None:
        await turn.write(first)
        with suppress(ConnectionError):
            await turn.reader.read()
        turn.writer.close()

    return behave


def drip(first: bytes, again: bytes, every_s: float) -> Behaviour:
    """Send ``first``, then ``again`` and again, at this interval, until the client goes away."""

    async def behave(turn: Turn) -> None:
        await turn.write(first)
        while not turn.writer.is_closing():
            await asyncio.sleep(every_s)
            await turn.write(again)

    return behave


def _reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Peer:
    """An HTTP/1.1 server on 127.0.0.1. Confined to one event loop.

    Args:
        script: What to do with each request in turn; the last stays.
        choose: Chooses by the request instead.
        heads_only: Act as soon as the head is here, and read no body.
    """

    def __init__(
        self, *script: Behaviour, choose: Callable[[Seen], Behaviour] | None = None, heads_only: bool = False
    ) -> None:
        self.seen: list[Seen] = []
        self.connections = 0
        self.ended = 0
        """Connections that are closed again."""

        self._script = list(script)
        self._choose = choose or self._next
        self._heads_only = heads_only
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=2**20)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def lines(self) -> list[str]:
        """Method and target of every request."""
        return [f"{seen.method} {seen.target}" for seen in self.seen]

    def _next(self, _: Seen) -> Behaviour:
        return self._script.pop(0) if len(self._script) > 1 else self._script[0]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.ensure_future(self._serve(reader, writer, self.connections))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                seen = Seen(head, b"" if self._heads_only else await _body(head, reader), number)
                self.seen.append(seen)
                await self._choose(seen)(Turn(seen, reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has left
        finally:
            self.ended += 1
            writer.close()


async def _body(head: bytes, reader: asyncio.StreamReader) -> bytes:
    if length := re.search(rb"\r\ncontent-length: (\d+)", head, re.IGNORECASE):
        return await reader.readexactly(int(length[1]))
    if not re.search(rb"\r\ntransfer-encoding: chunked", head, re.IGNORECASE):
        return b""
    body = b""
    while size := int(await reader.readline(), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
    return body


def refused_port() -> int:
    """Find a port of this machine on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Directions(AbstractResolver):
    """Resolves any name to these local ports in turn; the last stays. A ``None`` never resolves."""

    def __init__(self, *ports: int | None) -> None:
        self._ports = list(ports)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        local = self._ports.pop(0) if len(self._ports) > 1 else self._ports[0]
        if local is None:
            await asyncio.Event().wait()
        found = ResolveResult(hostname=host, host="127.0.0.1", port=local or port, family=family, proto=0, flags=0)
        return [found]

    async def close(self) -> None: ...


def towards(*ports: int | None) -> aiohttp.TCPConnector:
    """Make a connector whose first connection goes to the first port, and so on."""
    return aiohttp.TCPConnector(resolver=Directions(*ports), use_dns_cache=False, force_close=True)


@asynccontextmanager
async def silent_address() -> AsyncIterator[int]:
    """Give a port that listens and whose backlog is full: connecting to it never ends."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for filler in (first, second):
            filler.settimeout(0)
            filler.connect_ex(("127.0.0.1", port))
        yield port


async def until(holds: Callable[[], object]) -> None:
    """Wait for what the other side of a connection will do soon."""
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - a peer's list grows without telling anybody
            await asyncio.sleep(0.001)


def report(ended: object) -> CallReport:
    """Give the report of a call that must have one."""
    found = report_of(ended)
    assert found is not None
    return found


async def failure(coming: Awaitable[object]) -> BaseException:
    """Await what must fail, and give what it raised."""
    try:
        await coming
    except BaseException as error:  # noqa: BLE001 - cancellation is one of the failures looked at
        return error
    raise AssertionError("it did not fail")
