"""What ``session.get(...)`` gives before it is awaited: a coroutine, a context manager, and nothing sent yet."""

import asyncio
import collections.abc
import inspect
import warnings
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, cast

import aiohttp
import pytest
from tests.contract.kinds import PLAIN, Kind, each_kind
from tests.support import Peer, answer, hang, run, until

VERBS: Final = ("get", "options", "head", "post", "put", "patch", "delete")

Coming = Coroutine[Any, Any, aiohttp.ClientResponse]


async def _awaited(coming: Coming) -> int:
    return (await coming).status


async def _entered(coming: Coming) -> int:
    async with cast(Any, coming) as response:
        return cast(int, response.status)


async def _as_task(coming: Coming) -> int:
    return (await asyncio.create_task(coming)).status


async def _gathered(coming: Coming) -> int:
    (response,) = await asyncio.gather(coming)
    return response.status


async def _in_time(coming: Coming) -> int:
    return (await asyncio.wait_for(coming, 5)).status


async def _as_future(coming: Coming) -> int:
    return (await asyncio.ensure_future(coming)).status


async def _in_group(coming: Coming) -> int:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(coming)
    return task.result().status


async def _by_hand(coming: Coming) -> int:
    """Drive it with ``send``, as a framework does that has no tasks of its own."""
    try:
        while True:
            waited_for = coming.send(None)
            await _settled(waited_for)
    except StopIteration as ended:
        return cast(aiohttp.ClientResponse, ended.value).status


async def _settled(waited_for: Any) -> None:
    if waited_for is None:
        await asyncio.sleep(0)
        return
    waited_for._asyncio_future_blocking = False
    await asyncio.wait([waited_for])


FORMS: Final[tuple[Callable[[Any], Awaitable[int]], ...]] = (
    _awaited,
    _entered,
    _as_task,
    _gathered,
    _in_time,
    _as_future,
    _in_group,
)


@each_kind()
@pytest.mark.parametrize("verb", VERBS)
def test_each_form_of_a_request_works(kind: Kind, verb: str) -> None:
    """Each of these forms is in use for every method, and one that fails is a user's first impression."""

    async def scenario() -> tuple[list[int], list[str]]:
        async with Peer(answer(200, b"")) as peer, kind.open(peer.url) as session:
            return [await form(getattr(session, verb)("/there")) for form in FORMS], peer.lines

    assert run(scenario()) == ([200] * len(FORMS), [f"{verb.upper()} /there"] * len(FORMS))


@each_kind()
@pytest.mark.parametrize("method", ["GET", "post", "REPORT"])
def test_request_takes_any_method(kind: Kind, method: str) -> None:
    """A method that has no name of its own on the session could not be called."""

    async def scenario() -> list[str]:
        async with Peer(answer(200, b"")) as peer, kind.open(peer.url) as session:
            await session.request(method, "/there")
            await session.request(method=method, url="/named")
            return peer.lines

    assert run(scenario()) == [f"{method.upper()} /there", f"{method.upper()} /named"]


@each_kind()
def test_a_request_is_a_coroutine_of_aiohttps_own_type(kind: Kind) -> None:
    """Code that looks at the type to tell a request from a response would take it for something else."""

    async def scenario() -> tuple[bool, bool, bool, bool]:
        async with kind.open() as session, PLAIN.open() as plain:
            coming, theirs = (each.get("http://127.0.0.1:1/") for each in (session, plain))
            found = (
                type(coming) is type(theirs),
                asyncio.iscoroutine(coming),
                isinstance(coming, collections.abc.Coroutine),
                inspect.isawaitable(coming),
            )
            coming.close()
            theirs.close()
            return found

    assert run(scenario()) == (True, True, True, True)


@each_kind()
def test_a_request_can_be_driven_by_hand(kind: Kind) -> None:
    """A framework that calls ``send`` itself, as curio-like bridges do, would not get its response."""

    async def scenario() -> int:
        async with Peer(answer()) as peer, kind.open(peer.url) as session:
            return await _by_hand(session.get("/", timeout=aiohttp.ClientTimeout(total=None)))

    assert run(scenario()) == 200


@each_kind()
def test_what_is_thrown_into_a_request_comes_out_of_it(kind: Kind) -> None:
    """Whoever ends a request with an error of his own would lose the error, or the connection."""

    class OwnError(Exception):
        pass

    async def scenario() -> tuple[int, int]:
        async with Peer(hang()) as peer, kind.open(peer.url) as session:
            coming = session.get("/", timeout=aiohttp.ClientTimeout(total=None))
            coming.send(None)._asyncio_future_blocking = False
            with pytest.raises(OwnError):
                coming.throw(OwnError())
            with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
                await coming
            return len(peer.seen), len(cast(Any, session.connector)._acquired)

    assert run(scenario()) == (0, 0)


