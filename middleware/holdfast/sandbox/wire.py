"""How an answer leaves: whole, late, cut short, garbled, or not at all.

Faults are made on the raw transport, since aiohttp.web rightly refuses to send a wrong message. Once the transport is
closed aiohttp drops whatever the handler returns, so the handlers here return an empty response that nobody sees.
"""

import asyncio
import socket
import struct
from http import HTTPStatus
from typing import Final

from aiohttp import web

from holdfast.sandbox.faults import Delivery
from holdfast.sandbox.messages import Answer

_LINGER_OFF: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, zero seconds: close() sends RST, see socket(7)
_GARBAGE: Final = b"\x15\x03\x01 this is not HTTP\r\n\r\n"


async def deliver(request: web.Request, answer: Answer, delivery: Delivery, slow_s: float) -> web.StreamResponse:
    """Send an answer, or fail to.

    Args:
        request: What is being answered.
        answer: The answer; not looked at when none is sent.
        delivery: How it leaves.
        slow_s: Delay of a late answer, in seconds.

    Returns:
        The response for aiohttp to send; an unsendable one when the connection is gone.
    """
    if delivery is Delivery.LATE:
        await asyncio.sleep(slow_s)
    if delivery in {Delivery.WHOLE, Delivery.LATE}:
        return _whole(answer)
    transport = request.transport
    if transport is not None:
        _break(transport, answer, delivery)
    return web.Response()


def invite_body(request: web.Request) -> None:
    """Answer ``Expect: 100-continue``, which the server holds back until it wants the body (RFC 9110 10.1.1)."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def _whole(answer: Answer) -> web.Response:
    response = web.Response(status=answer.status, body=answer.body, headers=answer.headers)
    if answer.body:
        response.content_type = answer.content_type
    return response


def _break(transport: asyncio.Transport, answer: Answer, delivery: Delivery) -> None:
    if delivery is Delivery.CLOSED:
        transport.abort()
    elif delivery is Delivery.RESET:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_OFF)
        transport.abort()
    else:
        transport.write(_cut(answer) if delivery is Delivery.CUT else _GARBAGE)
        transport.close()


def _cut(answer: Answer) -> bytes:
    """Write a true head and half of the body that it promises."""
    promised = max(len(answer.body), 1)
    lines = [
        f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {promised}",
        *(f"{name}: {value}" for name, value in answer.headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + answer.body[: promised // 2]
