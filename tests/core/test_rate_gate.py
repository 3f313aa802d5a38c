from collections import deque
from itertools import pairwise
from math import inf
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from holdfast.core.rate_gate import CLOSED_MAX_S, UNADVISED_S, GateState, RateGate, Refusal
from holdfast.policy import RateLimit

LATE: Final = 1e12
"""A deadline that never comes."""


def busy(per_second: int, *, seconds: int = 3, limit: RateLimit | None = None) -> tuple[RateGate, float]:
    """Give a gate that has let so many calls a second through, and the moment after the last."""
    gate = RateGate(limit, 0.0)
    for number in range(per_second * seconds):
        assert gate.reserve(number / per_second, LATE) == 0.0
    return gate, float(seconds)


def let_through(gate: RateGate, now: float, callers: int) -> list[float]:
    """Let callers stand in line, and note when each goes: the first asks again when its wait is over."""
    went = []
    for _ in range(callers):
        while wait := waits(gate, now):
            now += wait
        went.append(now)
    return went


def waits(gate: RateGate, now: float, ahead: int = 0) -> float:
    """Ask for a turn that no deadline limits."""
    wait = gate.reserve(now, LATE, ahead)
    assert isinstance(wait, float)
    return wait


def test_an_open_gate_lets_everybody_through() -> None:
    """A gate that nobody closed must not be noticed."""
    gate = RateGate(None, 0.0)

    asked = [gate.reserve(now, now + 1.0) for now in (0.0, 0.0, 0.5, 1.0, 100.0)]

    assert (asked, gate.state(100.0)) == ([0.0] * 5, GateState(closed_s=0.0, pace=None))


@pytest.mark.parametrize(
    ("wait_s", "draw", "closed_s"),
    [
        (10.0, 0.0, 10.0),
        (10.0, 1.0, 12.5),
        (None, 0.0, UNADVISED_S),
        (None, 1.0, 1.25 * UNADVISED_S),
        (0.0, 1.0, 0.0),
        (-5.0, 1.0, 0.0),
        (1e9, 0.0, CLOSED_MAX_S),
        (1e9, 1.0, 1.25 * CLOSED_MAX_S),
    ],
)
def test_a_429_closes_the_gate_for_all(wait_s: float | None, draw: float, closed_s: float) -> None:
    """To come back sooner than told breaks the limit again; a wait of thirty years must not outlive the day."""
    gate = RateGate(None, 0.0)

    gate.throttled(100.0, 100.0, wait_s, draw)

    assert (gate.state(100.0).closed_s, waits(gate, 100.0)) == (closed_s, closed_s)


def test_a_shorter_wait_never_opens_the_gate_earlier() -> None:
    """Of two answers that crossed on the way the stale one would let us into the limit."""
    gate = RateGate(None, 0.0)
    gate.throttled(0.0, 0.0, 30.0, 0.0)

    gate.throttled(0.0, 1.0, 5.0, 1.0)
    shorter = gate.state(1.0).closed_s
    gate.throttled(0.0, 2.0, 60.0, 1.0)

    assert (shorter, gate.state(2.0).closed_s) == (29.0, 60.0)


def test_a_volley_of_refusals_draws_its_jitter_once() -> None:
    """Of a thousand draws every process would keep the longest, and all would come back in the same instant."""
    gate = RateGate(None, 0.0)

    for draw in (0.2, 1.0, 0.9):
        gate.throttled(0.0, 0.0, 10.0, draw)

    assert gate.state(0.0).closed_s == 10.0 * (1.0 + 0.25 * 0.2)


def test_the_next_closing_draws_anew() -> None:
    """Two processes that once drew alike must not stay together for ever."""
    gate = RateGate(None, 0.0)
    gate.throttled(0.0, 0.0, 10.0, 0.0)

    gate.throttled(11.0, 11.0, 10.0, 1.0)

    assert gate.state(11.0).closed_s == 12.5


