"""What lets an attempt through, makes it wait or turns it away: real asyncio on a clock that jumps."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from math import inf
from typing import Any, Final
from weakref import ref

import pytest
from multidict import CIMultiDict
from tests.support import failure, run_virtual

from holdfast import CircuitBreaker, Effect, LocalLimits, Outcome, Policy, RateLimit, RetryBudget, StopReason
from holdfast.core.breaker import CircuitState
from holdfast.core.classify import classify, unreadable_success
from holdfast.engine.guard import OriginGuard
from holdfast.engine.limits import MOST_ORIGINS, LoopLimits, limits_of_loop
from holdfast.engine.line import GateLine
from holdfast.protocols import Answer, Fault, Refused
from holdfast.providers import GENERIC
from holdfast.report import Classification

ORIGIN: Final = "https://api.test"
PLAIN: Final = Policy(retry_budget=None, breaker=None, rate_gate=False)
FAR: Final = 1e6
LOST: Final = Fault(Outcome.RETRYABLE, Effect.IN_DOUBT, "disconnected", ConnectionError())
UNSENT: Final = Fault(Outcome.RETRYABLE, Effect.NONE, "connect", ConnectionError(), bytes_sent=False)
PAUSE: Final = {"Retry-After": "10"}


def now() -> float:
    """Read the loop's clock."""
    return asyncio.get_running_loop().time()


def limits(draw: float = 0.0) -> LocalLimits:
    """Limits without chance."""
    return LocalLimits(lambda: draw)


async def enter(guard: OriginGuard, until: float = FAR, *, again: bool = False, safe: bool = False) -> int | Refused:
    """Ask to be let in, as the engine does."""
    at_once = guard.try_enter(now(), until, again, safe)
    return await guard.enter(now(), until, again=again, safe=safe) if at_once is None else at_once


async def let_in(guard: OriginGuard, until: float = FAR, *, safe: bool = False) -> int:
    """Enter, where nothing refuses."""
    entered = await enter(guard, until, safe=safe)
    assert not isinstance(entered, Refused), entered
    return entered


def verdict_on(ended: Answer | Fault) -> Classification:
    """Judge as the engine does."""
    if isinstance(ended, Fault):
        return Classification(outcome=ended.outcome, effect=ended.effect, reason=ended.reason)
    return classify(ended.status, headers=ended.headers)


def leave(guard: OriginGuard, ticket: int, status: int = 200, headers: dict[str, str] | None = None) -> str | None:
    """Come back with an answer."""
    answer = Answer(status, CIMultiDict(headers or {}))
    return guard.leave(ticket, answer, verdict_on(answer), sent_at=now(), now=now())


async def go(guard: OriginGuard, status: int = 200, headers: dict[str, str] | None = None) -> None:
    """Make one attempt that ends at once."""
    leave(guard, await let_in(guard), status, headers)


async def begun(coming: Awaitable[Any]) -> "asyncio.Task[Any]":
    """Begin something, and let it come to its first wait."""
    task = asyncio.ensure_future(coming)
    await asyncio.sleep(0)
    return task


async def open_circuit(guard: OriginGuard) -> None:
    """Fail often enough."""
    for _ in range(10):
        await go(guard, 500)


BREAKER: Final = Policy(
    retry_budget=None, breaker=CircuitBreaker(open_jitter=0.0, ramp_s=0.0, probe_s=60.0), rate_gate=False
)


def test_an_open_circuit_refuses_at_once_and_says_when_to_come_back() -> None:
    """Each call to a provider that is down would wait for its timeout, and keep it down."""

    async def scenario() -> None:
        guard = limits().of(ORIGIN, BREAKER)
        await open_circuit(guard)
        await asyncio.sleep(2.0)

        refused = await enter(guard)

        assert refused == Refused(StopReason.CIRCUIT_OPEN, 3.0)
        assert guard.refuses()

    run_virtual(scenario())


@pytest.mark.parametrize("probes", [1, 3])
def test_exactly_as_many_probes_go_through_as_are_configured(probes: int) -> None:
    """Every caller who waited would try the provider at the moment it comes back."""

    async def scenario() -> None:
        policy = Policy(breaker=CircuitBreaker(open_jitter=0.0, probes=probes), rate_gate=False)
        guard = limits().of(ORIGIN, policy)
        await open_circuit(guard)
        await asyncio.sleep(5.0)

        entered = await asyncio.gather(*(enter(guard) for _ in range(100)))

        refused = [each for each in entered if isinstance(each, Refused)]
        assert len(refused) == 100 - probes
        assert set(refused) == {Refused(StopReason.CIRCUIT_OPEN, None)}

    run_virtual(scenario())


