"""Every attempt sends the whole body, byte for byte; a body that can be read once is sent once."""

import io
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.support import AT_ONCE, Peer, Turn, answer, drop, failure, head_of, refused_port, report, run, towards

from holdfast import Effect, ResilientSession, StopReason
from holdfast.providers import FINIX

AIOHTTP = tuple(map(int, aiohttp.__version__.split(".")[:2]))
BLOB = bytes(range(256)) * 1024  # 256 KiB: more than one write


class Pipe(io.RawIOBase):
    """A file that cannot be rewound, like a socket's or a process's."""

    def __init__(self, content: bytes) -> None:
        self._rest = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def readinto(self, into: Any) -> int:
        return self._rest.readinto(into)


async def stream(chunks: int = 3) -> AsyncIterator[bytes]:
    """Give a body that can be read once."""
    for _ in range(chunks):
        yield b"chunk"


def advanced(file: io.BytesIO, position: int) -> io.BytesIO:
    """Move a file on, as somebody who has read its head does."""
    file.seek(position)
    return file


def urlencoded() -> aiohttp.FormData:
    """Make a form without files."""
    form = aiohttp.FormData({"amount": "1"})
    form.add_field("note", "für dich")
    return form


def with_file() -> aiohttp.FormData:
    """Make a form with a file."""
    form = aiohttp.FormData()
    form.add_field("amount", "1")
    form.add_field("receipt", io.BytesIO(BLOB), filename="receipt.bin", content_type="application/octet-stream")
    return form


def multipart() -> aiohttp.MultipartWriter:
    """Make a multipart body of three kinds of part."""
    writer = aiohttp.MultipartWriter("mixed", boundary="edge")
    writer.append("text")
    writer.append_json({"amount": 1})
    writer.append(io.BytesIO(BLOB))
    return writer


async def arrived(make: Callable[[], Any], *, keyword: str = "data", sends: int = 3) -> Peer:
    """Send a body that is lost ``sends - 1`` times."""
    script = [drop() for _ in range(sends - 1)]
    async with Peer(*script, answer(201)) as peer, ResilientSession(peer.url, policy=AT_ONCE) as session:
        response = await session.put("/", **{keyword: make()})
        assert response.status == 201
        return peer


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: BLOB, BLOB),
        (lambda: bytearray(BLOB), BLOB),
        (lambda: memoryview(BLOB), BLOB),
        (lambda: "für dich", "für dich".encode()),
        (lambda: b"", b""),
        (lambda: {"a": "1", "b": "2"}, b"a=1&b=2"),
        (lambda: [("a", "1"), ("a", "2")], b"a=1&a=2"),
        (lambda: io.BytesIO(BLOB), BLOB),
        (lambda: advanced(io.BytesIO(BLOB), 1000), BLOB[1000:]),
        (lambda: io.StringIO("für dich"), "für dich".encode()),
        (urlencoded, b"amount=1&note=f%C3%BCr+dich"),
    ],
    ids=[
        "bytes",
        "bytearray",
        "memoryview",
        "str",
        "empty",
        "dict",
        "pairs",
        "BytesIO",
        "advanced",
        "StringIO",
        "form",
    ],
)
def test_each_attempt_sends_the_whole_body(make: Callable[[], Any], expected: bytes) -> None:
    """The retry of a payment would arrive empty or cut short, with no error anywhere."""
    peer = run(arrived(make))

    assert [seen.body for seen in peer.seen] == [expected] * 3
    assert len({seen.head for seen in peer.seen}) == 1


@pytest.mark.parametrize("make", [with_file, multipart])
def test_each_attempt_sends_the_whole_multipart_body(make: Callable[[], Any]) -> None:
    """A retried upload would lose its file part."""
    peer = run(arrived(make))

    bodies = {seen.body for seen in peer.seen}
    assert len(peer.seen) == 3
    assert len(bodies) == 1
    assert BLOB in bodies.pop()
    assert len({seen.headers["content-type"] for seen in peer.seen}) == 1


def test_an_open_file_is_sent_whole_each_time_and_closed_once(tmp_path: Path) -> None:
    """A retried upload would be an empty file; an unclosed one would leak a descriptor per call."""
    path = tmp_path / "receipt"
    path.write_bytes(BLOB)
    file = path.open("rb")

    peer = run(arrived(lambda: file))

    assert [seen.body for seen in peer.seen] == [BLOB] * 3
    assert file.closed


def test_a_file_is_closed_when_the_call_fails(tmp_path: Path) -> None:
    """Every failed upload would leak a descriptor, until the process may open no more."""
    path = tmp_path / "receipt"
    path.write_bytes(BLOB)
    file = path.open("rb")

    async def scenario() -> None:
        async with Peer(drop()) as peer, ResilientSession(peer.url, policy=AT_ONCE) as session:
            await failure(session.post("/", data=file))

    try:
        run(scenario())
        closed = file.closed
    finally:
        file.close()

    assert closed


def test_json_is_serialized_once() -> None:
    """A serializer that is not deterministic would send two bodies under one key, which is a conflict."""
    calls: list[Any] = []

    def dumps(value: Any) -> str:
        calls.append(value)
        return f'{{"serial": {len(calls)}}}'

    async def scenario() -> list[bytes]:
        async with (
            Peer(drop(), drop(), answer(201)) as peer,
            ResilientSession(peer.url, provider=FINIX, policy=AT_ONCE, json_serialize=dumps) as session,
        ):
            await session.post("/transfers", json={"amount": 1})
            return [seen.body for seen in peer.seen]

    assert run(scenario()) == [b'{"serial": 1}'] * 3


