"""The tools that we give to our users' tests: a loop whose minutes take milliseconds, and a sink that keeps events."""

import asyncio
import time
from typing import Any

import pytest
from tests.support import run_virtual

from holdfast import ResilientSession
from holdfast.protocols import EventSink
from holdfast.testing import RecordedEvent, RecordingSink, VirtualTimeLoop


def now() -> float:
    """Read the loop's clock."""
    return asyncio.get_running_loop().time()


def slowly(seconds: float) -> str:
    """Work in real seconds, as threads do."""
    time.sleep(seconds)
    return "done"


def test_minutes_take_milliseconds() -> None:
    """A test of a five-minute deadline would take five minutes, so nobody would write it."""
    begun = time.monotonic()

    async def scenario() -> float:
        await asyncio.sleep(300.0)
        return now()

    assert run_virtual(scenario()) == pytest.approx(300.0, abs=1e-9)
    assert time.monotonic() - begun < 2.0


def test_timers_fire_in_order_and_at_their_moment() -> None:
    """A schedule tested on virtual time would be another in production."""
    fired: list[tuple[str, float]] = []

    async def after(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        fired.append((name, now()))

    async def scenario() -> None:
        await asyncio.gather(after("c", 60.0), after("a", 0.001), after("b", 59.999), after("d", 3600.0))

    run_virtual(scenario())

    assert [name for name, _ in fired] == ["a", "b", "c", "d"]
    assert [moment for _, moment in fired] == pytest.approx([0.001, 59.999, 60.0, 3600.0])


def test_timeouts_count_virtual_seconds() -> None:
    """``asyncio.timeout`` would wait on the wall's clock and hang the test."""

    async def scenario() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(120.0):
                await asyncio.Event().wait()
        return now()

    assert run_virtual(scenario()) == pytest.approx(120.0)


def test_a_socket_that_answers_takes_no_virtual_time() -> None:
    """The clock would run past a deadline while a peer on the same machine answers."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    async def scenario() -> tuple[bytes, float]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            async with asyncio.timeout(5.0):
                writer.write(b"hello\n")
                echoed = await reader.read()
            writer.close()
            await writer.wait_closed()
        return echoed, now()

    assert run_virtual(scenario()) == (b"hello\n", 0.0)


def test_a_worker_thread_gets_its_grace() -> None:
    """A file that is read in a thread would time out before the thread has begun."""

    async def scenario() -> tuple[str, float]:
        async with asyncio.timeout(60.0):
            return await asyncio.to_thread(slowly, 0.01), now()

    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(grace_s=2.0)) as runner:
        found, moment = runner.run(scenario())

    assert (found, moment) == ("done", 0.0)


def test_a_loop_without_timers_waits_for_its_threads() -> None:
    """A test that only waits for a thread would spin or end before it."""

    async def scenario() -> str:
        return await asyncio.to_thread(slowly, 0.05)

    assert run_virtual(scenario()) == "done"


def test_each_loop_begins_at_zero() -> None:
    """Moments in one test would depend on the tests before it."""

    async def scenario() -> float:
        return now()

    assert [run_virtual(scenario()) for _ in range(2)] == [0.0, 0.0]


def test_a_sink_keeps_events_in_order_and_by_name() -> None:
    """A user could not assert on what his code logs."""
    sink = RecordingSink()

    sink.emit("outbound.attempt", 10, {"attempt": 1})
    sink.emit("outbound.call", 20, {"attempts": 1})
    sink.emit("outbound.attempt", 30, {"attempt": 2})

    assert sink.events == [
        RecordedEvent("outbound.attempt", 10, {"attempt": 1}),
        RecordedEvent("outbound.call", 20, {"attempts": 1}),
        RecordedEvent("outbound.attempt", 30, {"attempt": 2}),
    ]
    assert sink.named("outbound.attempt") == [{"attempt": 1}, {"attempt": 2}]
    assert sink.named("outbound.retry") == []


@pytest.mark.parametrize(("level", "wanted"), [(0, [True, True]), (20, [False, True]), (50, [False, False])])
def test_a_sink_wants_its_level_and_above(level: int, wanted: list[bool]) -> None:
    """A user could not see what his production log would show."""
    sink: EventSink = RecordingSink(level=level)

    assert [sink.enabled(each) for each in (10, 40)] == wanted


def test_two_sinks_share_no_events() -> None:
    """One test's events would be found in the next."""
    first, second = RecordingSink(), RecordingSink()

    first.emit("outbound.call", 20, {})

    assert second.events == []


def test_a_session_on_virtual_time_closes_cleanly() -> None:
    """A user's own tests would end in warnings about sockets left open."""

    async def scenario() -> bool:
        options: dict[str, Any] = {"sinks": [RecordingSink()]}
        async with ResilientSession(**options) as session:
            pass
        return session.closed

    assert run_virtual(scenario())
