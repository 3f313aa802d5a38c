"""TLS and proxies for the tests of the contract, on 127.0.0.1."""

import asyncio
import hashlib
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import trustme

HOST: Final = "pay.test"
"""The name in the certificate; a resolver says where it is."""

TOOK_OVER: Final = b"HTTP/1.1 200 Connected\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Tls:
    """Both sides of a TLS connection."""

    client: ssl.SSLContext
    server: ssl.SSLContext
    fingerprint: bytes
    """SHA-256 of the server's certificate."""


@lru_cache(maxsize=1)
def tls() -> Tls:
    """Make them, once per process."""
    authority = trustme.CA()
    leaf = authority.issue_cert(HOST)
    client, server = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.configure_trust(client)
    leaf.configure_cert(server)
    certificate = ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())
    return Tls(client, server, hashlib.sha256(certificate).digest())


@asynccontextmanager
async def behind_tls(body: bytes = b"safe") -> AsyncIterator[int]:
    """Answer one kind of answer over TLS, and give the port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        writer.transport.abort()

    async with _listening(serve, ssl=tls().server) as port:
        yield port


@asynccontextmanager
async def in_the_open() -> AsyncIterator[int]:
    """Answer in the open whatever comes, a TLS greeting too, and give the port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with _listening(serve) as port:
        yield port


@dataclass(slots=True)
class Proxy:
    """A forward proxy, with what it was told. Confined to one event loop."""

    port: int = 0
    heads: list[bytes] = field(default_factory=list)
    refuses: bytes = b""
    """What it answers instead of passing on."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on one request in the open, or all the bytes of a tunnel."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            if self.refuses:
                writer.write(self.refuses)
                await writer.drain()
                return
            await self._pass_on(head, reader, writer)

    async def _pass_on(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ports = re.search(rb":(\d+)", head.split(b"\r\n")[0])
        assert ports is not None
        inward, outward = await asyncio.open_connection("127.0.0.1", int(ports[1]))
        if head.startswith(b"CONNECT "):
            writer.write(TOOK_OVER)
        else:
            outward.write(head)
        async with asyncio.TaskGroup() as both:
            both.create_task(_copy(reader, outward))
            both.create_task(_copy(inward, writer))


@asynccontextmanager
async def proxy(refuses: bytes = b"") -> AsyncIterator[Proxy]:
    """Run a forward proxy."""
    running = Proxy(refuses=refuses)
    async with _listening(running.serve) as port:
        running.port = port
        yield running


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await source.read(2**16):
            target.write(data)
            await target.drain()
    target.close()


@asynccontextmanager
async def _listening(serve: Any, **options: Any) -> AsyncIterator[int]:
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def owned() -> None:
            try:
                await serve(reader, writer)
            finally:
                writer.transport.abort()

        task = asyncio.ensure_future(owned())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, **options)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
