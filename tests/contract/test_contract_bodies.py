"""A request body reaches the server byte for byte as plain aiohttp would have sent it, whatever it is made of."""

import asyncio
import io
import tempfile
import warnings
from collections.abc import AsyncIterator
from typing import Any, Final

import aiohttp
import pytest
from aiohttp import web
from tests.contract.bodies import BYTES_SERIALIZED, DATA, FRAMED, JSON_BODIES, Body, inflated
from tests.contract.kinds import Kind, each_case, each_kind
from tests.contract.wire import keeping, same, sent_by_both, serving
from tests.support import Peer, Turn, answer, failure, run, until

HAS_BYTES_SERIALIZER: Final = "_json_serialize_bytes" in aiohttp.ClientSession.ATTRS
HAS_UPLOAD_TRACKER: Final = hasattr(aiohttp, "UploadTracker")


@each_case((*DATA, *JSON_BODIES, *FRAMED, *(BYTES_SERIALIZED if HAS_BYTES_SERIALIZER else ())))
def test_a_body_is_the_same_bytes_as_plain_aiohttps(kind: Kind, case: Body) -> None:
    """A signature over the request would not match, or a server would read another body than the caller wrote."""

    async def scenario() -> tuple[bytes, bytes]:
        return await sent_by_both(kind, case.method, "/body?q=1", case.options, case.session)

    plain, ours = run(scenario())

    head, _, body = ours.partition(b"\r\n\r\n")
    types = [line for line in head.decode().split("\r\n") if line.lower().startswith("content-type: ")]
    assert same(kind)(ours) == same(kind)(plain)
    assert types == ([] if case.content_type is None else [f"Content-Type: {case.content_type}"])
    assert body == case.raw if case.raw is not None else inflated(body) == case.inflates_to


@each_kind(middleware="update_body puts Content-Length behind Content-Type, where plain aiohttp has it before")
def test_the_headers_come_in_plain_aiohttps_order(kind: Kind) -> None:
    """A firewall that knows its clients by the order of their headers would turn this one away."""

    async def scenario() -> tuple[bytes, bytes]:
        return await sent_by_both(kind, "POST", "/", lambda: {"data": b"x"})

    plain, ours = run(scenario())

    assert ours == plain


@each_kind()
@pytest.mark.parametrize("mode", ["w+b", "w+"])
def test_a_file_that_was_sent_is_closed(kind: Kind, mode: str) -> None:
    """Every upload would leak a file descriptor."""

    async def scenario() -> bool:
        file: Any = tempfile.TemporaryFile(mode)  # noqa: SIM115 - aiohttp closes what it sends
        async with Peer(answer()) as peer, kind.open(peer.url) as session:
            await session.post("/", data=file)
            await until(lambda: file.closed)
        return bool(file.closed)

    assert run(scenario())


@each_kind()
def test_what_was_sent_from_memory_can_be_read_again(kind: Kind) -> None:
    """The caller would read on in a buffer that was closed under him."""

    async def scenario() -> tuple[bytes, str]:
        content, text = io.BytesIO(b"kept"), io.StringIO("kept")
        async with Peer(answer()) as peer, kind.open(peer.url) as session:
            await session.post("/", data=content)
            await session.post("/", data=text)
        return content.getvalue(), text.getvalue()

    assert run(scenario()) == (b"kept", "kept")


@each_kind()
def test_a_long_body_as_bytes_warns(kind: Kind) -> None:
    """Whoever blocks his loop with one huge write would not be told."""

    async def scenario() -> list[str]:
        async with Peer(answer()) as peer, kind.open(peer.url) as session:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                await session.post("/", data=b"x" * (2**20 + 1))
            return [f"{each.category.__name__}: {each.message}" for each in caught]

    assert run(scenario()) == [
        (
            "ResourceWarning: Sending a large body directly with raw bytes might lock the event loop. "
            "You should probably pass an io.BytesIO object instead"
        )
    ]


