"""When the next call to one origin may begin.

A gate that a 429 closes for all calls alike, that lets those who waited through one by one, and that can keep a
provider's published rate by itself. Pure: the caller passes moments and draws, and keeps the line of waiters; the gate
tells each how long, and gives a turn away only when it is due. Proof: ``tests/core/test_rate_gate.py``.

- Closing: jitter is added after the wait that was asked for, because that ends for everybody at once (the draft of the
  RateLimit headers warns of it; same-instant failures of 1 000 clients need 24.6 attempts a call without, 4.2 with).
- Pacing after it: additive increase, multiplicative decrease (Chiu and Jain, 1989), from the rate that was refused, as
  the adaptive mode of the AWS SDKs does.
- A rate of our own: the generic cell rate algorithm (ITU-T I.371).
"""

from math import inf
from typing import Final, NamedTuple

from holdfast.policy import RateLimit

CLOSED_MAX_S: Final = 3600.0
"""Longest wait that is believed, jitter apart; no call can sit out more than five minutes of it anyway."""

UNADVISED_S: Final = 1.0
"""How long a 429 closes the gate that does not say: the base of the AWS SDKs' backoff after throttling."""

_JITTER: Final = 0.25
"""Most that is added to a wait, as a share of it."""

_CUT: Final = 0.5
"""What is left of the rate after a refusal."""

_REGAIN: Final = 0.05
"""Growth of the pace each second, as a share of the usual rate, up to that rate: halved, it is back in ten seconds."""

_BEYOND: Final = 0.005
"""The same above the usual rate. A hundred processes that catch up on their lines at twice the usual rate bring an
origin down that has just recovered: in simulation, 23 s until it works again, against 2."""

_CATCH_UP: Final = 0.01
"""Growth of the pace each second, as a share of itself, when a line still waits after a calm: the usual rate has become
a thing of the past, and the pace doubles in a minute."""

_CALM_S: Final = 30.0
"""Seconds without a refusal after which the pace is forgotten, or grows freely while a line still waits for it."""

_SLOWEST: Final = 0.5
"""Calls a second below which no refusal cuts the pace (the least fill rate of the AWS SDKs' adaptive mode), and the
least by which it grows each second. The waits that the origin asks for still hold."""

_COUNT_S: Final = 10.0
"""Length of the intervals in which calls are counted, to know the rate that was refused."""

_MOST: Final = 1e9
"""Keeps the arithmetic finite for a rate that is next to nothing, and for a burst without end."""


class Refusal(NamedTuple):
    """The turn would come after the call's deadline."""

    wait_s: float
    """Seconds after which to ask again."""


class GateState(NamedTuple):
    """Where a gate stood at one moment."""

    closed_s: float
    """Seconds until it opens; 0 when it is open."""

    pace: float | None
    """Calls a second that are let through after a refusal; ``None`` when the origin has not refused lately."""