def test_a_probe_that_was_cancelled_makes_room_for_another() -> None:
    """One impatient caller would keep the circuit shut."""

    async def scenario() -> None:
        guard = limits().of(ORIGIN, BREAKER)
        await open_circuit(guard)
        await asyncio.sleep(5.0)
        probe = await let_in(guard)

        guard.abandon(probe)

        assert not guard.refuses()
        assert not isinstance(await enter(guard), Refused)

    run_virtual(scenario())


def test_each_change_of_the_circuit_is_news_once() -> None:
    """Operations would read that a circuit opened and never that it closed, or read it with every call."""

    async def scenario() -> None:
        guard = limits().of(ORIGIN, BREAKER)
        tickets = [await let_in(guard) for _ in range(11)]
        news = [guard.take_news()]
        news += [leave(guard, ticket, 500) for ticket in tickets[8:]]
        news += [leave(guard, ticket, 500) for ticket in tickets[:8]]
        await asyncio.sleep(5.0)
        probe = await let_in(guard)
        news += [guard.take_news(), leave(guard, probe), guard.take_news()]
        news += [leave(guard, await let_in(guard))]

        assert news == [*[None] * 10, "open", None, "half_open", "closed", None, None]

    run_virtual(scenario())


@pytest.mark.parametrize(
    "ended",
    [
        Answer(400, {}),
        Answer(404, {}),
        Answer(429, {}),
        Fault(Outcome.RETRYABLE, Effect.NONE, "pool_wait", TimeoutError(), bytes_sent=False),
        Fault(Outcome.PERMANENT_FAILURE, Effect.NONE, "local_error", ValueError()),
    ],
    ids=lambda ended: getattr(ended, "reason", None) or str(ended.status),
)
def test_what_is_not_the_origins_failure_never_opens_the_circuit(ended: Answer | Fault) -> None:
    """A thousand declined cards, or a pool of ours that is too small, would cut everybody off."""

    async def scenario() -> None:
        guard = limits().of(ORIGIN, BREAKER)

        for _ in range(50):
            guard.leave(await let_in(guard), ended, verdict_on(ended), sent_at=now(), now=now())

        assert not guard.refuses()

    run_virtual(scenario())


@pytest.mark.parametrize(
    "ended", [Answer(500, {}), Answer(503, {}), LOST, UNSENT], ids=["500", "503", "lost", "unsent"]
)
def test_what_is_the_origins_failure_opens_the_circuit(ended: Answer | Fault) -> None:
    """The circuit would watch a provider fail."""

    async def scenario() -> None:
        guard = limits().of(ORIGIN, BREAKER)

        for _ in range(10):
            guard.leave(await let_in(guard), ended, verdict_on(ended), sent_at=now(), now=now())

        assert guard.refuses()

    run_virtual(scenario())


def test_successes_whose_body_is_lost_open_the_circuit() -> None:
    """A proxy that cuts every answer short would be asked for more of them for ever."""

    async def scenario() -> None:
        guard = limits().of(ORIGIN, BREAKER)
        lost = Answer(200, {}, unreadable=True)

        for _ in range(10):
            verdict = unreadable_success(200, "POST", keyed=False, provider=GENERIC)
            guard.leave(await let_in(guard), lost, verdict, sent_at=now(), now=now())

        assert guard.refuses()

    run_virtual(scenario())


def test_a_503_with_a_wait_keeps_the_circuit_open_for_it() -> None:
    """The probe would come before the time that the provider asked for, and be refused."""

    async def scenario() -> None:
        known = limits()
        guard = known.of(ORIGIN, BREAKER)

        for _ in range(10):
            await go(guard, 503, {"Retry-After": "30"})

        circuit = known.state(ORIGIN, BREAKER).circuit
        assert circuit is not None
        assert (circuit.state, circuit.retry_after_s) == (CircuitState.OPEN, 30.0)

    run_virtual(scenario())


# The rate gate

GATED: Final = Policy(retry_budget=None, breaker=None)


def test_a_429_of_one_call_holds_back_all_others_in_order() -> None:
    """Those who wait would come out as a herd, or the last to come would go first."""

    async def scenario() -> None:
        guard = limits().of(ORIGIN, GATED)
        gone: list[tuple[int, float]] = []

        async def call(number: int) -> None:
            await let_in(guard)
            gone.append((number, now()))

        await go(guard, 429, PAUSE)
        await asyncio.gather(*(call(number) for number in range(4)))

        assert [number for number, _ in gone] == [0, 1, 2, 3]
        assert [at for _, at in gone] == pytest.approx([10.0, 10.1, 10.2, 10.3], abs=1e-4)

    run_virtual(scenario())


