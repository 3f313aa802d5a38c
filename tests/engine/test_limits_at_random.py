"""Everything that can happen to the limits of one origin, in any order: promises that no order may break."""

import asyncio
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from holdfast import CircuitBreaker, LocalLimits, Outcome, Policy, RateLimit, RetryBudget
from holdfast.core.breaker import CircuitState
from holdfast.core.classify import classify
from holdfast.engine.guard import OriginGuard
from holdfast.outcome import Effect
from holdfast.protocols import Answer, Fault, Refused
from holdfast.report import Classification
from holdfast.testing import VirtualTimeLoop

ORIGIN: Final = "https://api.test"
PROBES: Final = 2
BREAKER: Final = CircuitBreaker(minimum_calls=3, probes=PROBES, open_s=2.0, ramp_s=0.5)
BUDGET: Final = RetryBudget(burst=3.0, per_second=0.0)
RATE: Final = RateLimit(per_second=4.0, burst=2, reads_apart=True)
POLICIES: Final = {
    "plain": Policy(breaker=BREAKER, retry_budget=BUDGET),
    "two at once": Policy(breaker=BREAKER, retry_budget=BUDGET, max_concurrency=2),
    "at a rate": Policy(breaker=BREAKER, retry_budget=None, rate_limit=RATE),
    "both": Policy(breaker=BREAKER, retry_budget=BUDGET, max_concurrency=2, rate_limit=RATE),
    "no circuit": Policy(breaker=None, retry_budget=BUDGET, max_concurrency=3),
    "no gate": Policy(breaker=BREAKER, retry_budget=None, rate_gate=False),
}
LOST: Final = Fault(Outcome.RETRYABLE, Effect.IN_DOUBT, "disconnected", ConnectionError())
ENDS: Final[dict[str, Answer | Fault]] = {
    "200": Answer(200, {}),
    "404": Answer(404, {}),
    "503": Answer(503, {"retry-after": "3"}),
    "429": Answer(429, {}),
    "429, 0 s": Answer(429, {"retry-after": "0"}),
    "429, 7 s": Answer(429, {"retry-after": "7"}),
    "429, an hour": Answer(429, {"retry-after": "3600"}),
    "429, for ever": Answer(429, {"retry-after": "99999999999999"}),
    "429, garbage": Answer(429, {"retry-after": "-5"}),
    "nothing left": Answer(200, {"ratelimit": '"burst";r=0;t=4'}),
    "lost": LOST,
}
ROUNDING_S: Final = 1e-5


@dataclass(eq=False)
class Asked:
    """One attempt, from its question to its end."""

    number: int
    policy: str
    safe: bool
    at: float
    until: float
    guard: OriginGuard
    task: "asyncio.Task[int | Refused] | None" = None
    ticket: int | None = None
    let_in_at: float = inf


@dataclass(eq=False)
class Seen:
    """What the promises are held against."""

    let_in: list[Asked] = field(default_factory=list)
    closed_at: float = -1.0
    wrong: list[str] = field(default_factory=list)


