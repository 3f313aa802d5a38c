"""Whether a success's body arrived whole, where aiohttp does not say.

aiohttp vouches for a body that has a length or chunks. One that has neither is over when its connection is, and aiohttp
gives it out as complete however that came about; RFC 9112 section 8 calls it complete only when the connection was
closed in good order, over TLS with close_notify. Nor does aiohttp notice a gzip stream that stops short.

Measured on aiohttp 3.12.15 to 3.14.5, over TCP and TLS; proof: rows B07 to B09 of ``tests/faults``.
"""

import asyncio
import ssl
import warnings
from types import FunctionType
from typing import Final

import aiohttp

from holdfast.core.well_formed import is_json
from holdfast.providers.provider import SAFE_METHODS

_BODILESS: Final = frozenset({204, 304})
_NOT_WHOLE: Final = "Response payload is not completed: the connection broke, or the content stops short"


async def read_whole(response: aiohttp.ClientResponse, *, on_a_wire: bool, until: float | None = None) -> bool:
    """Read a success's body inside the attempt.

    Args:
        response: An answer whose head has just arrived.
        on_a_wire: Whether aiohttp itself received it; a test library's answer has no connection that could break.
        until: Moment on the event loop's clock at which to give up; ``None`` where aiohttp's own timer does.

    Returns:
        Whether it arrived whole. When not, the response is closed, and reading it raises.
    """
    try:
        async with asyncio.timeout_at(until):
            return await _read(response, on_a_wire=on_a_wire)
    except Exception as error:  # noqa: BLE001 - whatever keeps the body from us, the answer has arrived
        if isinstance(error, TimeoutError):  # that time ran out is told of the call, and not once more of its body
            response.content.set_exception(aiohttp.ClientPayloadError(_NOT_WHOLE))
        response.close()
        return False


async def _read(response: aiohttp.ClientResponse, *, on_a_wire: bool) -> bool:
    if not on_a_wire or _vouched_for(response):
        await response.read()
        return True
    ending = _Ending(response)
    body = await response.content.read()
    if not _is_whole(response, body, ending):
        response.content.set_exception(aiohttp.ClientPayloadError(_NOT_WHOLE))
        response.close()
        return False
    put_back(response.content, body)
    await response.read()
    return True


class _NoWarnings:
    """Stands for the module ``warnings`` where it would only warn of what we know."""

    @staticmethod
    def warn(*_: object, **__: object) -> None:
        """Say nothing."""


_OF_AIOHTTP: Final = aiohttp.StreamReader.unread_data
_UNREAD: Final = FunctionType(_OF_AIOHTTP.__code__, {**_OF_AIOHTTP.__globals__, "warnings": _NoWarnings})
"""aiohttp's own function, but for its warning: deprecated in favour of nothing (aio-libs/aiohttp#3260); aiohttp 3.x
keeps it, and we pin below 4. To change the filters round each call would cost more than all it does, and they belong
to all threads of the process: two that do it at once may leave them changed."""


def put_back(content: aiohttp.StreamReader, taken: bytes) -> None:
    """Let the caller read again what was read before him."""
    if not taken:
        return
    if type(content).unread_data is _OF_AIOHTTP:
        _UNREAD(content, taken)
        return
    with warnings.catch_warnings():  # a test library's own
        warnings.simplefilter("ignore", DeprecationWarning)
        content.unread_data(taken)


class _Ending:
    """Watches how the connection of one response ends. Confined to one event loop."""

    __slots__ = ("_closed", "_tls")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        connection = response.connection
        protocol = None if connection is None else connection.protocol
        transport = None if connection is None else connection.transport
        self._closed = None if protocol is None else protocol.closed
        self._tls: ssl.SSLObject | None = None if transport is None else transport.get_extra_info("ssl_object")
        if self._closed is not None:
            self._closed.add_done_callback(_look_at)  # an exception that nobody looks at is logged

    @property
    def in_good_order(self) -> bool | None:
        """Whether the peer closed as it should; ``None`` where the connection was gone before it could be watched."""
        if self._closed is None or not self._closed.done():
            return None
        broken = self._closed.cancelled() or self._closed.exception() is not None
        return not broken and (self._tls is None or _was_told_of_the_end(self._tls))


def _look_at(closed: "asyncio.Future[None]") -> None:
    if not closed.cancelled():
        closed.exception()


def _was_told_of_the_end(tls: ssl.SSLObject) -> bool:
    """Say whether the peer sent close_notify: after it, reading finds an end, and without it, it would wait."""
    try:
        return not tls.read(1)
    except ssl.SSLZeroReturnError:
        return True
    except (ssl.SSLError, ValueError):
        return False


def _vouched_for(response: aiohttp.ClientResponse) -> bool:
    if response.method == "HEAD" or response.status in _BODILESS:
        return True
    return _has_frame(response) and response.headers.get("Content-Encoding", "identity").lower() == "identity"


def _has_frame(response: aiohttp.ClientResponse) -> bool:
    coding = response.headers.get("Transfer-Encoding")
    return "Content-Length" in response.headers if coding is None else "chunked" in coding.lower()


def _is_whole(response: aiohttp.ClientResponse, body: bytes, ending: _Ending) -> bool:
    in_good_order = _has_frame(response) or ending.in_good_order
    if in_good_order is False:
        return False
    compressed = "Content-Encoding" in response.headers
    if response.content_type.endswith("json") and (compressed or in_good_order is None):
        return _may_be_json(body)
    # Nothing tells: a safe call loses nothing by believing it, and an unsafe one would lose what it paid for.
    return bool(in_good_order) or response.method in SAFE_METHODS


def _may_be_json(body: bytes) -> bool:
    if body.lstrip()[:1] not in (b"{", b"[", b""):
        return True  # not what was announced, or never decompressed at the caller's wish: not ours to judge
    return is_json(body)