def test_a_call_whose_turn_comes_too_late_is_refused_at_once() -> None:
    """The caller would wait for nothing, and learn only at the deadline that nothing was sent."""

    async def scenario() -> None:
        guard = limits().of(ORIGIN, GATED)
        await go(guard, 429, PAUSE)
        waiting = [await begun(enter(guard)) for _ in range(2)]

        refused = await enter(guard, until=10.15)

        assert refused == Refused(StopReason.RETRY_AFTER_TOO_LONG, 10.2)
        assert now() == 0.0
        assert await asyncio.gather(*waiting) == [-1, -1]

    run_virtual(scenario())


def test_those_in_line_are_refused_when_the_wait_grows_beyond_their_deadline() -> None:
    """A call would be sent after its deadline, or would keep those behind it from theirs."""

    async def scenario() -> None:
        guard = limits().of(ORIGIN, GATED)
        early = await let_in(guard)
        await go(guard, 429, PAUSE)
        patient, impatient = await begun(enter(guard)), await begun(enter(guard, until=20.0))

        leave(guard, early, 429, {"Retry-After": "60"})
        first = await impatient
        at = now()
        await patient

        assert isinstance(first, Refused)
        assert first.reason is StopReason.RETRY_AFTER_TOO_LONG
        assert at <= 20.0
        assert now() >= 60.0

    run_virtual(scenario())


def test_the_first_in_line_is_refused_at_once_when_the_gate_closes_for_longer() -> None:
    """A caller with ten seconds left would sit them out in vain."""

    async def scenario() -> None:
        guard = limits().of(ORIGIN, GATED)
        early = await let_in(guard)
        await go(guard, 429, PAUSE)
        waiting = await begun(enter(guard, until=20.0))

        leave(guard, early, 429, {"Retry-After": "60"})

        assert await waiting == Refused(StopReason.RETRY_AFTER_TOO_LONG, 60.0)
        assert now() == 0.0

    run_virtual(scenario())


def test_a_cancelled_call_leaves_the_line_to_the_next() -> None:
    """The line would wait for a caller who has left."""

    async def scenario() -> None:
        guard = limits().of(ORIGIN, GATED)
        await go(guard, 429, PAUSE)
        first, second, third = [await begun(enter(guard)) for _ in range(3)]

        first.cancel()
        second.cancel()
        await third

        assert now() == pytest.approx(10.0, abs=1e-4)
        assert (first.cancelled(), second.cancelled(), guard.state().waiting) == (True, True, 0)

    run_virtual(scenario())


def test_a_turn_that_was_given_to_a_cancelled_call_goes_to_the_next() -> None:
    """Each caller who leaves at the moment of his turn would cost the origin's rate a call."""

    async def scenario() -> None:
        guard = limits().of(ORIGIN, GATED)
        await go(guard, 429, PAUSE)
        first, second = [await begun(enter(guard)) for _ in range(2)]
        # In the same turn of the loop as the timer that gives the turn, and before the task has seen it.
        asyncio.get_running_loop().call_at(10.0 + 5e-10, first.cancel)

        await second

        assert first.cancelled()
        assert now() == pytest.approx(10.0, abs=1e-3)

    run_virtual(scenario())


def test_a_newcomer_does_not_overtake_the_line() -> None:
    """Whoever asks at the right moment would always go first, and the patient never."""

    async def scenario() -> None:
        guard = limits().of(ORIGIN, GATED)
        gone: list[str] = []

        async def call(name: str) -> None:
            await let_in(guard)
            gone.append(name)

        await go(guard, 429, PAUSE)
        patient = await begun(call("patient"))
        late: list[asyncio.Task[None]] = []
        asyncio.get_running_loop().call_at(10.0, lambda: late.append(asyncio.ensure_future(call("newcomer"))))
        await patient
        await asyncio.gather(*late)

        assert gone == ["patient", "newcomer"]

    run_virtual(scenario())


@pytest.mark.parametrize("status", [200, 404, 403])
@pytest.mark.parametrize(
    "said",
    [
        {"RateLimit": '"burst";r=0;t=7'},
        {"RateLimit-Remaining": "0", "RateLimit-Reset": "7"},
        {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "7"},
        {"X-Rate-Limit-Remaining": "0", "X-Rate-Limit-Reset": "7"},
    ],
    ids=lambda said: next(iter(said)),
)
def test_an_answer_that_says_nothing_is_left_closes_the_gate(status: int, said: dict[str, str]) -> None:
    """The 429 that it foretells would have to be earned first."""

    async def scenario() -> None:
        guard = limits().of(ORIGIN, GATED)
        await go(guard, status, said)

        await let_in(guard)

        assert now() == pytest.approx(7.0, abs=1e-4)

    run_virtual(scenario())


