"""One timer of the event loop for all attempts of a length cuts off what aiohttp's own total timeout would cut off.

Every scenario has the same end in plain aiohttp, in a session that is watched (whose attempts aiohttp itself times),
and in one whose attempts stand in a ``Line``, with the guard and without.
"""

import asyncio
import gc
import sys
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final
from weakref import ref

import aiohttp
import pytest
from tests.support import Behaviour, Peer, answer, drip, failure, hang, head_of, raw, report, run, run_virtual, until

from holdfast import DeadlineExceededError, Policy, ResilientSession
from holdfast.transport.timers import AttemptTimer, Line, Lines

WAYS: Final = ("plain", "watched", "guarded", "bare")
OURS: Final = WAYS[1:]
HALF: Final = head_of(200, {"content-length": "100", "content-type": "application/json"}) + b'{"a":\n'
"""A head, and less of the body than it announces."""


def clock() -> float:
    """Read the loop's clock."""
    return asyncio.get_running_loop().time()


def waiting() -> list[asyncio.TimerHandle]:
    """Give what the loop still waits for."""
    timers: list[asyncio.TimerHandle] = vars(asyncio.get_running_loop())["_scheduled"]
    return [timer for timer in timers if not timer.cancelled()]


def cancelling() -> int:
    """Count the cancellations of the running task that nobody has taken back."""
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


def session_of(way: str, url: str | None, seconds: float, **options: Any) -> Any:
    """Open a session whose requests may take so many seconds, told apart by who keeps their time."""
    if way == "plain":
        limit = aiohttp.ClientTimeout(total=seconds, ceil_threshold=float("inf"))
        return aiohttp.ClientSession(url, timeout=limit, **options)
    if way == "watched":
        options["trace_configs"] = [aiohttp.TraceConfig()]
    if way == "guarded":
        options["headers"] = {"x-api-key": "k"}
    return ResilientSession(url, policy=Policy(deadline=seconds, backoff_base=0.0), **options)


@asynccontextmanager
async def meeting(way: str, *script: Behaviour, seconds: float = 10.0, **options: Any) -> AsyncIterator[Any]:
    """Open a session that has asked for this address before, so that a bare request is known for one; and its peer."""
    async with Peer(answer(), *script) as peer, session_of(way, peer.url, seconds, **options) as session:
        await (await session.get("/")).read()
        yield session, peer


async def drained(parts: Any) -> None:
    """Read on to the end."""
    async for _ in parts:
        pass


READS: Final[dict[str, Callable[[aiohttp.ClientResponse], Awaitable[Any]]]] = {
    "read": lambda response: response.read(),
    "json": lambda response: response.json(),
    "text": lambda response: response.text(),
    "iter_chunked": lambda response: drained(response.content.iter_chunked(1024)),
    "iter_any": lambda response: drained(response.content.iter_any()),
    "iter_chunks": lambda response: drained(response.content.iter_chunks()),
    "async_for": lambda response: drained(response.content),
    "readexactly": lambda response: response.content.readexactly(100),
}


@pytest.mark.parametrize("way", OURS)
def test_an_attempt_that_is_not_answered_ends_in_time_and_is_known_for_what_it_was(way: str) -> None:
    """A caller would wait on, or read a reason that is not the one that aiohttp's own timer gives him."""

    async def scenario() -> tuple[BaseException, float, int]:
        async with meeting(way, hang()) as (session, _):
            begun = clock()
            return await failure(session.get("/")), clock() - begun, cancelling()

    error, took, left = run_virtual(scenario())

    known = report(error)
    assert isinstance(error, DeadlineExceededError)
    assert took == pytest.approx(10.0, abs=1e-5)
    assert (known.stop_reason.value, [each.reason for each in known.attempts]) == ("deadline", ["timeout"])
    assert left == 0


@pytest.mark.parametrize("reading", READS)
@pytest.mark.parametrize("way", WAYS)
def test_a_body_that_does_not_end_in_time_is_cut_off_while_it_is_read(way: str, reading: str) -> None:
    """A stream would hang for ever, because the attempt's time was taken to be over with its head."""

    async def scenario() -> tuple[type, float, int, int, bytes]:
        async with meeting(way, hang(HALF), answer(200, b"next")) as (session, peer):
            begun = clock()
            async with session.get("/") as response:
                error = await failure(READS[reading](response))
                took = clock() - begun
            async with session.get("/") as later:
                await asyncio.sleep(6)
                return type(error), took, cancelling(), peer.connections, await later.read()

    kind, took, left, connections, after = run_virtual(scenario())

    assert kind is TimeoutError
    assert took == pytest.approx(10.0, abs=1e-5)
    assert (left, connections, after) == (0, 2, b"next")