def test_a_call_whose_turn_comes_after_its_deadline_is_refused_at_once() -> None:
    """To wait four minutes for a refusal holds a customer, a connection and a worker for nothing."""
    gate, now = busy(2)
    gate.throttled(now, now, 10.0, 0.0)

    answers = [gate.reserve(now, now + left, ahead) for left, ahead in ((10.0, 0), (10.1, 0), (12.9, 3), (13.1, 3))]

    assert answers == [Refusal(10.0), 10.0, Refusal(13.0), 13.0]


def test_those_who_waited_go_through_one_by_one() -> None:
    """A herd at the moment of opening is what the limit was there to keep out."""
    gate, now = busy(20)
    gate.throttled(now, now, 5.0, 0.0)

    went = let_through(gate, now, 11)

    assert went == pytest.approx([8.0 + 0.1 * number for number in range(11)])


def test_a_newcomer_is_told_how_long_the_line_is() -> None:
    """The refusal, and the caller's own plans, hang on a wait that is true."""
    gate, now = busy(20)
    gate.throttled(now, now, 5.0, 0.0)

    told = [waits(gate, now, ahead) for ahead in range(11)]

    assert [now + wait for wait in told] == pytest.approx(let_through(gate, now, 11))


def test_to_ask_with_others_ahead_takes_no_turn() -> None:
    """A newcomer behind a line must not take the turn of its first."""
    gate = RateGate(RateLimit(per_second=1.0), 0.0)

    asked = [gate.reserve(0.0, LATE, ahead) for ahead in (3, 2, 1)]

    assert (asked, waits(gate, 0.0)) == ([3.0, 2.0, 1.0], 0.0)


def test_each_refusal_halves_the_pace() -> None:
    """The limit is somewhere below: halving finds it in a few steps, wherever it is."""
    gate, now = busy(16)

    paces = []
    for _ in range(7):
        gate.throttled(now, now, 0.0, 0.0)
        paces.append(gate.state(now).pace)
        now = let_through(gate, now, 41)[-1]

    assert paces == pytest.approx([8.0, 4.0, 2.0, 1.0, 0.5, 0.5, 0.5], rel=0.05)


def test_a_volley_of_refusals_halves_the_pace_once() -> None:
    """A thousand calls that were out together are one mistake, and not a thousand."""
    gate, now = busy(16)

    for number in range(50):
        gate.throttled(now - 0.5, now + number / 100, 1.0, 0.0)

    assert gate.state(now).pace == 8.0


def test_a_refusal_of_what_was_sent_at_the_new_pace_halves_it_again() -> None:
    """The pace is still above the limit."""
    gate, now = busy(16)
    gate.throttled(now, now, 1.0, 0.0)

    gate.throttled(now + 1.0, now + 1.1, 1.0, 0.0)

    assert gate.state(now).pace == 4.0


def test_unrefused_calls_win_the_pace_back_step_by_step() -> None:
    """Growth by a constant step shares one limit fairly; above the usual rate it would only be catching up."""
    gate, now = busy(100)
    gate.throttled(now, now, 1.0, 0.0)

    paces: dict[int, float | None] = {}
    now = let_through(gate, now, 1)[0]
    begun = now
    for _ in range(2500):
        gate.succeeded(now)
        now = let_through(gate, now, 1)[0]
        paces.setdefault(int(now - begun), gate.state(now).pace)

    assert [paces.get(second) for second in (5, 10, 20)] == [pytest.approx(pace, rel=0.02) for pace in (75, 100, 105)]


def test_the_usual_rate_is_the_one_before_the_first_refusal() -> None:
    """A shedding origin refuses for minutes; what got through then is not what it takes once it is repaired."""
    gate, now = busy(100)
    gate.throttled(now, now, 1.0, 0.0)
    now = let_through(gate, now, 1250)[-1]
    gate.throttled(now, now, 1.0, 0.0)
    cut = gate.state(now).pace

    begun = now
    while now < begun + 20.0:
        now = let_through(gate, now, 1)[0]
        gate.succeeded(now)

    assert [cut, gate.state(now).pace] == pytest.approx([25.0, 100.0], rel=0.05)