def test_a_gate_that_is_turned_off_holds_nobody_back() -> None:
    """A policy without a gate would wait at one."""

    async def scenario() -> None:
        guard = limits().of(ORIGIN, PLAIN)
        await go(guard, 429, PAUSE)

        await go(guard)

        assert now() == 0.0

    run_virtual(scenario())


def test_a_failure_slows_the_pace_that_a_429_has_set() -> None:
    """An origin that sheds by failing would be asked faster and faster."""

    async def scenario() -> None:
        guard = limits().of(ORIGIN, GATED)
        for _ in range(100):
            await go(guard)
        await go(guard, 429, PAUSE)
        before = guard.state().gate.pace
        await asyncio.sleep(11.0)

        await go(guard, 500)

        after = guard.state().gate.pace
        assert before is not None
        assert after is not None
        assert after <= before / 2

    run_virtual(scenario())


def test_a_rate_of_our_own_spaces_the_calls_and_reads_apart_from_writes() -> None:
    """A provider's published limit would be found out by being refused."""

    async def scenario() -> None:
        rate = RateLimit(per_second=1.0, reads_apart=True)
        guard = limits().of(ORIGIN, Policy(retry_budget=None, breaker=None, rate_limit=rate))
        gone: list[tuple[str, float]] = []

        async def call(name: str, *, safe: bool) -> None:
            await let_in(guard, safe=safe)
            gone.append((name, now()))

        await asyncio.gather(
            *(call("write", safe=False) for _ in range(3)),
            *(call("read", safe=True) for _ in range(2)),
        )

        assert sorted(at for name, at in gone if name == "write") == pytest.approx([0.0, 1.0, 2.0], abs=1e-4)
        assert sorted(at for name, at in gone if name == "read") == pytest.approx([0.0, 1.0], abs=1e-4)

    run_virtual(scenario())


def test_without_reads_apart_all_calls_share_one_rate() -> None:
    """Twice the published rate would be sent."""

    async def scenario() -> None:
        guard = limits().of(ORIGIN, Policy(retry_budget=None, breaker=None, rate_limit=RateLimit(per_second=1.0)))

        await let_in(guard, safe=True)
        await let_in(guard, safe=False)

        assert now() == pytest.approx(1.0, abs=1e-4)

    run_virtual(scenario())


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_turn_at_our_own_rate_is_given_back_when_the_origins_gate_does_not_open(*, cancelled: bool) -> None:
    """Calls that were never sent would use up the rate of those that could be."""

    async def scenario() -> None:
        known = limits()
        policy = Policy(retry_budget=None, breaker=None, rate_limit=RateLimit(per_second=0.001), max_concurrency=1)
        await go(known.of(ORIGIN, GATED), 429, PAUSE)
        guard = known.of(ORIGIN, policy)

        if cancelled:
            waiting = await begun(enter(guard))
            waiting.cancel()
            await asyncio.wait([waiting])
        else:
            assert await enter(guard, until=5.0) == Refused(StopReason.RETRY_AFTER_TOO_LONG, 10.0)
        await let_in(guard)

        assert now() == pytest.approx(10.0, abs=1e-4)

    run_virtual(scenario())


def test_who_finds_in_line_that_the_pace_is_too_slow_is_told_how_long_the_line_is() -> None:
    """A caller would be told to come back at once, and stand at the end of the same line."""

    async def scenario() -> None:
        guard = limits().of(ORIGIN, GATED)
        early = [await let_in(guard) for _ in range(2)]
        leave(guard, early.pop(), 429, {"Retry-After": "1"})
        first, *patient, impatient = [await begun(enter(guard, until=until)) for until in (FAR, FAR, FAR, 1.35)]
        await asyncio.sleep(1.05)

        leave(guard, await first, 500)
        refused = await impatient

        assert isinstance(refused, Refused)
        assert refused.retry_after_s is not None
        assert refused.retry_after_s == pytest.approx(1.15, abs=1e-3)  # two gaps of 0.7 s after 1.1
        assert now() == pytest.approx(1.35, abs=1e-6)
        await asyncio.wait(patient)

    run_virtual(scenario())


def test_a_line_that_a_busy_event_loop_kept_waiting_still_goes_one_by_one() -> None:
    """A second's work in the service would let a whole line out in one instant."""

    async def scenario() -> None:
        guard = limits().of(ORIGIN, GATED)
        await go(guard, 429, PAUSE)
        waiting = [await begun(enter(guard)) for _ in range(4)]
        loop: Any = asyncio.get_running_loop()

        loop._jumping.now += 100.0
        await waiting[0]
        await asyncio.sleep(0.05)

        assert [each.done() for each in waiting] == [True, False, False, False]
        await asyncio.wait(waiting)

    run_virtual(scenario())