class LimitsAtRandom(RuleBasedStateMachine):
    """One origin, six policies that share some of its limits, and callers of all kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualTimeLoop(grace_s=0.0)
        asyncio.set_event_loop(None)
        self.numbers = 0
        self.draws = 0
        self.limits = LocalLimits(self.draw)
        self.waiting: list[Asked] = []
        self.out: list[Asked] = []
        self.seen = Seen()

    def draw(self) -> float:
        """Spread evenly, without chance."""
        self.draws += 1
        return self.draws * 0.618 % 1.0

    def run(self, coming: Any) -> Any:
        return self.loop.run_until_complete(coming)

    def state(self, policy: str = "plain") -> Any:
        async def read() -> Any:
            return self.limits.state(ORIGIN, POLICIES[policy])

        return self.run(read())

    # What callers do

    @rule(
        policy=st.sampled_from(sorted(POLICIES)),
        safe=st.booleans(),
        patience=st.sampled_from([0.01, 0.3, 1.0, 7.0, 60.0, 300.0]),
        callers=st.sampled_from([1, 2, 6, 30]),
    )
    def ask(self, policy: str, safe: bool, patience: float, callers: int) -> None:  # noqa: FBT001 - a draw
        async def begin() -> None:
            for _ in range(callers):
                self.begin(policy, patience, safe=safe)
            await asyncio.sleep(0)

        self.run(begin())

    def begin(self, policy: str, patience: float, *, safe: bool) -> None:
        self.numbers += 1
        now = self.loop.time()
        guard = self.limits.of(ORIGIN, POLICIES[policy])
        asked = Asked(self.numbers, policy, safe, now, now + patience, guard)
        self.waiting.append(asked)
        asked.task = self.loop.create_task(self.enter(asked))

    @precondition(lambda self: self.waiting)
    @rule(policy=st.sampled_from(sorted(POLICIES)), cancels=st.booleans(), early=st.sampled_from([0.0, 5e-10]))
    def meet_the_opening_of_the_gate(self, policy: str, cancels: bool, early: float) -> None:  # noqa: FBT001 - a draw
        """Come, or go, at the very moment when the first in line has his turn."""
        timer = min((timer.when() for timer in self.timers() if timer.when() > self.loop.time()), default=None)
        if timer is None:
            return
        first = self.waiting[0].task
        assert first is not None
        self.loop.call_at(timer - 1e-6, lambda: self.begin(policy, 60.0, safe=True))
        if cancels:
            self.loop.call_at(timer + early, first.cancel)
        self.run(asyncio.sleep(timer - self.loop.time() + 1e-5))

    def timers(self) -> list[asyncio.TimerHandle]:
        timers: list[asyncio.TimerHandle] = self.loop._scheduled  # type: ignore[attr-defined]
        return [timer for timer in timers if not timer.cancelled()]

    async def enter(self, asked: Asked) -> int | Refused:
        now, guard = self.loop.time(), asked.guard
        ticket: int | Refused | None = guard.try_enter(now, asked.until, False, asked.safe)  # noqa: FBT003 - as drive.py
        try:
            if ticket is None:
                ticket = await guard.enter(now, asked.until, again=False, safe=asked.safe)
        finally:
            self.waiting.remove(asked)
            if self.loop.time() > asked.until + ROUNDING_S:
                self.seen.wrong.append(f"{asked} waited until {self.loop.time()}")
        if not isinstance(ticket, Refused):
            asked.ticket, asked.let_in_at = ticket, self.loop.time()
            self.out.append(asked)
            self.let_in(asked)
        return ticket

    def let_in(self, asked: Asked) -> None:
        """Hold each send against what was promised, at the moment it begins."""
        now, gate = self.loop.time(), asked.guard.state().gate
        if POLICIES[asked.policy].rate_gate and gate.closed_s > ROUNDING_S and self.seen.closed_at < now:
            self.seen.wrong.append(f"{asked} went through a closed gate")
        others = [each for each in self.seen.let_in if (each.policy, each.safe) == (asked.policy, asked.safe)]
        if asked.policy != "both" and any(each.number > asked.number and each.let_in_at < now for each in others):
            self.seen.wrong.append(f"{asked} was overtaken")
        self.seen.let_in.append(asked)

    @precondition(lambda self: self.waiting)
    @rule(which=st.integers(0, 99))
    def lose_patience(self, which: int) -> None:
        asked = self.waiting[which % len(self.waiting)]
        assert asked.task is not None
        asked.task.cancel()
        self.run(asyncio.wait([asked.task]))

    @precondition(lambda self: self.waiting and self.out)
    @rule(which=st.integers(0, 99), ended=st.sampled_from(sorted(ENDS)), first=st.booleans())
    def leave_as_another_is_cancelled(self, which: int, ended: str, first: bool) -> None:  # noqa: FBT001 - a draw
        asked = self.waiting[0]
        assert asked.task is not None
        if first:
            asked.task.cancel()
        self.end(which, ended)
        asked.task.cancel()
        self.run(asyncio.wait([asked.task]))
        if asked.task.cancelled() and asked in self.out:
            self.seen.wrong.append(f"{asked} was let in and cancelled")

    # What the origin does

    @precondition(lambda self: self.out)
    @rule(which=st.integers(0, 99), ended=st.sampled_from(sorted(ENDS)), at_once=st.integers(1, 4))
    def come_back(self, which: int, ended: str, at_once: int) -> None:
        for _ in range(min(at_once, len(self.out))):
            self.end(which, ended)
        self.run(asyncio.sleep(0))

    def end(self, which: int, ended: str) -> None:
        asked = self.out.pop(which % len(self.out))
        end = ENDS[ended]
        assert asked.ticket is not None
        if isinstance(end, Answer):
            verdict = classify(end.status, headers=end.headers)
            if POLICIES[asked.policy].rate_gate and (end.status == 429 or "ratelimit" in end.headers):
                self.seen.closed_at = self.loop.time()
        else:
            verdict = Classification(outcome=end.outcome, effect=end.effect, reason=end.reason)

        async def leave() -> None:
            assert asked.ticket is not None
            asked.guard.leave(asked.ticket, end, verdict, sent_at=asked.let_in_at, now=self.loop.time())

        self.run(leave())

    @precondition(lambda self: self.out)
    @rule(which=st.integers(0, 99))
    def be_cut_off(self, which: int) -> None:
        asked = self.out.pop(which % len(self.out))
        assert asked.ticket is not None

        async def leave() -> None:
            assert asked.ticket is not None
            asked.guard.abandon(asked.ticket)
            await asyncio.sleep(0)

        self.run(leave())

    @rule(seconds=st.sampled_from([1e-9, 0.05, 0.25, 1.0, 1.5, 4.0, 10.0, 31.0, 400.0]))
    def pass_time(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @rule(how=st.sampled_from(["open_circuit", "close_circuit", "release_circuit"]))
    def hold(self, how: str) -> None:
        async def act() -> None:
            getattr(self.limits, how)(ORIGIN)

        self.run(act())

    # What is promised

    @invariant()
    def nothing_went_wrong(self) -> None:
        assert not self.seen.wrong, self.seen.wrong

    @invariant()
    def no_more_in_flight_than_allowed(self) -> None:
        for most in (2, 3):
            names = [name for name, policy in POLICIES.items() if policy.max_concurrency == most]
            assert sum(each.policy in names for each in self.out) <= most

    @invariant()
    def no_more_probes_out_than_configured(self) -> None:
        circuit = self.state().circuit
        if circuit.state is not CircuitState.HALF_OPEN:
            return
        young = [
            each
            for each in self.out
            if POLICIES[each.policy].breaker is not None
            and each.let_in_at >= circuit.since
            and each.let_in_at + BREAKER.probe_s > self.loop.time()
            and each.ticket is not None
            and each.ticket in self.tickets_of_probes()
        ]
        assert len(young) <= PROBES

    def tickets_of_probes(self) -> set[int]:
        circuits = self.limits._origins[ORIGIN].circuits()
        return {ticket for circuit in circuits for ticket in circuit._probes}

    def teardown(self) -> None:
        """Let all end well: everybody gets an answer, and nothing is left."""
        try:
            self.hold("release_circuit")
            for _ in range(400):
                if not (self.waiting or self.out):
                    break
                while self.out:
                    self.end(0, "200")
                self.run(asyncio.sleep(1.0))
            assert not self.waiting, "stranded"
            for name in POLICIES:
                state = self.state(name)
                assert state.waiting == 0
                assert state.bulkhead is None or (state.bulkhead.in_flight, state.bulkhead.waiting) == (0, 0)
                assert state.circuit is None or state.circuit.probes == 0
            self.nothing_went_wrong()
            assert not self.timers()
        finally:
            self.loop.close()


test_no_order_of_events_breaks_a_promise = LimitsAtRandom.TestCase
test_no_order_of_events_breaks_a_promise.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
