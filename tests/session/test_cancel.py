"""A cancelled call ends at once, says what it may have done, and leaves nothing behind."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aiohttp
import pytest
from tests.support import (
    Behaviour,
    Peer,
    answer,
    drip,
    drop,
    failure,
    hang,
    head_of,
    report,
    run,
    silent_address,
    towards,
    until,
)

from holdfast import CallReport, Effect, Policy, Provider, ResilientSession, StopReason
from holdfast.providers import FINIX, GENERIC
from holdfast.testing import RecordingSink

SLOW = Policy(backoff_base=100.0, backoff_max=100.0)


async def cancelled(
    session: ResilientSession, url: str, ready: Callable[[], bool], method: str = "POST", **options: Any
) -> tuple[BaseException, float]:
    """Cancel a call once a condition holds; give what it raised and the seconds from cancel to raise."""
    task = asyncio.ensure_future(session.request(method, url, **{"json": {"amount": 1}, **options}))
    await until(ready)
    await asyncio.sleep(0.01)
    begun = time.monotonic()
    task.cancel("enough")
    try:
        await task
    except asyncio.CancelledError as error:
        return error, time.monotonic() - begun
    raise AssertionError("it was not cancelled")


def verdict(sink: RecordingSink) -> tuple[str, str, str]:
    """Take the words of the one and only ``outbound.call`` event."""
    (event,) = sink.named("outbound.call")
    return event["outcome"], event["effect"], event["stop_reason"]


@asynccontextmanager
async def no_resolver() -> AsyncIterator[ResilientSession]:
    """A place where the name never resolves."""
    async with ResilientSession("http://peer.test", connector=towards(None)) as session:
        yield session


@asynccontextmanager
async def full_backlog() -> AsyncIterator[ResilientSession]:
    """A place where connecting never ends."""
    async with silent_address() as port, ResilientSession(f"http://127.0.0.1:{port}") as session:
        yield session


@asynccontextmanager
async def full_pool() -> AsyncIterator[ResilientSession]:
    """A place where the only connection is in use."""
    connector = aiohttp.TCPConnector(limit=1)
    async with Peer(hang()) as peer, ResilientSession(peer.url, connector=connector, policy=SLOW) as session:
        first = asyncio.ensure_future(session.get("/first"))
        await until(lambda: peer.seen)
        yield session
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


@pytest.mark.parametrize("place", [no_resolver, full_backlog, full_pool])
@pytest.mark.parametrize(
    ("options", "effect", "sent"),
    [
        ({}, "none", False),
        ({"json": None, "data": aiohttp.FormData({"a": "1"})}, "none", False),
        # What has no body has nothing to watch: the cautious word stands.
        ({"json": None}, "in_doubt", None),
        ({"json": None, "data": b""}, "in_doubt", None),
    ],
    ids=["json", "form", "no body", "empty body"],
)
def test_cancelled_while_connecting_means_that_no_body_was_sent(
    place: Callable[[], AbstractAsyncContextManager[ResilientSession]],
    options: dict[str, Any],
    effect: str,
    sent: bool | None,  # noqa: FBT001 - three-valued
) -> None:
    """Each shutdown would leave payments to look up by hand that never left the machine."""
    sink = RecordingSink()

    async def scenario() -> tuple[BaseException, float]:
        async with place() as opened:
            session = ResilientSession(client=opened.client, sinks=[sink])
            return await cancelled(session, "/pay", lambda: True, **options)

    error, took = run(scenario())

    assert took < 0.5
    assert verdict(sink) == ("retryable", effect, "cancelled")
    assert report(error).attempts[0].bytes_sent is sent


async def at_peer(
    behaviour: Behaviour, sink: RecordingSink, provider: Provider = GENERIC, method: str = "POST", **options: Any
) -> tuple[BaseException, float, int]:
    """Cancel a call once its request has been read."""
    async with Peer(behaviour) as peer:
        async with ResilientSession(peer.url, provider=provider, policy=SLOW, sinks=[sink]) as session:
            error, took = await cancelled(session, "/transfers", lambda: bool(peer.seen), method, **options)
        await until(lambda: peer.ended == peer.connections)
        return error, took, len(peer.seen)


@pytest.mark.parametrize(("method", "effect"), [("POST", "in_doubt"), ("PUT", "in_doubt"), ("GET", "none")])
def test_cancelled_while_waiting_for_the_answer_is_in_doubt(method: str, effect: str) -> None:
    """The caller would believe that a cancelled payment was not made; the bytes had left."""
    sink = RecordingSink()

    error, took, sends = run(at_peer(hang(), sink, method=method))

    known = report(error)
    assert (took < 0.5, sends) == (True, 1)
    assert verdict(sink) == ("retryable", effect, "cancelled")
    assert (known.stop_reason, known.attempts[0].error) == (StopReason.CANCELLED, "CancelledError")
    assert error.args == ("enough",)


def test_cancelled_while_a_success_is_read_has_landed() -> None:
    """The 201 had arrived: the caller would chase a payment that is known to be made."""
    sink = RecordingSink()
    behaviour = drip(head_of(201, {"content-length": "1000"}), b" ", 0.005)

    error, took, _ = run(at_peer(behaviour, sink, FINIX))

    assert took < 0.5
    assert report(error).effect is Effect.LANDED
    assert verdict(sink) == ("retryable", "landed", "cancelled")


def test_cancelled_while_an_error_body_is_read_keeps_the_doubt() -> None:
    """A 500 on its way says nothing about the payment."""
    sink = RecordingSink()
    behaviour = drip(head_of(500, {"content-length": "1000"}), b" ", 0.005)

    error, took, _ = run(at_peer(behaviour, sink))

    assert took < 0.5
    assert report(error).effect is Effect.IN_DOUBT


def test_cancelled_during_an_upload_is_in_doubt() -> None:
    """A peer may act on a prefix: a chunked order has no announced end."""
    sink = RecordingSink()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1000
            await asyncio.sleep(0.001)

    async def scenario() -> tuple[BaseException, float]:
        async with Peer(answer()) as peer, ResilientSession(peer.url, sinks=[sink]) as session:
            return await cancelled(session, "/", lambda: peer.connections == 1, json=None, data=endless())

    error, took = run(scenario())

    assert took < 0.5
    assert (report(error).effect, report(error).attempts[0].bytes_sent) == (Effect.IN_DOUBT, True)


@pytest.mark.parametrize(
    ("behaviour", "options", "effect"),
    [(answer(429), {}, "none"), (answer(503), {"idempotency_key": "k"}, "in_doubt")],
)
def test_cancelled_during_a_pause_ends_the_pause(behaviour: Behaviour, options: dict[str, Any], effect: str) -> None:
    """A shutdown would wait out the pauses of every call in flight."""
    sink = RecordingSink()

    error, took, sends = run(at_peer(behaviour, sink, **options))

    assert (took < 0.5, sends) == (True, 1)
    assert verdict(sink) == ("retryable", effect, "cancelled")
    assert len(report(error).attempts) == 1


@pytest.mark.parametrize("lookup_answer", [hang(), answer(404)], ids=["in a lookup", "between lookups"])
def test_cancelled_during_a_lookup_ends_the_lookup(lookup_answer: Behaviour) -> None:
    """A shutdown would wait for lookups that the next process can make."""
    sink = RecordingSink()

    async def scenario() -> tuple[BaseException, float]:
        async with (
            Peer(choose=lambda seen: drop() if seen.method == "POST" else lookup_answer) as peer,
            ResilientSession(
                peer.url, provider=FINIX, policy=Policy(max_attempts=1, backoff_base=100.0), sinks=[sink]
            ) as session,
        ):
            return await cancelled(session, "/transfers", lambda: len(peer.seen) == 2)

    error, took = run(scenario())

    assert took < 0.5
    assert verdict(sink) == ("retryable", "in_doubt", "cancelled")
    assert report(error).idempotency_key is not None


def test_a_timeout_of_the_callers_own_is_a_cancellation() -> None:
    """``asyncio.timeout`` round a call must end it, and the report must still be there to look up."""
    sink = RecordingSink()

    async def scenario() -> BaseException | None:
        async with Peer(hang()) as peer, ResilientSession(peer.url, sinks=[sink]) as session:
            try:
                async with asyncio.timeout(None) as limit:

                    async def run_out() -> None:
                        await until(lambda: len(peer.seen) == 1)
                        limit.reschedule(asyncio.get_running_loop().time())

                    running_out = asyncio.ensure_future(run_out())
                    await session.post("/", json={})
            except TimeoutError as error:
                await running_out
                return error.__cause__
        return None

    cause = run(scenario())

    known: CallReport = report(cause)
    assert known.stop_reason is StopReason.CANCELLED
    assert verdict(sink) == ("retryable", "in_doubt", "cancelled")


def test_a_task_group_cancels_the_calls_beside_a_failed_one() -> None:
    """Calls made together would run on after the group has failed."""
    sink = RecordingSink()

    async def scenario() -> int:
        async with Peer(hang()) as peer, ResilientSession(peer.url, sinks=[sink]) as session:

            async def fail() -> None:
                await until(lambda: len(peer.seen) == 3)
                raise LookupError

            async def together() -> None:
                async with asyncio.TaskGroup() as group:
                    for call in (*(session.get("/") for _ in range(3)), fail()):
                        group.create_task(call)

            await failure(together())
            return len(peer.seen)

    assert run(scenario()) == 3
    assert [event["stop_reason"] for event in sink.named("outbound.call")] == ["cancelled"] * 3


def test_a_call_that_was_never_awaited_is_no_call() -> None:
    """A request object that is thrown away must not appear in the log as a payment."""
    sink = RecordingSink()

    async def scenario() -> int:
        async with Peer(answer()) as peer, ResilientSession(peer.url, sinks=[sink]) as session:
            session.post("/", json={}).close()
            await asyncio.sleep(0.01)
            return len(peer.seen)

    assert run(scenario()) == 0
    assert sink.events == []