def test_successes_win_back_the_pace_that_a_429_has_cut() -> None:
    """One refusal would slow a service down for good."""

    async def scenario() -> None:
        guard = limits().of(ORIGIN, GATED)
        for _ in range(100):
            await go(guard)
        await go(guard, 429, PAUSE)
        before = guard.state().gate.pace

        await go(guard, 200)

        after = guard.state().gate.pace
        assert before is not None
        assert after is not None
        assert after > before

    run_virtual(scenario())


BOTH: Final = Policy(
    retry_budget=None, breaker=None, max_concurrency=2, rate_limit=RateLimit(per_second=1.0, reads_apart=True)
)


def test_who_waits_for_a_turn_at_our_own_rate_holds_no_place() -> None:
    """A hundred payments that wait for their turn would keep every read from going, though reads have a rate apart."""

    async def scenario() -> None:
        guard = limits().of(ORIGIN, BOTH)
        leave(guard, await let_in(guard))
        writes = [await begun(enter(guard)) for _ in range(20)]
        bulkhead = guard.state().bulkhead

        leave(guard, await let_in(guard, safe=True))

        assert bulkhead is not None
        assert bulkhead.in_flight == 0
        assert now() == 0.0
        for write in writes:
            write.cancel()
        await asyncio.wait(writes)

    run_virtual(scenario())


def test_who_waits_for_a_place_has_paid_for_no_turn() -> None:
    """Each wait for a place would cost the rate a call that was never sent."""

    async def scenario() -> None:
        guard = limits().of(ORIGIN, BOTH)
        reads = [await let_in(guard, safe=True), await let_in(guard, safe=True)]
        at = now()
        write = await begun(enter(guard))
        await asyncio.sleep(0.5)

        leave(guard, reads[0])
        leave(guard, await write)
        gone = now() - at
        leave(guard, await let_in(guard))

        assert (gone, now() - at) == pytest.approx((0.5, 1.5), abs=1e-4)
        leave(guard, reads[1])

    run_virtual(scenario())


def test_what_is_to_be_waited_for_or_told_is_not_taken_at_once() -> None:
    """The caller would have a turn and a place, and ask for them once more."""

    async def scenario() -> None:
        known = limits()
        both = known.of(ORIGIN, Policy(max_concurrency=1, rate_limit=RateLimit(per_second=1.0)))
        at_once = [both.try_enter(now(), FAR, again=False, safe=False) for _ in range(2)]
        leave(both, at_once[0] or 0)
        at_once.append(both.try_enter(now(), FAR, again=False, safe=False))
        await asyncio.sleep(1.0)
        await go(known.of(ORIGIN, GATED), 429, PAUSE)
        at_once.append(both.try_enter(now(), FAR, again=False, safe=False))
        await asyncio.sleep(10.0)
        known.open_circuit(ORIGIN)
        at_once.append(both.try_enter(now(), FAR, again=False, safe=False))
        known.close_circuit(ORIGIN)
        at_once.append(both.try_enter(now(), FAR, again=False, safe=False))
        bulkhead = both.state().bulkhead

        assert [ticket is not None for ticket in at_once] == [True, False, False, False, False, False]
        assert bulkhead is not None
        assert bulkhead.in_flight == 0
        leave(both, await let_in(both, until=now() + 0.01))

    run_virtual(scenario())


# The bulkhead

ONE: Final = Policy(retry_budget=None, breaker=None, max_concurrency=1)


def test_no_more_attempts_are_in_flight_than_allowed_and_the_rest_wait_in_order() -> None:
    """A slow provider would be sent everything at once, and the last to ask be served first."""

    async def scenario() -> None:
        guard = limits().of(ORIGIN, ONE)
        gone: list[tuple[int, float]] = []

        async def call(number: int) -> None:
            ticket = await let_in(guard)
            gone.append((number, now()))
            await asyncio.sleep(1.0)
            leave(guard, ticket)

        await asyncio.gather(*(call(number) for number in range(4)))

        bulkhead = guard.state().bulkhead
        assert gone == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.0)]
        assert bulkhead is not None
        assert (bulkhead.in_flight, bulkhead.waiting, bulkhead.limit) == (0, 0, 1)

    run_virtual(scenario())


def test_waiting_for_a_place_ends_at_the_deadline() -> None:
    """A call would outlive its deadline in a line."""

    async def scenario() -> None:
        guard = limits().of(ORIGIN, ONE)
        ticket = await let_in(guard)

        refused = await enter(guard, until=3.0)

        assert (refused, now()) == (Refused(StopReason.DEADLINE, None), 3.0)
        leave(guard, ticket)
        assert not isinstance(await enter(guard), Refused)

    run_virtual(scenario())


