from dataclasses import dataclass, field
from math import floor
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from holdfast.core.breaker import REFUSED, Circuit, CircuitSnapshot, CircuitState, Health, Ticket, health_of
from holdfast.policy import CircuitBreaker

PLAIN: Final = CircuitBreaker(open_jitter=0.0, ramp_s=0.0)
"""The defaults without chance and without a ramp."""

EARLY: Final = 0.0
"""A draw that is let through wherever a share is."""


def fail(circuit: Circuit, now: float, *, times: int = 1, retry_after_s: float = 0.0, draw: float = 0.5) -> None:
    """Send calls that fail."""
    for _ in range(times):
        circuit.failed(circuit.admit(now, EARLY), now, draw, retry_after_s)


def succeed(circuit: Circuit, now: float, *, times: int = 1) -> None:
    """Send calls that succeed."""
    for _ in range(times):
        circuit.succeeded(circuit.admit(now, EARLY), now)


def opened(policy: CircuitBreaker = PLAIN, now: float = 0.0) -> Circuit:
    """Give a circuit that has just opened."""
    circuit = Circuit(policy, now)
    fail(circuit, now, times=policy.minimum_calls)
    return circuit


def probing(policy: CircuitBreaker = PLAIN) -> tuple[Circuit, Ticket]:
    """Give a circuit that opened at 0 and has let its first probe through at 5."""
    circuit = opened(policy)
    return circuit, circuit.admit(5.0, EARLY)


def state_of(circuit: Circuit, now: float) -> CircuitState:
    """Look at the state alone."""
    return circuit.snapshot(now).state


def test_a_fresh_circuit_lets_calls_through() -> None:
    """A breaker that had to warm up would fail the first payments after every deployment."""
    circuit = Circuit(CircuitBreaker(), 100.0)

    ticket = circuit.admit(100.0, 0.999)

    assert ticket
    assert circuit.snapshot(100.0) == CircuitSnapshot(
        state=CircuitState.CLOSED,
        since=100.0,
        held=False,
        calls=0,
        failures=0,
        probes=0,
        admitted=1.0,
        retry_after_s=0.0,
    )


def test_half_of_ten_calls_open_the_circuit() -> None:
    """An origin that fails every second call is down, and each further call only keeps it there."""
    circuit = Circuit(PLAIN, 0.0)
    succeed(circuit, 1.0, times=5)
    fail(circuit, 2.0, times=4)
    before = circuit.admit(2.0, EARLY)

    circuit.failed(before, 3.0, 0.5)

    assert circuit.admit(3.0, EARLY) == REFUSED
    assert circuit.snapshot(3.0) == CircuitSnapshot(
        state=CircuitState.OPEN,
        since=3.0,
        held=False,
        calls=10,
        failures=5,
        probes=0,
        admitted=0.0,
        retry_after_s=5.0,
    )


def test_nine_failures_prove_nothing() -> None:
    """A process with a call a minute would be cut off from its provider by a handful of bad answers."""
    circuit = Circuit(PLAIN, 0.0)

    fail(circuit, 1.0, times=9)

    assert circuit.admit(1.0, EARLY)


def test_a_success_never_opens_the_circuit() -> None:
    """The call that fills the minimum volume may be the first sign of recovery: no reason to turn it away."""
    circuit = Circuit(PLAIN, 0.0)
    fail(circuit, 1.0, times=9)

    succeed(circuit, 1.0)

    assert circuit.snapshot(1.0).failure_rate == 0.9
    assert circuit.admit(1.0, EARLY)


def test_just_below_the_rate_the_circuit_stays_closed() -> None:
    """Four of ten is a bad day; the six that work are worth having."""
    circuit = Circuit(PLAIN, 0.0)
    succeed(circuit, 1.0, times=6)

    fail(circuit, 1.0, times=4)

    assert circuit.admit(1.0, EARLY)


