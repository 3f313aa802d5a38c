"""A service that stops waits for its calls, and ends those that take too long."""

import asyncio
from typing import Any

from tests.support import run_virtual

from holdfast.engine.in_flight import CANCEL_WAIT_S, InFlight


def clock() -> float:
    """Read the loop's clock."""
    return asyncio.get_running_loop().time()


async def call(calls: InFlight, name: str, seconds: float, *, stubborn: bool = False) -> str:
    """Make a call that takes so long."""
    calls.begin(name, asyncio.current_task())
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        if not stubborn:
            return "cancelled"
        await asyncio.sleep(seconds)
    finally:
        calls.end(name)
    return "ended"


def drained(grace_s: float, *seconds: float, **options: Any) -> tuple[list[str], float]:
    """Drain calls of these lengths; give what became of each, and how long the draining took."""

    async def scenario() -> tuple[list[str], float]:
        calls = InFlight()
        tasks = [asyncio.ensure_future(call(calls, str(n), one, **options)) for n, one in enumerate(seconds)]
        await asyncio.sleep(0)
        begun = clock()
        await calls.drain(grace_s)
        took = clock() - begun
        return list(await asyncio.gather(*tasks)), took

    return run_virtual(scenario())


def test_with_no_calls_nothing_is_waited_for() -> None:
    """Each deployment would take the whole grace period."""
    assert drained(10.0) == ([], 0.0)


def test_calls_that_end_in_time_are_waited_for_and_no_longer() -> None:
    """Payments about to succeed would be cut off."""
    assert drained(10.0, 1.0, 4.0) == (["ended", "ended"], 4.0)


def test_calls_that_do_not_are_cancelled() -> None:
    """A deployment would wait five minutes for a bank that does not answer."""
    assert drained(10.0, 1.0, 300.0) == (["ended", "cancelled"], 10.0)


def test_without_grace_all_are_cancelled_at_once() -> None:
    """A user who wants to stop now could not."""
    assert drained(0.0, 1.0, 300.0) == (["cancelled", "cancelled"], 0.0)


def test_a_task_that_will_not_end_is_not_waited_for_for_ever() -> None:
    """One careless `except CancelledError` would keep the service from stopping."""
    assert drained(10.0, 300.0, stubborn=True) == (["ended"], 10.0 + CANCEL_WAIT_S)


def test_two_calls_of_one_task_are_two() -> None:
    """A call made inside of another, such as for a token, would hide the outer one when it ends."""

    async def scenario() -> float:
        calls = InFlight()

        async def nested() -> None:
            calls.begin("outer", asyncio.current_task())
            await call(calls, "inner", 1.0)
            await asyncio.sleep(2.0)
            calls.end("outer")

        task = asyncio.ensure_future(nested())
        await asyncio.sleep(0)
        begun = clock()
        await calls.drain(10.0)
        await task
        return clock() - begun

    assert run_virtual(scenario()) == 3.0


def test_a_drain_that_is_cut_short_cancels_the_calls() -> None:
    """A forced stop would leave calls running on closed sessions."""

    async def scenario() -> str:
        calls = InFlight()
        task = asyncio.ensure_future(call(calls, "1", 300.0))
        draining = asyncio.ensure_future(calls.drain(100.0))
        await asyncio.sleep(1.0)
        draining.cancel()
        return await task

    assert run_virtual(scenario()) == "cancelled"