def test_who_would_wait_at_a_closed_gate_too_long_does_not_stand_in_line_for_a_place() -> None:
    """The advised wait is known, and the caller would learn it at his deadline."""

    async def scenario() -> None:
        known = limits()
        guard = known.of(ORIGIN, ONE)
        await let_in(guard)
        await go(known.of(ORIGIN, GATED), 429, PAUSE)

        refused = await enter(guard, until=5.0)

        assert (refused, now()) == (Refused(StopReason.RETRY_AFTER_TOO_LONG, 10.0), 0.0)

    run_virtual(scenario())


def _leaves(guard: OriginGuard, ticket: int, _: "asyncio.Task[Any]") -> None:
    leave(guard, ticket)


def _leaves_then_cancels(guard: OriginGuard, ticket: int, waiting: "asyncio.Task[Any]") -> None:
    leave(guard, ticket)
    waiting.cancel()


def _cancels_then_leaves(guard: OriginGuard, ticket: int, waiting: "asyncio.Task[Any]") -> None:
    waiting.cancel()
    leave(guard, ticket)


@pytest.mark.parametrize("act", [_leaves, _leaves_then_cancels, _cancels_then_leaves])
def test_a_place_is_never_lost_nor_given_twice(
    act: Callable[[OriginGuard, int, "asyncio.Task[Any]"], None],
) -> None:
    """A provider would be called less and less until nobody gets through, or by more than it bears."""

    async def scenario() -> None:
        guard = limits().of(ORIGIN, ONE)
        ticket = await let_in(guard)
        first, second = [await begun(enter(guard)) for _ in range(2)]

        act(guard, ticket, first)
        await asyncio.wait([first])
        if not first.cancelled():
            leave(guard, first.result())
        leave(guard, await second)

        bulkhead = guard.state().bulkhead
        assert bulkhead is not None
        assert (bulkhead.in_flight, bulkhead.waiting) == (0, 0)

    run_virtual(scenario())


def test_a_circuit_that_opens_while_calls_wait_gives_everything_back() -> None:
    """Those who were refused would keep their places and turns, and nobody would get through once it closes."""

    async def scenario() -> None:
        policy = Policy(retry_budget=None, breaker=BREAKER.breaker, max_concurrency=1)
        known = limits()
        guard = known.of(ORIGIN, policy)
        ticket = await let_in(guard)
        waiting = [await begun(enter(guard)) for _ in range(3)]

        known.open_circuit(ORIGIN)
        leave(guard, ticket)
        refused = await asyncio.gather(*waiting)
        known.release_circuit(ORIGIN)

        bulkhead = guard.state().bulkhead
        assert refused == [Refused(StopReason.CIRCUIT_OPEN, None)] * 3
        assert bulkhead is not None
        assert (bulkhead.in_flight, bulkhead.waiting) == (0, 0)
        assert not isinstance(await enter(guard), Refused)

    run_virtual(scenario())


def test_an_attempt_that_is_abandoned_frees_its_place() -> None:
    """Each cancelled call would take a place with it."""

    async def scenario() -> None:
        guard = limits().of(ORIGIN, ONE)

        guard.abandon(await let_in(guard))

        assert not isinstance(await enter(guard, until=1.0), Refused)

    run_virtual(scenario())


# The retry budget


def test_calls_earn_retries_and_each_kind_has_its_price() -> None:
    """An outage would be multiplied by the number of attempts."""

    async def scenario() -> None:
        budget = RetryBudget(burst=2.0, per_second=0.0, cost_throttled=0.0, cost_unsent=0.5)
        guard = limits().of(ORIGIN, Policy(retry_budget=budget, breaker=None))

        taken = [guard.take_retry(each) for each in (Answer(503, {}), Answer(429, {}), UNSENT, UNSENT, LOST)]
        guard.give_back_retry(Answer(503, {}))
        taken.append(guard.take_retry(LOST))
        for _ in range(10):
            await go(guard)
        taken.append(guard.take_retry(LOST))
        await enter(guard, again=True)
        state = guard.state().budget

        assert taken == [True, True, True, True, False, True, True]
        assert state is not None
        assert state.tokens == pytest.approx(0.0)

    run_virtual(scenario())


def test_where_no_gate_paces_it_a_retry_after_a_429_costs_what_others_cost() -> None:
    """Without gate and price nothing would hold back those who were told that it is too much."""

    async def scenario() -> None:
        policy = Policy(retry_budget=RetryBudget(burst=1.0, per_second=0.0), breaker=None, rate_gate=False)
        guard = limits().of(ORIGIN, policy)

        taken = [guard.take_retry(Answer(429, {})) for _ in range(2)]

        assert taken == [True, False]

    run_virtual(scenario())