def test_a_rate_counts_exactly_as_it_was_written() -> None:
    """0.07 * 100 is more than 7 in floating point: seven of a hundred would not be 7 %."""
    circuit = Circuit(CircuitBreaker(failure_rate=0.07, minimum_calls=100), 0.0)
    succeed(circuit, 1.0, times=93)

    fail(circuit, 1.0, times=7)

    assert state_of(circuit, 1.0) is CircuitState.OPEN


@pytest.mark.parametrize(("later", "calls"), [(9.0, 9), (9.99, 9), (10.0, 0), (10.5, 0), (1e9, 0)])
def test_what_is_older_than_the_window_is_forgotten(later: float, calls: int) -> None:
    """Nine failures of yesterday and one of today are not an outage."""
    circuit = Circuit(PLAIN, 0.0)
    fail(circuit, 0.0, times=9)

    counted = circuit.snapshot(later).calls

    assert counted == calls


def test_failures_across_the_slots_of_the_window_add_up() -> None:
    """A slow origin fails a call a second: it is as much down as one that fails ten at once."""
    circuit = Circuit(PLAIN, 0.0)

    states = []
    for second in range(10):
        fail(circuit, float(second))
        states.append(state_of(circuit, float(second)))

    assert states == [CircuitState.CLOSED] * 9 + [CircuitState.OPEN]


@pytest.mark.parametrize(("draw", "open_s"), [(0.0, 5.0), (0.5, 4.375), (1.0, 3.75)])
def test_chance_shortens_the_open_time(draw: float, open_s: float) -> None:
    """A thousand clients that opened in the same second would all probe in the same second, five later."""
    circuit = Circuit(CircuitBreaker(open_s=5.0, open_jitter=0.25), 0.0)

    fail(circuit, 0.0, times=10, draw=draw)

    assert circuit.retry_after(0.0) == open_s
    assert [bool(circuit.admit(now, EARLY)) for now in (open_s - 0.01, open_s)] == [False, True]


@pytest.mark.parametrize(
    ("retry_after_s", "draw", "open_s"),
    [(2.0, 0.0, 5.0), (20.0, 0.0, 20.0), (20.0, 1.0, 25.0), (60.0, 0.0, 60.0), (1e9, 0.0, 60.0), (1e9, 1.0, 75.0)],
)
def test_a_503_that_asks_to_be_left_alone_is_left_alone_longer(
    retry_after_s: float, draw: float, open_s: float
) -> None:
    """A probe before the time that was asked for fails and opens the circuit anew; an insane time is cut."""
    circuit = Circuit(CircuitBreaker(), 0.0)

    fail(circuit, 0.0, times=10, retry_after_s=retry_after_s, draw=draw)

    assert circuit.retry_after(0.0) == open_s


def test_the_longest_wait_asked_for_wins() -> None:
    """The failure that opens the circuit may be a timeout, after nine answers that named the time."""
    circuit = Circuit(PLAIN, 0.0)
    fail(circuit, 0.0, times=9, retry_after_s=30.0)

    fail(circuit, 1.0)

    assert circuit.retry_after(1.0) == 29.0


@pytest.mark.parametrize("probes", [1, 3])
def test_exactly_as_many_probes_go_through_as_configured(probes: int) -> None:
    """A thousand waiting callers let loose on an origin that has just got up would knock it down again."""
    circuit = opened(CircuitBreaker(probes=probes, open_jitter=0.0))

    admitted = sum(bool(circuit.admit(5.0, EARLY)) for _ in range(1000))

    assert (admitted, circuit.snapshot(5.0).probes) == (probes, probes)
    assert (state_of(circuit, 5.0), circuit.retry_after(5.0)) == (CircuitState.HALF_OPEN, None)


def test_the_circuit_closes_when_all_probes_have_succeeded() -> None:
    """One lucky answer of three that were asked for is not what was asked for."""
    circuit, first = probing(CircuitBreaker(probes=2, open_jitter=0.0, ramp_s=0.0))
    second = circuit.admit(5.0, EARLY)

    circuit.succeeded(first, 5.1)
    between = (state_of(circuit, 5.1), circuit.admit(5.1, EARLY))
    circuit.succeeded(second, 5.2)

    assert between == (CircuitState.HALF_OPEN, REFUSED)
    assert (state_of(circuit, 5.2), circuit.snapshot(5.2).calls) == (CircuitState.CLOSED, 0)
    assert all(circuit.admit(5.2, 0.999) for _ in range(1000))


