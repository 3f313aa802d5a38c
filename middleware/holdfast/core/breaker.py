"""Whether the circuit to one origin lets a call through.

A state machine over moments and draws that the caller passes in: closed, open, half-open, and after closing a ramp.
Nothing here waits, reads a clock or owns a random source; time moves it only when a call asks or reports. Proof:
``tests/core/test_breaker.py``, among others against a model that keeps every event.

After Michael Nygard, "Release It!" (2007), with what later breakers learnt: a rate over a minimum volume and one that
opens on a failure only (Polly 8), probes counted by permits (resilience4j), a slow start after them (Envoy).

The open time does not grow from one opening to the next. With one probe in five seconds an origin that is down sees a
two-hundredth of a busy client's calls already, while a doubled wait is time that each client is down after the repair.
"""

from enum import StrEnum
from math import inf
from typing import Final, NamedTuple, TypeAlias

from holdfast.policy import DEADLINE_CAP_S, CircuitBreaker

Ticket: TypeAlias = int
"""Lets one call through, and comes back with what became of it. A plain number: it costs nothing on the way."""

REFUSED: Final[Ticket] = 0
"""The one ticket that lets nobody through. It is the only false one."""

_SLOTS: Final = 10
"""Parts of the rolling window: it forgets a tenth at a time, and costs the same for one call and a million."""

_SHORTEST_SLOT_S: Final = 1e-9
"""Keeps the arithmetic finite for a window that is too short to hold a call."""


class CircuitState(StrEnum):
    """Where a circuit stands."""

    CLOSED = "closed"
    """Calls go through; after a half-open time a growing share of them."""

    OPEN = "open"
    """Calls are refused, until the first after ``retry_after_s`` becomes a probe."""

    HALF_OPEN = "half_open"
    """Probes are out, and all other calls are refused."""


class Health(StrEnum):
    """What one attempt says of the origin."""

    WORKING = "working"
    FAILING = "failing"
    UNKNOWN = "unknown"


# Looked up once: a member of an enumeration costs more than a call of a function.
_WORKING: Final = Health.WORKING
_FAILING: Final = Health.FAILING
_UNKNOWN: Final = Health.UNKNOWN

_SAYS_NOTHING: Final = frozenset({407, 408, 425, 429, 499})
"""4xx that are not the origin's judgement of a request: a proxy's or a limiter's, or of one that did not arrive."""

_LOST_SUCCESS: Final = "body_unreadable"

_NOT_THE_ORIGINS_DOING: Final = frozenset(
    {
        *("cancelled", "deadline", "local_error", "invalid_url", "bad_redirect", "too_many_redirects"),
        *("pool_wait", "proxy_authentication_required"),
    }
)


def health_of(status: int | None, reason: str) -> Health:
    """Say what one attempt tells of the origin's health.

    A 4xx counts as working. The origin took the request in, judged it and answered; were a 404 no evidence, the
    half-open circuit of a service that mostly asks for what is not there would never close, and ten failures among a
    thousand declined cards would open it.

    Args:
        status: Status of the answer; ``None`` when none came.
        reason: The classification's word.
    """
    if status is None:
        return _UNKNOWN if reason in _NOT_THE_ORIGINS_DOING else _FAILING
    if status in _SAYS_NOTHING:
        return _UNKNOWN
    return _WORKING if 100 <= status < 500 and reason != _LOST_SUCCESS else _FAILING  # noqa: PLR2004


class CircuitSnapshot(NamedTuple):
    """Where a circuit stood at one moment."""

    state: CircuitState
    since: float
    """When it came into this state, on the event loop's clock."""

    held: bool
    """Whether it was put there by hand, and stays until it is released."""

    calls: int
    """Calls in the rolling window."""

    failures: int
    """Those of them that failed."""

    probes: int
    """Probes that are out."""

    admitted: float
    """Share of calls let through: 0 while open or half-open, 1 while closed, in between on the ramp."""

    retry_after_s: float | None
    """Seconds until the next probe; 0 when calls go through, ``None`` when that is not known."""

    @property
    def failure_rate(self) -> float:
        """Share of failed calls in the window; 0 when it is empty."""
        return self.failures / self.calls if self.calls else 0.0


