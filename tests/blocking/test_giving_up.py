"""A thread that gives up ends its call, and learns what the call may have done."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytest
from tests.blocking.serving import on_a_thread, peer, run_script
from tests.support import drip, hang, head_of, report

from holdfast import Policy
from holdfast.blocking import BlockingSession
from holdfast.providers import FINIX
from holdfast.testing import RecordingSink


@contextmanager
def raising_on_signal(error: type[BaseException]) -> Iterator[None]:
    """Raise in the main thread at SIGUSR1, as a server's own handlers do."""

    def handle(number: int, frame: FrameType | None) -> None:
        raise error(number, frame is None)

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def soon(seen: list[object]) -> threading.Thread:
    """Signal the main thread once the peer has seen a request."""

    def watch() -> None:
        until = time.monotonic() + 5
        while not seen and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(0.02)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, TimeoutError])
def test_whatever_interrupts_the_wait_ends_the_call(error: type[BaseException]) -> None:
    """After Ctrl-C, or a server's own time limit, the payment would run on with nobody to hear of its end."""
    sink = RecordingSink()
    with (
        on_a_thread(peer(hang())) as there,
        raising_on_signal(error),
        BlockingSession(there.url, sinks=[sink]) as session,
    ):
        watch = soon(there.seen)  # type: ignore[arg-type]
        begun = time.monotonic()
        with pytest.raises(error) as raised:
            session.post("/charges", json={"amount": 1})
        took = time.monotonic() - begun
        watch.join()

    known = report(raised.value)
    (event,) = sink.named("outbound.call")
    assert took < 2.0
    assert (known.stop_reason, known.effect) == ("cancelled", "in_doubt")
    assert (event["stop_reason"], event["effect"], event["call_id"]) == ("cancelled", "in_doubt", known.call_id)
    assert there.ended == there.connections == 1


@pytest.mark.parametrize(("provider_status", "effect"), [(201, "landed"), (404, "none")])
def test_an_interrupt_while_the_body_is_read_keeps_what_the_status_said(provider_status: int, effect: str) -> None:
    """The 201 had arrived: a Ctrl-C would leave a doubt about a payment that is known to be made."""
    slow = drip(head_of(provider_status, {"content-length": "900000"}) + b" " * 70_000, b" ", 0.005)
    with (
        on_a_thread(peer(slow)) as there,
        raising_on_signal(KeyboardInterrupt),
        BlockingSession(there.url, provider=FINIX) as session,
    ):
        watch = soon(there.seen)  # type: ignore[arg-type]
        with pytest.raises(KeyboardInterrupt) as raised:
            session.post("/transfers", json={"amount": 1})
        watch.join()

    assert report(raised.value).effect == effect


def test_an_interrupted_session_goes_on_working() -> None:
    """One cancelled request would take the worker's session, or its loop, with it."""
    with (
        on_a_thread(peer(hang(), hang(head_of(200, {"content-length": "0"})))) as there,
        raising_on_signal(KeyboardInterrupt),
        BlockingSession(there.url, policy=Policy(deadline=5)) as session,
    ):
        watch = soon(there.seen)  # type: ignore[arg-type]
        with pytest.raises(KeyboardInterrupt):
            session.post("/charges", json={"amount": 1})
        watch.join()

        assert session.get("/").status == 200


CTRL_C = """
import signal, sys, threading
from holdfast import report_of
from holdfast.blocking import BlockingSession

session = BlockingSession(sys.argv[1])
threading.Timer(0.2, lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)).start()
try:
    session.post("/charges", json={"amount": 1})
except KeyboardInterrupt as error:
    print(report_of(error).stop_reason, report_of(error).effect)
    raise
"""


def test_ctrl_c_ends_a_script_at_once() -> None:
    """A person at a terminal would press Ctrl-C again and again, and never learn that the payment is in doubt."""
    with on_a_thread(peer(hang())) as there:
        begun = time.monotonic()
        done = run_script(CTRL_C, there.url)
        took = time.monotonic() - begun

    assert (done.code, done.out) == (-signal.SIGINT, "cancelled in_doubt\n")
    assert 'stop_reason="cancelled"' in done.err
    assert "Unclosed" not in done.err
    assert took < 10
