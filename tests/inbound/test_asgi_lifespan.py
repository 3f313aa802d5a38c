"""Whatever the application makes of the lifespan protocol, its sessions are opened once and closed once."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from tests.inbound.driver import connect, living
from tests.support import AT_ONCE, Peer, answer, hang, run, until

from holdfast import ResilientSession, detached
from holdfast.asgi import App, OutboundMiddleware
from holdfast.testing import RecordingSink


class Watch:
    """Makes sessions, and notes when each is opened and closed."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def factory(self, name: str, **options: Any) -> Callable[[], ResilientSession]:
        watch = self

        class Watched(ResilientSession):
            async def close(self) -> None:
                if not self.closed:
                    watch.seen.append(f"{name} closed")
                await super().close()

        def open_session() -> ResilientSession:
            watch.seen.append(f"{name} opened")
            return Watched(**options)

        return open_session


async def ok(send: Any) -> None:
    """Answer 200."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def app_that(on_lifespan: Callable[[Any, Any, Any], Any], seen: list[Any] | None = None) -> App:
    """Make an application that treats the lifespan scope so, and notes its sessions in each request."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await on_lifespan(scope, receive, send)
            return
        if seen is not None:
            seen.append(dict(scope["state"]))
        await ok(send)

    return app


async def refuses(_scope: Any, _receive: Any, _send: Any) -> None:
    """Raise, as the specification allows."""
    raise ValueError("only http")


async def returns(_scope: Any, _receive: Any, _send: Any) -> None:
    """Return without a word."""


async def mistakes(_scope: Any, receive: Any, send: Any) -> None:
    """Take it for a request."""
    assert (await receive())["type"] == "lifespan.startup"
    await ok(send)


async def takes_part(_scope: Any, receive: Any, send: Any) -> None:
    """Follow the protocol."""
    while (event := (await receive())["type"]) == "lifespan.startup":
        await send({"type": f"{event}.complete"})
    await send({"type": f"{event}.complete"})


async def crashes_when_started(_scope: Any, receive: Any, send: Any) -> None:
    """Fail while it runs."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    raise RuntimeError("later")


async def crashes_at_shutdown(_scope: Any, receive: Any, send: Any) -> None:
    """Fail where it should say that it is done."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    raise RuntimeError("at the end")


async def lingers(_scope: Any, receive: Any, send: Any) -> None:
    """Go on when all is said."""
    await takes_part(_scope, receive, send)
    await asyncio.Event().wait()


ALL = [refuses, returns, mistakes, takes_part, crashes_when_started, crashes_at_shutdown, lingers]


@pytest.mark.parametrize("on_lifespan", ALL, ids=lambda row: str(row.__name__))
@pytest.mark.parametrize("state", [{}, None], ids=["state", "no state"])
def test_sessions_live_as_long_as_the_server_serves(on_lifespan: Any, state: dict[str, Any] | None) -> None:
    """On another framework the service would start without its sessions, or leave connections open."""
    watch, seen = Watch(), list[Any]()
    state = None if state is None else dict(state)

    async def scenario() -> list[str]:
        app = OutboundMiddleware(app_that(on_lifespan, seen), {"a": watch.factory("a"), "b": watch.factory("b")})
        async with living(app, state) as lifespan:
            for _ in range(2):
                copied: dict[str, Any] = {} if state is None else {"state": dict(state)}
                assert (await connect(app, **copied)).status == 200
        return [message["type"] for message in lifespan.said]

    said = run(scenario())

    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert watch.seen == ["a opened", "b opened", "b closed", "a closed"]
    assert [sorted(one) for one in seen] == [["a", "b"], ["a", "b"]]
    assert seen[0] == seen[1]


def test_the_applications_own_startup_finds_the_sessions_and_its_state_reaches_the_requests() -> None:
    """An application that warms up a cache at startup could not, and its own state would be lost."""
    seen: list[Any] = []

    async def warms_up(scope: Any, receive: Any, send: Any) -> None:
        scope["state"]["found"] = sorted(scope["state"])
        await takes_part(scope, receive, send)

    async def scenario() -> None:
        app = OutboundMiddleware(app_that(warms_up, seen), {"a": Watch().factory("a")})
        async with living(app):
            await connect(app)

    run(scenario())

    assert seen[0]["found"] == ["a"]


