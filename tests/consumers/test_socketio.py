"""python-socketio: ``AsyncClient(http_session=...)`` polls and opens websockets through one session.

The other side is python-socketio's own server on aiohttp.web. Time is virtual: a poll that nobody answers hangs for
45 seconds.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import pytest
import socketio
from aiohttp import web
from aiohttp.typedefs import Handler
from tests.consumers.sessions import OURS, PLAIN, Told, a_session, over_both, told
from tests.support import failure, run_virtual

from holdfast.testing import RecordingSink

TRANSPORTS: Final = [["polling"], ["websocket"], ["polling", "websocket"]]


@asynccontextmanager
async def an_echo(*first: int) -> AsyncIterator[tuple[str, list[str]]]:
    """Serve an echo whose first answers are these statuses; give its address, and the requests as they come."""
    fails, lines = list(first), []

    @web.middleware
    async def fail_first(request: web.Request, handler: Handler) -> web.StreamResponse:
        lines.append(f"{request.method} {request.query['transport']}")
        return web.json_response({"refused": True}, status=fails.pop(0)) if fails else await handler(request)

    server = socketio.AsyncServer(async_mode="aiohttp", monitor_clients=False)
    server.on("echo", _echo)
    app = web.Application(middlewares=[fail_first])
    server.attach(app)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    before = asyncio.all_tasks()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", lines
    finally:
        await runner.cleanup()
        # A ping of the server's sleeps on after its client has gone.
        await asyncio.gather(*asyncio.all_tasks() - before, return_exceptions=True)


async def _echo(_: str, word: str) -> str:
    return word.upper()


def make_client(session: aiohttp.ClientSession) -> Any:
    """Make a client whose own reconnection is off, and which leaves the signals of the process alone."""
    return socketio.AsyncClient(http_session=session, reconnection=False, handle_sigint=False)


async def spoken(client: Any, url: str, transports: list[str]) -> tuple[str, str]:
    """Connect, say a word, and give the transport in use and the echo."""
    await client.connect(url, transports=transports)
    said = client.transport(), await client.call("echo", "word", timeout=5)
    await client.disconnect()
    await client.wait()
    return said


@over_both
@pytest.mark.parametrize("transports", TRANSPORTS, ids="+".join)
def test_a_word_goes_there_and_back_and_the_session_stays_open(kind: str, transports: list[str]) -> None:
    """A shared session that is closed on disconnect, or one that cannot upgrade, ends every live view."""

    async def scenario() -> tuple[str, str]:
        async with an_echo() as (url, _), a_session(kind) as session:
            return await spoken(make_client(session), url, transports)

    assert run_virtual(scenario()) == (transports[-1], "WORD")


def test_a_handshake_that_fails_once_is_made_again() -> None:
    """A client that connects while the server is deployed would give up, or wait for its own slow reconnection."""
    sink = RecordingSink()

    async def scenario() -> tuple[tuple[str, str], list[str]]:
        async with an_echo(503) as (url, lines), a_session(OURS, sink) as session:
            return await spoken(make_client(session), url, ["polling"]), lines

    said, lines = run_virtual(scenario())

    assert said == ("polling", "WORD")
    assert lines[:2] == ["GET polling", "GET polling"]
    assert told(sink)[0] == Told("GET", 200, 2, "success", "none")


@over_both
def test_a_websocket_is_not_a_call(kind: str) -> None:
    """Its handshake is refused once and not tried again, as with a plain session, and the log tells of no call."""
    sink = RecordingSink()

    async def scenario() -> tuple[type[BaseException], list[str]]:
        async with an_echo(503) as (url, lines), a_session(kind, sink) as session:
            client = make_client(session)
            error = await failure(client.connect(url, transports=["websocket"]))
            return type(error), lines

    assert run_virtual(scenario()) == (socketio.exceptions.ConnectionError, ["GET websocket"])
    assert told(sink) == []


@pytest.mark.parametrize("status", [401, 404])
def test_a_refusal_is_the_same_error_as_with_a_plain_session(status: int) -> None:
    """The application shows what the server said, which socketio reads from the refusal's JSON body."""

    async def refused(kind: str) -> tuple[type[BaseException], tuple[Any, ...], list[str]]:
        async with an_echo(status) as (url, lines), a_session(kind) as session:
            error = await failure(make_client(session).connect(url, transports=["polling"]))
            return type(error), error.args, lines

    ours = run_virtual(refused(OURS))

    assert ours == run_virtual(refused(PLAIN))
    assert (ours[0], ours[2]) == (socketio.exceptions.ConnectionError, ["GET polling"])
