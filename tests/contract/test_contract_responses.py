"""A response is aiohttp's own: read whole or in pieces, decoded or not, with its cookies, links and headers."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import pytest
from aiohttp import web
from tests.contract.kinds import Kind, each_kind, placed
from tests.contract.wire import serving
from tests.support import Peer, answer, failure, raw, run
from yarl import URL

LINES: Final = b"first\nsecond\nthird"
Reading = Callable[[aiohttp.ClientResponse], Awaitable[Any]]


async def _read(response: aiohttp.ClientResponse) -> Any:
    return await response.read()


async def _read_twice(response: aiohttp.ClientResponse) -> Any:
    await response.read()
    return await response.read()


async def _text(response: aiohttp.ClientResponse) -> Any:
    return (await response.text()).encode()


async def _content_read(response: aiohttp.ClientResponse) -> Any:
    return await response.content.read()


async def _iter_chunked(response: aiohttp.ClientResponse) -> Any:
    pieces = [piece async for piece in response.content.iter_chunked(4)]
    assert max(map(len, pieces)) <= 4
    return b"".join(pieces)


async def _iter_any(response: aiohttp.ClientResponse) -> Any:
    return b"".join([piece async for piece in response.content.iter_any()])


async def _iter_chunks(response: aiohttp.ClientResponse) -> Any:
    return b"".join([piece async for piece, _ in response.content.iter_chunks()])


async def _lines(response: aiohttp.ClientResponse) -> Any:
    lines = [line async for line in response.content]
    assert lines == LINES.splitlines(keepends=True)
    return b"".join(lines)


async def _readline(response: aiohttp.ClientResponse) -> Any:
    lines = []
    while not response.content.at_eof():
        lines.append(await response.content.readline())
    assert lines[:3] == LINES.splitlines(keepends=True)
    return b"".join(lines)


async def _readexactly(response: aiohttp.ClientResponse) -> Any:
    return await response.content.readexactly(5) + await response.content.read(-1)


async def _readany(response: aiohttp.ClientResponse) -> Any:
    pieces = []
    while piece := await response.content.readany():
        pieces.append(piece)
    return b"".join(pieces)


READINGS: Final[tuple[Reading, ...]] = (
    _read,
    _read_twice,
    _text,
    _content_read,
    _iter_chunked,
    _iter_any,
    _iter_chunks,
    _lines,
    _readline,
    _readexactly,
    _readany,
)


@each_kind()
@pytest.mark.parametrize("status", [200, 404, 503])
@pytest.mark.parametrize("reading", READINGS)
def test_a_body_can_be_read_in_every_way(kind: Kind, reading: Reading, status: int) -> None:
    """A body that was looked at before would be missing, or come in other pieces."""

    async def scenario() -> Any:
        async with Peer(answer(status, LINES)) as peer, kind.open(peer.url) as session, session.get("/") as response:
            return await reading(response)

    assert run(scenario()) == LINES


@asynccontextmanager
async def halting(status: int, took: asyncio.Event) -> AsyncIterator[str]:
    """Send one piece of a body, and the next when the first was taken."""

    async def serve(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status)
        await response.prepare(request)
        await response.write(b"one")
        await took.wait()
        await response.write(b"two")
        return response

    async with serving(serve) as url:
        yield url


async def _piece_by_piece(kind: Kind, status: int) -> list[bytes]:
    took = asyncio.Event()
    async with halting(status, took) as url, kind.open(url) as session:
        try:
            async with asyncio.timeout(0.5), session.get("/") as response:
                first = await response.content.readany()
                took.set()
                return [first, await response.content.read()]
        finally:
            took.set()


@each_kind()
def test_a_download_comes_as_it_is_sent(kind: Kind) -> None:
    """A stream of events would be held back until its end, which never comes."""
    assert run(_piece_by_piece(kind, 200)) == [b"one", b"two"]


WAITED_FOR: Final = "the body of a status above 304 is waited for, so many seconds at most, before the answer is given"


@each_kind(resilient=WAITED_FOR, middleware=WAITED_FOR)
def test_an_errors_body_comes_as_it_is_sent(kind: Kind) -> None:
    """An error whose body comes slowly would be told late."""
    assert run(_piece_by_piece(kind, 500)) == [b"one", b"two"]


@each_kind()
@pytest.mark.parametrize("size", [2**18, 2**20])
def test_a_long_body_arrives_whole(kind: Kind, size: int) -> None:
    """An export would be cut, or its error page would."""

    async def scenario() -> list[int]:
        lengths = []
        for status in (200, 400):
            async with (
                Peer(answer(status, b"x" * size)) as peer,
                kind.open(peer.url) as session,
                session.get("/") as response,
            ):
                lengths.append(len(await response.read()))
        return lengths

    assert run(scenario()) == [size, size]


@each_kind()
@pytest.mark.parametrize("status", [200, 201, 204, 304, 400, 404, 500, 503, 599])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_an_answer_is_given_whatever_its_status(kind: Kind, status: int, method: str) -> None:
    """An error status would raise where nobody asked for it."""

    async def scenario() -> tuple[int, Any, bool, bytes]:
        async with (
            Peer(answer(status, b"", x_own="1")) as peer,
            kind.open(peer.url) as session,
            session.request(method, "/") as response,
        ):
            return response.status, response.reason, response.ok, await response.read()

    assert run(scenario()) == (status, "Said", status < 400, b"")


@each_kind()
def test_head_has_a_length_and_no_body(kind: Kind) -> None:
    """The size of a download could not be asked for, or the asking would wait for a body."""

    async def scenario() -> tuple[int | None, bytes, int]:
        head = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n")
        async with asyncio.timeout(5), Peer(head) as peer, kind.open(peer.url) as session:
            for _ in range(2):
                response = await session.head("/")
            return response.content_length, await response.read(), peer.connections

    assert run(scenario()) == (12345, b"", 1)


@each_kind()
@pytest.mark.parametrize("place", ["session", "request"])
@pytest.mark.parametrize("status", [200, 422])
def test_decompression_can_be_turned_off(kind: Kind, place: str, status: int) -> None:
    """A proxy that hands bodies on as they came would hand on other bytes."""
    packed = gzip.compress(b'{"a": 1}')

    async def scenario() -> tuple[bytes, bytes]:
        at_session, at_request = placed(place, auto_decompress=False)
        async with Peer(answer(status, packed, content_encoding="gzip")) as peer:
            async with kind.open(peer.url, **at_session) as session, session.get("/", **at_request) as response:
                as_it_came = await response.read()
            async with kind.open(peer.url) as session, session.get("/") as response:
                return as_it_came, await response.read()

    assert run(scenario()) == (packed, b'{"a": 1}')


@each_kind()
def test_json_text_and_charset_are_decoded(kind: Kind) -> None:
    """A name in another alphabet would arrive broken."""

    async def scenario() -> tuple[Any, str, str | None, BaseException, Any]:
        latin = raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=latin-1\r\nContent-Length: 4\r\n\r\ncaf\xe9")
        async with Peer(answer(200, b'{"a": [1, null]}'), latin) as peer, kind.open(peer.url) as session:
            document = await (await session.get("/")).json()
            response = await session.get("/")
            text = await response.text()
            wrong = await failure(response.json())
            return document, text, response.charset, wrong, await response.text(encoding="cp1251")

    document, text, charset, wrong, other = run(scenario())

    assert (document, text, charset, other) == ({"a": [1, None]}, "caf\u00e9", "latin-1", "caf\u0439")
    assert type(wrong) is aiohttp.ContentTypeError


@each_kind()
def test_a_charset_resolver_of_the_callers_is_asked(kind: Kind) -> None:
    """Bodies of servers that name no charset would be read as UTF-8."""

    async def scenario() -> str:
        plain = raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\ncaf\xe9")
        async with (
            Peer(plain) as peer,
            kind.open(peer.url, fallback_charset_resolver=lambda *_: "latin-1") as session,
            session.get("/") as response,
        ):
            return await response.text()

    assert run(scenario()) == "caf\u00e9"


@each_kind()
def test_bad_json_is_the_same_error(kind: Kind) -> None:
    """A body that is none would be retried, or be another error."""

    async def scenario() -> BaseException:
        async with Peer(answer(200, b"{no")) as peer, kind.open(peer.url) as session, session.get("/") as response:
            return await failure(response.json())

    assert type(run(scenario())) is json.JSONDecodeError


@each_kind()
def test_what_the_response_tells_is_there(kind: Kind) -> None:
    """Code that reads links, cookies, the address or the method from a response would find none."""

    async def scenario() -> dict[str, Any]:
        headers = {
            "Link": '</next>; rel="next"',
            "Set-Cookie": "a=1",
            "Content-Disposition": 'attachment; filename="f"',
        }
        async with (
            Peer(answer(200, b"x", **headers)) as peer,
            kind.open(f"{peer.url}/api/") as session,
            session.post("it?q=1", data=b"") as response,
        ):
            return {
                "type": type(response),
                "method": response.method,
                "url": str(response.url.relative()),
                "host": response.host == f"127.0.0.1:{peer.port}" or response.host,
                "version": response.version,
                "content_type": response.content_type,
                "link": URL(response.links["next"]["url"]).path,
                "cookie": response.cookies["a"].value,
                "raw": (b"Set-Cookie", b"a=1") in response.raw_headers,
                "file": response.content_disposition.filename if response.content_disposition else None,
                "asked": (response.request_info.method, response.request_info.headers["Host"]),
                "history": response.history,
                "own host": f"127.0.0.1:{peer.port}",
            }

    found = run(scenario())

    own = found.pop("own host")
    assert found == {
        "type": aiohttp.ClientResponse,
        "method": "POST",
        "url": "/api/it?q=1",
        "host": found["host"],
        "version": aiohttp.HttpVersion11,
        "content_type": "application/json",
        "link": "/next",
        "cookie": "1",
        "raw": True,
        "file": "f",
        "asked": ("POST", own),
        "history": (),
    }


@each_kind()
def test_classes_of_the_callers_are_used(kind: Kind) -> None:
    """A library that extends requests and responses would get plain ones."""

    class OwnRequest(aiohttp.ClientRequest):
        pass

    class OwnResponse(aiohttp.ClientResponse):
        pass

    asked: list[type] = []

    async def note(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        asked.append(type(request))
        return await handler(request)

    async def scenario() -> type:
        options: dict[str, Any] = {"request_class": OwnRequest, "response_class": OwnResponse, "middlewares": (note,)}
        async with Peer(answer()) as peer, kind.open(peer.url, **options) as session:
            return type(await session.get("/"))

    assert run(scenario()) is OwnResponse
    assert asked == [OwnRequest]


LIMITS: Final = [
    name
    for name in ("max_line_size", "max_field_size", "max_headers", "read_bufsize")
    if f"_{name}" in aiohttp.ClientSession.ATTRS
]


@each_kind()
@pytest.mark.parametrize("place", ["session", "request"])
@pytest.mark.parametrize("name", LIMITS)
def test_the_limits_of_the_parser_can_be_set(kind: Kind, name: str, place: str) -> None:
    """A server with long headers could not be read, or could fill the memory."""
    head = b"HTTP/1.1 200 OK\r\nX: " + b"x" * 9000 + b"\r\n" + b"Y: 1\r\n" * 40 + b"Content-Length: 300000\r\n\r\n"

    async def scenario(value: int) -> int | type:
        options = {"max_line_size": 20000, "max_field_size": 20000, "max_headers": 100, name: value}
        at_session, at_request = placed(place, **{each: value for each, value in options.items() if each in LIMITS})
        async with Peer(raw(head + b"x" * 300000)) as peer, kind.open(peer.url, **at_session) as session:
            try:
                async with session.get("/", **at_request) as response:
                    assert name != "read_bufsize" or response.content._high_water == 2 * value
                    return len(await response.read())
            except aiohttp.ClientResponseError as error:
                return type(error)

    assert run(scenario(20000)) == 300000
    if name in {"max_field_size", "max_headers"}:
        assert run(scenario(30)) is aiohttp.ClientResponseError


@each_kind()
@pytest.mark.parametrize("way", ["release", "close", "block"])
def test_an_answer_that_is_not_read_can_be_given_back(kind: Kind, way: str) -> None:
    """A pool of one would be blocked by an answer that nobody wanted."""

    async def scenario() -> tuple[int, bool]:
        async with (
            asyncio.timeout(5),
            Peer(answer(200, b"x" * 100)) as peer,
            kind.open(peer.url, connector=aiohttp.TCPConnector(limit=1)) as session,
        ):
            first = await session.get("/")
            if way == "block":
                async with first:
                    pass
            else:
                getattr(first, way)()
            second = await session.get("/")
            return second.status, first.closed

    assert run(scenario()) == (200, True)
