"""Where an attempt goes: to a server, to a dead end on the way there, or through a proxy.

Every attempt makes a connection of its own and asks the resolver, which is aiohttp's public seam for it. So "the first
attempt only" is two places, one after the other, and needs no patch.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult
from tests.faults.ledger import Ledger
from tests.faults.server import READ_AHEAD, Handler, Wire, listening

NO_ANSWER: Final = None

Step = Sequence[int] | OSError | None
"""What the resolver says: the ports of the name's addresses, an error, or nothing for ever."""

Place = Callable[[Ledger], AbstractAsyncContextManager[Step]]


class Signposts(AbstractResolver):
    """Sends the first connection to the first place and so on; the last place stays. Confined to one event loop."""

    def __init__(self, *steps: Step) -> None:
        self._steps = list(steps)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        del port
        step = self._steps.pop(0) if len(self._steps) > 1 else self._steps[0]
        if isinstance(step, OSError):
            raise step
        if step is NO_ANSWER:
            await asyncio.Event().wait()
        return [
            ResolveResult(hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0)
            for port in step or ()
        ]

    async def close(self) -> None: ...


def server(handler: Handler, tls: Callable[[], ssl.SSLContext] | None = None) -> Place:
    """Serve with one handler, in the open or behind TLS."""

    @asynccontextmanager
    async def place(ledger: Ledger) -> AsyncIterator[Step]:
        async with listening(handler, ledger, None if tls is None else tls()) as port:
            yield [port]

    return place


def says(step: Step) -> Place:
    """Let the resolver say this, and nobody be there."""

    @asynccontextmanager
    async def place(_: Ledger) -> AsyncIterator[Step]:
        yield step

    return place


@asynccontextmanager
async def refused(_: Ledger) -> AsyncIterator[Step]:
    """Give a port on which nobody listens, held so that nobody can."""
    with _bound() as port:
        yield [port]


@asynccontextmanager
async def silent(_: Ledger) -> AsyncIterator[Step]:
    """Give a port whose backlog is full: a SYN to it is never answered."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for filler in (first, second):
            filler.setblocking(False)  # noqa: FBT003 - the socket module's own signature
            filler.connect_ex(("127.0.0.1", port))
        yield [port]


def first_dead(living: Place) -> Place:
    """Give the name two addresses, of which the first refuses."""

    @asynccontextmanager
    async def place(ledger: Ledger) -> AsyncIterator[Step]:
        with _bound() as dead:
            async with living(ledger) as step:
                assert isinstance(step, list)
                yield [dead, *step]

    return place


def tunnel(origin: Place) -> Place:
    """Put a proxy in front that opens the tunnel it is asked for."""

    @asynccontextmanager
    async def place(ledger: Ledger) -> AsyncIterator[Step]:
        async with origin(ledger) as step:
            assert isinstance(step, list)
            async with listening(_tunnelling(step[0]), Ledger()) as port:
                yield [port]

    return place


class NoSockets:
    """A socket factory, as ``TCPConnector`` takes one, on a machine that has run out of them for so many attempts."""

    def __init__(self, refusals: int) -> None:
        self._refusals = refusals

    def __call__(self, info: tuple[int, int, int, str, object]) -> socket.socket:
        """Make a socket, or fail as the system does."""
        if self._refusals > 0:
            self._refusals -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return socket.socket(*info[:3])


class _bound:  # noqa: N801 - reads as what it gives
    """A port that is bound and does not listen."""

    def __enter__(self) -> int:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        port: int = self._socket.getsockname()[1]
        return port

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def _tunnelling(port: int) -> Handler:
    async def handle(wire: Wire) -> None:
        await wire.reader.readuntil(b"\r\n\r\n")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await wire.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            await asyncio.gather(_pump(wire.reader, writer), _pump(reader, wire.writer))
        finally:
            writer.transport.abort()

    return handle


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await source.read(READ_AHEAD):
            sink.write(data)
            await sink.drain()
        sink.write_eof()
