"""One event loop on a thread of its own, for callers that have none: they hand it work from any thread and wait.

There is one per process. It is started at the first work and made anew after a fork, because threads do not survive one
and because the parent's loop and sockets are still the parent's: a child never reads, writes or closes them. It ends
with the interpreter, which does not wait for it for long.
"""

import asyncio
import atexit
import importlib
import os
import selectors
import sys
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import copy_context
from typing import Any, Final, Generic, Protocol, TypeVar, cast

from holdfast.report import REPORT_ATTRIBUTE, report_of

T = TypeVar("T")

GRACE_S: Final = 1.0
"""How long a caller that gives up, after Ctrl-C for instance, waits for its work to end and to say what it did."""

EXIT_S: Final = 2.0
"""How long the interpreter's exit waits for cancelled work and closing sessions."""


class Closable(Protocol):
    """What may live on the loop."""

    async def close(self) -> None:
        """Close it."""
        ...


class _End:
    """Tells one waiting thread that a piece of work has ended. Safe to share between two threads.

    A bare lock, taken from the start and released once. In ``threading.Event`` an exception out of a signal handler can
    leave the inner lock taken (one in about 1 000 interrupted calls), and the loop's thread would wait for it for ever.
    """

    __slots__ = ("_has_come", "_lock")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._has_come = False

    def set(self) -> None:
        """Wake the waiting thread; only once. Never waits."""
        self._has_come = True
        self._lock.release()

    def wait(self, seconds: float = -1.0) -> None:
        """Wait for the end, at most so many seconds; below 0 for ever."""
        if not self._has_come:
            self._lock.acquire(timeout=seconds)