def test_what_the_application_puts_in_a_sessions_place_stays() -> None:
    """An application that replaces a session in a test would call the real bank."""
    seen: list[Any] = []

    async def scenario() -> None:
        app = OutboundMiddleware(app_that(takes_part, seen), {name: Watch().factory(name) for name in "ab"})
        async with living(app, {}):
            await connect(app, state={"a": "fake"})
            await connect(app, state={"a": "fake", "b": "fake"})

    run(scenario())

    assert [one["a"] for one in seen] == ["fake", "fake"]
    assert [one["b"] == "fake" for one in seen] == [False, True]


def test_a_failed_startup_is_told_and_leaves_nothing_open() -> None:
    """A service that cannot start would hang, or leak the sessions it had."""
    watch = Watch()

    async def fails(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    async def scenario() -> list[Any]:
        async with living(OutboundMiddleware(app_that(fails), {"a": watch.factory("a")})) as lifespan:
            return lifespan.said

    said = run(scenario())

    assert said == [{"type": "lifespan.startup.failed", "message": "no database"}]
    assert watch.seen == ["a opened", "a closed"]


def test_a_factory_that_fails_stops_the_start_and_its_message_holds_no_secret() -> None:
    """The password that a factory stumbled over would stand in the server's log, and the first session stay open."""
    watch = Watch()

    def fails() -> ResilientSession:
        raise KeyError("s3cret")

    async def scenario() -> list[Any]:
        factories = {"a": watch.factory("a"), "b": fails, "c": watch.factory("c")}
        async with living(OutboundMiddleware(app_that(takes_part), factories)) as lifespan:
            return lifespan.said

    (said,) = run(scenario())

    assert said["type"] == "lifespan.startup.failed"
    assert said["message"].startswith("holdfast: session 'b' was not opened: KeyError at test_asgi_lifespan.py:")
    assert watch.seen == ["a opened", "a closed"]


def test_a_factory_may_be_a_coroutine_function() -> None:
    """A user whose password is fetched over the network would have to fetch it elsewhere."""
    seen: list[Any] = []
    opened: list[ResilientSession] = []

    async def open_later() -> ResilientSession:
        await asyncio.sleep(0)
        opened.append(ResilientSession())
        return opened[0]

    async def scenario() -> None:
        app = OutboundMiddleware(app_that(takes_part, seen), {"a": open_later})
        async with living(app):
            await connect(app)

    run(scenario())

    assert seen == [{"a": opened[0]}]
    assert opened[0].closed


def test_a_failed_shutdown_of_the_application_is_told() -> None:
    """Operations would not learn that data was not flushed."""
    watch = Watch()

    async def fails(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "not flushed"})

    async def scenario() -> list[Any]:
        async with living(OutboundMiddleware(app_that(fails), {"a": watch.factory("a")})) as lifespan:
            pass
        return lifespan.said

    said = run(scenario())

    assert said[1:] == [{"type": "lifespan.shutdown.failed", "message": "not flushed"}]
    assert watch.seen == ["a opened", "a closed"]


def test_a_server_without_lifespan_gets_its_sessions_with_the_first_requests(caplog: pytest.LogCaptureFixture) -> None:
    """A service behind such a server would answer every request with a KeyError, or open a session for each."""
    watch, seen = Watch(), list[Any]()

    async def scenario() -> None:
        app = OutboundMiddleware(app_that(refuses, seen), {"a": watch.factory("a")})
        await asyncio.gather(*(connect(app) for _ in range(10)))
        await connect(app)
        await seen[0]["a"].close()

    run(scenario())

    assert watch.seen == ["a opened", "a closed"]
    assert len({id(state["a"]) for state in seen}) == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "lifespan" in caplog.text


def test_a_late_opening_that_fails_is_tried_again() -> None:
    """A bank's address that could not be resolved at the first request would stop the service for good."""
    watch, failures = Watch(), [OSError("s3cret"), None]

    def open_at_second_try() -> ResilientSession:
        if error := failures.pop(0):
            raise error
        return watch.factory("a")()

    async def scenario() -> list[Any]:
        seen: list[Any] = []
        app = OutboundMiddleware(app_that(refuses, seen), {"a": open_at_second_try})
        exchanges = [await connect(app), await connect(app)]
        await seen[0]["a"].close()
        return exchanges

    first, second = run(scenario())

    assert "session 'a' was not opened: OSError" in str(first.error)
    assert "s3cret" not in str(first.error)
    assert second.status == 200