def test_a_probe_that_fails_opens_the_circuit_anew() -> None:
    """The origin is still down: one call found out, and not ten. The next goes five seconds after this one went."""
    circuit, probe = probing()

    circuit.failed(probe, 6.0, 0.0)

    assert (state_of(circuit, 6.0), circuit.retry_after(6.0)) == (CircuitState.OPEN, 4.0)


def test_a_probe_that_fails_late_leaves_the_judgement_to_the_next() -> None:
    """A probe that a blackhole swallowed must not, by its timeout, undo what a later one found out."""
    circuit, swallowed = probing(CircuitBreaker(open_jitter=0.0, probe_s=5.0, ramp_s=0.0))
    later = circuit.admit(10.0, EARLY)

    circuit.failed(swallowed, 12.0, 0.0)
    between = circuit.snapshot(12.0)
    circuit.succeeded(later, 12.5)

    assert (between.state, between.probes) == (CircuitState.HALF_OPEN, 1)
    assert state_of(circuit, 12.5) is CircuitState.CLOSED


def test_a_probe_succeeds_once() -> None:
    """A call that is reported twice must not stand for two."""
    circuit, probe = probing(CircuitBreaker(probes=2, open_jitter=0.0))

    circuit.succeeded(probe, 5.1)
    circuit.succeeded(probe, 5.1)

    assert state_of(circuit, 5.1) is CircuitState.HALF_OPEN


def test_a_probe_that_was_cancelled_makes_room_for_another() -> None:
    """A caller who hangs up says nothing of the origin; without its permit back the circuit would never close."""
    circuit, probe = probing()

    circuit.abandoned(probe)
    another = circuit.admit(5.1, EARLY)
    circuit.succeeded(another, 5.2)

    assert state_of(circuit, 5.2) is CircuitState.CLOSED


def test_a_probe_that_never_comes_back_does_not_block_for_ever() -> None:
    """A lost permit would be an outage of our own making, until the process is restarted."""
    circuit, _ = probing(CircuitBreaker(open_jitter=0.0, probe_s=30.0))

    admitted = [bool(circuit.admit(now, EARLY)) for now in (34.9, 35.0, 35.0, 64.9, 65.0)]

    assert admitted == [False, True, False, False, True]


def test_a_probe_that_comes_back_late_still_counts() -> None:
    """An origin that is slow, and slower than a permit lasts, would otherwise never be found to be back."""
    circuit, slow = probing(CircuitBreaker(open_jitter=0.0, probe_s=30.0))
    circuit.admit(36.0, EARLY)

    circuit.succeeded(slow, 40.0)

    assert state_of(circuit, 40.0) is CircuitState.CLOSED


def test_lost_probes_are_not_kept_for_ever() -> None:
    """A year of lost probes must not be a leak: no call lives longer than five minutes."""
    circuit, _ = probing(CircuitBreaker(open_jitter=0.0, probe_s=1.0))

    for second in range(6, 2000):
        circuit.admit(float(second), EARLY)

    assert circuit.snapshot(2000.0).probes == 300


@pytest.mark.parametrize(("after", "share"), [(0.0, 0.0), (0.5, 0.25), (1.0, 0.5), (1.5, 0.75), (2.0, 1.0), (9.0, 1.0)])
def test_after_closing_the_share_of_calls_let_through_grows(after: float, share: float) -> None:
    """Full load on cold caches is what knocked the origin down the first time."""
    circuit, probe = probing(CircuitBreaker(open_jitter=0.0, ramp_s=2.0))
    circuit.succeeded(probe, 5.0)
    now = 5.0 + after

    snapshot = circuit.snapshot(now)
    admitted = [bool(circuit.admit(now, draw)) for draw in (max(0.0, share - 0.01), share)]

    assert (snapshot.state, snapshot.admitted, snapshot.retry_after_s) == (
        CircuitState.CLOSED,
        share,
        max(0.0, 2.0 - after),
    )
    assert admitted == [share > 0.0, share == 1.0]


