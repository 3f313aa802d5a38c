"""What a server does to one connection: the verbs that the rows are written in.

A handler is read as a sentence: after the whole request, execute it or not, say these bytes, and end in this way.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Final

from tests.faults.ledger import Request
from tests.faults.server import Handler, Wire

End = Callable[[Wire], Awaitable[None]]
Words = bytes | Callable[[bytes], bytes]
"""Bytes to say; or made from the answer that belongs to the request."""

Executes = bool | None
"""Whether the request takes effect; ``None`` tosses the ledger's coin."""

FIN: Final[End] = Wire.fin
RST: Final[End] = Wire.reset
CUT: Final[End] = Wire.cut
HANG: Final[End] = Wire.hang


def head(status: int, reason: str = "Said", version: str = "1.1", **headers: str) -> bytes:
    """Write a response head. ``retry_after="1"`` makes ``retry-after: 1``."""
    lines = [f"HTTP/{version} {status:03d} {reason}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def whole(status: int, body: bytes = b"", *, close: bool = True, **headers: str) -> bytes:
    """Write a whole response; the connection is not used again, unless asked."""
    given = {"content_type": "application/json", "content_length": str(len(body)), **headers}
    if close:
        given.setdefault("connection", "close")
    return head(status, **given) + body


def ok(body: bytes) -> bytes:
    """Answer well."""
    return whole(200, body)


def after_request(said: Words = b"", then: End = FIN, *, executes: Executes = True) -> Handler:
    """Read the whole request, execute it or not, say something, and end."""

    async def handle(wire: Wire) -> None:
        request = await wire.request()
        await wire.send(_words(said, _done(wire, request, executes=executes)))
        await then(wire)

    return handle


def after_head(said: bytes = b"", then: End = FIN) -> Handler:
    """Read the head and no more, say something, and end. Nothing is executed."""

    async def handle(wire: Wire) -> None:
        await wire.head()
        await wire.send(said)
        await then(wire)

    return handle


def on_first_byte(then: End) -> Handler:
    """End as soon as the client begins to send."""

    async def handle(wire: Wire) -> None:
        await wire.first_byte()
        await then(wire)

    return handle


def after_hello(said: bytes) -> Handler:
    """Answer the first of what the client sends, a TLS hello, with these bytes, and end."""

    async def handle(wire: Wire) -> None:
        await wire.first_byte()
        await wire.send(said)
        await wire.fin()

    return handle


def on_accept(then: End) -> Handler:
    """End before the client has sent anything."""

    async def handle(wire: Wire) -> None:
        await then(wire)

    return handle


def after_part(size: int, then: End, said: bytes = b"") -> Handler:
    """Read so many bytes of the body, say something, and end."""

    async def handle(wire: Wire) -> None:
        await wire.head()
        await wire.reader.readexactly(size)
        await wire.send(said)
        await asyncio.sleep(0.05 if said else 0)  # an answer that the reset overtakes would be another fault
        await then(wire)

    return handle


def dripping(said: Words, every_s: float, *, at_once: int = 0, executes: Executes = True) -> Handler:
    """Answer a byte at a time, the first few at once."""

    async def handle(wire: Wire) -> None:
        request = await wire.request()
        words = _words(said, _done(wire, request, executes=executes))
        await wire.send(words[:at_once])
        for byte in words[at_once:]:
            await wire.send(bytes([byte]))
            await asyncio.sleep(every_s)
        await wire.fin()

    return handle


def flooding(said: bytes, every_s: float) -> Handler:
    """Say the same again and again until the client leaves, and never answer. The request was executed."""

    async def handle(wire: Wire) -> None:
        wire.ledger.execute(await wire.request())
        while not wire.writer.is_closing():
            await wire.send(said)
            await asyncio.sleep(every_s)

    return handle


def late(after_s: float) -> Handler:
    """Execute the request only after the client has given up, and then some."""

    async def handle(wire: Wire) -> None:
        request = await wire.request()
        await wire.gone()
        await asyncio.sleep(after_s)
        wire.ledger.execute(request)

    return handle


def slowly(after_s: float) -> Handler:
    """Execute at once, and answer well after a while."""

    async def handle(wire: Wire) -> None:
        body = wire.ledger.execute(await wire.request())
        await asyncio.sleep(after_s)
        await wire.send(ok(body))
        await wire.fin()

    return handle


def twice() -> Handler:
    """Deliver the request two times, as a proxy that sends again by itself does."""

    async def handle(wire: Wire) -> None:
        request = await wire.request()
        wire.ledger.execute(request)
        wire.ledger.requests.append(request)
        await wire.send(ok(wire.ledger.execute(request)))
        await wire.fin()

    return handle


def stopping_the_world(for_s: float) -> Handler:
    """Answer, and stop this whole process before the client can look: what SIGSTOP does to it."""

    async def handle(wire: Wire) -> None:
        await wire.send(ok(wire.ledger.execute(await wire.request())))
        time.sleep(for_s)  # noqa: ASYNC251 - blocking the loop is the fault
        await wire.fin()

    return handle


def reused(second: Handler, *, stray: bytes = b"", then: End | None = None) -> Handler:
    """Answer the warm-up and keep the connection; meet the call with a handler of its own.

    Args:
        second: What meets every request but the warm-up.
        stray: Bytes to send after the warm-up's answer, which nobody asked for.
        then: How to end right after the warm-up, before a second request can come.
    """

    async def handle(wire: Wire) -> None:
        if b" /warm-up " in await wire.peek():
            wire.ahead = b""
            await wire.send(whole(200, b"{}", close=False) + stray)
            if then is not None:
                await then(wire)
                return
        await second(wire)

    return handle


def holding() -> Handler:
    """Keep whoever comes waiting for an answer; what he asks for is not on the ledger."""

    async def handle(wire: Wire) -> None:
        await wire.peek()
        await wire.gone()

    return handle


def redirecting(status: int, location: str, *, hops: int = 1, executes: Executes = False) -> Handler:
    """Answer so many requests of one connection with a redirect, and whatever comes then well."""

    async def handle(wire: Wire) -> None:
        for _ in range(hops):
            _done(wire, await wire.request(), executes=executes)
            await wire.send(whole(status, close=False, location=location))
        await wire.send(ok(_done(wire, await wire.request(), executes=True)))
        await wire.fin()

    return handle


def one_at_a_time() -> Handler:
    """Work on the first request until the second has been refused with a 409; replay the answer from then on."""
    order = count(1)
    refused = asyncio.Event()

    async def handle(wire: Wire) -> None:
        request, number = await wire.request(), next(order)
        if number == 1:
            await refused.wait()
        if number == 2:
            await wire.send(whole(409, b"{}"))
            refused.set()
        else:
            await wire.send(ok(wire.ledger.execute(request)))
        await wire.fin()

    return handle


def proxy_talks(said: bytes, then: End) -> Handler:
    """Answer the request for a tunnel with these bytes, and end."""

    async def handle(wire: Wire) -> None:
        await wire.peek()
        await wire.send(said)
        await then(wire)

    return handle


def proxy_says(status: int) -> Handler:
    """Refuse to open a tunnel."""
    return proxy_talks(whole(status, proxy_authenticate="Basic"), FIN)


healthy: Final = after_request(ok)


def _done(wire: Wire, request: Request, *, executes: Executes) -> bytes:
    if wire.ledger.coin() if executes is None else executes:
        return wire.ledger.execute(request)
    return b"{}"


def _words(said: Words, body: bytes) -> bytes:
    return said if isinstance(said, bytes) else said(body)
