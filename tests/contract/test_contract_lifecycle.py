"""A session is opened, closed, detached and forgotten as aiohttp's is, and closes what it owns and nothing else."""

import asyncio
import gc
import warnings
import weakref
from typing import Any, Final, cast

import aiohttp
import pytest
from tests.contract.kinds import Kind, each_kind
from tests.support import Peer, answer, failure, hang, run, until

from holdfast import ResilientSession

VERBS: Final = ("get", "options", "head", "post", "put", "patch", "delete", "ws_connect")


@each_kind()
def test_async_with_gives_the_session_and_closes_it(kind: Kind) -> None:
    """``async with ... as session`` would give another object, or leave its sockets open."""

    async def scenario() -> tuple[bool, bool, bool, bool]:
        session = kind.open()
        connector = cast(aiohttp.BaseConnector, session.connector)
        async with session as entered:
            before = session.closed
        return entered is session, before, session.closed, connector.closed

    assert run(scenario()) == (True, False, True, True)


@each_kind()
def test_an_error_inside_the_block_closes_it_and_passes(kind: Kind) -> None:
    """An error would be swallowed, or the session would stay open behind it."""

    async def scenario() -> bool:
        session = kind.open()
        with pytest.raises(LookupError):
            async with session:
                raise LookupError
        return session.closed

    assert run(scenario())


@each_kind()
def test_closing_twice_is_no_error(kind: Kind) -> None:
    """A shutdown that closes what a block has closed already would fail."""

    async def scenario() -> tuple[bool, bool, Any]:
        session = kind.open()
        await session.close()
        first = session.closed
        await session.close()
        return first, session.closed, session.connector

    assert run(scenario()) == (True, True, None)


@each_kind()
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("ended", ["closed", "detached"])
def test_use_after_the_end_is_aiohttps_error(kind: Kind, verb: str, ended: str) -> None:
    """Code that catches ``RuntimeError`` at shutdown would meet another class, or a hang of retries."""

    async def scenario() -> tuple[BaseException, int]:
        async with Peer(answer()) as peer:
            session = kind.open()
            connector = cast(aiohttp.BaseConnector, session.connector)
            if ended == "closed":
                await session.close()
            else:
                session.detach()
            found = await failure(getattr(session, verb)(peer.url))
            await connector.close()
            return found, peer.connections

    error, connections = run(scenario())

    assert (type(error), str(error), connections) == (RuntimeError, "Session is closed", 0)


@each_kind()
def test_detach_leaves_the_connector_open(kind: Kind) -> None:
    """A connector that is handed on would be closed under its new owner."""

    async def scenario() -> tuple[bool, bool, int]:
        async with Peer(answer()) as peer:
            session = kind.open()
            connector = cast(aiohttp.BaseConnector, session.connector)
            await (await session.get(peer.url)).read()
            session.detach()
            detached = session.closed
            await session.close()
            async with aiohttp.ClientSession(connector=connector) as other:
                await (await other.get(peer.url)).read()
                return detached, connector.closed, peer.connections

    assert run(scenario()) == (True, False, 1)


@each_kind()
@pytest.mark.parametrize("owner", [True, False])
def test_a_given_connector_is_closed_only_by_its_owner(kind: Kind, *, owner: bool) -> None:
    """A pool that several sessions share would be closed by the first of them that ends, or by none."""

    async def scenario() -> tuple[bool, bool]:
        connector = aiohttp.TCPConnector()
        session = kind.open(connector=connector, connector_owner=owner)
        assert session.connector is connector
        await session.close()
        found = session.closed, connector.closed
        await connector.close()
        return found

    assert run(scenario()) == (True, owner)


@each_kind()
def test_two_sessions_share_one_connector(kind: Kind) -> None:
    """A shared pool would open a connection for each session."""

    async def scenario() -> int:
        async with Peer(answer()) as peer, aiohttp.TCPConnector() as connector:
            for _ in range(2):
                async with kind.open(peer.url, connector=connector, connector_owner=False) as session:
                    await (await session.get("/")).read()
            return peer.connections

    assert run(scenario()) == 1