def test_the_ramp_ends() -> None:
    """A circuit that once was open must not pay for it on every call after."""
    circuit, probe = probing(CircuitBreaker(open_jitter=0.0, ramp_s=2.0))
    circuit.succeeded(probe, 5.0)

    circuit.admit(8.0, 0.5)

    assert all(circuit.admit(now, 1.0) for now in (8.0, 6.0))


def test_failures_on_the_ramp_open_the_circuit() -> None:
    """The probe may have been the one call that the origin could bear."""
    circuit, probe = probing(CircuitBreaker(open_jitter=0.0, ramp_s=2.0))
    circuit.succeeded(probe, 5.0)

    fail(circuit, 6.0, times=10)

    assert state_of(circuit, 6.0) is CircuitState.OPEN


def test_calls_that_began_before_the_circuit_opened_do_not_count() -> None:
    """Timeouts from before the outage come in after it: they would open the circuit again, or close it too soon."""
    circuit = Circuit(PLAIN, 0.0)
    early = [circuit.admit(0.0, EARLY) for _ in range(20)]
    fail(circuit, 0.0, times=10)
    probe = circuit.admit(5.0, EARLY)

    circuit.succeeded(early[0], 5.1)
    circuit.failed(early[1], 5.1, 0.0)
    half_open = circuit.snapshot(5.1)
    circuit.succeeded(probe, 5.2)
    for ticket in early[2:]:
        circuit.failed(ticket, 5.3, 0.0)

    assert (half_open.state, half_open.calls) == (CircuitState.HALF_OPEN, 10)
    assert (state_of(circuit, 5.3), circuit.snapshot(5.3).calls) == (CircuitState.CLOSED, 0)


def test_a_probe_of_an_earlier_half_open_time_does_not_count() -> None:
    """It reached the origin as it was then."""
    circuit, first = probing(CircuitBreaker(probes=2, open_jitter=0.0))
    second = circuit.admit(5.0, EARLY)
    circuit.failed(first, 5.1, 0.0)
    circuit.admit(10.1, EARLY)

    circuit.failed(second, 10.2, 0.0)
    circuit.abandoned(second)

    assert circuit.snapshot(10.2).probes == 1
    assert state_of(circuit, 10.2) is CircuitState.HALF_OPEN


def test_successes_of_an_earlier_half_open_time_do_not_count() -> None:
    """Two good answers before a bad one are no head start for the next time."""
    policy = CircuitBreaker(probes=2, open_jitter=0.0)
    circuit, first = probing(policy)
    second = circuit.admit(5.0, EARLY)
    circuit.succeeded(first, 5.1)
    circuit.failed(second, 5.2, 0.0)

    again = [circuit.admit(10.2, EARLY) for _ in range(3)]
    circuit.succeeded(again[0], 10.3)

    assert [bool(ticket) for ticket in again] == [True, True, False]
    assert state_of(circuit, 10.3) is CircuitState.HALF_OPEN


def test_a_silence_does_not_shift_the_slots_of_the_window() -> None:
    """What the window holds must depend on when calls failed, and not on when somebody looked."""
    circuit = Circuit(PLAIN, 0.0)
    circuit.snapshot(25.5)
    fail(circuit, 25.5, times=3)

    calls = [circuit.snapshot(now).calls for now in (34.9, 35.0)]

    assert calls == [3, 0]


def test_advice_from_before_the_circuit_was_closed_by_hand_is_forgotten() -> None:
    """The operator has just overruled it."""
    circuit = Circuit(PLAIN, 0.0)
    fail(circuit, 0.0, times=9, retry_after_s=60.0)
    circuit.hold_closed(1.0)
    circuit.release(2.0)

    fail(circuit, 3.0, times=10)

    assert circuit.retry_after(3.0) == 5.0


