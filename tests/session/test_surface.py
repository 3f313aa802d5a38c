"""The session drops in for ``aiohttp.ClientSession``: same forms, same attributes, same errors, same ownership."""

import asyncio
import gc
import weakref
from typing import Any, Final
from unittest import mock

import aiohttp
import pytest
from aiohttp import web
from tests.support import AT_ONCE, Peer, answer, failure, report, run, said
from yarl import URL

from holdfast import Policy, ResilientSession
from holdfast.testing import RecordingSink

VERBS: Final = ["get", "options", "head", "post", "put", "patch", "delete"]
PUBLIC: Final = sorted(name for name in dir(aiohttp.ClientSession) if not name.startswith("_") and name != "loop")


def test_it_is_a_client_session() -> None:
    """A library that checks its argument with ``isinstance`` would turn the session away."""

    async def scenario() -> tuple[bool, bool, str]:
        async with ResilientSession() as session:
            return isinstance(session, aiohttp.ClientSession), type(session) is ResilientSession, repr(session)

    assert run(scenario()) == (True, True, "<ResilientSession provider='generic' closed=False>")


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_of_aiohttps_session_is_there(name: str) -> None:
    """Drop-in code would fail with ``AttributeError`` in the one branch that nobody tested."""

    async def scenario() -> tuple[Any, Any]:
        async with aiohttp.ClientSession("http://host.test/", headers={"x": "1"}) as client:
            session = ResilientSession(client=client)
            return getattr(session, name), getattr(client, name)

    ours, theirs = run(scenario())

    assert callable(ours) == callable(theirs)
    if not callable(theirs):
        assert ours == theirs


@pytest.mark.parametrize("verb", VERBS)
def test_a_call_can_be_awaited_entered_and_made_a_task(verb: str) -> None:
    """Three forms are in use for one request, and each must work with every method."""

    async def scenario() -> list[str]:
        async with Peer(answer(200, b"")) as peer, ResilientSession(peer.url) as session:
            method = getattr(session, verb)
            response = await method("/awaited")
            response.release()
            async with method("/entered") as entered:
                await entered.read()
            made = await asyncio.create_task(method("/task"))
            made.release()
            gathered = await asyncio.gather(method("/gathered"), session.request(verb, "/request"))
            for each in gathered:
                each.release()
            return peer.lines

    lines = run(scenario())

    assert lines[:3] == [f"{verb.upper()} /{form}" for form in ("awaited", "entered", "task")]
    assert sorted(lines[3:]) == [f"{verb.upper()} /{form}" for form in ("gathered", "request")]


def test_nothing_is_sent_before_the_first_await() -> None:
    """A request object that is made and dropped would be a payment."""

    async def scenario() -> tuple[int, int]:
        async with Peer(answer()) as peer, ResilientSession(peer.url) as session:
            coming = session.get("/")
            await asyncio.sleep(0.02)
            before = peer.connections
            await coming
            return before, len(peer.seen)

    assert run(scenario()) == (0, 1)


def test_a_request_object_has_the_methods_of_a_coroutine() -> None:
    """Frameworks that drive coroutines by hand would reject it."""

    async def scenario() -> bool:
        async with ResilientSession() as session:
            coming = session.get("http://127.0.0.1:1/")
            methods = all(callable(getattr(coming, name)) for name in ("send", "throw", "close", "__await__"))
            coming.close()
            return methods and asyncio.iscoroutine(coming)

    assert run(scenario())


@pytest.mark.parametrize("given", [False, True])
def test_it_closes_the_client_it_made_and_no_other(*, given: bool) -> None:
    """A shared client closed under its owner fails every other call; one left open leaks its sockets."""

    async def scenario() -> tuple[bool, bool]:
        client = aiohttp.ClientSession() if given else None
        async with ResilientSession(client=client) as session:
            inside = session.client
        await session.close()
        left_open = not inside.closed
        await inside.close()
        return left_open, session.closed

    assert run(scenario()) == (given, True)


def test_use_after_close_is_the_same_error_as_aiohttps() -> None:
    """Code that catches ``RuntimeError`` at shutdown would be met by another class, or a hang of retries."""

    async def scenario() -> list[BaseException]:
        session = ResilientSession(policy=AT_ONCE)
        await session.close()
        plain = aiohttp.ClientSession()
        await plain.close()
        return [await failure(each.get("http://127.0.0.1:1/")) for each in (session, plain)]

    ours, theirs = run(scenario())

    assert (type(ours), str(ours)) == (type(theirs), str(theirs)) == (RuntimeError, "Session is closed")