class _Work(Generic[T]):
    """One piece of work, and how it ended."""

    __slots__ = ("_make", "ended", "error", "given_up", "task", "value")

    def __init__(self, make: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._make = make
        self.task: asyncio.Task[None] | None = None
        self.given_up = False
        self.ended = _End()
        self.value: T | None = None
        self.error: BaseException | None = None

    async def carry_out(self) -> None:
        try:
            self.value = await self._make()
        except BaseException as error:  # noqa: BLE001 - it goes to the caller, and must not end the loop
            self.error = error

    def cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def note_end(self, task: "asyncio.Task[None]") -> None:
        if task.cancelled():  # before its first step
            self.error = asyncio.CancelledError()
        self.ended.set()

    def result(self) -> T:
        if self.error is not None:
            raise self.error
        return cast(T, self.value)  # it has ended, and not in an error


class LoopThread:
    """An event loop on a daemon thread. Safe to share between threads."""

    def __init__(self) -> None:
        """Start the thread.

        Raises:
            RuntimeError: The interpreter is exiting, or the system has no more threads.
        """
        self.pid: int = os.getpid()
        self.kept: dict[object, Any] = {}
        """What lives on the loop, by its owner. Confined to the loop."""

        self._works: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self._selector = selectors.DefaultSelector()
        self._loop = asyncio.SelectorEventLoop(self._selector)
        self._thread = threading.Thread(target=self._serve, name="holdfast-loop", daemon=True)
        try:
            self._thread.start()
        except BaseException:
            self._loop.close()
            raise

    def run(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Carry out a coroutine on the loop, in a copy of the caller's context, and wait for its end.

        Whatever is raised in the waiting thread (``KeyboardInterrupt``, a server's ``SystemExit``) cancels the work,
        and gets the report of the call that it cut off.

        Args:
            make: Makes the coroutine; called on the loop.

        Raises:
            RuntimeError: The interpreter is exiting.
        """
        work = _Work(make)
        try:
            self._loop.call_soon_threadsafe(self._begin, work, context=copy_context())
            work.ended.wait()
            return work.result()
        except asyncio.CancelledError as error:
            # Nobody but the end of the process cancels work that its caller still waits for.
            ended = RuntimeError("the call was cancelled: the process is exiting")
            setattr(ended, REPORT_ATTRIBUTE, report_of(error))
            raise ended from None
        except BaseException as error:
            if error is not work.error:
                self._give_up(work, error)
            raise
        finally:
            work.error = None  # else the error, its traceback and this frame would hold each other

    def let_go(self, owner: object) -> None:
        """Close what an owner keeps here, without waiting: the owner was collected as garbage."""
        with suppress(RuntimeError):  # the loop is closed, and everything on it
            self._loop.call_soon_threadsafe(lambda: self._start(self._close_kept(owner)))

    def stop(self) -> None:
        """Cancel what runs, close what is open, and end the thread."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(EXIT_S)

    def leave_to_parent(self) -> None:
        """Make sure, in a forked child, that nothing done with the parent's loop can reach the parent.

        Its epoll set is shared: taking a socket out of it here would take it from the parent.
        """
        with suppress(OSError):
            self._selector.close()

    def _begin(self, work: _Work[Any]) -> None:
        if work.given_up:
            work.ended.set()
            return
        work.task = self._start(work.carry_out())
        work.task.add_done_callback(work.note_end)

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = self._loop.create_task(coroutine)
        self._works.add(task)
        task.add_done_callback(self._works.discard)
        return task

    def _give_up(self, work: _Work[Any], reason: BaseException) -> None:
        work.given_up = True
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(work.cancel)
            work.ended.wait(GRACE_S)
        report = report_of(work.value if work.error is None else work.error)
        if report is not None:
            setattr(reason, REPORT_ATTRIBUTE, report)

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._until_stopped())

    async def _until_stopped(self) -> None:
        await self._stop.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(EXIT_S / 2):
                works = tuple(self._works)
                for task in works:
                    task.cancel()
                await asyncio.gather(*works, return_exceptions=True)
        for owner in tuple(self.kept):
            await self._close_kept(owner)

    async def _close_kept(self, owner: object) -> None:
        closable: Closable | None = self.kept.pop(owner, None)
        if closable is not None:
            await closable.close()


class _ThisProcess:
    """The loop thread of this process. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: LoopThread | None = None
        self._of_parents: list[LoopThread] = []

    def running(self) -> LoopThread | None:
        """Give the thread, if one was started in this very process."""
        thread = self._thread
        return thread if thread is not None and thread.pid == os.getpid() else None

    def started(self) -> LoopThread:
        """Give the thread; start it if need be."""
        thread = self.running()
        if thread is not None:
            return thread
        with self._lock:
            if self.running() is None:
                self.leave_to_parent()
                self._thread = LoopThread()
                self._end_with_the_process()
            return cast(LoopThread, self._thread)  # made here, or by whoever held the lock before

    def leave_to_parent(self) -> None:
        """Put away a thread that came along in a fork. It is kept, so that nothing on it is ever closed from here."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._of_parents.append(thread)
            thread.leave_to_parent()

    def after_fork(self) -> None:
        """Begin anew in a child; another thread may have held the lock when it was forked."""
        self._lock = threading.Lock()
        self.leave_to_parent()

    def _end_with_the_process(self) -> None:
        # What multiprocessing starts, such as granian's workers, ends without atexit; its own finalizers are run there.
        processes = sys.modules.get("multiprocessing.process")
        if processes is not None and processes.parent_process() is not None:
            importlib.import_module("multiprocessing.util").Finalize(None, self.stop, exitpriority=0)

    def stop(self) -> None:
        """End the thread with the interpreter."""
        thread, self._thread = self.running(), None
        if thread is not None:
            thread.stop()


_this_process: Final = _ThisProcess()


def running() -> LoopThread | None:
    """Give this process's thread, if it has one."""
    return _this_process.running()


def started() -> LoopThread:
    """Give this process's thread; start it if need be."""
    return _this_process.started()


atexit.register(_this_process.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_this_process.after_fork)