def test_the_generation_tells_of_every_change_of_state() -> None:
    """The operator's log line ``outbound.circuit`` hangs on it."""
    circuit = Circuit(CircuitBreaker(open_jitter=0.0, ramp_s=2.0), 0.0)
    seen = [circuit.generation]

    fail(circuit, 0.0, times=10)
    seen.append(circuit.generation)
    circuit.admit(1.0, EARLY)
    probe = circuit.admit(5.0, EARLY)
    seen.append(circuit.generation)
    circuit.succeeded(probe, 5.1)
    seen.append(circuit.generation)
    succeed(circuit, 9.0, times=3)

    assert len(set(seen)) == 4
    assert circuit.generation == seen[-1]


def test_a_circuit_held_open_refuses_until_it_is_released() -> None:
    """An operator who takes a provider out of service must not have probes put it back."""
    circuit = Circuit(PLAIN, 0.0)
    in_flight = circuit.admit(0.0, EARLY)

    circuit.hold_open(1.0)
    circuit.succeeded(in_flight, 2.0)

    assert not any(circuit.admit(now, EARLY) for now in (1.0, 100.0, 1e9))
    assert circuit.snapshot(1e9) == CircuitSnapshot(
        state=CircuitState.OPEN,
        since=1.0,
        held=True,
        calls=0,
        failures=0,
        probes=0,
        admitted=0.0,
        retry_after_s=None,
    )


def test_a_circuit_released_from_open_lets_a_probe_find_out() -> None:
    """The operator says when to look, and the origin says whether it is back."""
    circuit = Circuit(PLAIN, 0.0)
    circuit.hold_open(1.0)

    circuit.release(50.0)

    assert [bool(circuit.admit(50.0, EARLY)) for _ in range(3)] == [True, False, False]
    assert (circuit.snapshot(50.0).state, circuit.snapshot(50.0).held) == (CircuitState.HALF_OPEN, False)


def test_a_circuit_held_closed_lets_all_calls_through() -> None:
    """An operator who knows better must be able to say so, and still see the failures counted."""
    circuit = opened(CircuitBreaker())

    circuit.hold_closed(1.0)
    fail(circuit, 1.0, times=100)

    assert circuit.admit(1.0, 0.999)
    assert circuit.snapshot(1.0) == CircuitSnapshot(
        state=CircuitState.CLOSED,
        since=1.0,
        held=True,
        calls=100,
        failures=100,
        probes=0,
        admitted=1.0,
        retry_after_s=0.0,
    )


def test_a_circuit_released_from_closed_counts_afresh() -> None:
    """Failures that were allowed by hand must not open it the moment the hand is gone."""
    circuit = Circuit(PLAIN, 0.0)
    circuit.hold_closed(1.0)
    fail(circuit, 1.0, times=100)

    circuit.release(2.0)
    fail(circuit, 2.0, times=9)
    nine = state_of(circuit, 2.0)
    fail(circuit, 2.0)

    assert (nine, state_of(circuit, 2.0)) == (CircuitState.CLOSED, CircuitState.OPEN)


def test_to_release_what_is_not_held_changes_nothing() -> None:
    """A script that releases every origin must not close the circuits that are open for good reason."""
    circuit = opened()
    before = circuit.snapshot(1.0)

    circuit.release(1.0)

    assert circuit.snapshot(1.0) == before


@pytest.mark.parametrize("status", [100, 101, 200, 202, 204, 301, 304, 400, 401, 402, 404, 409, 421, 422, 451])
def test_an_answer_that_the_origin_chose_shows_that_it_works(status: int) -> None:
    """Ten declined cards are not an outage, and a probe that meets a 404 has found the origin at work."""
    health = health_of(status, "any")

    assert health is Health.WORKING