def test_a_policy_without_limits_has_none() -> None:
    """Who turns a protection off would still pay for it."""

    async def scenario() -> None:
        guard = limits().of(ORIGIN, PLAIN)

        for _ in range(30):
            await go(guard, 500)
        state = guard.state()

        assert guard.take_retry(LOST)
        guard.give_back_retry(LOST)
        assert not guard.refuses()
        assert (state.circuit, state.budget, state.bulkhead, state.waiting) == (None, None, None, 0)

    run_virtual(scenario())


# Who shares what


def test_equal_policies_share_their_state_and_others_do_not() -> None:
    """Two sessions of one process would each have to find out that the provider is down."""

    async def scenario() -> None:
        known = limits()
        await open_circuit(known.of(ORIGIN, BREAKER))

        same = Policy(breaker=CircuitBreaker(open_jitter=0.0, ramp_s=0.0, probe_s=60.0), max_attempts=9)
        assert known.of(ORIGIN, same).refuses()
        assert not known.of("https://other.test", BREAKER).refuses()
        assert not known.of(ORIGIN, Policy()).refuses()
        assert not limits().of(ORIGIN, BREAKER).refuses()
        assert set(known.origins()) == {ORIGIN, "https://other.test"}

    run_virtual(scenario())


def test_a_429_under_one_policy_holds_back_calls_under_every_other() -> None:
    """The origin counts our calls, not our policies."""

    async def scenario() -> None:
        known = limits()
        await go(known.of(ORIGIN, Policy(rate_limit=RateLimit(per_second=100.0))), 429, PAUSE)

        refused = await enter(known.of(ORIGIN, ONE), until=5.0)

        assert refused == Refused(StopReason.RETRY_AFTER_TOO_LONG, 10.0)

    run_virtual(scenario())


def test_a_circuit_can_be_held_open_and_closed_by_hand() -> None:
    """Operations could not take a provider out before it is down, nor overrule a circuit that errs."""

    async def scenario() -> None:
        known = limits()
        guard = known.of(ORIGIN, BREAKER)

        known.open_circuit(ORIGIN)
        by_hand = [guard.refuses(), known.of(ORIGIN, Policy()).refuses()]
        known.close_circuit(ORIGIN)
        await open_circuit(guard)
        by_hand += [guard.refuses()]
        known.release_circuit(ORIGIN)
        known.release_circuit("https://unknown.test")
        await open_circuit(guard)
        by_hand += [guard.refuses()]

        assert by_hand == [True, True, False, True]

    run_virtual(scenario())


def test_origins_at_rest_are_forgotten_and_those_in_trouble_are_not() -> None:
    """A crawler's thousands of hosts would fill the memory, or push out the one circuit that is open."""

    async def scenario() -> None:
        known = limits()
        await open_circuit(known.of("https://down.test", BREAKER))
        await go(known.of("https://slow.test", GATED), 429, PAUSE)
        known.open_circuit("https://held.test")

        for number in range(MOST_ORIGINS):
            known.of(f"https://{number}.test", Policy())

        kept = known.origins()
        assert len(kept) < MOST_ORIGINS
        assert {"https://down.test", "https://slow.test", "https://held.test"} <= set(kept)
        assert known.of("https://down.test", BREAKER).refuses()

    run_virtual(scenario())


def fill(known: LocalLimits) -> None:
    """Call more origins than are kept."""
    for number in range(MOST_ORIGINS):
        known.of(f"https://{number}.test", Policy())


def test_an_origin_with_calls_in_flight_or_a_spent_budget_is_not_forgotten() -> None:
    """The next calls would go out beside those in flight, and retry as if nothing had been spent."""

    async def scenario() -> None:
        known = limits()
        spent = Policy(retry_budget=RetryBudget(per_second=0.0), breaker=None)
        ticket = await let_in(known.of("https://busy.test", ONE))
        assert known.of("https://spent.test", spent).take_retry(LOST)

        fill(known)

        assert isinstance(await enter(known.of("https://busy.test", ONE), until=1.0), Refused)
        budget = known.state("https://spent.test", spent).budget
        assert budget is not None
        assert budget.tokens == 9.0
        leave(known.of("https://busy.test", ONE), ticket)

    run_virtual(scenario())


def test_an_origin_that_has_long_been_left_alone_is_forgotten_whatever_it_did() -> None:
    """A crawler's thousands of dead or throttling hosts would be kept for ever."""

    async def scenario() -> None:
        known = limits()
        await open_circuit(known.of("https://down.test", BREAKER))
        await go(known.of("https://slow.test", GATED), 429, PAUSE)
        await asyncio.sleep(400.0)

        fill(known)

        assert not {"https://down.test", "https://slow.test"} & set(known.origins())

    run_virtual(scenario())