@pytest.mark.parametrize("way", WAYS)
def test_what_is_asked_for_after_the_time_is_over_is_refused_though_some_of_it_has_come(way: str) -> None:
    """The half of a document would pass for a whole one."""

    async def scenario() -> list[type]:
        async with meeting(way, hang(HALF)) as (session, _), session.get("/") as response:
            await asyncio.sleep(11)
            return [type(await failure(response.content.readany())), type(await failure(response.read()))]

    assert run_virtual(scenario()) == [TimeoutError, TimeoutError]


@pytest.mark.parametrize("way", WAYS)
def test_a_body_that_has_come_whole_in_time_may_be_read_at_any_time(way: str) -> None:
    """A worker that computes for a minute between head and body would lose an answer that had arrived."""

    async def scenario() -> bytes:
        async with meeting(way, answer(200, b"whole")) as (session, _):
            response = await session.get("/")
            await asyncio.sleep(60)
            body: bytes = await response.read()
            return body

    assert run_virtual(scenario()) == b"whole"


@pytest.mark.parametrize("way", WAYS)
def test_a_body_that_ends_after_its_time_gives_its_connection_back(way: str) -> None:
    """A service that keeps an answer it never read would run out of connections, and wait in line for ever."""

    async def late(turn: Any) -> None:
        await turn.write(head_of(200, {"content-length": "2"}) + b"a")
        await asyncio.sleep(12)
        await turn.write(b"b")

    async def scenario() -> tuple[type, bytes, int]:
        connector = aiohttp.TCPConnector(limit=1)
        async with meeting(way, late, answer(200, b"next"), connector=connector) as (session, peer):
            kept = await session.get("/")
            await asyncio.sleep(20)
            async with session.get("/") as response:
                body = await response.read()
            return type(await failure(kept.read())), body, peer.connections

    assert run_virtual(scenario()) == (TimeoutError, b"next", 1)


@pytest.mark.parametrize("way", WAYS)
def test_a_body_that_was_lost_before_its_time_was_over_is_known_to_be_lost(way: str) -> None:
    """A log would blame a slow provider for a connection that broke."""

    async def scenario() -> type:
        async with meeting(way, raw(HALF, then="close")) as (session, _):
            response = await session.get("/")
            await asyncio.sleep(20)
            return type(await failure(response.read()))

    assert run_virtual(scenario()) is aiohttp.ClientPayloadError


