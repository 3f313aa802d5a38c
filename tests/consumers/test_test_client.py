"""aiohttp's own ``TestClient``: makes a session for the tests of a web application, and lends it out.

It takes no session. ``ResilientSession(client=test_client.session)`` sends through the one that it made; the code under
test is then given ours, as in production.
"""

from typing import Final

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from tests.consumers.sessions import Told, told
from tests.support import AT_ONCE, run

from holdfast import ResilientSession
from holdfast.testing import RecordingSink

STATUSES: Final = web.AppKey("statuses", list[int])


def failing_first(*statuses: int) -> web.Application:
    """Make an application that answers with these statuses first, and then well."""

    async def handle(request: web.Request) -> web.Response:
        left = request.app[STATUSES]
        status = left.pop(0) if left else 200
        return web.json_response({"seen": request.cookies.get("sid")}, status=status, headers={"set-cookie": "sid=1"})

    app = web.Application()
    app[STATUSES] = list(statuses)
    app.router.add_route("*", "/items", handle)
    return app


@pytest.mark.parametrize("status", [500, 503])
def test_code_under_test_calls_the_application_through_our_session(status: int) -> None:
    """The retries of the code under test could not be tested, or a cookie of the first attempt would be lost."""
    sink = RecordingSink()

    async def scenario() -> tuple[int, object, bool]:
        async with TestClient(TestServer(failing_first(status))) as client:
            async with ResilientSession(client=client.session, policy=AT_ONCE, sinks=[sink]) as session:
                response = await session.get(client.make_url("/items"))
                document = await response.json()
            return response.status, document, client.session.closed

    assert run(scenario()) == (200, {"seen": "1"}, False)
    assert told(sink) == [Told("GET", 200, 2, "success", "none")]


def test_the_clients_own_calls_stay_as_they_were() -> None:
    """Lending its session would change what the test itself asks, and hide the 503 that it wants to see."""

    async def scenario() -> list[int]:
        async with (
            TestClient(TestServer(failing_first(503))) as client,
            ResilientSession(client=client.session, policy=AT_ONCE),
        ):
            return [(await client.get("/items")).status for _ in range(2)]

    assert run(scenario()) == [503, 200]


def test_a_websocket_of_the_application_opens_through_our_session() -> None:
    """Live views of the application could only be tested with another session."""

    async def echo(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str((await socket.receive_str()).upper())
        await socket.close()
        return socket

    async def scenario() -> tuple[str, aiohttp.WSMsgType]:
        app = web.Application()
        app.router.add_get("/live", echo)
        async with TestClient(TestServer(app)) as client:
            session = ResilientSession(client=client.session)
            async with session.ws_connect(client.make_url("/live")) as socket:
                await socket.send_str("word")
                return await socket.receive_str(), (await socket.receive()).type

    assert run(scenario()) == ("WORD", aiohttp.WSMsgType.CLOSE)
