"""A server that does on the wire exactly what a handler says, byte for byte, over TCP or TLS on 127.0.0.1.

A handler is given one connection and owns it. What it leaves open is cut when the server ends, so that no test leaks.
"""

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from tests.faults.ledger import Ledger, Request

READ_AHEAD: Final = 2**16
"""Bytes that the server takes from a client whose request it does not read."""


@dataclass(slots=True)
class Wire:
    """One accepted connection. Confined to one event loop."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    ledger: Ledger
    ahead: bytes = b""
    """A head that was looked at, and is still to be read."""

    async def peek(self) -> bytes:
        """Look at the next request's head; nothing counts as read."""
        self.ahead = self.ahead or await self.reader.readuntil(b"\r\n\r\n")
        return self.ahead

    async def first_byte(self) -> None:
        """Wait until the client has begun to send; nothing counts as read."""
        await self.reader.read(1)

    async def head(self) -> Request:
        """Read a request's head only."""
        request = self.ledger.begin(await self.peek())
        self.ahead = b""
        return request

    async def request(self) -> Request:
        """Read a whole request, asking for its body where the client waits to be asked."""
        request = await self.head()
        if "expect" in request.headers:
            await self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.body = await self._body(request.head)
        request.complete = True
        return request

    async def send(self, data: bytes) -> None:
        """Send these bytes; a client that has gone is no error."""
        self.writer.write(data)
        with suppress(ConnectionError):
            await self.writer.drain()

    async def fin(self) -> None:
        """End our side in good order (FIN, after close_notify over TLS), and wait for the client to go."""
        if self.writer.can_write_eof():
            self.writer.write_eof()
        else:
            self.writer.close()
        await self.gone()

    async def reset(self) -> None:
        """Break the connection (RST), once what was sent has been taken."""
        await asyncio.sleep(0.01)
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def cut(self) -> None:
        """Close TCP below TLS, without close_notify."""
        await asyncio.sleep(0.01)
        self.writer.transport.abort()

    async def hang(self) -> None:
        """Do nothing more, and read nothing."""
        await asyncio.Event().wait()

    async def gone(self) -> None:
        """Wait until the client has left."""
        with suppress(ConnectionError):
            while await self.reader.read(READ_AHEAD):
                pass

    async def _body(self, head: bytes) -> bytes:
        if length := re.search(rb"\r\ncontent-length: (\d+)", head, re.IGNORECASE):
            return await self.reader.readexactly(int(length[1]))
        if not re.search(rb"\r\ntransfer-encoding: chunked", head, re.IGNORECASE):
            return b""
        body = b""
        while size := int(await self.reader.readline(), 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readline()
        return body


Handler = Callable[[Wire], Awaitable[None]]


@asynccontextmanager
async def listening(handler: Handler, ledger: Ledger, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve every connection with one handler, and give the port."""
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ledger.connections += 1
        task = asyncio.ensure_future(_serve(handler, Wire(reader, writer, ledger)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=READ_AHEAD, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _serve(handler: Handler, wire: Wire) -> None:
    try:
        await handler(wire)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the client left in the middle: what it sent is on the ledger
    finally:
        wire.writer.transport.abort()