def test_the_slowest_pace_is_doubled_by_one_success() -> None:
    """A twentieth of next to nothing is nothing: a quiet service would crawl for as long as the pace lasts."""
    gate = RateGate(None, 0.0)
    gate.throttled(0.0, 0.0, 1.0, 0.0)
    slowest = gate.state(0.0).pace

    gate.succeeded(1.0)

    assert (slowest, gate.state(1.0).pace) == (0.5, 1.0)


def test_after_a_calm_the_pace_of_a_line_grows_beyond_the_usual_rate() -> None:
    """A service that has grown since the refusal would otherwise wait in its own line for the rest of the day."""
    gate, now = busy(10)
    gate.throttled(now, now, 1.0, 0.0)

    paces = {}
    begun = now
    while now < begun + 101.0:
        now = let_through(gate, now, 1)[0]
        gate.succeeded(now)
        paces[round(now - begun)] = gate.state(now).pace or 0.0

    assert [paces[31] / 10.0, paces[101] / paces[31]] == pytest.approx([1.0, 2.0], rel=0.15)


def test_success_and_failure_mean_nothing_where_there_is_no_pace() -> None:
    """They are reported for every call: a server error in quiet times is no matter of the rate."""
    gate, now = busy(10)

    gate.succeeded(now)
    gate.failed(now, now)

    assert (gate.state(now).pace, waits(gate, now)) == (None, 0.0)


def test_a_failure_at_the_new_pace_halves_it_without_closing_the_gate() -> None:
    """An origin without a limiter says "too much" by timing out; who then goes on growing brings it down again."""
    gate, now = busy(16)
    gate.throttled(now, now, 1.0, 0.0)

    for sent_at in (now - 1.0, now + 2.0, now + 2.1):
        gate.failed(sent_at, now + 3.0)

    assert gate.state(now + 3.0) == GateState(closed_s=0.0, pace=4.0)


def test_a_failure_puts_off_the_calm() -> None:
    """The pace that it has just cut must not be forgotten the moment after."""
    gate, now = busy(10)
    gate.throttled(now, now, 1.0, 0.0)
    gate.failed(now + 20.0, now + 20.0)

    paced = []
    for later in (40.0, 49.9, 60.0):
        let_through(gate, now + later, 1)
        paced.append(gate.state(now + later).pace is not None)

    assert paced == [True, True, False]


def test_after_a_calm_the_pace_is_forgotten() -> None:
    """A provider's bad minute must not slow a service down for the rest of the day."""
    gate, now = busy(10)
    gate.throttled(now, now, 1.0, 0.0)

    went = let_through(gate, now + 31.0, 5)

    assert (went, gate.state(now + 31.0).pace) == ([now + 31.0] * 5, None)


def test_the_pace_is_not_forgotten_while_a_line_waits_for_it() -> None:
    """However long the line: to forget the pace would let all of it through in one instant."""
    gate, now = busy(10)
    gate.throttled(now, now, 1.0, 0.0)

    went = let_through(gate, now, 400)

    assert min(later - earlier for earlier, later in pairwise(went)) == pytest.approx(0.2)


def test_a_turn_that_comes_late_in_a_line_does_not_make_the_pace_forgotten() -> None:
    """An event loop that is busy for a moment would let the whole line through in one instant."""
    gate, now = busy(10)
    gate.throttled(now, now, 1.0, 0.0)
    long_calm = now + 60.0

    late = [gate.reserve(long_calm, inf, has_waited=True) for _ in range(3)]

    assert late == pytest.approx([0.0, 0.2, 0.2])


def test_a_gate_is_at_rest_when_a_new_one_would_do_as_well() -> None:
    """The rate that a provider publishes would be exceeded by whoever calls enough other origins in between."""
    gate, paced = RateGate(RateLimit(per_second=1.0), 0.0), RateGate(None, 0.0)
    rests = [gate.is_at_rest(0.0)]
    gate.reserve(0.0, inf)
    rests += [gate.is_at_rest(0.5), gate.is_at_rest(1.0)]
    paced.throttled(0.0, 0.0, 10.0, 0.0)
    rests += [paced.is_at_rest(at) for at in (5.0, 20.0, 41.9, 42.0)]

    assert rests == [True, False, True, False, False, True, True]


