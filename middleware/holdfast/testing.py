"""For the tests of code that uses holdfast: a loop on which minutes take milliseconds, and a sink that keeps events.

``VirtualTimeLoop`` is a real event loop with real timers and real sockets; only its clock is not the wall's. When
nothing is ready, it jumps to the next timer instead of waiting for it::

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(five_minutes_of_retries())
"""

import asyncio
import selectors
from dataclasses import dataclass, field
from typing import Any, Final

_GRACE_S: Final = 0.02
"""Real seconds to wait for a socket or a worker thread before the clock jumps."""


class _JumpingSelector(selectors.DefaultSelector):
    """Waits for real events briefly, then moves virtual time on by what it was asked to wait. Confined to one loop."""

    def __init__(self, grace_s: float) -> None:
        super().__init__()
        self.now = 0.0
        self._grace_s = grace_s

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select(None)
        ready = super().select(min(timeout, self._grace_s) if timeout > 0 else timeout)
        if not ready and timeout > 0:
            self.now += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer. Confined to one thread.

    Work on real sockets takes no virtual time at all, so a deadline is met to the microsecond.

    Args:
        grace_s: Real seconds that a peer on this machine, or a worker thread, gets to answer before the clock jumps.
    """

    def __init__(self, grace_s: float = _GRACE_S) -> None:
        """Make a loop whose clock stands at 0."""
        self._jumping = _JumpingSelector(grace_s)
        super().__init__(self._jumping)

    def time(self) -> float:
        """Read the virtual clock, in seconds since the loop was made."""
        return self._jumping.now


@dataclass(slots=True)
class RecordedEvent:
    """One event as a sink received it."""

    event: str
    level: int
    fields: dict[str, Any]


@dataclass(slots=True)
class RecordingSink:
    """Keeps every event in order; pass it as ``sinks=[sink]``. Confined to one event loop."""

    level: int = 0
    """The lowest level that is wanted, as in ``logging``."""

    events: list[RecordedEvent] = field(default_factory=list)

    def enabled(self, level: int) -> bool:
        """Say whether the level is wanted."""
        return level >= self.level

    def emit(self, event: str, level: int, fields: dict[str, Any]) -> None:
        """Keep one event."""
        self.events.append(RecordedEvent(event, level, fields))

    def named(self, event: str) -> list[dict[str, Any]]:
        """Give the fields of the events of one name."""
        return [recorded.fields for recorded in self.events if recorded.event == event]
