"""Sessions, forks and exits: each process has its own loop and sockets, and none waits for them at its end."""

import os
from typing import Final

import pytest
from tests.blocking.serving import on_a_thread, peer, run_script
from tests.support import answer, hang

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

FORK: Final = """
import gc, os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and later warn of a fork beside a thread
from concurrent.futures import ThreadPoolExecutor
from holdfast.blocking import BlockingSession

session = BlockingSession(sys.argv[1])
used = sys.argv[2] == "used"
if used:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: session.get("/parent"), range(8)))
children = []
for number in range(2):
    child = os.fork()
    if not child:
        gc.collect()
        for _ in range(3):
            assert session.get(f"/child{number}").status == 200
        if number:
            session.close()
        del session
        gc.collect()
        sys.exit(0)
    children.append(child)
if used:
    session.get("/parent")
codes = [os.waitpid(child, 0)[1] for child in children]
for _ in range(4):
    session.get("/parent")
session.close()
print(codes)
"""


@pytest.mark.parametrize("state", ["fresh", "used"])
def test_a_session_from_before_a_fork_works_in_every_process(state: str) -> None:
    """With gunicorn --preload, two workers would write into one connection and read each other's payments."""
    with on_a_thread(peer(choose=lambda seen: answer(200, seen.target.encode()))) as there:
        done = run_script(FORK, there.url, state)

    users: dict[int, set[str]] = {}
    for seen in there.seen:
        users.setdefault(seen.connection, set()).add(seen.target)
    assert (done.code, done.out, done.err) == (0, "[0, 0]\n", "")
    assert all(len(targets) == 1 for targets in users.values()), users
    assert set.union(*users.values()) == {"/parent", "/child0", "/child1"}


def test_the_parents_connections_outlive_its_children() -> None:
    """A worker that ends would close its parent's connections, and put a payment on them in doubt."""
    with on_a_thread(peer(answer())) as there:
        done = run_script(FORK, there.url, "used")

    parents = [seen.connection for seen in there.seen if seen.target == "/parent"]
    assert done.code == 0
    assert set(parents[8:]) <= set(parents[:8])


UNHEARD: Final = """
import ctypes, os, sys
from holdfast.blocking import BlockingSession

session = BlockingSession(sys.argv[1])
session.get("/")
child = ctypes.PyDLL(None).fork()
if not child:
    os._exit(0 if session.get("/").status == 200 else 1)
print(os.waitpid(child, 0)[1], session.get("/").status)
"""


def test_a_fork_that_python_does_not_hear_of_is_noticed() -> None:
    """UWSGI forks without telling Python, unless asked to; its workers would wait for a thread that is not there."""
    with on_a_thread(peer(answer())) as there:
        done = run_script(UNHEARD, there.url)

    assert (done.code, done.out) == (0, "0 200\n")
    assert [seen.connection for seen in there.seen] == [1, 2, 1]


FINALIZED: Final = """
import gc, os, sys, warnings
warnings.simplefilter("ignore")
from contextlib import suppress
import aiohttp
from holdfast.blocking import BlockingSession

session = BlockingSession(sys.argv[1])
session.get("/")
child = os.fork()
if not child:
    for thing in gc.get_objects():
        if isinstance(thing, aiohttp.BaseConnector):
            with suppress(Exception):
                thing.__del__()  # what a Python would run that frees the memory of threads that a fork has ended
    os._exit(0)
os.waitpid(child, 0)
print(session.get("/", timeout=aiohttp.ClientTimeout(total=2)).status)
"""


def test_nothing_that_python_finalizes_in_a_child_reaches_the_parent() -> None:
    """A child that frees the parent's connector would take its sockets out of the epoll set that both share."""
    with on_a_thread(peer(answer())) as there:
        done = run_script(FINALIZED, there.url)

    assert (done.code, done.out, there.connections) == (0, "200\n", 1)


EXIT: Final = """
import atexit, sys, threading, time
atexit.register(lambda: print("quick" if time.monotonic() < done + 0.9 else "slow"))  # run after holdfast's own
from holdfast.blocking import BlockingSession

session = BlockingSession(sys.argv[1])
if sys.argv[2] == "idle":
    session.get("/")
else:
    threading.Thread(target=lambda: session.post("/charges", json={}), daemon=True).start()
    threading.Event().wait(0.3)
done = time.monotonic()
"""


def test_an_open_session_does_not_hold_up_the_exit() -> None:
    """A script would hang after its last line, or end in a page of ``Unclosed client session``."""
    with on_a_thread(peer(answer())) as there:
        done = run_script(EXIT, there.url, "idle")
        ended = there.ended

    assert (done.code, done.out, done.err) == (0, "quick\n", "")
    assert ended == 1


def test_a_call_in_flight_at_the_exit_is_cancelled_and_reported() -> None:
    """A payment that a daemon thread was making would end without a line in the log."""
    with on_a_thread(peer(hang())) as there:
        done = run_script(EXIT, there.url, "busy")

    assert (done.code, done.out) == (0, "quick\n")
    assert 'stop_reason="cancelled"' in done.err
    assert "Unclosed" not in done.err


MULTIPROCESSING: Final = """
import multiprocessing, sys, threading
from holdfast.blocking import BlockingSession

def work():
    threading.Thread(target=lambda: session.post("/charges", json={}), daemon=True).start()
    threading.Event().wait(0.3)

session = BlockingSession(sys.argv[1])
process = multiprocessing.get_context("fork").Process(target=work)
process.start()
process.join()
print(process.exitcode)
"""


def test_a_process_of_multiprocessing_ends_as_any_other() -> None:
    """A worker of granian's would drop its calls in flight without a line in the log: it runs no atexit functions."""
    with on_a_thread(peer(hang())) as there:
        done = run_script(MULTIPROCESSING, there.url)

    assert (done.code, done.out) == (0, "0\n")
    assert 'stop_reason="cancelled"' in done.err


STARTS_LATE: Final = """
import atexit, sys
from holdfast.blocking import BlockingSession

session = BlockingSession(sys.argv[1])
atexit.register(lambda: print(session.get("/bye").status))
"""


def test_a_farewell_call_at_exit_is_made_or_refused_clearly() -> None:
    """A service that deregisters itself at exit would hang there."""
    with on_a_thread(peer(answer())) as there:
        done = run_script(STARTS_LATE, there.url)

    assert done.code == 0
    assert done.out == "200\n" or "can't create new thread at interpreter shutdown" in done.err
