"""A WebSocket through our session is aiohttp's own: handshake, messages, closing and refusals."""

import asyncio
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web
from tests.contract.kinds import Kind, each_kind
from tests.contract.wire import serving
from tests.support import Peer, answer, failure, hang, raw, refused_port, run


async def echo(request: web.Request) -> web.WebSocketResponse:
    """Send back what comes; close with 4001 when told ``close``."""
    socket = web.WebSocketResponse(protocols=("v2", "v1"))
    await socket.prepare(request)
    async for message in socket:
        if message.data == "close":
            await socket.close(code=4001, message=b"told to")
        elif message.type is aiohttp.WSMsgType.TEXT:
            await socket.send_str(f"{message.data}!")
        elif message.type is aiohttp.WSMsgType.BINARY:
            await socket.send_bytes(message.data[::-1])
    return socket


@each_kind()
def test_it_is_a_context_manager(kind: Kind) -> None:
    """``async with session.ws_connect(...)`` is how almost everybody opens one."""

    async def scenario() -> tuple[str, bytes, Any, bool, Any]:
        async with serving(echo) as url, kind.open(url) as session:
            async with session.ws_connect("/ws") as socket:
                await socket.send_str("text")
                text = await socket.receive_str()
                await socket.send_bytes(b"abc")
                data = await socket.receive_bytes()
                await socket.send_json({"a": 1})
                document = await socket.receive()
            return text, data, document.data, socket.closed, socket.close_code

    assert run(scenario()) == ("text!", b"cba", '{"a": 1}!', True, 1000)


@each_kind()
def test_it_can_be_awaited_and_made_a_task(kind: Kind) -> None:
    """A socket that is kept longer than a block could not be opened."""

    async def scenario() -> list[tuple[str, str, bool]]:
        async with serving(echo) as url, kind.open(url) as session:
            found = []
            for socket in (await session.ws_connect("/"), await asyncio.create_task(session.ws_connect("/"))):
                await socket.send_str("x")
                found.append((type(socket).__name__, await socket.receive_str(), await socket.close()))
            return found

    assert run(scenario()) == [("ClientWebSocketResponse", "x!", True)] * 2


@each_kind()
def test_messages_are_iterated_until_the_server_closes(kind: Kind) -> None:
    """A loop over messages would never end, and the server's reason would be lost."""

    async def scenario() -> tuple[list[str], Any]:
        async with serving(echo) as url, kind.open(url) as session, session.ws_connect("/") as socket:
            for each in ("one", "two", "close"):
                await socket.send_str(each)
            return [message.data async for message in socket], socket.close_code

    assert run(scenario()) == (["one!", "two!"], 4001)


@each_kind()
def test_the_clients_close_code_reaches_the_server(kind: Kind) -> None:
    """A server that tells a fault from a farewell by the code would see another one."""
    codes: list[Any] = []

    async def serve(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        message = await socket.receive()
        codes.append((message.data, message.extra))
        return socket

    async def scenario() -> None:
        async with serving(serve) as url, kind.open(url) as session:
            socket = await session.ws_connect("/")
            await socket.close(code=4321, message=b"enough")

    run(scenario())

    assert codes == [(4321, "enough")]


@each_kind()
@pytest.mark.parametrize(("offered", "chosen"), [(("v1", "v9"), "v1"), (("v9",), None), ((), None)])
def test_a_protocol_is_agreed_on(kind: Kind, offered: tuple[str, ...], chosen: str | None) -> None:
    """A GraphQL or MQTT client would speak a protocol that the server did not choose."""

    async def scenario() -> str | None:
        async with (
            serving(echo) as url,
            kind.open(url) as session,
            session.ws_connect("/", protocols=offered) as socket,
        ):
            return socket.protocol

    assert run(scenario()) == chosen


@each_kind()
def test_a_heartbeat_is_sent_and_its_silence_noticed(kind: Kind) -> None:
    """A connection whose other end is gone would stay open for ever."""

    async def serve(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        first = await socket.receive()
        await socket.send_str(first.type.name)
        async for _ in socket:
            pass  # no answer to a ping
        return socket

    async def scenario() -> tuple[str, str]:
        async with (
            asyncio.timeout(5),
            serving(serve) as url,
            kind.open(url) as session,
            session.ws_connect("/", heartbeat=0.05) as socket,
        ):
            return await socket.receive_str(), (await socket.receive()).type.name

    first, last = run(scenario())

    assert first == "PING"
    assert last in {"ERROR", "CLOSED"}


@each_kind()
def test_headers_params_origin_and_cookies_go_with_the_handshake(kind: Kind) -> None:
    """A server that authenticates the handshake would refuse it."""
    seen: list[tuple[str, ...]] = []

    async def serve(request: web.Request) -> web.WebSocketResponse:
        names = ("X-Default", "X-Own", "Origin", "Cookie", "Sec-WebSocket-Version", "Upgrade")
        seen.append((request.method, request.path_qs, *(request.headers.get(name, "") for name in names)))
        return await echo(request)

    async def scenario() -> None:
        async with (
            serving(serve) as url,
            kind.open(url, headers={"X-Default": "d"}, cookies={"c": "1"}) as session,
            session.ws_connect("/ws", headers={"X-Own": "o"}, params={"q": "1"}, origin="http://o.test") as socket,
        ):
            await socket.close()

    run(scenario())

    assert seen == [("GET", "/ws?q=1", "d", "o", "http://o.test", "c=1", "13", "websocket")]


@each_kind()
def test_compression_is_agreed_on(kind: Kind) -> None:
    """Compression that was asked for would be left off in silence."""

    async def scenario() -> tuple[int, str]:
        async with serving(echo) as url, kind.open(url) as session, session.ws_connect("/", compress=15) as socket:
            await socket.send_str("x" * 100)
            return socket.compress, (await socket.receive_str())[-1]

    assert run(scenario()) == (15, "!")


@each_kind()
def test_a_message_that_is_too_long_closes_the_socket(kind: Kind) -> None:
    """A server could fill the client's memory."""

    async def scenario() -> tuple[str, Any]:
        async with serving(echo) as url, kind.open(url) as session, session.ws_connect("/", max_msg_size=10) as socket:
            await socket.send_str("x" * 100)
            return (await socket.receive()).type.name, socket.close_code

    assert run(scenario()) == ("ERROR", 1009)


@each_kind()
@pytest.mark.parametrize("status", [200, 204, 301, 400, 401, 403, 404, 426, 429, 500, 503])
def test_a_refused_handshake_is_aiohttps_error_and_is_sent_once(kind: Kind, status: int) -> None:
    """A client that reads the status of the refusal would find another error, or knock four times."""

    async def scenario() -> tuple[BaseException, int]:
        async with Peer(answer(status, b"", x_why="no")) as peer, kind.open(peer.url) as session:
            return await failure(session.ws_connect("/")), len(peer.seen)

    error, requests = run(scenario())

    assert type(error) is aiohttp.WSServerHandshakeError
    assert (error.status, error.message, requests) == (status, "Invalid response status", 1)
    assert error.headers is not None
    assert error.headers["x-why"] == "no"


@each_kind()
@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"Upgrade: h2c\r\nConnection: upgrade", "Invalid upgrade header"),
        (b"Upgrade: websocket\r\nConnection: close", "Invalid connection header"),
        (b"Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: x", "Invalid challenge response"),
    ],
)
def test_a_wrong_handshake_is_aiohttps_error(kind: Kind, head: bytes, message: str) -> None:
    """A server that speaks something else would be taken for a WebSocket."""

    async def scenario() -> BaseException:
        reply = b"HTTP/1.1 101 Switching Protocols\r\n" + head + b"\r\n\r\n"
        async with Peer(raw(reply)) as peer, kind.open(peer.url) as session:
            return await failure(session.ws_connect("/"))

    error = run(scenario())

    assert type(error) is aiohttp.WSServerHandshakeError
    assert (error.status, error.message) == (101, message)