@each_kind()
@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"data": object()}, TypeError, "Only io.IOBase, multidict and (name, file) pairs"),
        ({"data": 5}, TypeError, "Only io.IOBase, multidict and (name, file) pairs"),
        ({"data": b"", "json": {}}, ValueError, "data and json parameters can not be used at the same time"),
        ({"json": object()}, TypeError, "not JSON serializable"),
        ({"data": b"x", "compress": True, "headers": {"Content-Encoding": "br"}}, ValueError, "compress"),
        ({"data": b"x", "chunked": True, "headers": {"Content-Length": "1"}}, ValueError, "chunked can not be set"),
        ({"data": b"x", "chunked": True, "headers": {"Transfer-Encoding": "chunked"}}, ValueError, "chunked can not"),
    ],
)
def test_a_body_that_cannot_be_sent_is_the_same_error(
    kind: Kind, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    """Code that catches the error of a wrong argument would let another one through."""

    async def scenario() -> tuple[BaseException, int]:
        async with Peer(answer()) as peer, kind.open(peer.url) as session:
            return await failure(session.post("/", **options)), len(peer.seen)

    raised, requests = run(scenario())

    assert type(raised) is error
    assert words in str(raised)
    assert requests == 0


@each_kind()
def test_a_generator_that_fails_is_the_same_error(kind: Kind) -> None:
    """A source that breaks in the middle would pass for a server that broke."""

    async def breaking() -> AsyncIterator[bytes]:
        yield b"one"
        raise LookupError("the source broke")

    async def scenario() -> BaseException:
        async with Peer(answer()) as peer, kind.open(peer.url) as session:
            return await failure(session.post("/", data=breaking()))

    raised = run(scenario())

    assert (type(raised), type(raised.__cause__)) == (aiohttp.ClientConnectionError, LookupError)


@each_kind()
def test_an_upload_is_streamed_and_not_gathered_first(kind: Kind) -> None:
    """A body longer than memory, or one that is still being made, could not be sent."""

    async def scenario() -> bytes:
        first_came = asyncio.Event()

        async def pieces() -> AsyncIterator[bytes]:
            yield b"first "
            await first_came.wait()
            yield b"second"

        async def serve(request: web.Request) -> web.Response:
            first = await request.content.read(6)
            first_came.set()
            return web.Response(body=first + b"then " + await request.content.read())

        async with (
            asyncio.timeout(5),
            serving(serve) as url,
            kind.open(url) as session,
            session.post("/", data=pieces()) as response,
        ):
            return await response.read()

    assert run(scenario()) == b"first then second"


@each_kind()
def test_a_download_is_piped_into_an_upload(kind: Kind) -> None:
    """A proxy that hands one response's stream on as the next request's body would send nothing."""

    async def scenario() -> bytes:
        kept: list[bytes] = []
        async with (
            Peer(answer(200, b"to be handed on")) as source,
            Peer(keeping(kept), heads_only=True) as target,
            kind.open() as session,
            session.get(source.url) as download,
            session.post(target.url, data=download.content) as response,
        ):
            await response.read()
        return kept[0].partition(b"\r\n\r\n")[2]

    assert run(scenario()) == b"f\r\nto be handed on\r\n0\r\n\r\n"


@each_kind()
def test_the_body_waits_for_100_continue(kind: Kind) -> None:
    """A server that refuses by the head alone would be sent the whole body all the same."""
    early: list[bytes] = []

    async def refuse(turn: Turn) -> None:
        try:
            async with asyncio.timeout(0.05):
                early.append(await turn.reader.read(1))
        except TimeoutError:
            await answer(417, b"no", connection="close")(turn)

    async def scenario() -> tuple[int, bytes]:
        async with (
            Peer(refuse, heads_only=True) as peer,
            kind.open(peer.url) as session,
            session.post("/", data=b"x" * 10, expect100=True) as response,
        ):
            return response.status, await response.read()

    assert run(scenario()) == (417, b"no")
    assert early == []


@pytest.mark.skipif(not HAS_UPLOAD_TRACKER, reason="this aiohttp has no UploadTracker")
@each_kind()
def test_an_upload_tracker_tells_what_was_sent(kind: Kind) -> None:
    """A progress bar would stay at nothing, or the request would fail over the tracker."""

    async def scenario() -> tuple[int, int, bool]:
        tracker = aiohttp.UploadTracker()
        async with Peer(answer()) as peer, kind.open(peer.url) as session:
            response = await session.post("/", data=b"x" * 5000, upload_tracker=tracker)
            await response.read()
            await tracker.upload_complete
            return tracker.bytes_written, tracker.attempts, tracker.upload_complete.done()

    assert run(scenario()) == (5000, 1, True)


@pytest.mark.skipif(not HAS_UPLOAD_TRACKER, reason="this aiohttp has no UploadTracker")
@each_kind()
def test_an_upload_tracker_serves_one_request_only(kind: Kind) -> None:
    """One tracker over two requests would report the sum of both as the progress of either."""

    async def scenario() -> BaseException:
        tracker = aiohttp.UploadTracker()
        async with Peer(answer()) as peer, kind.open(peer.url) as session:
            await session.post("/", data=b"x", upload_tracker=tracker)
            return await failure(session.post("/", data=b"x", upload_tracker=tracker))

    raised = run(scenario())

    assert (type(raised), str(raised)) == (RuntimeError, "UploadTracker is already bound to a request")