def test_the_pace_starts_from_the_last_whole_interval() -> None:
    """An interval that has only just begun would count one call, and cut a busy service to next to nothing."""
    gate, now = busy(40, seconds=10)
    waits(gate, now)

    gate.throttled(now, now, 1.0, 0.0)

    assert gate.state(now).pace == 20.0


def test_a_burst_is_spread_over_the_interval_it_falls_in() -> None:
    """A night job's first second is no measure of what the origin takes second after second."""
    gate, now = busy(1, seconds=10)
    for _ in range(100):
        waits(gate, now)

    gate.throttled(now, now, 1.0, 0.0)

    assert gate.state(now).pace == 5.0


def test_a_late_refusal_in_a_silence_cuts_the_rate_of_the_silence() -> None:
    """What was sent long ago is no measure of what is sent now, and the slowest pace is still one in two seconds."""
    gate, now = busy(4, seconds=1)

    gate.throttled(now, now + 60.0, 1.0, 0.0)

    assert gate.state(now).pace == 0.5


def test_a_line_that_uses_less_than_its_pace_is_cut_from_what_it_used() -> None:
    """A pace that has grown unused above what is sent would have to be halved many times before it bites."""
    gate, now = busy(100)
    gate.throttled(now, now, 0.0, 0.0)
    for number in range(100):
        waits(gate, now + 1.0 + number / 4)

    gate.throttled(now + 26.0, now + 26.0, 1.0, 0.0)

    assert gate.state(now).pace == pytest.approx(2.0)


def test_an_exhausted_quota_closes_the_gate_without_slowing_it_down() -> None:
    """The origin refused nothing and told us in time: to obey it must not cost throughput."""
    gate, now = busy(10)

    gate.exhausted(now, 4.0, 0.5)
    went = let_through(gate, now, 3)

    assert went == pytest.approx([7.5, 7.6, 7.7])


def test_an_exhausted_quota_leaves_a_pace_as_it_is() -> None:
    """It must not give back what a refusal took."""
    gate, now = busy(10)
    gate.throttled(now, now, 1.0, 0.0)

    gate.exhausted(now + 20.0, 4.0, 0.0)

    assert gate.state(now + 20.0) == GateState(closed_s=4.0, pace=5.0)


def test_a_straggling_refusal_after_the_pace_was_forgotten_still_sets_one() -> None:
    """An answer that took a minute closes the gate anew, and those who wait then must not come out as a herd."""
    gate, now = busy(10)
    gate.throttled(now, now, 1.0, 0.0)
    let_through(gate, now + 40.0, 1)

    gate.throttled(now - 1.0, now + 41.0, 1.0, 0.0)

    assert gate.state(now + 41.0) == GateState(closed_s=1.0, pace=0.5)


def test_a_published_rate_is_kept() -> None:
    """Finix answers 429 above 100 writes a second: better to wait ten milliseconds here than a pause there."""
    gate = RateGate(RateLimit(per_second=4.0, burst=3), 0.0)

    went = let_through(gate, 10.0, 7)

    assert went == [10.0, 10.0, 10.0, 10.25, 10.5, 10.75, 11.0]


@pytest.mark.parametrize(("silence", "at_once"), [(0.25, 1), (0.5, 2), (0.75, 3), (100.0, 3)])
def test_a_silence_earns_a_burst_and_no_more(silence: float, at_once: int) -> None:
    """A night of silence must not be followed by a night's worth of calls in one second."""
    gate = RateGate(RateLimit(per_second=4.0, burst=3), 0.0)
    now = let_through(gate, 0.0, 10)[-1] + silence

    immediately = [gate.reserve(now, LATE) for _ in range(5)]

    assert immediately.count(0.0) == at_once