@pytest.mark.parametrize("status", [500, 501, 502, 503, 504, 520, 529, 599, 600, 999, 0, 99, -1])
def test_a_server_error_and_a_status_that_is_none_are_failures(status: int) -> None:
    """They are what the breaker is there for."""
    health = health_of(status, "any")

    assert health is Health.FAILING


@pytest.mark.parametrize("status", [407, 408, 425, 429, 499])
def test_an_answer_that_judges_no_request_counts_neither_way(status: int) -> None:
    """A rate limit has a gate of its own; counted as failure it would open the circuit of a healthy origin."""
    health = health_of(status, "any")

    assert health is Health.UNKNOWN


@pytest.mark.parametrize(
    "reason",
    [
        *("dns", "connect", "connect_timeout", "tls", "tls_certificate", "proxy", "proxy_refused"),
        *("timeout", "read_timeout", "disconnected", "connection_lost", "malformed_response", "payload_lost"),
        "a word that is new",
    ],
)
def test_a_failure_of_the_transport_is_the_origins(reason: str) -> None:
    """A blackhole answers nothing at all: its timeouts are the only sign of it."""
    health = health_of(None, reason)

    assert health is Health.FAILING


@pytest.mark.parametrize(
    "reason",
    [
        *("cancelled", "deadline", "local_error", "invalid_url", "bad_redirect", "too_many_redirects", "pool_wait"),
        "proxy_authentication_required",
    ],
)
def test_a_failure_of_our_own_is_not_the_origins(reason: str) -> None:
    """A bug in a caller's middleware must not cut every other caller off from the provider."""
    health = health_of(None, reason)

    assert health is Health.UNKNOWN


def test_a_success_whose_body_was_lost_is_a_failure() -> None:
    """An origin that dies in the middle of every answer is down, whatever its status lines say."""
    health = health_of(200, "body_unreadable")

    assert health is Health.FAILING


def test_an_empty_window_has_no_failure_rate() -> None:
    """Whoever reads the state of an idle origin must not be met by a division by zero."""
    snapshot = Circuit(PLAIN, 0.0).snapshot(0.0)

    assert snapshot.failure_rate == 0.0


@given(
    policy=st.builds(
        CircuitBreaker,
        window_s=st.floats(5e-324, 1e308),
        open_s=st.floats(5e-324, 1e308),
        ramp_s=st.floats(0, 1e308),
        probe_s=st.floats(5e-324, 1e308),
        open_max_s=st.floats(5e-324, 1e308),
        minimum_calls=st.just(1),
    ),
    times=st.lists(st.floats(0, 1e9), min_size=1, max_size=8).map(sorted),
)
def test_no_allowed_policy_breaks_the_arithmetic(policy: CircuitBreaker, times: list[float]) -> None:
    """A policy that is allowed must not fail in the middle of a payment."""
    circuit = Circuit(policy, 0.0)

    for now in times:
        circuit.failed(circuit.admit(now, 0.0), now, 0.5, 1e9)
        circuit.succeeded(circuit.admit(now, 0.0), now)
        snapshot = circuit.snapshot(now)

    assert 0.0 <= snapshot.admitted <= 1.0
    assert snapshot.failures <= snapshot.calls


@dataclass
class Sent:
    """A call that was let through, in the model."""

    ticket: Ticket
    era: int
    probe: bool
    began: float


