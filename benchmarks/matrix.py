"""The tests on every Python of this machine, and on every line of aiohttp that we promise to work with.

Run it with ``make matrix``. Each cell has a venv of its own in ``.tools/matrix``, into which the package is installed
from this checkout, and is one run of the tests:

- ``aiohttp``: each Python with each aiohttp; our other requirements as ``uv.lock`` has them, so that one thing changes
  at a time;
- ``backoff``: the newest of both, with the fork ``python-backoff`` 3 in the place of ``backoff``: both own its folder;
- ``lowest``: the lowest versions that ``pyproject.toml`` allows, on the oldest Python, to find a bound that lies.

A cell that fails stops no other. A full run is written into ``RESULTS.md``; ``--resume`` repeats only what did not
pass. Not run here: the ledger and the planted bugs, which are about our own decisions, and take minutes.
"""

import argparse
import hashlib
import itertools
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from benchmarks.pythons import NoPythonError, Python, pythons_of
from benchmarks.results import keep, table

ROOT: Final = Path(__file__).resolve().parent.parent
CELLS: Final = ROOT / ".tools" / "matrix"
UV: Final = ("sh", str(ROOT / ".ci" / "bootstrap"), "uv")

AIOHTTPS: Final = ("3.12.15", "3.13", "3.14")
"""The oldest that we allow, and the newest of each line since."""

KINDS: Final = ("aiohttp", "backoff", "lowest")
FORK: Final = "python-backoff>=3,<4"

EVERYTHING: Final = ("tests", "--ignore=tests/ledger", "--ignore=tests/planted")
QUICK: Final = {
    # The folders whose tests have aiohttp do the work: what is left out decides without it, or is a tool.
    "aiohttp": ("tests/session", "tests/transport", "tests/faults", "tests/contract", "tests/consumers"),
    # We take two generators from it, in core.schedule; the sessions' tests are those in which pauses are made.
    "backoff": ("tests/core", "tests/session/test_verdicts.py", "tests/session/test_deadline.py"),
    "lowest": ("tests/session", "tests/transport", "tests/core", "tests/telemetry", "tests/test_readme.py"),
}

MISLEADING: Final = frozenset({"PYTHONPATH", "PYTEST_ADDOPTS", "VIRTUAL_ENV"})
"""Settings of a user's shell that could have a cell test something else."""

PYTEST_OK: Final = 0
PYTEST_SOME_FAILED: Final = 1
MOST_SECONDS: Final = 1800.0
"""After which a cell is given up: ten times what one takes."""

KEPT: Final = "result.json"
"""Name of the file in a cell's folder that holds what was found."""

SHOWN: Final = 10
"""Failing tests of a cell to name; its log names all."""

TAIL: Final = 40
"""Lines of a failing cell's log to show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One environment to run the tests in."""

    name: str
    kind: str
    python: Python
    requirements: tuple[str, ...] = ()
    """What to install besides the package and its tests' libraries."""

    @property
    def folder(self) -> Path:
        """Give the folder of its venv, log and result."""
        return CELLS / self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of a cell."""

    versions: dict[str, str]
    passed: int = 0
    skipped: int = 0
    xfailed: int = 0
    failed: tuple[str, ...] = ()
    """Names of the tests that failed, or broke outside the test."""

    trouble: str = ""
    """Why the tests did not run to their end; empty when they did."""

    seconds: float = 0.0

    @property
    def good(self) -> bool:
        """Tell whether every test ran and none failed."""
        return not self.failed and not self.trouble and self.passed > 0


class BrokenCellError(Exception):
    """Raised when a cell cannot be set up or run; says what was tried and what came of it."""


def command(*words: str, log: Path) -> None:
    """Run a command of the set-up, its output added to the log."""
    with log.open("a", encoding="utf-8") as file:
        done = subprocess.run(words, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        last = log.read_text(encoding="utf-8").strip().rpartition("\n")[2]
        raise BrokenCellError(f"{' '.join(words[2:6])} ...: {last}")


def release(aiohttp: str) -> str:
    """Write the requirement for a release such as ``3.12.15``, or for the newest of a line such as ``3.14``."""
    return f"aiohttp=={aiohttp}" if aiohttp.count(".") >= 2 else f"aiohttp=={aiohttp}.*"


def cells_of(pythons: Sequence[Python], aiohttps: Sequence[str], kinds: Sequence[str]) -> Iterator[Cell]:
    """Plan the cells; interpreters and releases come oldest first."""
    oldest, newest = pythons[0], pythons[-1]
    if "aiohttp" in kinds:
        for python, aiohttp in itertools.product(pythons, aiohttps):
            name = f"python-{python.version}-aiohttp-{aiohttp}"
            yield Cell(name=name, kind="aiohttp", python=python, requirements=(release(aiohttp),))
    if "backoff" in kinds:
        name = f"python-{newest.version}-python-backoff"
        yield Cell(name=name, kind="backoff", python=newest, requirements=(release(aiohttps[-1]),))
    if "lowest" in kinds:
        yield Cell(name=f"python-{oldest.version}-lowest", kind="lowest", python=oldest)


def set_up(cell: Cell, log: Path) -> None:
    """Make the venv of a cell."""
    python = python_in(cell)
    package = f"{ROOT}[test]"
    command(*UV, "venv", "--quiet", "--clear", "--python", cell.python.path, str(cell.folder / "venv"), log=log)
    install = (*UV, "pip", "install", "--quiet", "--python", python)
    anew = ("--refresh-package", "holdfast")  # uv keeps what it built of a folder, and here the folder changes
    if cell.kind == "lowest":
        command(*install, *anew, "--resolution", "lowest-direct", package, log=log)
        return
    constraints = cell.folder / "constraints.txt"
    constraints.write_text("\n".join(locked_but_aiohttp()), encoding="utf-8")
    command(*install, *anew, "--constraint", str(constraints), package, *cell.requirements, log=log)
    if cell.kind == "backoff":  # by hand: our own requirement names the original, and installers know of no substitute
        command(*UV, "pip", "uninstall", "--quiet", "--python", python, "backoff", log=log)
        command(*install, "--no-deps", FORK, log=log)


def locked_but_aiohttp() -> Iterator[str]:
    """Pin what we require to its version in ``uv.lock``, but for aiohttp; what aiohttp requires goes with aiohttp."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = {
        re.split(r"[^\w.-]", line, maxsplit=1)[0]
        for line in (*project["dependencies"], *project["optional-dependencies"]["test"])
    }
    for package in tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]:
        if package["name"] in required - {"aiohttp"}:
            # A package that has left older Pythons behind is locked once for them and once for the others.
            markers = " or ".join(f"({marker})" for marker in package.get("resolution-markers", ()))
            yield f"{package['name']}=={package['version']}{f' ; {markers}' if markers else ''}"