class RateGate:
    """The gate to one origin. Confined to one event loop.

    The line of those who wait is the caller's: ``reserve`` is asked by a newcomer, with the number of those before it,
    and again by the first in line when its wait is over.

    Attributes:
        free_until: Moment before which ``reserve`` would give every call a turn and only count it, in ``counted``: for
            callers who save the question.
        gap: Seconds between two turns; 0 is no pace.
    """

    __slots__ = (
        *("_counted_since", "_cut_at", "_jitter", "_last_rate", "_limit_due", "_limit_gap", "_limit_slack", "_mild"),
        *("_next_due", "_open_at", "_usual", "counted", "free_until", "gap"),
    )

    def __init__(self, limit: RateLimit | None, now: float, mild: float = _SLOWEST) -> None:
        """Make an open gate.

        Args:
            limit: A rate to keep whatever the origin says; ``None`` for none.
            now: The present moment, in seconds.
            mild: Calls a second below which a first refusal does not cut the pace; further ones halve it on. What a
                process sent before its first refusal may be too little to tell how fast it may go.
        """
        self._mild = mild
        self._limit_gap = 0.0 if limit is None else min(1.0 / limit.per_second, _MOST)
        self._limit_slack = 0.0 if limit is None else self._limit_gap * (min(limit.burst, _MOST) - 1)
        self._limit_due = now
        self._open_at = now
        self._jitter = 0.0
        self.gap: float = 0.0
        self._next_due = now
        self._usual = 0.0
        self._cut_at = -inf
        self._last_rate = 0.0
        self.counted: int = 0
        self._counted_since = now
        self.free_until: float = -inf

    def reserve(self, now: float, deadline_at: float, ahead: int = 0, *, has_waited: bool = False) -> float | Refusal:
        """Ask for a turn.

        Args:
            now: The present moment.
            deadline_at: When the call ends.
            ahead: How many wait before this one.
            has_waited: Whether it asks again, and there is a line.

        Returns:
            0.0 with nobody ahead: the turn is given, go. Otherwise the seconds to wait, as far as is known now: the
            turn is not given yet, and the first in line asks again when they are over. Or a refusal, where the turn
            would not come before the deadline.
        """
        if now < self.free_until:
            self.counted += 1
            return 0.0
        due = self._due(now, ahead)
        if due >= deadline_at:
            return Refusal(due - now)
        if due <= now and not ahead:
            self._give_turn(now, has_waited=has_waited)
            return 0.0
        return due - now

    def wait_s(self, now: float, ahead: int = 0) -> float:
        """Give the seconds until the turn of a call with so many before it, as far as is known."""
        return self._due(now, ahead) - now

    def give_back(self) -> None:
        """Return a turn that was given, because its call was cancelled before it was sent."""
        self.counted -= 1
        self._next_due -= self.gap
        self._limit_due -= self._limit_gap

    def throttled(self, sent_at: float, now: float, wait_s: float | None, draw: float) -> None:
        """Report a 429.

        Args:
            sent_at: When the refused attempt began. One volley is one refusal: what was sent before the last cut does
                not cut the pace again.
            now: The present moment.
            wait_s: Seconds the origin asked for; ``None`` when it did not say.
            draw: Uniform random number in ``[0, 1]``, which spreads the wait.
        """
        was_paced = bool(self.gap)
        is_news = sent_at >= self._cut_at or not was_paced
        if is_news:
            self._set_pace(now, _CUT)
            self._cut_at = now
        self._close(now, UNADVISED_S if wait_s is None else wait_s, draw)
        if is_news and was_paced:
            # A slow pace outlasts the jitter of the wait: a thousand processes that were refused together would come
            # back in step for ever. In simulation 22 attempts a call, and 4 with this.
            self._next_due = max(self._next_due, self._open_at) + self.gap * draw

    def exhausted(self, now: float, wait_s: float, draw: float) -> None:
        """Report an answer that says that nothing is left of the quota for some seconds.

        Nothing was refused, so the pace is not cut; but those who wait for the moment must not come out as a herd.
        """
        if not self.gap:
            self._set_pace(now, 1.0)
        self._close(now, wait_s, draw)

    def failed(self, sent_at: float, now: float) -> None:
        """Report a timeout, a lost connection or a 5xx: while there is a pace, it was too fast for the origin.

        An origin without a limiter says "too much" in no other way. Without a pace it says nothing of the rate.
        """
        if self.gap and sent_at >= self._cut_at:
            self._set_pace(now, _CUT)
            self._cut_at = now

    def succeeded(self, now: float) -> None:
        """Report an attempt that was not refused: the pace grows."""
        if not self.gap:
            return
        # One call in each gap adds its share, so that the pace grows by the same step every second.
        rate, usual = 1.0 / self.gap, self._usual
        regained = min(usual, rate + max(_SLOWEST, usual * _REGAIN) * self.gap)
        calm = now >= self._calm_at()
        self.gap = 1.0 / max(regained, rate + (rate * _CATCH_UP if calm else usual * _BEYOND) * self.gap)

    def is_at_rest(self, now: float) -> bool:
        """Say whether a new gate would let calls through just as this one does."""
        is_forgotten = not self.gap or now >= max(self._calm_at(), self._next_due + self.gap)
        return is_forgotten and now >= max(self._open_at, self._limit_due)

    def state(self, now: float) -> GateState:
        """Say where it stands."""
        return GateState(closed_s=max(0.0, self._open_at - now), pace=1.0 / self.gap if self.gap else None)

    def _calm_at(self) -> float:
        return max(self._open_at, self._cut_at) + _CALM_S

    def _due(self, now: float, ahead: int) -> float:
        start = due = max(now, self._open_at)
        if self.gap:
            due = max(start, self._next_due) + ahead * self.gap
        if not self._limit_gap:
            return due
        return max(due, max(start, self._limit_due) + ahead * self._limit_gap - self._limit_slack)

    def _give_turn(self, now: float, *, has_waited: bool) -> None:
        if now >= self._counted_since + _COUNT_S:
            self._last_rate = self.counted / (now - self._counted_since)
            self.counted, self._counted_since = 0, now
        self.counted += 1
        if self.gap:
            # A turn that nobody took when it was due shows that there is no line, which would come out as a herd; or
            # that the event loop was busy, where the call has stood in line.
            if not has_waited and now >= max(self._calm_at(), self._next_due + self.gap):
                self.gap = 0.0
            self._next_due = now + self.gap
        if self._limit_gap:
            self._limit_due = max(now, self._limit_due) + self._limit_gap
        elif not self.gap:
            self.free_until = self._counted_since + _COUNT_S

    def _set_pace(self, now: float, share: float) -> None:
        # A process that has only just begun to send has one interval, and it is not yet over.
        length = _COUNT_S if self._last_rate else 1.0
        measured = max(self._last_rate, self.counted / max(length, now - self._counted_since))
        least = _SLOWEST if self.gap else self._mild
        if not self.gap:
            self._usual = max(2.0 * _SLOWEST, measured)
        # Of a pace that is not used, to halve it takes nothing away. Kinder rules: benchmarks/RESULTS.md, Retry storms.
        rate = min(measured, 1.0 / self.gap) if self.gap else measured
        self.gap = 1.0 / max(least, rate * share)
        self.free_until = -inf

    def _close(self, now: float, wait_s: float, draw: float) -> None:
        if now >= self._open_at:
            # Once per closing: of a thousand draws for a thousand refusals every process would keep the longest.
            self._jitter = _JITTER * draw
        wait_s = min(wait_s, CLOSED_MAX_S)
        self._open_at = max(self._open_at, now + wait_s * (1.0 + self._jitter))
        self.free_until = -inf