@pytest.mark.parametrize("way", WAYS)
def test_a_connection_that_becomes_another_protocols_harms_no_later_attempt(way: str) -> None:
    """One odd answer, without a body to cut off, would stop the timer of all that are to come."""
    switched = raw(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n")

    async def scenario() -> tuple[int, float]:
        async with meeting(way, switched, hang()) as (session, _):
            response = await session.get("/", headers={"Connection": "upgrade", "Upgrade": "other"})
            await asyncio.sleep(5)
            begun = clock()
            assert isinstance(await failure(session.get("/")), TimeoutError)
            took = clock() - begun
            response.close()
            return response.status, took

    status, took = run_virtual(scenario())

    assert status == 101
    assert took == pytest.approx(10.0, abs=1e-5)


def test_an_upload_that_is_slow_to_stop_harms_no_later_attempt() -> None:
    """An answer without a body, whose connection was still in use, would stop the timer of all that are to come."""

    async def slow_to_stop() -> AsyncIterator[bytes]:
        try:
            yield b"x"
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(30)

    async def scenario() -> tuple[int, float]:
        script = raw(head_of(204), then="keep"), hang()
        async with Peer(*script, heads_only=True) as peer, session_of("guarded", peer.url, 10.0) as session:
            response = await session.post("/", data=slow_to_stop())
            await asyncio.sleep(5)
            begun = clock()
            async with asyncio.timeout(30):
                await failure(session.get("/"))
            took = clock() - begun
            await asyncio.sleep(60)
            return response.status, took

    status, took = run_virtual(scenario())

    assert status == 204
    assert took == pytest.approx(10.0, abs=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_events_come_until_the_time_of_the_stream_is_over(way: str) -> None:
    """A feed would be cut off early, or never."""

    async def scenario() -> tuple[int, type, float]:
        stream = drip(head_of(200, {"content-type": "text/event-stream"}), b"data: 1\n\n", every_s=1.0)
        async with meeting(way, stream, seconds=9.5) as (session, _):
            begun, seen = clock(), 0
            async with session.get("/") as response:
                try:
                    async for line in response.content:
                        seen += line.startswith(b"data")
                except TimeoutError as error:
                    return seen, type(error), clock() - begun
            raise AssertionError("the stream ended")

    seen, kind, took = run_virtual(scenario())

    assert (seen, kind) == (9, TimeoutError)
    assert took == pytest.approx(9.5, abs=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_a_later_answer_on_the_same_connection_has_a_time_of_its_own(way: str) -> None:
    """The timer of an answer that was read long ago would cut off the next one on its connection."""

    async def slowly(turn: Any) -> None:
        await turn.write(head_of(200, {"content-length": "2"}) + b"a")
        await asyncio.sleep(8)
        await turn.write(b"b")

    async def scenario() -> tuple[bytes, int, int]:
        async with meeting(way, slowly) as (session, peer):
            await asyncio.sleep(5)
            response = await session.get("/")
            body = await response.read()
            return body, peer.connections, cancelling()

    assert run_virtual(scenario()) == (b"ab", 1, 0)


@pytest.mark.parametrize("way", OURS)
@pytest.mark.parametrize(("seconds", "peeked_s"), [(3.0, 3.0), (10.0, 5.0)])
def test_an_errors_body_is_waited_for_no_longer_than_the_attempt_lasts(
    way: str, seconds: float, peeked_s: float
) -> None:
    """A status that says enough would be lost to a body that never comes; or its reader would hang."""
    half = head_of(500, {"content-length": "100"}) + b"half"

    async def scenario() -> tuple[int, float, type, float]:
        async with meeting(way, hang(half), seconds=seconds) as (session, _):
            begun = clock()
            response = await session.get("/", policy=Policy(deadline=seconds, max_attempts=1))
            came = clock() - begun
            return response.status, came, type(await failure(response.read())), clock() - begun

    status, came, kind, ended = run_virtual(scenario())

    assert (status, kind) == (500, TimeoutError)
    assert (came, ended) == pytest.approx((peeked_s, seconds), abs=1e-5)


@pytest.mark.parametrize("way", OURS)
def test_a_body_that_is_read_inside_the_attempt_is_given_up_in_time(way: str) -> None:
    """A call that reads the body itself would hang in it."""

    async def scenario() -> tuple[float, tuple[str, str], int]:
        async with Peer(answer(), hang(HALF)) as peer, session_of(way, peer.url, 10.0) as session:
            await session.get("/")
            begun = clock()
            ended = await failure_or_answer(session.get("/", policy=Policy(deadline=10.0, read_body=True)))
            known = report(ended)
            return clock() - begun, (known.reason, known.stop_reason.value), cancelling()

    took, known, left = run_virtual(scenario())

    assert took == pytest.approx(10.0, abs=1e-5)
    assert (known, left) == (("body_unreadable", "deadline"), 0)


async def failure_or_answer(coming: Awaitable[Any]) -> Any:
    """Await a call, and give what it ended in."""
    try:
        return await coming
    except Exception as error:  # noqa: BLE001 - looked at by the test
        return error


async def cancelled_by_its_caller(session: Any) -> tuple[type, int]:
    """Cancel the task that waits."""
    task = asyncio.ensure_future(session.get("/"))
    await asyncio.sleep(3)
    task.cancel()
    return type(await failure(task)), task.cancelling()


async def timed_out_around(session: Any) -> tuple[type, int]:
    """Give it less time than its session does."""
    try:
        async with asyncio.timeout(3):
            await session.get("/")
    except TimeoutError as error:
        return type(error), cancelling()
    raise AssertionError("it was not cut off")


async def timed_out_at_once(session: Any) -> tuple[type, int]:
    """Give it just the time that its session gives it, so that both timers ring in one turn of the loop."""
    try:
        async with asyncio.timeout_at(clock() + 10.0):
            await session.get("/")
    except TimeoutError:
        return TimeoutError, cancelling()
    raise AssertionError("it was not cut off")


async def waited_for(session: Any) -> tuple[type, int]:
    """Wait for it with asyncio's other timeout."""
    return type(await failure(asyncio.wait_for(session.get("/"), 3))), cancelling()


async def left_by_its_group(session: Any) -> tuple[type, int]:
    """Let another task of its group fail."""

    async def fail() -> None:
        await asyncio.sleep(3)
        raise LookupError

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            await session.get("/")
    except* LookupError:
        pass
    return LookupError, cancelling()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("cut", "ending"),
    [
        (cancelled_by_its_caller, (asyncio.CancelledError, 1)),
        (timed_out_around, (TimeoutError, 0)),
        (timed_out_at_once, (TimeoutError, 0)),
        (waited_for, (TimeoutError, 0)),
        (left_by_its_group, (LookupError, 0)),
    ],
)
def test_what_its_caller_cuts_off_is_his_to_hear_of(
    way: str, cut: Callable[[Any], Awaitable[tuple[type, int]]], ending: tuple[type, int]
) -> None:
    """A worker that is stopped would go on, or a timeout of the caller's own would never reach him."""

    async def scenario() -> tuple[tuple[type, int], str, int]:
        async with meeting(way, hang(), answer(200, b"after")) as (session, _):
            ended = await cut(session)
            await asyncio.sleep(20)
            async with asyncio.timeout(5), session.get("/") as response:
                return ended, await response.text(), cancelling()

    assert run_virtual(scenario()) == (ending, "after", 0)


@pytest.mark.parametrize(
    ("who", "ending"),
    [
        (("timer",), (True, 0)),
        (("caller",), (False, 1)),
        (("timer", "caller"), (False, 1)),
        (("caller", "timer"), (False, 1)),
        (("caller", "timer", "caller"), (False, 2)),
    ],
)
def test_a_cancellation_is_ours_only_where_nobody_else_cancelled_in_the_same_turn(
    who: tuple[str, ...], ending: tuple[bool, int]
) -> None:
    """A task that is told to stop just when an attempt's time is over would be told of a timeout, and try again."""

    async def scenario() -> tuple[bool, int]:
        line = Line(asyncio.get_running_loop(), 1000.0)
        timers: list[AttemptTimer] = []

        async def attempt() -> tuple[bool, int]:
            task = asyncio.current_task()
            assert task is not None
            timers.append(AttemptTimer(line, task, line.loop.time()))
            return timers[0].has_cut(await failure(asyncio.Event().wait())), task.cancelling()

        task = asyncio.ensure_future(attempt())
        await asyncio.sleep(0)
        for one in who:
            task.cancel() if one == "caller" else timers[0].ring()
        return await task

    assert run(scenario()) == ending


@pytest.mark.parametrize("way", WAYS)
def test_a_task_that_did_not_heed_a_cancellation_has_its_calls_cut_off_all_the_same(way: str) -> None:
    """A worker that finishes its job before it stops would be told that it was cancelled, and not that time ran out."""

    async def scenario() -> tuple[bool, int]:
        async with meeting(way, hang()) as (session, _):
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await failure(asyncio.sleep(1))
            return isinstance(await failure(session.get("/")), TimeoutError), task.cancelling()

    async def apart() -> tuple[bool, int]:
        return await asyncio.ensure_future(scenario())

    assert run_virtual(apart()) == (True, 1)


def test_a_cut_that_something_on_the_way_made_another_failure_of_is_taken_back() -> None:
    """The task would count as cancelled by its caller from then on, and its next task group would end in that."""

    async def scenario() -> tuple[bool, int]:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        timer = AttemptTimer(Line(loop, 1000.0), task, loop.time())
        timer.ring()
        await failure(asyncio.sleep(1))
        return timer.has_cut(OSError("swallowed")), task.cancelling()

    assert run(scenario()) == (False, 0)


def test_attempts_of_one_length_end_each_in_its_time_by_one_timer_of_the_loop() -> None:
    """Those behind the first would end with it, or wait for ever where one in front was answered."""

    async def scenario() -> tuple[list[tuple[str, float]], int]:
        async with Peer(hang()) as peer, session_of("bare", peer.url, 10.0) as session:
            begun = clock()

            async def attempt(number: int) -> tuple[str, float]:
                await asyncio.sleep(number)
                error = await failure(session.get(f"/{number}"))
                return type(error).__name__, clock() - begun

            calls = [asyncio.ensure_future(attempt(number)) for number in range(5)]
            await asyncio.sleep(5)
            alarms = sum(timer.when() >= begun + 10.0 for timer in waiting())
            calls[0].cancel()
            calls[2].cancel()
            return await asyncio.gather(*calls), alarms

    ended, alarms = run_virtual(scenario())

    late = "DeadlineExceededError"
    assert [kind for kind, _ in ended] == ["CancelledError", late, "CancelledError", late, late]
    assert [at for _, at in ended] == pytest.approx([5.0, 11.0, 5.0, 13.0, 14.0], abs=1e-4)
    assert alarms == 1


@pytest.mark.parametrize("way", WAYS)
def test_an_answer_that_another_task_reads_is_cut_off_there(way: str) -> None:
    """The task that had made the call long ago would be cancelled in the middle of other work."""

    async def scenario() -> tuple[type, float, int]:
        async with meeting(way, hang(HALF)) as (session, _):
            begun = clock()
            response = await session.get("/")
            reading = asyncio.ensure_future(failure(response.read()))
            await asyncio.sleep(20)
            assert reading.done()
            response.close()
            return type(await reading), clock() - begun, cancelling()

    kind, took, left = run_virtual(scenario())

    assert (kind, left) == (TimeoutError, 0)
    assert took == pytest.approx(20.0, abs=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_an_answer_that_is_dropped_unread_is_collected_when_its_connection_ends(way: str) -> None:
    """A service that looks at the status only would keep every answer until its time is over."""

    async def scenario() -> bool:
        async with meeting(way, raw(HALF, then="close")) as (session, peer):
            response = await session.get("/")
            gone, timers = ref(response), waiting()
            del response
            await until(lambda: peer.ended)
            await asyncio.sleep(0.01)
            gc.collect()
            assert len(timers) >= len(waiting())
            return gone() is None

    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always", ResourceWarning)
        assert run(scenario())


@pytest.mark.parametrize("end", ["read", "release", "close"])
@pytest.mark.parametrize("way", ["guarded", "bare"])
def test_an_answer_whose_connection_went_back_leaves_nothing_in_its_line(way: str, end: str) -> None:
    """Every call would be kept for five minutes: a leak of gigabytes in a busy service."""

    async def in_two_parts(turn: Any) -> None:
        await turn.write(head_of(200, {"content-length": "2"}) + b"a")
        await asyncio.sleep(0.01)
        await turn.write(b"b")

    async def scenario() -> tuple[int, int]:
        async with meeting(way, answer(), in_two_parts) as (session, _):
            ends = session._calls.reader.lines.of(10.0).ends
            await (await session.get("/")).read()
            response = await session.get("/")
            during = len(ends)
            ended = getattr(response, end)()
            if end == "read":
                await ended
            return during, len(ends)

    assert run(scenario()) == (1, 0)


@pytest.mark.parametrize("way", OURS)
def test_a_closed_session_leaves_nothing_in_the_loop(way: str) -> None:
    """A service that opens a session per job would fill the loop with timers of jobs long done."""

    async def scenario() -> list[asyncio.TimerHandle]:
        async with Peer(answer()) as peer:
            async with session_of(way, peer.url, 10.0) as session:
                for _ in range(2):
                    await (await session.get("/")).read()
            return waiting()

    assert run(scenario()) == []


def test_a_dropped_session_over_a_client_that_stays_leaves_nothing_in_the_loop() -> None:
    """A session per request over one shared client would leave 300 000 timers behind at a thousand a second."""

    async def scenario() -> int:
        async with Peer(answer()) as peer, aiohttp.ClientSession(peer.url) as client:
            await (await client.get("/")).read()
            before = len(waiting())
            for _ in range(20):
                await (await ResilientSession(client=client).get("/")).read()
            gc.collect()
            return len(waiting()) - before

    assert run(scenario()) == 0


def test_thousands_of_lengths_leave_no_more_timers_than_there_are_lines() -> None:
    """A caller that passes on what is left of its own time with every call would fill the loop with timers."""

    async def scenario() -> tuple[int, list[asyncio.TimerHandle]]:
        async with Peer(answer()) as peer:
            async with ResilientSession(peer.url, policy=Policy(deadline=0.01)) as session:
                for number in range(1000):
                    await (await session.get("/", policy=Policy(deadline=100.0 + number / 100))).read()
                most = len(waiting())
            return most, waiting()

    most, after = run(scenario())

    assert most <= 16 + 1  # aiohttp's own timer of connections kept alive
    assert after == []


def test_a_line_that_made_room_for_others_is_closed_with_the_session_too() -> None:
    """A known request keeps its line; its timer would outlive the session."""

    async def scenario() -> tuple[bool, bool, list[asyncio.TimerHandle]]:
        lines = Lines()
        first = lines.of(1.0)
        assert first is not None
        for number in range(16):
            lines.of(2.0 + number)
        first.watch(clock() + 100.0)
        was_waited_for = bool(waiting())
        known_still = lines.of(1.0) is first
        lines.close()
        return was_waited_for, known_still, waiting()

    assert run(scenario()) == (True, False, [])


def test_lines_that_are_all_in_use_make_no_room() -> None:
    """An attempt that is under way would lose its timer."""

    async def scenario() -> tuple[bool, bool]:
        lines = Lines()
        for number in range(16):
            line = lines.of(100.0 + number)
            assert line is not None
            line.watch(clock() + 100.0)
        refused, known = lines.of(1.0), lines.of(100.0)
        lines.close()
        return refused is None, known is not None

    assert run(scenario()) == (True, True)


@pytest.mark.parametrize("way", OURS)
def test_an_attempt_that_is_cut_off_leaves_its_task_as_it_was(way: str) -> None:
    """The second attempt, and whatever the task does afterwards, would be taken for cancelled."""

    async def scenario() -> tuple[list[str], str, int]:
        policy = Policy(deadline=60.0, attempt_timeout=10.0, backoff_base=0.0)
        async with (
            Peer(answer(), hang(), hang(), answer(200, b"third")) as peer,
            session_of(way, peer.url, 10.0) as session,
            asyncio.timeout(100),
        ):
            await (await session.get("/")).read()
            response = await session.get("/", policy=policy)
            return [each.reason for each in report(response).attempts], await response.text(), cancelling()

    assert run_virtual(scenario()) == (["timeout", "timeout", "ok"], "third", 0)


class Asking(aiohttp.ThreadedResolver):
    """Asks a service for the address, in the same task."""

    def __init__(self, ask: Callable[[], Awaitable[object]]) -> None:
        super().__init__()
        self._ask = ask

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> Any:
        del host
        await asyncio.sleep(1)
        with suppress(DeadlineExceededError):
            await self._ask()
        return await super().resolve("127.0.0.1", port, family)


@pytest.mark.parametrize(("seconds", "ending", "ended_s"), [(4.0, "200", 5.0), (10.0, "DeadlineExceededError", 10.0)])
def test_a_call_inside_another_of_the_same_task_ends_for_itself(seconds: float, ending: str, ended_s: float) -> None:
    """A resolver that asks a service for addresses would have its own timeout told of the outer call, or none."""

    async def scenario() -> tuple[str, float, int]:
        async with Peer(hang()) as silent, Peer(answer(200, b"outer")) as peer:
            policy = Policy(deadline=seconds)
            connector = aiohttp.TCPConnector(resolver=Asking(lambda: session.get(silent.url, policy=policy)))
            async with session_of("bare", None, 10.0, connector=connector) as session:
                begun = clock()
                ended = await failure_or_answer(session.get(f"http://bank.test:{peer.port}/"))
                kind = type(ended).__name__ if isinstance(ended, Exception) else str(ended.status)
                return kind, clock() - begun, cancelling()

    kind, took, left = run_virtual(scenario())

    assert (kind, left) == (ending, 0)
    assert took == pytest.approx(ended_s, abs=0.5)


async def both_cuts() -> tuple[list[str], int]:
    """Let one attempt be cut before its head, and one in its body."""
    async with meeting("bare", hang(), hang(HALF), seconds=0.15) as (session, _):
        before = await failure(session.get("/"))
        async with session.get("/") as response:
            inside = await failure(response.read())
        return [type(before).__name__, type(inside).__name__], cancelling()


def test_uvloop_keeps_an_attempts_time_too() -> None:
    """Services run on it, and its clock has a coarser step."""
    uvloop = pytest.importorskip("uvloop")

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(both_cuts()) == (["DeadlineExceededError", "TimeoutError"], 0)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in Python 3.12")
def test_a_task_that_begins_at_once_is_cut_off_like_any_other() -> None:
    """A service that sets the eager task factory would have calls that never end."""

    async def scenario() -> tuple[list[str], int]:
        asyncio.get_running_loop().set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 - not in 3.11
        return await asyncio.create_task(both_cuts())

    assert asyncio.run(scenario()) == (["DeadlineExceededError", "TimeoutError"], 0)