@each_kind()
def test_a_session_whose_connector_was_closed_is_closed(kind: Kind) -> None:
    """A health check that asks ``closed`` would be told that a dead session is alive."""

    async def scenario() -> tuple[bool, BaseException]:
        session = kind.open()
        await cast(aiohttp.BaseConnector, session.connector).close()
        return session.closed, await failure(session.get("http://127.0.0.1:1/"))

    closed, error = run(scenario())

    assert (closed, str(error)) == (True, "Session is closed")


@each_kind()
@pytest.mark.parametrize("debug", [False, True])
def test_a_forgotten_session_warns_and_tells_the_loop(kind: Kind, *, debug: bool) -> None:
    """A leak of sessions would go unseen, or could not be traced to where it was made."""
    told: list[dict[str, Any]] = []

    async def scenario() -> list[warnings.WarningMessage]:
        loop = asyncio.get_running_loop()
        loop.set_debug(debug)
        loop.set_exception_handler(lambda _, context: told.append(context))
        session = kind.open(connector=aiohttp.TCPConnector())
        connector = session.connector
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del session
            gc.collect()
        await cast(aiohttp.BaseConnector, connector).close()
        loop.set_debug(False)
        return caught

    caught = run(scenario())

    assert [each.category for each in caught] == [ResourceWarning]
    assert str(caught[0].message).startswith("Unclosed client session <")
    assert [each["message"] for each in told] == ["Unclosed client session"]
    assert isinstance(told[0]["client_session"], aiohttp.ClientSession)
    assert ("source_traceback" in told[0]) is debug
    told.clear()


@each_kind()
def test_a_closed_session_is_forgotten_in_silence(kind: Kind) -> None:
    """Every shutdown would leave a warning, and a session that is never freed is a leak."""

    async def scenario() -> tuple[list[warnings.WarningMessage], object]:
        session = kind.open()
        reference = weakref.ref(session)
        await session.close()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del session
            gc.collect()
        return caught, reference()

    assert run(scenario()) == ([], None)


def test_a_forgotten_wrapper_of_a_given_client_is_silent() -> None:
    """The owner of the client would be warned of a leak that is none."""

    async def scenario() -> list[warnings.WarningMessage]:
        async with aiohttp.ClientSession() as client:
            session = ResilientSession(client=client)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                del session
                gc.collect()
            return caught

    assert run(scenario()) == []


@each_kind()
def test_closing_ends_the_requests_in_flight(kind: Kind) -> None:
    """A shutdown would wait for a server that never answers."""

    async def scenario() -> BaseException:
        async with Peer(hang()) as peer:
            session = kind.open(peer.url)
            task = asyncio.ensure_future(failure(session.get("/")))
            await until(lambda: peer.seen)
            await session.close()
            async with asyncio.timeout(5):
                return await task

    error = run(scenario())

    assert type(error) in {aiohttp.ClientConnectionError, aiohttp.ServerDisconnectedError, RuntimeError}


@each_kind()
def test_idle_connections_are_closed_with_the_session(kind: Kind) -> None:
    """A server would keep connections open to a client that is gone."""

    async def scenario() -> tuple[int, int]:
        async with Peer(answer()) as peer:
            async with kind.open(peer.url) as session:
                await (await session.get("/")).read()
                before = peer.ended
            await until(lambda: peer.ended)
            return before, peer.ended

    assert run(scenario()) == (0, 1)


@each_kind()
def test_a_connector_of_another_loop_is_refused(kind: Kind) -> None:
    """A pool that is carried from one loop to the next would fail in the middle of a request."""

    async def make() -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector()

    async def scenario(connector: aiohttp.TCPConnector) -> BaseException:
        async def opened() -> None:
            kind.open(connector=connector, loop=asyncio.get_running_loop())

        found = await failure(opened())
        await connector.close()
        return found

    error = run(scenario(run(make())))

    assert (type(error), str(error)) == (RuntimeError, "Session and connector has to use same event loop")
