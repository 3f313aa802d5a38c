"""A request body looks to aiohttp like the payload it wraps, and is closed once, by us."""

import asyncio
import io
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from aiohttp.payload import BytesIOPayload, BytesPayload, Payload, StringPayload
from tests.support import Peer, answer, run

from holdfast.transport.body import body_from, json_body


@pytest.mark.parametrize(
    "make",
    [
        lambda: b"bytes",
        lambda: "text",
        lambda: io.BytesIO(b"file"),
        lambda: {"a": "1"},
        lambda: BytesPayload(b"x", content_type="application/x-own", headers={"x-own": "1"}),
        lambda: StringPayload("x", encoding="utf-16"),
        lambda: BytesIOPayload(io.BytesIO(b"x"), filename="own.bin"),
    ],
    ids=["bytes", "text", "BytesIO", "form", "own type", "own encoding", "own name"],
)
def test_the_request_is_the_one_that_aiohttp_would_send(make: Callable[[], Any]) -> None:
    """Drop-in code would send another content type or length than before."""

    async def scenario() -> list[tuple[bytes, bytes]]:
        async with Peer(answer()) as peer, aiohttp.ClientSession() as client:
            await client.post(peer.url, data=make())
            await client.post(peer.url, data=body_from(make()))
            return [(seen.head, seen.body) for seen in peer.seen]

    plain, wrapped = run(scenario())

    assert plain == wrapped


def test_a_body_shows_what_it_wraps() -> None:
    """A middleware that signs or logs the body's size would be told of an empty one."""
    source = BytesIOPayload(io.BytesIO("für".encode()), filename="own.bin", encoding="utf-8")

    body = body_from(source)

    assert body is not None
    assert (body.size, body.filename, body.encoding, body.content_type) == (
        4,
        "own.bin",
        "utf-8",
        source.content_type,
    )
    assert body.headers is source.headers
    assert body.decode() == "für"
    assert asyncio.run(body.as_bytes()) == "für".encode()
    assert (body.autoclose, body.consumed, body.replayable) == (True, False, True)


def test_a_body_outlives_its_request_and_is_closed_when_released() -> None:
    """Aiohttp closes a payload after each request: the retry would send nothing."""
    file = io.BytesIO(b"x")

    async def scenario() -> tuple[bool, bool]:
        closed: list[str] = []

        class Noting(BytesPayload):
            _autoclose = False

            async def close(self) -> None:
                closed.append("source")

        body = body_from(Noting(b"x"))
        assert body is not None
        await body.close()
        after_close = bool(closed)
        await body.release()
        return after_close, bool(closed)

    assert run(scenario()) == (False, True)
    assert not file.closed


def test_no_data_is_no_body() -> None:
    """A GET would carry a body of length 0, which some servers refuse."""
    assert body_from(None) is None


def test_what_cannot_be_sent_is_refused_by_name() -> None:
    """A wrong type would be sent as its repr."""
    with pytest.raises(TypeError):
        body_from(object())


def test_json_is_written_once() -> None:
    """Two attempts could carry two serializations of one payment."""
    calls: list[Any] = []

    def dumps(value: Any) -> str:
        calls.append(value)
        return "{}"

    body = json_body({"a": 1}, dumps)

    assert (body.content_type, body.size, body.replayable, calls) == ("application/json", 2, True, [{"a": 1}])


@pytest.mark.parametrize(
    ("source", "replayable"),
    [
        (BytesPayload(b"x"), True),
        (BytesIOPayload(io.BytesIO(b"x")), True),
        (io.BytesIO(b"x"), True),
    ],
)
def test_what_can_be_read_again_is_known(source: Payload | io.BytesIO, *, replayable: bool) -> None:
    """A payment with a body in memory would be given up after one lost connection."""
    body = body_from(source)

    assert body is not None
    body.writes = 1
    assert body.replayable is replayable


def test_a_closed_file_cannot_be_read_again() -> None:
    """The question alone would raise in the middle of a payment."""
    file = io.BytesIO(b"x")
    payload = BytesIOPayload(file)
    file.close()

    body = body_from(payload)

    assert body is not None
    body.writes = 1
    assert body.replayable is False
