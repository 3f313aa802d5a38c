"""A peer that serves from a thread of its own, for callers that block; and scripts run as processes of their own."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from tests.support import Behaviour, Peer

T = TypeVar("T")

ROOT: Final = Path(__file__).resolve().parent.parent.parent
TIMEOUT_S: Final = 30.0

LOOP_THREAD: Final = "holdfast-loop"


@contextmanager
def on_a_thread(opening: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """Open something on an event loop of its own, and close it there."""
    opened: list[T] = []
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    done = asyncio.Event()

    async def serve() -> None:
        async with opening as value:
            opened.append(value)
            ready.set()
            await done.wait()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(TIMEOUT_S)
    try:
        yield opened[0]
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(TIMEOUT_S)


def peer(*script: Behaviour, **how: object) -> AbstractAsyncContextManager[Peer]:
    """Make a peer for ``on_a_thread``; it is made on the thread's own loop."""

    @asynccontextmanager
    async def serving() -> AsyncIterator[Peer]:
        async with Peer(*script, **how) as opened:  # type: ignore[arg-type]
            yield opened

    return serving()


def loop_threads() -> int:
    """Count the loop threads of this process."""
    return sum(thread.name == LOOP_THREAD for thread in threading.enumerate())


class Done(NamedTuple):
    """What a script left behind."""

    code: int
    out: str
    err: str


def run_script(source: str, *arguments: str) -> Done:
    """Run a script as a process of its own, with every warning shown."""
    done = subprocess.run(
        [sys.executable, "-W", "always", "-X", "dev", "-c", source, *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    # In development mode asyncio tells of each step of the loop that took over 0.1 s, as on a busy machine.
    told = [line for line in done.stderr.splitlines(keepends=True) if not line.startswith("Executing <")]
    return Done(done.returncode, done.stdout, "".join(told))