@each_kind()
def test_a_refused_connection_is_aiohttps_error(kind: Kind) -> None:
    """Code that waits and connects again would not recognise the failure."""

    async def scenario() -> BaseException:
        async with kind.open() as session:
            return await failure(session.ws_connect(f"http://127.0.0.1:{refused_port()}/"))

    assert type(run(scenario())) is aiohttp.ClientConnectorError


@each_kind()
def test_raise_for_status_of_the_session_refuses_the_handshake_as_in_aiohttp(kind: Kind) -> None:
    """A refused handshake would be another class of error, and its handler would miss it."""

    async def scenario() -> BaseException:
        async with Peer(answer(403)) as peer, kind.open(peer.url, raise_for_status=True) as session:
            return await failure(session.ws_connect("/"))

    error = run(scenario())

    assert type(error) is aiohttp.ClientResponseError
    assert error.status == 403


@each_kind()
def test_receiving_has_a_limit_of_its_own(kind: Kind) -> None:
    """A silent server would hold the caller for ever."""

    async def scenario() -> BaseException:
        timeout = aiohttp.ClientWSTimeout(ws_receive=0.05)
        async with serving(echo) as url, kind.open(url) as session, session.ws_connect("/", timeout=timeout) as socket:
            return await failure(socket.receive())

    assert isinstance(run(scenario()), TimeoutError)


@each_kind()
def test_an_open_socket_outlives_the_sessions_timeout(kind: Kind) -> None:
    """A feed of prices would be cut off in the middle of the day."""

    async def scenario() -> str:
        timeout = aiohttp.ClientTimeout(total=0.05)
        async with serving(echo) as url, kind.open(url, timeout=timeout) as session, session.ws_connect("/") as socket:
            await asyncio.sleep(0.1)
            await socket.send_str("still here")
            return await socket.receive_str()

    assert run(scenario()) == "still here!"


@each_kind()
def test_a_handshake_that_hangs_ends_with_the_sessions_timeout(kind: Kind) -> None:
    """A server that takes the handshake and says nothing would hold the caller for ever."""

    async def scenario() -> BaseException:
        timeout = aiohttp.ClientTimeout(total=0.05)
        async with Peer(hang()) as peer, kind.open(peer.url, timeout=timeout) as session:
            return await failure(session.ws_connect("/"))

    assert isinstance(run(scenario()), TimeoutError)


@each_kind()
def test_a_class_of_the_callers_is_used(kind: Kind) -> None:
    """A library that extends the socket would get a plain one."""

    class OwnSocket(aiohttp.ClientWebSocketResponse):
        pass

    async def scenario() -> type:
        async with (
            serving(echo) as url,
            kind.open(url, ws_response_class=OwnSocket) as session,
            cast(Any, session.ws_connect("/")) as socket,
        ):
            return type(socket)

    assert run(scenario()) is OwnSocket