@pytest.mark.parametrize(
    ("base", "path", "target"),
    [
        ("", "/a", "/a"),
        ("", "a?b=1", "/a?b=1"),
        ("/api/", "a", "/api/a"),
        ("/api/", "/a", "/a"),
        ("/api/", "../a", "/a"),
    ],
)
def test_the_base_address_joins_as_aiohttps_does(base: str, path: str, target: str) -> None:
    """A base address with a path would be cut off, or doubled."""

    async def scenario() -> tuple[list[str], str]:
        async with (
            Peer(answer()) as peer,
            ResilientSession(peer.url + base) as session,
            aiohttp.ClientSession(peer.url + base) as client,
        ):
            response = await session.get(path)
            await client.get(path)
            return peer.lines, report(response).url.removeprefix(peer.url)

    lines, url = run(scenario())

    assert lines == [f"GET {target}"] * 2
    assert url == target.partition("?")[0]


def test_a_url_object_and_params_are_sent_as_by_aiohttp() -> None:
    """A signed or encoded query would be encoded twice."""

    async def scenario() -> list[str]:
        async with Peer(answer()) as peer, ResilientSession() as session, aiohttp.ClientSession() as client:
            url = URL(f"{peer.url}/a%2Fb?x=%2B", encoded=True)
            for each in (session, client):
                await each.get(url, params={"y": "1 2"})
            return peer.lines

    ours, theirs = run(scenario())

    assert ours == theirs


def test_attributes_pass_through_in_both_directions() -> None:
    """Instrumentation that reads or sets attributes of the session would miss the one that sends."""

    async def scenario() -> None:
        async with ResilientSession("http://host.test/", headers={"x": "1"}) as session:
            inside: Any = session.client
            loose: Any = session
            assert loose.headers["x"] == "1"
            assert loose.cookie_jar is inside.cookie_jar
            assert loose._base_url == inside._base_url
            assert loose._default_headers is inside._default_headers
            with pytest.raises(AttributeError):
                _ = loose.no_such_attribute
            loose._retry_connection = False
            assert inside._retry_connection is False

    run(scenario())


def test_it_can_be_weakly_referenced_and_is_collected() -> None:
    """Instrumentation keeps sessions in a ``WeakSet``; one that is never freed is a leak."""

    async def scenario() -> tuple[bool, bool]:
        async with aiohttp.ClientSession() as client:
            session = ResilientSession(client=client)
            reference = weakref.ref(session)
            alive = reference() is session
            del session
            gc.collect()
            return alive, reference() is None

    assert run(scenario()) == (True, True)


def test_a_websocket_passes_through_untouched() -> None:
    """A stream of prices would be retried, judged and cut off after five minutes."""
    sink = RecordingSink()

    async def serve(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str("price")
        await socket.close()
        return socket

    async def scenario() -> str:
        app = web.Application()
        app.router.add_get("/", serve)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            host, port = runner.addresses[0]
            async with (
                ResilientSession(sinks=[sink]) as session,
                session.ws_connect(f"http://{host}:{port}/") as socket,
            ):
                price: str = await socket.receive_str()
                return price
        finally:
            await runner.cleanup()

    assert run(scenario()) == "price"
    assert sink.events == []


def test_calls_in_flight_together_keep_their_verdicts_apart() -> None:
    """One call's decline would be reported for another's payment."""

    async def scenario() -> list[tuple[int, str, str]]:
        async with (
            Peer(choose=lambda seen: said(int(seen.target[1:4]), {"logref": f"L{seen.target}"})) as peer,
            ResilientSession(peer.url, policy=Policy(max_attempts=1)) as session,
        ):
            paths = [f"/{status}/{number}" for number in range(40) for status in (400, 402, 503, 201)]
            responses = await asyncio.gather(*(session.post(path, json={}) for path in paths))
            found = [(each.status, "".join(report(each).logrefs), report(each).url) for each in responses]
            assert len({report(each).call_id for each in responses}) == len(paths)
            return [each for each, path in zip(found, paths, strict=True) if not each[2].endswith(path)] + [
                each for each in found if each[0] >= 400 and each[1] != f"L{URL(each[2]).path}"
            ]

    assert run(scenario()) == []


def test_a_method_can_be_replaced_and_given_back() -> None:
    """``mock.patch.object(session, "get")`` would patch something else, and fail on its way out."""

    async def scenario() -> tuple[str, bool]:
        async with ResilientSession() as session:
            with mock.patch.object(session, "get", return_value="patched"):
                seen: Any = session.get("http://127.0.0.1:1/")
            return seen, "get" in vars(session)

    assert run(scenario()) == ("patched", False)


def test_a_middleware_that_joins_the_list_later_is_run() -> None:
    """Instrumentation that appends to the list it was given would be left out, as it is not by aiohttp."""
    ran: list[str] = []
    chain: list[aiohttp.ClientMiddlewareType] = []

    async def late(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        ran.append(request.method)
        return await handler(request)

    async def scenario() -> None:
        async with Peer(answer()) as peer, ResilientSession(peer.url, middlewares=chain) as session:
            chain.append(late)
            await session.get("/")

    run(scenario())

    assert ran == ["GET"]
