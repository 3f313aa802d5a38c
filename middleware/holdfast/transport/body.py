"""The request body, made ready to be sent more than once.

aiohttp closes a payload when its request ends, and the second time it is given the same file or ``BytesIO`` it sends
an empty body without an error. So the body becomes one payload, once, before the first attempt, and this wrapper keeps
it open between attempts. aiohttp's own payloads rewind when they are written again; what cannot rewind is sent once.

The wrapper also notes when writing begins. A request whose body was never begun cannot have taken effect, because its
announced length never arrived: that is proof that costs nothing, where aiohttp's trace hooks cost 17 % of a call.
"""

from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from aiohttp import ClientConnectionResetError, ClientPayloadError, FormData, MultipartWriter
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import (
    PAYLOAD_REGISTRY,
    BytesPayload,
    IOBasePayload,
    Payload,
)
from aiohttp.payload import (
    LookupError as UnknownBodyError,
)
from multidict import CIMultiDict


class RequestBody(Payload):
    """A body that can be written on every attempt, where its source allows. Confined to one event loop."""

    _value = _encoding = _filename = None

    def __init__(self, source: Payload) -> None:
        """Wrap a payload; its headers, size and encoding stay as they are."""
        # Without Payload's own beginning, which makes headers that nobody would see.
        self._source = source
        self._headers = source.headers
        self._rewinds = rewinds(source)
        self.writes: int = 0
        """How often writing it has begun."""

        self.closes: int = 0
        """How often aiohttp, or a middleware that put another body in its place, had it closed."""

    @property
    def replayable(self) -> bool:
        """Whether the whole body can be written (again): it rewinds, or was never begun."""
        return self._rewinds or self.writes == 0

    @property
    def headers(self) -> CIMultiDict[str]:
        """Headers of the source, which aiohttp may add to."""
        return self._source.headers

    @property
    def content_type(self) -> str:
        """Content type of the source."""
        return self._source.content_type

    @property
    def size(self) -> int | None:
        """Bytes to send; ``None`` where only the end will tell."""
        return self._source.size

    @property
    def filename(self) -> str | None:
        """File name of the source."""
        return self._source.filename

    @property
    def encoding(self) -> str | None:
        """Text encoding of the source."""
        return self._source.encoding

    @property
    def consumed(self) -> bool:
        """Whether the source has run dry; aiohttp asks before it follows a redirect with the body."""
        return not self.replayable or self._source.consumed

    @property
    def autoclose(self) -> bool:
        """``True``: aiohttp need not close it; the call closes the source when it ends."""
        return True

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Read the source as text."""
        return self._source.decode(encoding, errors)

    async def as_bytes(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """Read the source as bytes."""
        return await self._source.as_bytes(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write the whole source."""
        self._begin(writer)
        await self._source.write(writer)

    def write_with_length(  # pyright: ignore[reportIncompatibleMethodOverride] - one is as awaitable as the other
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> Coroutine[Any, Any, None]:
        """Write the source, at most so many bytes. Begins at once, with no coroutine around that of the source."""
        self._begin(writer)
        return self._source.write_with_length(writer, content_length)

    def _begin(self, writer: AbstractStreamWriter) -> None:
        if self.writes and not self._rewinds:
            raise ClientPayloadError("the request body is a stream that was sent already, and cannot be sent again")
        # The peer may have closed an idle connection a moment before. aiohttp finds that out with the first bytes, and
        # then sends none of them; found out here, the source is untouched, and the attempt is known not to have left.
        transport = getattr(writer, "transport", None)
        if transport is not None and transport.is_closing():
            raise ClientConnectionResetError("Cannot write to closing transport")
        self.writes += 1

    async def close(self) -> None:
        """Only count: aiohttp calls this after each attempt, and whenever another body takes its place."""
        self.closes += 1

    @property
    def holds_something(self) -> bool:
        """Whether there is anything to release."""
        return type(self._source) is not BytesPayload

    async def release(self) -> None:
        """Close the source, as aiohttp does with what it was given to send. Called once, when the call has ended."""
        with suppress(Exception):  # a file that cannot be closed must not cost the answer that has arrived
            await self._source.close()


def body_from(data: Any) -> RequestBody | None:  # noqa: ANN401 - whatever aiohttp accepts as data=
    """Turn ``data=`` into a body, the way aiohttp would.

    Raises:
        TypeError: aiohttp cannot send this type of value.
    """
    if data is None:
        return None
    if isinstance(data, FormData):
        return RequestBody(data())
    if isinstance(data, Payload):
        return RequestBody(data)
    try:
        return RequestBody(PAYLOAD_REGISTRY.get(data, disposition=None))
    except UnknownBodyError:
        return RequestBody(FormData(data)())


def json_body(value: Any, dumps: Callable[[Any], str | bytes]) -> RequestBody:  # noqa: ANN401 - what dumps accepts
    """Serialize ``json=`` once, so that the bytes are the same on every attempt."""
    written = dumps(value)
    content = written.encode() if isinstance(written, str) else written
    return RequestBody(BytesPayload(content, content_type="application/json", encoding="utf-8"))


def rewinds(source: Payload) -> bool:
    """Say whether aiohttp can write a payload again from its beginning."""
    if isinstance(source, BytesPayload):
        return True
    if isinstance(source, MultipartWriter):
        return all(rewinds(part) for part, *_ in source)
    return isinstance(source, IOBasePayload) and _seekable(source)


def _seekable(source: IOBasePayload) -> bool:
    try:
        return bool(source._value.seekable())  # noqa: SLF001 - aiohttp gives no other way to the file it holds
    except (AttributeError, ValueError):
        return False