def python_in(cell: Cell) -> str:
    """Name the interpreter of a cell's venv."""
    return str(cell.folder / "venv" / "bin" / "python")


ASK_VERSIONS: Final = """
import importlib.metadata, json, platform
found = {d.name.lower(): d.version for d in importlib.metadata.distributions()}
print(json.dumps({"python": platform.python_version(), **dict(sorted(found.items()))}))
"""


def versions_in(cell: Cell) -> dict[str, str]:
    """Ask a cell's venv what it holds."""
    said = subprocess.run([python_in(cell), "-c", ASK_VERSIONS], capture_output=True, text=True, check=True)
    versions: dict[str, str] = json.loads(said.stdout)
    return versions


def run_tests(cell: Cell, selection: Iterable[str], log: Path) -> Result:
    """Run the tests in a cell that is set up."""
    report = cell.folder / "report.xml"
    options = ("-n", "2", "-q", "--tb=short", "-p", "no:cacheprovider", "-o", "junit_family=xunit1")
    words = [python_in(cell), "-m", "pytest", *options, f"--junitxml={report}", *selection]
    surroundings = {name: value for name, value in os.environ.items() if name not in MISLEADING}
    begun = perf_counter()
    with log.open("a", encoding="utf-8") as file:
        done = subprocess.run(
            words,
            cwd=ROOT,
            env=surroundings,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            timeout=MOST_SECONDS,
            check=False,
        )
    seconds = perf_counter() - begun
    if done.returncode not in {PYTEST_OK, PYTEST_SOME_FAILED}:
        said = log.read_text(encoding="utf-8").strip().rpartition("\n")[2]
        raise BrokenCellError(f"pytest ended with {done.returncode}: {said}")
    found = read_report(report)
    if done.returncode == PYTEST_SOME_FAILED and not found["failed"]:
        raise BrokenCellError("pytest says that tests failed, but its report names none")
    return Result(versions=versions_in(cell), seconds=seconds, **found)


def read_report(report: Path) -> dict[str, Any]:
    """Count what pytest's JUnit report tells, and name what failed."""
    passed, skipped, xfailed, failed = 0, 0, 0, dict[str, None]()
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - our own pytest wrote it
        marks = {mark.tag: mark for mark in case}
        if "failure" in marks or "error" in marks:
            failed[f"{case.get('file') or case.get('classname')}::{case.get('name')}"] = None
        elif "skipped" not in marks:
            passed += 1
        elif marks["skipped"].get("type") == "pytest.xfail":
            xfailed += 1
        else:
            skipped += 1
    return {"passed": passed, "skipped": skipped, "xfailed": xfailed, "failed": tuple(failed)}


def try_out(cell: Cell, selection: Iterable[str]) -> Result:
    """Set a cell up and run the tests in it, whatever becomes of it."""
    shutil.rmtree(cell.folder, ignore_errors=True)
    cell.folder.mkdir(parents=True)
    log = cell.folder / "log"
    try:
        set_up(cell, log)
        return run_tests(cell, selection, log)
    except BrokenCellError as broken:
        trouble = str(broken)
    except subprocess.TimeoutExpired:
        trouble = f"given up after {MOST_SECONDS:.0f} s"
    return Result(versions={"python": cell.python.version}, trouble=trouble)


