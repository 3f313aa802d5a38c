"""A server in memory, on whatever clock the event loop has: healthy, overloaded, shedding, down, or silent.

It works on requests in the order they came, also on those whose caller has long given up: that is what makes a
brown-out last. Confined to one event loop.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

ROUND_TRIP_S: Final = 0.02
SHED_ADVICE_S: Final = 1
"""What ``Retry-After`` says while it sheds."""

Reply = Callable[[int, int | None], None]
"""Takes a status, and the seconds of a ``Retry-After``."""


class Mode(StrEnum):
    """What it does with a request."""

    WORKS = "works"
    SHEDS_429 = "sheds with 429"
    SHEDS_503 = "sheds with 503"
    DOWN = "down"
    SILENT = "silent"


@dataclass(slots=True)
class Server:
    """What the clients call."""

    capacity: float
    """Requests a second."""

    queue_limit: int
    """Requests that wait for work; beyond it they are answered with 503."""

    mode: Mode = Mode.WORKS
    burst_s: float = 0.1
    """Its bucket holds so many seconds of its capacity, while it sheds. 1.0 is a limiter that counts by the second."""

    arrived: Counter[int] = field(default_factory=Counter)
    """Requests by the second in which they came."""

    _queue: deque[Reply] = field(default_factory=deque)
    _works: bool = False
    _tokens: float = 0.0
    _filled_at: float = 0.0

    def fill(self) -> None:
        """Begin with a full bucket."""
        self._tokens = self.capacity * self.burst_s

    def take(self, reply: Reply) -> None:
        """Take one request in."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self.arrived[int(now)] += 1
        if self.mode is Mode.SILENT:
            return
        if self.mode is Mode.DOWN:
            loop.call_later(ROUND_TRIP_S, reply, 503, None)
        elif self.mode is not Mode.WORKS:
            self._serve_or_shed(reply, now)
        elif len(self._queue) >= self.queue_limit:
            loop.call_later(ROUND_TRIP_S, reply, 503, None)
        else:
            self._queue.append(reply)
            self._work_on()

    def _serve_or_shed(self, reply: Reply, now: float) -> None:
        passed_s = now - self._filled_at
        self._tokens = min(max(1.0, self.capacity * self.burst_s), self._tokens + passed_s * self.capacity)
        self._filled_at = now
        loop = asyncio.get_running_loop()
        if self._tokens < 1.0:
            status = 429 if self.mode is Mode.SHEDS_429 else 503
            loop.call_later(ROUND_TRIP_S, reply, status, SHED_ADVICE_S)
            return
        self._tokens -= 1.0
        loop.call_later(ROUND_TRIP_S, reply, 200, None)

    def _work_on(self) -> None:
        if not self._works and self._queue:
            self._works = True
            asyncio.get_running_loop().call_later(1.0 / self.capacity, self._done)

    def _done(self) -> None:
        self._works = False
        asyncio.get_running_loop().call_later(ROUND_TRIP_S, self._queue.popleft(), 200, None)
        self._work_on()
