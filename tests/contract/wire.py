"""What goes over the wire, byte for byte, and small servers for what only a framework can say."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import web
from tests.contract.kinds import MIDDLEWARE, PLAIN, Kind
from tests.support import Behaviour, Peer, Turn, answer

CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding: chunked", re.IGNORECASE)
LENGTH: Final = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
EXPECT: Final = re.compile(rb"\r\nexpect: 100-continue", re.IGNORECASE)
BOUNDARY: Final = re.compile(rb"boundary=([0-9a-f]{32})")

Options = Callable[[], dict[str, Any]]
"""Makes the options of one request: a file or a generator can be sent only once."""


def keeping(into: list[bytes], then: Behaviour | None = None) -> Behaviour:
    """Keep a whole request as it came, chunk frames included, and answer. For a peer with ``heads_only``."""
    reply = then or answer(200, b"")

    async def behave(turn: Turn) -> None:
        head = turn.request.head
        if EXPECT.search(head):
            await turn.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        into.append(head + await raw_body(head, turn.reader))
        await reply(turn)

    return behave


async def raw_body(head: bytes, reader: asyncio.StreamReader) -> bytes:
    """Read a body with its frames."""
    if CHUNKED.search(head):
        return await _raw_chunks(reader)
    length = LENGTH.search(head)
    return await reader.readexactly(int(length[1])) if length else b""


async def _raw_chunks(reader: asyncio.StreamReader) -> bytes:
    taken = b""
    while True:
        line = await reader.readline()
        taken += line
        size = int(line, 16)
        taken += await reader.readexactly(size + 2)
        if size == 0:
            return taken


def without_chance(request: bytes) -> bytes:
    """Take out what aiohttp draws by chance: the boundary of a form."""
    drawn = BOUNDARY.search(request)
    return request.replace(drawn[1], b"BOUNDARY") if drawn else request


def in_any_order(request: bytes) -> tuple[bytes, list[bytes], bytes]:
    """Give a request's first line, its headers in the order of the alphabet, and its body."""
    head, _, body = request.partition(b"\r\n\r\n")
    first, *headers = head.split(b"\r\n")
    return first, sorted(headers), body


def same(kind: Kind) -> Callable[[bytes], Any]:
    """Say how a kind's requests are compared with plain aiohttp's: byte for byte, but for one known difference.

    ``update_body`` puts Content-Length behind Content-Type; RFC 9110 section 5.3 gives their order no meaning. A test
    of the order names it as a finding.
    """
    return in_any_order if kind is MIDDLEWARE else bytes


async def sent_by_both(
    kind: Kind, method: str, path: str, options: Options, session: Options = dict
) -> tuple[bytes, bytes]:
    """Make the same request with plain aiohttp and with a kind; give both as the same server saw them."""
    seen: list[bytes] = []
    async with Peer(keeping(seen), heads_only=True) as peer:
        for each in (PLAIN, kind):
            async with (
                each.open(peer.url, **session()) as client,
                client.request(method, path, **options()) as response,
            ):
                await response.read()
    first, second = map(without_chance, seen)
    return first, second


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """Serve every path with one handler of aiohttp's server, and give the address."""
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