def test_a_line_before_a_published_rate_is_told_its_wait() -> None:
    """The first of a burst wait for nothing, and the rest for their place."""
    gate = RateGate(RateLimit(per_second=4.0, burst=3), 0.0)
    fresh = [waits(gate, 0.0, ahead) for ahead in (1, 2, 3, 4)]
    let_through(gate, 0.0, 3)

    used = [waits(gate, 0.0, ahead) for ahead in (0, 1, 2)]

    assert (fresh, used) == ([0.0, 0.0, 0.25, 0.5], [0.25, 0.5, 0.75])


def test_of_a_pace_and_a_published_rate_the_slower_holds() -> None:
    """After a 429 the published rate is not the true one."""
    gate, now = busy(8, limit=RateLimit(per_second=8.0))
    gate.throttled(now, now, 1.0, 0.0)

    went = let_through(gate, now, 3)

    assert went == [4.0, 4.25, 4.5]


@pytest.mark.parametrize("limit", [None, RateLimit(per_second=2.0)])
def test_a_turn_that_was_not_used_can_be_given_back(limit: RateLimit | None) -> None:
    """Callers who cancel between their turn and their send would slow down those who stay."""
    gate, now = busy(4, limit=None if limit is None else RateLimit(per_second=4.0))
    gate.throttled(now, now, 0.0, 0.0)
    first = let_through(gate, now + 1.0, 1)[0]

    gate.give_back()

    assert waits(gate, first) == 0.0
    assert waits(gate, first) == 0.5


@given(
    limit=st.none()
    | st.builds(RateLimit, per_second=st.floats(5e-324, 1.7e308), burst=st.integers(1, 10) | st.just(10**400)),
    waits_s=st.lists(st.none() | st.floats(-1.0, 1e9), max_size=6),
    draw=st.floats(0, 1),
)
def test_no_allowed_rate_and_no_answer_breaks_the_arithmetic(
    limit: RateLimit | None, waits_s: list[float | None], draw: float
) -> None:
    """A policy that is allowed, and a header that is absurd, must not fail in the middle of a payment."""
    gate = RateGate(limit, 0.0)
    now = 0.0

    for wait_s in waits_s:
        gate.reserve(now, LATE)
        gate.throttled(now, now, wait_s, draw)
        gate.succeeded(now)
        gate.failed(now, now)
        now += 10.0
    told = gate.reserve(now, inf)

    assert isinstance(told, float)
    assert 0.0 <= told < inf