def test_an_origin_that_was_forgotten_and_is_held_by_hand_is_held_for_all() -> None:
    """The last service to call it would go on, past whoever took the provider out."""

    async def scenario() -> None:
        known = limits()
        fill(known)
        known.of("https://0.test", BREAKER)

        known.open_circuit("https://new.test")
        forgotten = "https://0.test" not in known.origins()
        known.open_circuit("https://0.test")

        assert forgotten
        assert known.of("https://0.test", BREAKER).refuses()

    run_virtual(scenario())


def test_origins_that_cannot_be_forgotten_are_not_looked_through_for_each_new_one() -> None:
    """With four thousand hosts that throttle, each further host would cost milliseconds."""

    async def scenario() -> None:
        known = limits()
        for number in range(MOST_ORIGINS + 10):
            known.of(f"https://{number}.test", GATED)
            await go(known.of(f"https://{number}.test", GATED), 429, PAUSE)
        await asyncio.sleep(400.0)

        known.of("https://new.test", GATED)
        kept = len(known.origins())
        for number in range(MOST_ORIGINS):
            known.of(f"https://new-{number}.test", GATED)

        assert kept == MOST_ORIGINS + 11
        assert len(known.origins()) <= MOST_ORIGINS + 1

    run_virtual(scenario())


@pytest.mark.parametrize("by_hand", ["open", "closed"])
def test_a_circuit_that_was_moved_by_hand_is_news_to_the_next_call(by_hand: str) -> None:
    """Operations would look in vain for what made every call fail."""

    async def scenario() -> None:
        known = limits()
        guard, other = known.of(ORIGIN, BREAKER), known.of(ORIGIN, Policy(breaker=BREAKER.breaker))
        if by_hand == "closed":
            await open_circuit(guard)
            assert other.take_news() is None

        (known.open_circuit if by_hand == "open" else known.close_circuit)(ORIGIN)
        entered = await enter(guard)

        assert isinstance(entered, Refused) == (by_hand == "open")
        assert [guard.take_news(), guard.take_news(), other.take_news()] == [by_hand, None, None]

    run_virtual(scenario())


def test_the_limits_of_a_loop_go_with_it() -> None:
    """A service that starts a loop for each job would keep the lines and timers of all of them."""

    async def scenario() -> "ref[asyncio.AbstractEventLoop]":
        guard = LoopLimits().of(ORIGIN, Policy(max_concurrency=1))
        await go(guard, 429, PAUSE)
        waiting = [await begun(enter(guard)) for _ in range(3)]
        await asyncio.sleep(1.0)
        for each in waiting:
            each.cancel()
        await asyncio.wait(waiting)
        return ref(asyncio.get_running_loop())

    gone = run_virtual(scenario())
    gc.collect()

    assert gone() is None


def test_a_policy_that_is_made_anew_for_each_call_costs_no_memory_and_keeps_its_state() -> None:
    """A service that builds its policy in the handler would leak, or forget each failure."""

    async def scenario() -> None:
        known = limits()

        for _ in range(200):
            await go(known.of(ORIGIN, Policy(retry_budget=None, rate_gate=False)), 404)
        state = known.state(ORIGIN)

        assert state.circuit is not None
        assert state.circuit.calls == 200

    run_virtual(scenario())


def test_each_event_loop_has_limits_of_its_own() -> None:
    """A timer of a loop that is closed would hold up the calls of another."""

    async def scenario() -> LocalLimits:
        assert LoopLimits().of(ORIGIN, GATED) is limits_of_loop().of(ORIGIN, GATED)
        return limits_of_loop()

    assert run_virtual(scenario()) is not run_virtual(scenario())


def test_a_cancelled_wait_for_a_place_passes_the_cancellation_on() -> None:
    """A service that shuts down would hang on calls that wait in line."""

    async def scenario() -> None:
        guard = limits().of(ORIGIN, ONE)
        await let_in(guard)
        waiting = await begun(enter(guard))

        waiting.cancel()

        assert isinstance(await failure(waiting), asyncio.CancelledError)

    run_virtual(scenario())


def test_a_turn_that_is_due_is_not_a_newcomers_while_somebody_waits() -> None:
    """In the moment between the turn and its timer a newcomer would go first, each time."""

    async def scenario() -> tuple[bool, bool]:
        line = GateLine(None)
        line.gate.throttled(0.0, 0.0, 10.0, 0.0)
        patient = asyncio.ensure_future(line.turn(0.0, inf))
        await asyncio.sleep(0)
        while_waiting = line.pass_at_once(20.0, inf)
        assert await patient is None
        return while_waiting, line.pass_at_once(40.0, inf)

    assert run_virtual(scenario()) == (False, True)