@dataclass
class Model:
    """A circuit that keeps every event in a list, and works everything out from it when asked."""

    policy: CircuitBreaker
    state: str = "closed"
    era: int = 0
    since: float = 0.0
    steady: bool = True
    held: bool = False
    opens_at: float = 0.0
    passed: int = 0
    counting_from: float = 0.0
    events: list[tuple[float, bool]] = field(default_factory=list)
    advice: list[float] = field(default_factory=list)

    def enter(self, state: str, now: float) -> None:
        self.state, self.since, self.passed = state, now, 0
        self.era += 1

    def close(self, now: float, *, ramp: bool) -> None:
        self.enter("closed", now)
        self.steady = not ramp
        self.counting_from, self.events, self.advice = now, [], []

    def open(self, now: float, draw: float, since: float) -> None:
        spread = self.policy.open_jitter * draw
        asked = max([until - now for until in self.advice], default=0.0) * (1 + spread)
        self.opens_at = max(now + asked, since + self.policy.open_s * (1 - spread))
        self.enter("open", now)

    def in_window(self, now: float) -> list[bool]:
        """Find what lies in the last ten tenths of a window, the one that has begun included."""
        width = self.policy.window_s / 10
        present = floor((now - self.counting_from) / width)
        return [bad for at, bad in self.events if floor((at - self.counting_from) / width) > present - 10]

    def share(self, now: float) -> float:
        if self.state != "closed":
            return 0.0
        return 1.0 if self.steady or not self.policy.ramp_s else min(1.0, (now - self.since) / self.policy.ramp_s)

    def admits(self, now: float, draw: float, out: list[Sent]) -> bool:
        if self.state == "closed":
            return draw < self.share(now)
        if self.state == "open" and now >= self.opens_at:
            self.enter("half_open", now)
        waited_for = [sent for sent in out if sent.era == self.era and now < sent.began + self.policy.probe_s]
        return self.state == "half_open" and len(waited_for) + self.passed < self.policy.probes

    def count(self, now: float, *, bad: bool) -> None:
        self.events.append((now, bad))

    def judges_open(self, now: float) -> bool:
        seen = self.in_window(now)
        enough = len(seen) >= self.policy.minimum_calls
        return enough and not self.held and sum(seen) >= self.policy.failure_rate * len(seen)