def test_a_client_that_goes_away_while_sessions_are_opened_late_takes_nobody_along() -> None:
    """One impatient client would make the first requests of all others fail."""
    seen: list[Any] = []

    async def scenario() -> int:
        opens = asyncio.Event()

        async def open_slowly() -> ResilientSession:
            await opens.wait()
            return ResilientSession()

        app = OutboundMiddleware(app_that(refuses, seen), {"a": open_slowly})
        first, second = (asyncio.ensure_future(connect(app)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        opens.set()
        status = (await second).status
        await seen[0]["a"].close()
        return status

    assert run(scenario()) == 200


def test_each_loop_gets_sessions_of_its_own() -> None:
    """A test client that runs each request on a loop of its own would meet a session of a closed loop."""
    watch, seen = Watch(), list[Any]()
    app = OutboundMiddleware(app_that(refuses, seen), {"a": watch.factory("a")})

    async def scenario() -> None:
        await connect(app)
        await seen[-1]["a"].close()

    run(scenario())
    run(scenario())

    assert watch.seen == ["a opened", "a closed"] * 2


def test_without_sessions_nothing_is_opened_late(caplog: pytest.LogCaptureFixture) -> None:
    """A service that only wants the context would be warned of sessions that it does not have."""
    exchange = run(connect(OutboundMiddleware(app_that(refuses, []), {})))

    assert exchange.status == 200
    assert caplog.records == []


@pytest.mark.parametrize("grace_s", [0.0, 0.1])
def test_a_call_that_outlasts_the_grace_is_cancelled_and_reported(grace_s: float) -> None:
    """A payment that was cut off by a deployment would stand in no log."""
    sink = RecordingSink()

    async def scenario() -> tuple[float, bool]:
        async with Peer(hang()) as peer:
            background: list[asyncio.Task[Any]] = []

            async def app(scope: Any, receive: Any, send: Any) -> None:
                if scope["type"] == "lifespan":
                    await takes_part(scope, receive, send)
                    return
                with detached():
                    background.append(asyncio.ensure_future(scope["state"]["a"].post("/charge")))
                await ok(send)

            wrapped = OutboundMiddleware(app, {"a": lambda: ResilientSession(peer.url, sinks=[sink])}, grace_s=grace_s)
            async with living(wrapped):
                await connect(wrapped)
                await until(lambda: peer.seen)
                begun = asyncio.get_running_loop().time()
            took = asyncio.get_running_loop().time() - begun
            return took, background[0].cancelled()

    took, cancelled = run(scenario())

    (call,) = sink.named("outbound.call")
    assert cancelled
    assert grace_s <= took < grace_s + 1.0
    assert (call["stop_reason"], call["effect"]) == ("cancelled", "in_doubt")


def test_a_call_that_ends_within_the_grace_is_left_to_end() -> None:
    """Each deployment would cut off the payments that were about to succeed."""
    sink = RecordingSink()

    async def slowly(turn: Any) -> None:
        await asyncio.sleep(0.1)
        await answer(201)(turn)

    async def scenario() -> float:
        async with Peer(slowly) as peer:
            tasks: list[asyncio.Task[Any]] = []

            async def app(scope: Any, receive: Any, send: Any) -> None:
                if scope["type"] == "lifespan":
                    await takes_part(scope, receive, send)
                    return
                tasks.extend(asyncio.ensure_future(scope["state"]["a"].post("/charge")) for _ in range(3))
                await ok(send)

            wrapped = OutboundMiddleware(
                app, {"a": lambda: ResilientSession(peer.url, policy=AT_ONCE, sinks=[sink])}, grace_s=5.0
            )
            async with living(wrapped):
                await connect(wrapped)
                await asyncio.sleep(0.01)
                begun = asyncio.get_running_loop().time()
            await asyncio.gather(*tasks)
            return asyncio.get_running_loop().time() - begun

    took = run(scenario())

    assert took < 2.0
    assert [call["stop_reason"] for call in sink.named("outbound.call")] == ["succeeded"] * 3


def test_a_server_that_gives_up_waiting_still_leaves_nothing_open() -> None:
    """A forced stop would leave connections to the bank half open."""
    watch = Watch()

    async def scenario() -> tuple[bool, float, bool]:
        async with Peer(hang()) as peer:
            app = OutboundMiddleware(app_that(takes_part), {"a": watch.factory("a", base_url=peer.url)}, grace_s=60.0)
            state: dict[str, Any] = {}
            async with living(app, state) as lifespan:
                call = asyncio.ensure_future(state["a"].get("/"))
                await until(lambda: peer.seen)
                begun = asyncio.get_running_loop().time()
                lifespan.task.cancel()
                await asyncio.wait([lifespan.task])
                cancelled, took = lifespan.task.cancelled(), asyncio.get_running_loop().time() - begun
                lifespan.task = asyncio.ensure_future(asyncio.sleep(0))
                await lifespan.task
            return cancelled, took, call.cancelled()

    cancelled, took, call_cancelled = run(scenario())

    assert cancelled
    assert took < 1.0
    assert call_cancelled
    assert watch.seen == ["a opened", "a closed"]


def test_a_session_that_cannot_be_closed_keeps_no_other_open(caplog: pytest.LogCaptureFixture) -> None:
    """One broken connector would leak all the other sessions of the service."""
    watch = Watch()

    class Broken(ResilientSession):
        async def close(self) -> None:
            await super().close()
            raise OSError("s3cret")

    async def scenario() -> list[Any]:
        async with living(OutboundMiddleware(app_that(takes_part), {"a": watch.factory("a"), "b": Broken})) as lifespan:
            pass
        return lifespan.said

    said = run(scenario())

    assert said[-1] == {"type": "lifespan.shutdown.complete"}
    assert watch.seen == ["a opened", "a closed"]
    assert "session b was not closed: OSError" in caplog.text
    assert "s3cret" not in caplog.text


def test_a_plain_aiohttp_session_can_be_owned_too() -> None:
    """A user could not hand the middleware the session that a vendor's library wants."""
    made: list[aiohttp.ClientSession] = []

    def open_plain() -> aiohttp.ClientSession:
        made.append(aiohttp.ClientSession())
        return made[0]

    async def scenario() -> None:
        async with living(OutboundMiddleware(app_that(takes_part), {"plain": open_plain})):
            assert not made[0].closed

    run(scenario())

    assert made[0].closed


@pytest.mark.parametrize(
    ("arguments", "kind", "says"),
    [
        ({"sessions": ["a"]}, TypeError, "sessions= must map names to functions that open sessions, got list"),
        ({"sessions": {"": dict}}, TypeError, "sessions= must have names for keys, got ''"),
        ({"sessions": {"a": "url"}}, TypeError, r"sessions\['a'\] must be a function that opens a session"),
        ({"grace_s": -1}, ValueError, "grace_s must be a finite number of seconds, 0 or more, got -1"),
        ({"grace_s": float("inf")}, ValueError, "grace_s"),
        ({"grace_s": True}, ValueError, "grace_s"),
        ({"max_deadline": 0}, ValueError, "max_deadline"),
        ({"dead_line": 1}, TypeError, "dead_line"),
    ],
)
def test_wrong_arguments_are_refused_where_they_enter(
    arguments: dict[str, Any], kind: type[Exception], says: str
) -> None:
    """A slip would show with the first request in production."""
    given: dict[str, Any] = {"sessions": {}} | arguments

    with pytest.raises(kind, match=says):
        OutboundMiddleware(app_that(refuses), **given)


def test_an_application_that_refuses_the_protocol_fills_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """Each start of a Django service would warn of what is quite in order."""
    caplog.set_level(logging.INFO)

    async def scenario() -> None:
        async with living(OutboundMiddleware(app_that(refuses), {})):
            pass

    run(scenario())

    assert [record.getMessage() for record in caplog.records if record.name == "holdfast"] == []


def test_an_application_that_fails_in_its_startup_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A service that runs half started would give no sign of it."""

    async def crashes(_scope: Any, receive: Any, _send: Any) -> None:
        await receive()
        raise LookupError("s3cret")

    async def scenario() -> None:
        async with living(OutboundMiddleware(app_that(crashes), {})):
            pass

    run(scenario())

    (record,) = caplog.records
    assert (record.levelname, "LookupError" in record.getMessage()) == ("WARNING", True)
    assert "s3cret" not in caplog.text
