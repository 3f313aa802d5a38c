"""A connection that the peer closed a moment before the request was written to it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import ClientConnectionResetError
from aiohttp.abc import AbstractStreamWriter

from holdfast.transport.body import body_from


class ClosingWriter:
    """A writer whose connection has just been closed by the peer."""

    def __init__(self) -> None:
        self.transport = SimpleNamespace(is_closing=lambda: True)
        self.written: list[bytes] = []

    async def write(self, chunk: bytes, **_: Any) -> None:
        self.written.append(chunk)


async def two_parts() -> AsyncIterator[bytes]:
    """Give a body that can be read only once."""
    yield b"a"
    yield b"b"


@pytest.mark.parametrize("make_source", [lambda: b"ab", two_parts], ids=["bytes", "one-shot"])
def test_nothing_of_a_body_goes_to_a_connection_that_is_closing(make_source: Callable[[], Any]) -> None:
    """An unkeyed payment that provably never left would be called in doubt, and not be sent again."""

    async def scenario() -> tuple[int, bool, list[bytes]]:
        body, writer = body_from(make_source()), ClosingWriter()
        assert body is not None
        with pytest.raises(ClientConnectionResetError):
            await body.write_with_length(cast(AbstractStreamWriter, writer), None)
        return body.writes, body.replayable, writer.written

    assert asyncio.run(scenario()) == (0, True, [])
