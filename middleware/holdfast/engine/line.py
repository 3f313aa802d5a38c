"""Where calls wait for their turn at a rate gate: first come, first served, and one timer for the first of them.

The gate itself is a pure state of ``core.rate_gate``. What is easily done wrong lives here: a newcomer that overtakes,
a turn that is lost with the call it was given to, a wait that has become too long since it began.
"""

import asyncio
from collections import OrderedDict
from typing import Final

from holdfast.core.rate_gate import RateGate, Refusal
from holdfast.policy import RateLimit

MILD_PACE: Final = 10.0
"""Calls a second that a first refusal leaves at least: a quiet process that meets one 429 must not crawl after it."""

_TICK_S: Final = 1e-6
"""The least that a timer is set ahead: a moment that rounding puts just before the turn must not be asked for ever."""


class GateLine:
    """A rate gate and the line before it. Confined to one event loop."""

    __slots__ = ("_line", "_timer", "gate")

    def __init__(self, limit: RateLimit | None) -> None:
        """Make an open gate with nobody before it."""
        self.gate: RateGate = RateGate(limit, asyncio.get_running_loop().time(), MILD_PACE)
        self._line: OrderedDict[asyncio.Future[Refusal | None], float] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return len(self._line)

    def is_at_rest(self, now: float) -> bool:
        """Say whether a new line and gate would do as well."""
        return not self._line and self.gate.is_at_rest(now)

    def pass_at_once(self, now: float, deadline_at: float) -> bool:
        """Take a turn, where one is due and nobody waits for it."""
        return not self._line and self.gate.reserve(now, deadline_at) == 0.0

    async def turn(self, now: float, deadline_at: float) -> Refusal | None:
        """Wait for a turn, at most until a moment of the event loop's clock.

        Returns:
            A refusal where the turn would come too late, at once if that is known at once.
        """
        if self.pass_at_once(now, deadline_at):
            return None
        wait = self.gate.reserve(now, deadline_at, len(self._line))
        if isinstance(wait, Refusal):
            return wait
        loop = asyncio.get_running_loop()
        place: asyncio.Future[Refusal | None] = loop.create_future()
        self._line[place] = deadline_at
        limit = loop.call_at(deadline_at, self._too_late, place)
        if self._timer is None:
            self._let_pass()
        try:
            return await place
        except BaseException:
            self._gone(place)
            raise
        finally:
            limit.cancel()

    def give_back(self) -> None:
        """Return a turn that was not used; it is the next one's."""
        self.gate.give_back()
        if self._line:
            self._let_pass()

    def ask_again(self) -> None:
        """Tell those who wait that the gate has closed: who would wait too long goes at once."""
        if self._line:
            self._let_pass()

    def _let_pass(self) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = loop.time()
        while self._line:
            place = next(iter(self._line))
            answer = None if place.done() else self.gate.reserve(now, self._line[place], has_waited=True)
            if isinstance(answer, float) and answer > 0.0:
                self._timer = loop.call_at(now + max(answer, _TICK_S), self._let_pass)
                return
            del self._line[place]
            if not place.done():
                place.set_result(answer if isinstance(answer, Refusal) else None)

    def _too_late(self, place: "asyncio.Future[Refusal | None]") -> None:
        if place.done():
            return
        del self._line[place]
        now = asyncio.get_running_loop().time()
        place.set_result(Refusal(self.gate.wait_s(now, len(self._line))))
        self._let_pass()

    def _gone(self, place: "asyncio.Future[Refusal | None]") -> None:
        if self._line.pop(place, None) is not None:
            self._let_pass()
        elif not place.cancelled() and place.result() is None:
            self.give_back()
