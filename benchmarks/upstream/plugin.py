"""pytest plugin: gives aiohttp's own tests a ``ResilientSession`` wherever they make a session, and notes their ends.

It is loaded, by its file name, into the interpreter that runs those tests. ``aiohttp.ClientSession`` stays the class
that it is, so that ``isinstance``, subclasses and patches of its methods mean what they meant; calling it makes another
object.
"""

import json
import os
from collections import Counter
from collections.abc import Generator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

SESSION: Final = os.environ["UPSTREAM_SESSION"]
"""``plain``, or the name of a policy below."""

REPORT: Final = Path(os.environ["UPSTREAM_REPORT"])
BEST_FIRST: Final = ("passed", "skipped", "failed")
"""An expected failure is ``skipped``."""

_making: Final = ContextVar("making", default=False)
_running: Final = [""]
_made: Final = Counter[str]()
_results: Final[dict[str, dict[str, Any]]] = {}


def swap(policy: Any) -> None:  # noqa: ANN401 - a Policy, of a library that the plain run does not load
    """Let ``aiohttp.ClientSession(...)`` make a ``ResilientSession`` from here on."""
    from holdfast import ResilientSession  # noqa: PLC0415 - the plain run must not load it

    genuine = aiohttp.ClientSession

    def new(cls: type[aiohttp.ClientSession], *given: Any, **options: Any) -> object:  # noqa: ANN401 - aiohttp's own
        # The session inside is genuine, and so is a subclass of a test's own.
        if _making.get() or cls is not genuine:
            return object.__new__(cls)
        token = _making.set(True)
        try:
            _made[_running[0]] += 1
            return ResilientSession(*given, policy=policy, **options)
        finally:
            _making.reset(token)

    # Python calls __init__ only on what is truly of the class, and __class__ does not make it that.
    genuine.__new__ = new


if SESSION != "plain":
    from holdfast import Policy

    swap({"once": Policy(max_attempts=1), "default": Policy(backoff_base=0.0)}[SESSION])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say with each test how many sessions it has made so far; a worker of xdist has no other way to say it."""
    report = yield
    report.user_properties = [("sessions", _made.pop(item.nodeid, 0))]
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Note which test makes the sessions that are made."""
    _running[0] = item.nodeid
    return (yield)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep the worst of a test's phases."""
    result = _results.setdefault(report.nodeid, {"outcome": "passed", "cause": "", "sessions": 0})
    result["sessions"] += sum(made for name, made in report.user_properties if name == "sessions")
    if BEST_FIRST.index(report.outcome) > BEST_FIRST.index(result["outcome"]):
        result["outcome"] = report.outcome
        result["cause"] = _cause(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Keep a module that could not be imported."""
    if report.outcome != "passed" and report.nodeid.endswith(".py"):
        _results[report.nodeid] = {"outcome": "not collected", "cause": _cause(report), "sessions": 0}


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write down what has been kept; the workers of xdist leave that to their master."""
    if not hasattr(session.config, "workerinput"):
        REPORT.write_text(json.dumps(_results))


def _cause(report: pytest.TestReport | pytest.CollectReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    said = report.longreprtext.strip().splitlines()[-1:] if crash is None else crash.message.strip().splitlines()[:1]
    return " ".join(said)[:200]
