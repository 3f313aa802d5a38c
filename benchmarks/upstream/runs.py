"""Runs aiohttp's tests in an interpreter of their own, and reads what each test ended in."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks.upstream.workshop import Workshop

ROOT: Final = Path(__file__).parents[2]
PLUGIN: Final = Path(__file__).with_name("plugin.py")
MARKS: Final = "not dev_mode and not autobahn and not internal"
"""As aiohttp's own settings have it."""

TEST_LIMIT_S: Final = 30
"""aiohttp allows two minutes; the longest test takes two seconds."""

SETTLED: Final = frozenset({0, 1})
"""pytest's exit codes for a run that came to its end, with or without failures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one test ended in."""

    outcome: str
    """``passed``, ``skipped``, ``failed`` or, of a whole module, ``not collected``."""

    cause: str
    """The first line of what was raised."""

    sessions: int
    """How many ``ResilientSession`` were made in it."""


def run(workshop: Workshop, session: str, files: Sequence[str]) -> dict[str, Result]:
    """Run test files on all cores, with one kind of session.

    Raises:
        RuntimeError: pytest did not come to an end of its own.
    """
    return _pytest(workshop, session, ["-n", str(os.cpu_count() or 1), "--continue-on-collection-errors", *files])


def run_alone(workshop: Workshop, session: str, tests: Sequence[str]) -> dict[str, Result]:
    """Run each of some tests in a process of its own, where no other test's leavings can fail it."""

    def one(test: str) -> Mapping[str, Result]:
        try:
            return _pytest(workshop, session, [test])
        except RuntimeError:
            return {}  # such a name cannot be given to pytest: the test keeps the end that it had among the others

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return {test: result for results in pool.map(one, tests) for test, result in results.items()}


def _pytest(workshop: Workshop, session: str, arguments: Sequence[str]) -> dict[str, Result]:
    # -P keeps the working folder off the path, and addopts asks for coverage, which nobody reads here.
    command: list[str | Path] = [
        workshop.python,
        "-P",
        "-m",
        "pytest",
        "-c",
        workshop.settings,
        "--rootdir",
        workshop.sources,
    ]
    command += ["-o", "addopts=", "-p", PLUGIN.stem, "-p", "no:cacheprovider", "-m", MARKS, "-q", "--tb=short"]
    command += ["--timeout", str(TEST_LIMIT_S), *arguments]
    with TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))}
        environment |= {
            "PYTHONPATH": os.pathsep.join(map(str, (PLUGIN.parent, ROOT / "middleware"))),
            "PYTHONDONTWRITEBYTECODE": "1",
            "UPSTREAM_SESSION": session,
            "UPSTREAM_REPORT": str(report),
        }
        ended = subprocess.run(
            command, cwd=workshop.sources, env=environment, capture_output=True, text=True, check=False
        )
        if ended.returncode not in SETTLED or not report.exists():
            raise RuntimeError(f"pytest ended with {ended.returncode}:\n{ended.stdout[-4000:]}\n{ended.stderr[-4000:]}")
        return {test: Result(**found) for test, found in json.loads(report.read_text()).items()}
