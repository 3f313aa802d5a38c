"""The time that one attempt may take, body included, at an eighth of what aiohttp's own total timeout costs.

aiohttp sets a timer of the event loop for every request and cancels nearly all of them unused: 8 % of a call's
instructions. Attempts of the same length end in the order in which they began, so that one timer of the loop does for
all of them. What an attempt meets when its time is over is as with aiohttp: before its response has come its task is
cancelled, and the cancellation turned into ``TimeoutError``; after that, reading the body raises ``TimeoutError``.
"""

import asyncio
from typing import Any, Final
from weakref import WeakSet, ref

import aiohttp

_MOST_LINES: Final = 16
"""Lengths for which a line is kept, each with a timer of the loop that outlives its attempts."""


class Line:
    """Attempts of one length, the first to end in front. Confined to one event loop."""

    __slots__ = ("__weakref__", "_alarm", "ends", "is_idle", "loop", "seconds")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        """Begin without any.

        Args:
            loop: The event loop of all of them.
            seconds: How long each may take.
        """
        self.seconds: float = seconds
        self.ends: dict[AttemptTimer, float] = {}
        """When each has to end, on the event loop's clock."""

        self.loop: asyncio.AbstractEventLoop = loop
        self.is_idle: bool = True
        """Whether no timer of the loop is set for it."""

        self._alarm: asyncio.TimerHandle | None = None

    def __del__(self) -> None:
        """Take the alarm along: of sessions that are dropped unclosed, one a request, all would wait in the loop."""
        if self._alarm is not None:
            self._alarm.cancel()

    def watch(self, ends: float) -> None:
        """See to it that what ends then is ended."""
        self.is_idle = False
        known: ref[Line] = ref(self)
        self._alarm = self.loop.call_at(ends, _ring, known)

    def close(self) -> None:
        """Leave nothing behind in the event loop, but for attempts that still go on."""
        if self._alarm is not None and not self.ends:
            self._alarm.cancel()
            self.is_idle = True

    def ring(self) -> None:
        """Cut off what should have ended by now."""
        now = self.loop.time()
        while self.ends:
            timer, ends = next(iter(self.ends.items()))
            if ends > now:
                self.watch(ends)
                return
            del self.ends[timer]
            timer.ring()
        self.is_idle = True


def _ring(known: "ref[Line]") -> None:
    line = known()
    if line is not None:
        line.ring()


class AttemptTimer:
    """Ends one attempt when its time is over. Confined to one event loop."""

    __slots__ = ("_body", "_cancelling", "_line", "_rang", "_task")

    def __init__(self, line: Line, task: "asyncio.Task[Any]", now: float) -> None:
        """Begin an attempt.

        Args:
            line: The attempts of its length.
            task: What makes it.
            now: The present moment of the event loop's clock.
        """
        self._task = task
        self._cancelling = task.cancelling()
        self._rang = False
        self._body: aiohttp.StreamReader | None = None
        self._line = line  # which lives as long as its attempts, and no longer than who asks for them
        ends = line.ends[self] = now + line.seconds
        if line.is_idle:
            line.watch(ends)

    def stop(self) -> None:
        """Let the attempt be."""
        self._line.ends.pop(self, None)

    def has_cut(self, error: BaseException) -> bool:
        """Stop, and say whether this is the cancellation by which the attempt was cut off, and nobody else's too."""
        self.stop()
        if not self._rang:
            return False
        # Taken back also where something on the way made another failure of it: it would count as the caller's own.
        is_ours_alone = self._task.uncancel() <= self._cancelling
        return is_ours_alone and isinstance(error, asyncio.CancelledError)

    def go_on_with(self, response: aiohttp.ClientResponse) -> None:
        """Leave the task alone from now on, and see to the response's body until its connection is given back."""
        try:
            connection = response.connection
        except BaseException:  # of a response class of the caller's: the task would be cancelled long after
            self.stop()
            raise
        if connection is None:
            self._line.ends.pop(self, None)
            return
        # Not the response itself: one that is dropped unread must be collected, and give its connection back.
        self._body = response.content
        connection.add_callback(self.stop)

    def ring(self) -> None:
        """Cut the attempt off."""
        self._rang = True
        if self._body is None:
            self._task.cancel()
        else:
            _cut_body(self._body)


def _cut_body(body: aiohttp.StreamReader) -> None:
    if body.exception() is not None:
        return  # what it was lost by is truer
    # aiohttp's own timer leaves these be, and set_exception forgets them; a body that never was has none.
    at_its_end = tuple(getattr(body, "_eof_callbacks", ()))
    body.set_exception(TimeoutError())
    for callback in at_its_end:  # if it still comes to that, its connection goes back
        body.on_eof(callback)


class Lines:
    """The lines of one session's attempts. Confined to one event loop."""

    __slots__ = ("_all", "_known")

    def __init__(self) -> None:
        """Begin without any."""
        self._known: dict[float, Line] = {}
        self._all: WeakSet[Line] = WeakSet()
        """Those that are known, and those that were and are still in use."""

    def of(self, seconds: float) -> Line | None:
        """Give the line of attempts that may take so many seconds; ``None`` where there are too many lengths."""
        return self._known.get(seconds) or self._new(seconds)

    def close(self) -> None:
        """Leave nothing behind in the event loop, but for attempts that still go on."""
        for line in tuple(self._all):
            line.close()

    def _new(self, seconds: float) -> Line | None:
        if len(self._known) >= _MOST_LINES:
            self._known = {length: line for length, line in self._known.items() if not line.is_idle}
        if len(self._known) >= _MOST_LINES:
            return None
        line = self._known[seconds] = Line(asyncio.get_running_loop(), seconds)
        self._all.add(line)
        return line
