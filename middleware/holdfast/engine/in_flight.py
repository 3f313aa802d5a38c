"""Which calls of a session are being made, so that a service that stops can wait for them, and then end them."""

import asyncio
from typing import Any, Final

CANCEL_WAIT_S: Final = 2.0
"""How long cancelled calls may take to end and to be reported, before the session is closed under them."""


class InFlight:
    """The calls in flight of one session. Confined to one event loop."""

    __slots__ = ("_idle", "_tasks")

    def __init__(self) -> None:
        """Begin with none."""
        self._tasks: dict[object, asyncio.Task[Any] | None] = {}
        self._idle: asyncio.Event | None = None

    def begin(self, call: object, task: "asyncio.Task[Any] | None") -> None:
        """Note that a task makes a call; ``None`` where it is made outside of any."""
        self._tasks[call] = task

    def end(self, call: object) -> None:
        """Note that the call has ended."""
        del self._tasks[call]
        if self._idle is not None and not self._tasks:
            self._idle.set()
            self._idle = None

    async def drain(self, grace_s: float) -> None:
        """Wait for all calls to end, for so many seconds; then cancel those that have not.

        A call is cancelled as its caller would do it: the task that awaits it is.
        """
        try:
            if await self._ended_within(grace_s):
                return
        finally:
            for task in list(self._tasks.values()):
                if task is not None:
                    task.cancel()
        await self._ended_within(CANCEL_WAIT_S)

    async def _ended_within(self, seconds: float) -> bool:
        if not self._tasks:
            return True
        if self._idle is None:
            self._idle = asyncio.Event()
        idle = self._idle
        try:
            async with asyncio.timeout(seconds):
                await idle.wait()
        except TimeoutError:
            return False
        return True