@each_kind()
def test_closing_an_unstarted_request_sends_nothing_and_warns_of_nothing(kind: Kind) -> None:
    """A request that was made and not wanted would be sent, or leave a warning in the log."""

    async def scenario() -> tuple[int, list[warnings.WarningMessage]]:
        async with Peer(answer()) as peer, kind.open(peer.url) as session:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                session.get("/").close()
                await asyncio.sleep(0.01)
            return peer.connections, caught

    assert run(scenario()) == (0, [])


@each_kind()
def test_a_request_that_was_never_awaited_warns(kind: Kind) -> None:
    """A forgotten ``await`` would go unseen, and the payment with it."""

    async def scenario() -> tuple[int, list[type[Warning]]]:
        async with Peer(answer()) as peer, kind.open(peer.url) as session:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                session.get("/")
                await asyncio.sleep(0.01)
            assert "was never awaited" in str(caught[0].message)
            return peer.connections, [each.category for each in caught]

    assert run(scenario()) == (0, [RuntimeWarning])


@each_kind()
def test_nothing_is_sent_before_the_first_await(kind: Kind) -> None:
    """A request object that is made early and awaited late would be sent early."""

    async def scenario() -> tuple[int, int]:
        async with Peer(answer()) as peer, kind.open(peer.url) as session:
            coming = session.post("/", json={})
            await asyncio.sleep(0.02)
            before = peer.connections
            await coming
            return before, len(peer.seen)

    assert run(scenario()) == (0, 1)


@each_kind()
def test_a_request_cannot_be_awaited_twice(kind: Kind) -> None:
    """The second await would send the payment again."""

    async def scenario() -> tuple[str, int]:
        async with Peer(answer()) as peer, kind.open(peer.url) as session:
            coming = session.post("/")
            await coming
            with pytest.raises(RuntimeError) as raised:
                await coming
            return str(raised.value), len(peer.seen)

    assert run(scenario()) == ("cannot reuse already awaited coroutine", 1)


@each_kind()
def test_leaving_the_block_gives_the_connection_back(kind: Kind) -> None:
    """With one connection in the pool, a body that nobody read would block the next request for ever."""

    async def scenario() -> tuple[list[int], int]:
        async with Peer(answer(200, b"x" * 100)) as peer:
            async with kind.open(peer.url, connector=aiohttp.TCPConnector(limit=1)) as session:
                statuses = []
                for _ in range(3):
                    async with asyncio.timeout(5), session.get("/") as response:
                        statuses.append(response.status)
            return statuses, len(peer.seen)

    assert run(scenario()) == ([200, 200, 200], 3)


@each_kind()
@pytest.mark.parametrize("where", ["task", "block"])
def test_a_cancelled_request_is_cancelled_and_closes_its_connection(kind: Kind, where: str) -> None:
    """A request that swallowed its cancellation would hang a shutdown."""

    async def scenario() -> tuple[bool, int]:
        async def enter(session: aiohttp.ClientSession) -> None:
            async with session.get("/"):
                raise AssertionError("nobody answered")

        async with Peer(hang()) as peer, kind.open(peer.url) as session:
            task = asyncio.create_task(session.get("/") if where == "task" else enter(session))
            await until(lambda: peer.seen)
            task.cancel()
            await asyncio.wait([task])
            await until(lambda: peer.ended)
            return task.cancelled(), len(cast(Any, session.connector)._acquired)

    assert run(scenario()) == (True, 0)


@each_kind()
@pytest.mark.parametrize("verb", VERBS)
def test_an_unknown_argument_is_an_error_at_the_call(kind: Kind, verb: str) -> None:
    """A request that is only made and handed on would fail far from the line with the mistake."""

    async def scenario() -> None:
        async with kind.open() as session:
            with pytest.raises(TypeError, match="no_such"):
                getattr(session, verb)("http://127.0.0.1:1/", no_such=1).close()

    run(scenario())


@each_kind()
@pytest.mark.parametrize("verb", VERBS)
def test_an_address_is_needed_and_the_rest_goes_by_name(kind: Kind, verb: str) -> None:
    """Arguments in the wrong place would be taken for others."""

    async def scenario() -> None:
        async with kind.open() as session:
            with pytest.raises(TypeError):
                getattr(session, verb)()
            with pytest.raises(TypeError):
                getattr(session, verb)("http://127.0.0.1:1/", {"a": "1"})

    run(scenario())