class GateAgainstPromises(RuleBasedStateMachine):
    """Drive a line of waiters through the gate as the engine does, and hold it to what it promises."""

    @initialize(per_second=st.sampled_from([None, 0.5, 2.0, 8.0]), burst=st.integers(1, 4))
    def begin(self, per_second: float | None, burst: int) -> None:
        """Choose a published rate or none."""
        self.limit = None if per_second is None else RateLimit(per_second=per_second, burst=burst)
        self.now = 1000.0
        self.gate = RateGate(self.limit, self.now)
        self.line: deque[tuple[int, float]] = deque()
        self.callers = 0
        self.went: list[tuple[int, float]] = []
        self.refused_until = 0.0
        self.closings: list[tuple[float, float]] = []
        self.openings: list[float] = []

    @rule(patience=st.sampled_from([0.5, 5.0, 60.0, 1e9]))
    def arrive(self, patience: float) -> None:
        """A caller asks; it goes, waits at the end of the line, or is refused."""
        self.callers += 1
        deadline = self.now + patience
        answer = self.gate.reserve(self.now, deadline, len(self.line))

        if isinstance(answer, Refusal):
            assert self.now + answer.wait_s >= deadline
        elif answer or self.line:
            assert self.now + answer < deadline
            self.line.append((self.callers, deadline))
        else:
            self.went.append((self.callers, self.now))

    @rule(seconds=st.sampled_from([0.125, 1.0, 4.0, 40.0, 2000.0]))
    def pass_time(self, seconds: float) -> None:
        """Let time pass, in which the first in line asks whenever its wait is over."""
        end = self.now + seconds
        while self.line:
            caller, deadline = self.line[0]
            answer = self.gate.reserve(self.now, deadline)
            if isinstance(answer, Refusal) or answer == 0.0:
                self.line.popleft()
                self.went += [(caller, self.now)] if answer == 0.0 else []
            elif self.now + answer > end:
                break
            else:
                self.now += max(answer, 1e-9)  # as timers do, which never fire early
        self.now = end

    @precondition(lambda self: self.line)
    @rule(which=st.integers(0, 1000))
    def lose_patience(self, which: int) -> None:
        """Somebody in line leaves, which asks nothing of the gate."""
        del self.line[which % len(self.line)]

    @rule(
        wait_s=st.sampled_from([None, 0.0, 1.0, 10.0, 1e9]),
        age=st.sampled_from([0.0, 0.5, 50.0]),
        draw=st.sampled_from([0.0, 0.5, 1.0]),
        refused=st.booleans(),
    )
    def be_told(self, wait_s: float | None, age: float, draw: float, refused: bool) -> None:  # noqa: FBT001 - a draw
        """An answer closes the gate."""
        if refused:
            self.gate.throttled(self.now - age, self.now, wait_s, draw)
        else:
            self.gate.exhausted(self.now, wait_s or 0.0, draw)
        asked = min(UNADVISED_S if refused and wait_s is None else wait_s or 0.0, CLOSED_MAX_S)
        self.closings.append((self.now, self.now + asked))
        self.refused_until = max(self.refused_until, self.now + asked * 1.25)
        closed_s = self.gate.state(self.now).closed_s
        self.openings += [self.now + closed_s] if closed_s else []

    @rule()
    def succeed(self) -> None:
        """An answer that was no refusal."""
        self.gate.succeeded(self.now)

    @rule(age=st.sampled_from([0.0, 0.5, 50.0]))
    def fail(self, age: float) -> None:
        """No answer, or a server error."""
        self.gate.failed(self.now - age, self.now)

    @rule()
    def keep_its_promises(self) -> None:
        """In order, never while closed, open in time, no herd after a closing, and never above the published rate."""
        numbers = [caller for caller, _ in self.went]
        times = [at for _, at in self.went]
        closed = [at for at in times for begun, end in self.closings if begun < at < end]
        pace = self.gate.state(self.now).pace

        assert numbers == sorted(numbers)
        assert closed == []
        assert self.gate.state(self.now).closed_s <= max(0.0, self.refused_until - self.now)
        assert pace is None or pace > 0.0
        if self.limit is not None:
            gap = 1.0 / self.limit.per_second
            for earlier, later in zip(times, times[self.limit.burst :], strict=False):
                assert later - earlier >= gap - 1e-6
        for opening in self.openings:
            assert sum(opening <= at < opening + 0.001 for at in times) <= 1


test_the_gate_keeps_its_promises = GateAgainstPromises.TestCase
test_the_gate_keeps_its_promises.settings = settings(max_examples=60, stateful_step_count=30)


@pytest.mark.parametrize(("draw", "wait_s"), [(0.0, 2.0), (0.5, 3.0), (1.0, 4.0)])
def test_a_second_refusal_spreads_the_next_turn_over_the_pace(draw: float, wait_s: float) -> None:
    """A thousand processes that were refused together would come back in step at every turn of their slow pace."""
    gate = RateGate(None, 0.0)
    gate.reserve(0.0, 1e9)
    gate.throttled(0.0, 0.0, 0.0, 0.0)
    gate.reserve(0.0, 1e9)

    gate.throttled(0.0, 0.0, 0.0, draw)

    assert gate.reserve(0.0, 1e9) == wait_s


def test_a_first_refusal_can_be_told_to_be_mild_and_further_ones_halve_the_pace() -> None:
    """A quiet process that meets one 429 would crawl at a call in two seconds; one that is refused again must."""
    gate = RateGate(None, 0.0, mild=10.0)
    gate.reserve(0.0, inf)

    paces = []
    for second in range(1, 7):
        gate.throttled(float(second), float(second), 0.0, 0.0)
        paces.append(gate.state(float(second)).pace)

    assert paces[0] == 10.0
    assert paces == sorted((pace for pace in paces if pace is not None), reverse=True)
    assert paces[-1] == 0.5