class CircuitAgainstEvents(RuleBasedStateMachine):
    """Compare the circuit with a model that keeps every event."""

    @initialize(
        probes=st.integers(1, 3),
        minimum=st.integers(1, 6),
        rate=st.sampled_from([0.25, 0.5, 1.0]),
        jitter=st.sampled_from([0.0, 0.25]),
        ramp=st.sampled_from([0.0, 4.0]),
        start=st.integers(0, 64),
    )
    def begin(self, probes: int, minimum: int, rate: float, jitter: float, ramp: float, start: int) -> None:
        """Choose a policy whose times are exact in floating point."""
        policy = CircuitBreaker(
            failure_rate=rate,
            minimum_calls=minimum,
            window_s=20.0,
            open_s=4.0,
            probes=probes,
            open_jitter=jitter,
            open_max_s=16.0,
            probe_s=8.0,
            ramp_s=ramp,
        )
        self.now = start / 4
        self.circuit = Circuit(policy, self.now)
        self.model = Model(policy, since=self.now, counting_from=self.now)
        self.out: list[Sent] = []

    @rule(quarters=st.sampled_from([1, 2, 4, 8, 16, 40, 93, 200]))
    def pass_time(self, quarters: int) -> None:
        """Let time pass, of which the circuit is not told. No call lives longer than five minutes."""
        self.now += quarters / 4
        for sent in [sent for sent in self.out if self.now - sent.began > 240.0]:
            self.out.remove(sent)
            self.circuit.abandoned(sent.ticket)

    @rule(callers=st.integers(1, 6), draw=st.sampled_from([0.0, 0.25, 0.5, 0.75, 0.999]))
    def call(self, callers: int, draw: float) -> None:
        """Let several callers ask at once."""
        for _ in range(callers):
            expected = self.model.admits(self.now, draw, self.out)
            ticket = self.circuit.admit(self.now, draw)

            assert bool(ticket) is expected
            if ticket:
                probe = self.model.state == "half_open"
                self.out.append(Sent(ticket, self.model.era, probe, self.now))

    @precondition(lambda self: self.out)
    @rule(which=st.integers(0, 1000))
    def one_succeeds(self, which: int) -> None:
        """Let any call that is out come back well."""
        sent = self.out.pop(which % len(self.out))
        self.circuit.succeeded(sent.ticket, self.now)
        if sent.era != self.model.era:
            return
        if not sent.probe:
            self.model.count(self.now, bad=False)
            return
        self.model.passed += 1
        if self.model.passed == self.model.policy.probes:
            self.model.close(self.now, ramp=True)

    @precondition(lambda self: self.out)
    @rule(
        which=st.integers(0, 1000),
        how_many=st.integers(1, 6),
        draw=st.sampled_from([0.0, 0.5, 1.0]),
        asked=st.sampled_from([0.0, 0.0, 8.0, 1e6]),
    )
    def some_fail(self, which: int, how_many: int, draw: float, asked: float) -> None:
        """Let calls that are out fail, one after the other."""
        for _ in range(min(how_many, len(self.out))):
            sent = self.out.pop(which % len(self.out))
            self.circuit.failed(sent.ticket, self.now, draw, asked)
            too_late = sent.probe and self.now >= sent.began + self.model.policy.probe_s
            if sent.era != self.model.era or too_late:
                continue
            self.model.count(self.now, bad=True)
            self.model.advice.append(self.now + min(asked, 16.0))
            if sent.probe or self.model.judges_open(self.now):
                self.model.open(self.now, draw, since=sent.began if sent.probe else self.now)

    @precondition(lambda self: self.out)
    @rule(which=st.integers(0, 1000))
    def one_is_cancelled(self, which: int) -> None:
        """Let any call that is out say nothing."""
        self.circuit.abandoned(self.out.pop(which % len(self.out)).ticket)

    @rule(how=st.sampled_from(["open", "closed", "release", "release"]))
    def hold(self, how: str) -> None:
        """Take it by hand, or let go of it."""
        if how == "open":
            self.circuit.hold_open(self.now)
            self.model.enter("open", self.now)
            self.model.held, self.model.opens_at = True, 1e12
        if how == "closed":
            self.circuit.hold_closed(self.now)
            self.model.close(self.now, ramp=False)
            self.model.held = True
        if how == "release":
            self.circuit.release(self.now)
            if self.model.held and self.model.state == "closed":
                self.model.close(self.now, ramp=False)
            if self.model.held:
                self.model.opens_at = self.now
            self.model.held = False

    @rule()
    def look(self) -> None:
        """State, share, counts and probes are those of the model."""
        seen = self.circuit.snapshot(self.now)
        window = self.model.in_window(self.now)
        probes = [sent for sent in self.out if sent.era == self.model.era and sent.probe]

        assert (seen.state, seen.since, seen.held) == (self.model.state, self.model.since, self.model.held)
        assert (seen.calls, seen.failures) == (len(window), sum(window))
        assert (seen.admitted, seen.probes) == (self.model.share(self.now), len(probes))


test_the_circuit_agrees_with_a_model_that_keeps_every_event = CircuitAgainstEvents.TestCase
test_the_circuit_agrees_with_a_model_that_keeps_every_event.settings = settings(max_examples=80, stateful_step_count=30)


def test_a_circuit_tells_beforehand_whether_it_lets_nobody_through() -> None:
    """A lookup, or a call that would wait in line for its turn, would find out only when it is too late."""
    circuit = Circuit(PLAIN, 0.0)
    refused = [circuit.refuses(0.0)]

    fail(circuit, 0.0, times=10, draw=0.0)
    refused += [circuit.refuses(0.0), circuit.refuses(4.9), circuit.refuses(5.0)]
    probe = circuit.admit(5.0, EARLY)
    refused += [circuit.refuses(5.0)]
    circuit.succeeded(probe, 5.1)
    refused += [circuit.refuses(5.1)]

    assert refused == [False, True, True, False, True, False]


def test_a_lost_probe_no_longer_refuses_others() -> None:
    """A blackhole that swallowed the probe would keep the circuit shut for as long as that one waits."""
    circuit = Circuit(PLAIN, 0.0)
    fail(circuit, 0.0, times=10, draw=0.0)
    circuit.admit(5.0, EARLY)

    refused = [circuit.refuses(9.9), circuit.refuses(5.0 + PLAIN.probe_s)]

    assert refused == [True, False]
