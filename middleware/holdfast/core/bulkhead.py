"""How many calls to one origin are in flight at once, and who is next.

Pure counting: who waits is an opaque object of the caller's, as a rule a future, which is woken by the caller. What is
easily done wrong lives here: a slot that falls free goes straight to the oldest waiter, so that no newcomer overtakes,
and one that was handed to a waiter who left at that very moment goes on to the next. Proof:
``tests/core/test_bulkhead.py``.

After Michael Nygard, "Release It!" (2007).
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

Waiter = TypeVar("Waiter", bound=Hashable)


class BulkheadState(NamedTuple):
    """What a bulkhead held at one moment."""

    in_flight: int
    waiting: int
    limit: int


class Bulkhead(Generic[Waiter]):
    """The calls in flight to one origin. Confined to one event loop."""

    __slots__ = ("_in_flight", "_limit", "_line")

    def __init__(self, limit: int) -> None:
        """Make an empty one.

        Args:
            limit: Calls in flight at once; at least 1.
        """
        self._limit = limit
        self._in_flight = 0
        self._line: OrderedDict[Waiter, None] = OrderedDict()

    def enter(self) -> bool:
        """Take a slot, where one is free and nobody waits for it."""
        if self._in_flight >= self._limit:
            return False
        self._in_flight += 1
        return True

    def join(self, waiter: Waiter) -> None:
        """Stand at the end of the line; only after ``enter`` said no."""
        self._line[waiter] = None

    def leave(self) -> Waiter | None:
        """Give up a slot, after the call or unused.

        Returns:
            Who has the slot now and is to be woken; ``None`` where nobody waits.
        """
        if self._line:
            return self._line.popitem(last=False)[0]
        self._in_flight -= 1
        return None

    def give_up(self, waiter: Waiter) -> Waiter | None:
        """Leave the line, because the waiter was cancelled or ran out of time.

        Returns:
            As ``leave``: a waiter who had been handed a slot by then, and did not yet know, passes it on.
        """
        if waiter in self._line:
            del self._line[waiter]
            return None
        return self.leave()

    def is_at_rest(self, now: float) -> bool:
        """Say whether a new bulkhead would do as well: nobody is in flight."""
        del now
        return not self._in_flight

    def state(self) -> BulkheadState:
        """Say what it holds."""
        return BulkheadState(in_flight=self._in_flight, waiting=len(self._line), limit=self._limit)