class Circuit:
    """The circuit to one origin. Confined to one event loop.

    Each call asks ``admit`` and brings its ticket back once, through ``succeeded``, ``failed`` or ``abandoned``. What a
    call reports that began before the last change of state says nothing about the present one, and is ignored.

    Attributes:
        steady_ticket: What ``admit`` would give every call, for callers who save the question; ``REFUSED`` says to ask.
    """

    __slots__ = (
        *("_advised_until", "_calls", "_failures", "_fresh_calls", "_fresh_failures", "_generation", "_held"),
        *("_issued", "_open_until", "_passed", "_policy", "_probes", "_ramp_s", "_since", "_slot", "_slot_ends"),
        *("_slot_s", "_state", "_told", "steady_ticket"),
    )

    def __init__(self, policy: CircuitBreaker, now: float) -> None:
        """Make a closed circuit.

        Args:
            policy: When it opens and how it closes.
            now: The present moment, in seconds.
        """
        self._policy = policy
        self._slot_s = max(policy.window_s / _SLOTS, _SHORTEST_SLOT_S)
        self._issued = 0
        self._held = False
        self._open_until = now
        self._probes: dict[int, float] = {}  # ticket: when it began
        self._slot = 0
        self._calls: list[int] = []  # of each slot that is over
        self._failures: list[int] = []
        self._fresh_calls = 0  # of the present one, which counts most
        self._fresh_failures = 0
        self._advised_until = now
        self._told = CircuitState.CLOSED
        self._close(now, ramp_s=0.0)
        self.steady_ticket: Ticket = self._generation

    @property
    def generation(self) -> int:
        """A number that changes with every change of state, and with nothing else: compare it to notice one."""
        return self._generation

    def take_news(self) -> CircuitState | None:
        """Give the state once, after it has changed by itself or by hand. While a ticket is steady, there is none."""
        if self._state is self._told:
            return None
        self._told = self._state
        return self._told

    def refuses(self, now: float) -> bool:
        """Say whether no call would be let through just now; on the ramp some are."""
        if self._state is CircuitState.CLOSED:
            return False
        if now < self._open_until:
            return True
        return self._state is CircuitState.HALF_OPEN and self._probes_out(now) >= self._policy.probes

    def admit(self, now: float, draw: float) -> Ticket:
        """Ask to let one call through.

        Args:
            now: The present moment.
            draw: Uniform random number in ``[0, 1)``; it decides on the ramp.

        Returns:
            The call's ticket, or ``REFUSED``.
        """
        if self._state is CircuitState.CLOSED:
            return self.steady_ticket or self._admit_on_ramp(now, draw)
        if now < self._open_until:
            return REFUSED
        if self._state is CircuitState.OPEN:
            self._enter(CircuitState.HALF_OPEN, now)
        return self._admit_probe(now)

    def succeeded(self, ticket: Ticket, now: float) -> None:
        """Report that the origin did its work; a 4xx is a correct answer to a wrong question (see ``health_of``)."""
        if ticket == self._generation:
            if now >= self._slot_ends:
                self._turn_window(now)
            self._fresh_calls += 1
            return
        if self._probes.pop(ticket, None) is None:
            return
        self._passed += 1
        if self._passed == self._policy.probes:
            self._close(now, ramp_s=self._policy.ramp_s)

    def failed(self, ticket: Ticket, now: float, draw: float, retry_after_s: float = 0.0) -> None:
        """Report that the origin, or the way to it, failed.

        It is here alone that the circuit opens: a success is no reason to, even where it is the call that fills the
        minimum volume.

        Args:
            ticket: The call's.
            now: The present moment.
            draw: Uniform random number in ``[0, 1]``, which spreads the open time.
            retry_after_s: Seconds that a 503 asked to be left alone; 0 when it asked for nothing.
        """
        began = self._probes.get(ticket)
        if began is None and ticket != self._generation:
            return
        if began is not None and now >= began + self._policy.probe_s:
            # It was given up long ago, and another probe may be out: too late for bad news.
            del self._probes[ticket]
            return
        if now >= self._slot_ends:
            self._turn_window(now)
        self._fresh_calls += 1
        self._fresh_failures += 1
        self._advised_until = max(self._advised_until, now + min(retry_after_s, self._policy.open_max_s))
        if began is not None:
            self._open(now, draw, since=began)
        elif self._has_failed_too_often():
            self._open(now, draw, since=now)

    def abandoned(self, ticket: Ticket) -> None:
        """Report a call that says nothing of the origin's health: cancelled, never sent, a 408, 425, 429 or 499."""
        self._probes.pop(ticket, None)

    def hold_open(self, now: float) -> None:
        """Refuse every call until ``release``."""
        self._held = True
        self._enter(CircuitState.OPEN, now)
        self._open_until = inf

    def hold_closed(self, now: float) -> None:
        """Let every call through until ``release``, whatever fails."""
        self._held = True
        self._close(now, ramp_s=0.0)

    def release(self, now: float) -> None:
        """Give a circuit that is held back to its own judgement.

        One that was held closed counts afresh; one that was held open lets probes find out.
        """
        if not self._held:
            return
        self._held = False
        self._open_until = now
        if self._state is CircuitState.CLOSED:
            self._close(now, ramp_s=0.0)

    def retry_after(self, now: float) -> float | None:
        """Give the seconds until a call goes through; 0 when one may, ``None`` when that is not known."""
        if self._state is CircuitState.CLOSED:
            return 0.0 if self.steady_ticket else max(0.0, self._since + self._ramp_s - now)
        if self._held or self._state is CircuitState.HALF_OPEN:
            return None
        return max(0.0, self._open_until - now)

    def is_at_rest(self, now: float) -> bool:
        """Say whether a new circuit would do as well: closed, or open so long that nobody asks any more."""
        if self._state is CircuitState.CLOSED:
            return not self._held and self._share(now) >= 1.0
        return now >= max(self._since, self._open_until) + DEADLINE_CAP_S

    def snapshot(self, now: float) -> CircuitSnapshot:
        """Say where it stands."""
        if now >= self._slot_ends:
            self._turn_window(now)
        return CircuitSnapshot(
            state=self._state,
            since=self._since,
            held=self._held,
            calls=sum(self._calls) + self._fresh_calls,
            failures=sum(self._failures) + self._fresh_failures,
            probes=len(self._probes),
            admitted=self._share(now),
            retry_after_s=self.retry_after(now),
        )

    def _admit_on_ramp(self, now: float, draw: float) -> Ticket:
        share = self._share(now)
        if share >= 1.0:
            self.steady_ticket = self._generation
        return self._generation if draw < share else REFUSED

    def _probes_out(self, now: float) -> int:
        waited_for = sum(now < began + self._policy.probe_s for began in self._probes.values())
        return waited_for + self._passed

    def _admit_probe(self, now: float) -> Ticket:
        # No call lives longer than five minutes: what has not come back by then was lost by its caller.
        self._probes = {ticket: began for ticket, began in self._probes.items() if now < began + DEADLINE_CAP_S}
        if self._probes_out(now) >= self._policy.probes:
            return REFUSED
        ticket = self._next_ticket()
        self._probes[ticket] = now
        return ticket

    def _has_failed_too_often(self) -> bool:
        calls = sum(self._calls) + self._fresh_calls
        if self._held or calls < self._policy.minimum_calls:
            return False
        return (sum(self._failures) + self._fresh_failures) / calls >= self._policy.failure_rate

    def _open(self, now: float, draw: float, *, since: float) -> None:
        # After a probe the time counts from when that began: one that hangs must not put off the next.
        spread = self._policy.open_jitter * draw
        own = since + self._policy.open_s * (1.0 - spread)
        advised = now + (self._advised_until - now) * (1.0 + spread)
        self._enter(CircuitState.OPEN, now)
        self._open_until = max(own, advised)

    def _close(self, now: float, *, ramp_s: float) -> None:
        self._enter(CircuitState.CLOSED, now)
        self._ramp_s = ramp_s
        self._advised_until = now
        self._calls = [0] * _SLOTS
        self._failures = [0] * _SLOTS
        self._fresh_calls = self._fresh_failures = 0
        self._slot = 0
        self._slot_ends = now + self._slot_s

    def _enter(self, state: CircuitState, now: float) -> None:
        self._state = state
        self._since = now
        self.steady_ticket = REFUSED
        self._generation = self._next_ticket()
        self._probes.clear()
        self._passed = 0

    def _next_ticket(self) -> Ticket:
        self._issued += 1
        return self._issued

    def _share(self, now: float) -> float:
        if self._state is not CircuitState.CLOSED:
            return 0.0
        return 1.0 if self.steady_ticket or not self._ramp_s else min(1.0, (now - self._since) / self._ramp_s)

    def _turn_window(self, now: float) -> None:
        """Forget what has left the window, in whole slots."""
        self._calls[self._slot], self._failures[self._slot] = self._fresh_calls, self._fresh_failures
        self._fresh_calls = self._fresh_failures = 0
        for _ in range(_SLOTS):
            self._slot = (self._slot + 1) % _SLOTS
            self._calls[self._slot] = 0
            self._failures[self._slot] = 0
            self._slot_ends += self._slot_s
            if now < self._slot_ends:
                return
        self._slot_ends = now + self._slot_s - (now - self._slot_ends) % self._slot_s