def state_of_sources() -> str:
    """Give a fingerprint of what the tests test, so that only results of the same sources are taken up again."""
    files = [ROOT / "pyproject.toml", ROOT / "uv.lock"]
    for folder in ("middleware", "tests"):
        files += (path for path in (ROOT / folder).rglob("*") if path.suffix in {".py", ".json", ".typed"})
    parts = (f"{path.relative_to(ROOT)} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in sorted(files))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def keep_result(file: Path, of: str, result: Result) -> None:
    """Write down what was found, and of which sources and tests."""
    file.write_text(json.dumps({"of": of, "result": asdict(result)}), encoding="utf-8")


def kept_result(file: Path, of: str) -> Result | None:
    """Read what an earlier run found, if it was of the same, and passed."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    result = Result(**kept["result"] | {"failed": tuple(kept["result"]["failed"])})
    return result if kept["of"] == of and result.good else None


def rows_of(results: dict[Cell, Result]) -> Iterator[list[object]]:
    """Lay the results out, a row for each cell."""
    yield ["Python", "aiohttp", "backoff", "the rest", "passed", "skipped", "expected to fail", "failed", "seconds"]
    for cell, result in results.items():
        has = result.versions
        fork = f"python-backoff {has['python-backoff']}" if "python-backoff" in has else has.get("backoff", "?")
        rest = "lowest allowed" if cell.kind == "lowest" else "as locked"
        failed = "did not run" if result.trouble else f"**{len(result.failed)}**" if result.failed else "0"
        what = [has["python"], has.get("aiohttp", "?"), fork, rest]
        yield [*what, result.passed, result.skipped, result.xfailed, failed, f"{result.seconds:.0f}"]


def faults_of(results: dict[Cell, Result]) -> list[str]:
    """Name what failed, by cell."""
    lines = [f"- {cell.name}: {result.trouble}" for cell, result in results.items() if result.trouble]
    for cell, result in results.items():
        lines += (f"- {cell.name}: `{name}`" for name in result.failed[:SHOWN])
        if len(result.failed) > SHOWN:
            lines.append(f"- {cell.name}: and {len(result.failed) - SHOWN} more")
    return lines


def parts_of(results: dict[Cell, Result], absent: Sequence[str], tests: str) -> Iterator[str]:
    """Write the section; ``tests`` says which tests were run."""
    now = f"{datetime.now(UTC):%Y-%m-%d}"
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    without = f" Not on this machine: Python {', '.join(absent)}." if absent else ""
    yield f"`make matrix`, {now}. {machine}. {tests}, two workers.{without}"
    yield table(*rows_of(results))
    if faults := faults_of(results):
        yield "\n".join(faults)
    for cell, result in results.items():
        if cell.kind == "lowest" and not result.trouble:
            direct = ("aiohttp", "backoff", "structlog", "rich", "pytest", "hypothesis")
            yield f"Lowest allowed: {', '.join(f'{name} {result.versions[name]}' for name in direct)}."


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make matrix", description="Run the tests on every version we promise.")
    parser.add_argument("--python", action="append", metavar="3.12", help="on this one only, or on this path; repeats")
    parser.add_argument("--aiohttp", action="append", metavar="3.13", help="this line or release only; repeats")
    parser.add_argument("--only", action="append", choices=KINDS, help="cells of this kind only; repeats")
    parser.add_argument("--quick", action="store_true", help="the tests that the versions can break, not all")
    parser.add_argument("--resume", action="store_true", help="do not repeat what passed on these very sources")
    given = parser.parse_args(words)
    given.whole = not (given.python or given.aiohttp or given.only or given.quick)
    return given


def main(words: Sequence[str] | None = None) -> int:
    """Run the cells, show the table, keep it when it is whole; 1 when a cell failed."""
    given = arguments(words)
    try:
        pythons, absent = pythons_of(given.python, Path.home() / ".pyenv")
    except NoPythonError as missing:
        print(f"make matrix: {missing}", file=sys.stderr)
        return 2
    # A job in the background of a shell ignores Ctrl-C, and so would the processes that the tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    results: dict[Cell, Result] = {}
    for cell in cells_of(pythons, given.aiohttp or AIOHTTPS, given.only or KINDS):
        wanted = [path for path in QUICK[cell.kind] if (ROOT / path).exists()] if given.quick else list(EVERYTHING)
        of = f"{state_of_sources()} {cell.kind} {' '.join(wanted)}"
        kept = kept_result(cell.folder / KEPT, of) if given.resume else None
        result = results[cell] = kept or try_out(cell, wanted)
        if not kept:
            keep_result(cell.folder / KEPT, of, result)
        print(f"{cell.name}: {'passed' if result.good else 'FAILED'}, {result.seconds:.0f} s", flush=True)
        if not result.good:
            log = cell.folder / "log"
            print(*log.read_text(encoding="utf-8").splitlines()[-TAIL:], f"(all of it: {log})", sep="\n", flush=True)
    tests = "Quick: a part of the tests" if given.quick else "All tests but the ledger and the planted bugs"
    parts = list(parts_of(results, absent, tests))
    print("", *parts, sep="\n\n")
    if given.whole:
        keep("matrix", "Every Python and every aiohttp", parts)
    return 0 if all(result.good for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