@pytest.mark.skipif(AIOHTTP < (3, 14), reason="new in aiohttp 3.14")
def test_a_serializer_to_bytes_is_used() -> None:
    """A session set up with orjson would fall back to the standard library, which cannot write a date."""

    async def scenario() -> list[bytes]:
        options: dict[str, Any] = {"json_serialize_bytes": lambda value: f"<{value}>".encode()}
        async with Peer(drop(), answer()) as peer, ResilientSession(peer.url, policy=AT_ONCE, **options) as session:
            await session.put("/", json=5)
            return [seen.body for seen in peer.seen]

    assert run(scenario()) == [b"<5>"] * 2


@pytest.mark.skipif(not hasattr(aiohttp, "UploadTracker"), reason="new in aiohttp 3.14.4")
def test_a_tracker_of_the_callers_sees_the_first_attempt() -> None:
    """Aiohttp refuses a tracker that has seen a request: the retry would end in its ``RuntimeError``."""

    async def scenario() -> int:
        async with Peer(drop(), answer()) as peer, ResilientSession(peer.url, policy=AT_ONCE) as session:
            options: dict[str, Any] = {"upload_tracker": vars(aiohttp)["UploadTracker"]()}
            return (await session.put("/", data=BLOB, **options)).status

    assert run(scenario()) == 200


@pytest.mark.parametrize("make", [stream, lambda: Pipe(b"chunk" * 3)], ids=["generator", "pipe"])
def test_a_body_that_can_be_read_once_is_never_sent_twice(make: Callable[[], Any]) -> None:
    """The second request would carry an empty body under the same key, and the provider would believe it."""

    async def scenario() -> tuple[Peer, BaseException]:
        async with Peer(drop()) as peer, ResilientSession(peer.url, policy=AT_ONCE) as session:
            return peer, await failure(session.put("/", data=make()))

    peer, error = run(scenario())

    known = report(error)
    assert [seen.body for seen in peer.seen] == [b"chunk" * 3]
    assert (known.stop_reason, known.effect) == (StopReason.BODY_NOT_REPLAYABLE, Effect.IN_DOUBT)


@pytest.mark.parametrize("make", [stream, lambda: Pipe(b"chunk" * 3)], ids=["generator", "pipe"])
@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_body_that_was_never_begun_is_still_whole(make: Callable[[], Any], method: str) -> None:
    """An upload would be given up because of a refused connection, although not a byte of it was read."""

    async def scenario() -> tuple[Peer, aiohttp.ClientResponse]:
        dead = refused_port()
        async with (
            Peer(answer(201)) as peer,
            ResilientSession("http://peer.test", policy=AT_ONCE, connector=towards(dead, dead, peer.port)) as session,
        ):
            return peer, await session.request(method, "/", data=make())

    peer, response = run(scenario())

    assert response.status == 201
    assert [seen.body for seen in peer.seen] == [b"chunk" * 3]
    assert len(report(response).attempts) == 3


def test_a_multipart_body_with_one_stream_in_it_is_sent_once() -> None:
    """The retried form would miss the one part that was a stream."""

    def form() -> aiohttp.FormData:
        made = aiohttp.FormData()
        made.add_field("amount", "1")
        made.add_field("upload", Pipe(b"chunk"), filename="x")
        return made

    async def scenario() -> tuple[int, BaseException]:
        async with Peer(drop()) as peer, ResilientSession(peer.url, policy=AT_ONCE) as session:
            return len(peer.seen), await failure(session.put("/", data=form()))

    _, error = run(scenario())

    assert report(error).stop_reason is StopReason.BODY_NOT_REPLAYABLE


def on_disk(content: bytes) -> Any:
    """Make a file with this content."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the call closes it
    file.write(content)
    file.seek(0)
    return file


@pytest.mark.parametrize("make", [io.BytesIO, on_disk], ids=["memory", "disk"])
def test_an_answer_during_the_upload_does_not_spoil_the_next_one(make: Callable[[bytes], Any]) -> None:
    """Two writers at one file: the retry of a large upload would be a mixture of both."""
    upload = BLOB * 32

    async def early(turn: Turn) -> None:
        await turn.write(head_of(503, {"content-length": "0"}))

    async def scenario() -> tuple[int, list[int | None], bool]:
        async with (
            Peer(answer()) as whole,
            Peer(early, heads_only=True) as hasty,
            ResilientSession(
                "http://peer.test", policy=AT_ONCE, connector=towards(hasty.port, hasty.port, whole.port)
            ) as session,
        ):
            response = await session.put("/", data=make(upload))
            return response.status, [each.status for each in report(response).attempts], whole.seen[0].body == upload

    assert run(scenario()) == (200, [503, 503, 200], True)


def test_a_redirect_carries_the_whole_body() -> None:
    """A payment that is sent on with 307 would arrive empty."""

    async def scenario() -> list[bytes]:
        async with (
            Peer(answer(307, location="/there"), drop(), answer(307, location="/there"), answer(201)) as peer,
            ResilientSession(peer.url, policy=AT_ONCE) as session,
        ):
            await session.put("/", data=io.BytesIO(BLOB))
            return [seen.body for seen in peer.seen]

    assert run(scenario()) == [BLOB] * 4
