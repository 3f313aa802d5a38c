"""The benchmark ``make matrix``: what it plans, finds and counts. That it runs, ``.ci/run`` shows."""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from benchmarks import matrix
from benchmarks.matrix import AIOHTTPS, KINDS, Cell, Result
from benchmarks.pythons import Python, find_python

OLD: Final = Python(version="3.11.7", path="/old")
NEW: Final = Python(version="3.13.0", path="/new")

SUITE: Final = """
import pytest

@pytest.fixture
def broken():
    yield
    raise RuntimeError("at the end")

def test_good(): pass
def test_bad(): assert False
def test_ends_badly(broken): pass
@pytest.mark.skip
def test_skipped(): pass
@pytest.mark.xfail
def test_expected(): assert False
"""


def interpreter(path: Path, version: str) -> Path:
    """Put a program in place that answers as a Python of this version would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {version} {path}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_the_plan_holds_every_pair_the_fork_and_the_lowest() -> None:
    """A user of a pair that is left out would be the first to run it."""
    cells = list(matrix.cells_of([OLD, NEW], AIOHTTPS, KINDS))

    assert [(cell.name, cell.kind, cell.python, cell.requirements) for cell in cells] == [
        ("python-3.11.7-aiohttp-3.12.15", "aiohttp", OLD, ("aiohttp==3.12.15",)),
        ("python-3.11.7-aiohttp-3.13", "aiohttp", OLD, ("aiohttp==3.13.*",)),
        ("python-3.11.7-aiohttp-3.14", "aiohttp", OLD, ("aiohttp==3.14.*",)),
        ("python-3.13.0-aiohttp-3.12.15", "aiohttp", NEW, ("aiohttp==3.12.15",)),
        ("python-3.13.0-aiohttp-3.13", "aiohttp", NEW, ("aiohttp==3.13.*",)),
        ("python-3.13.0-aiohttp-3.14", "aiohttp", NEW, ("aiohttp==3.14.*",)),
        ("python-3.13.0-python-backoff", "backoff", NEW, ("aiohttp==3.14.*",)),
        ("python-3.11.7-lowest", "lowest", OLD, ()),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_only_plans_nothing_else(kind: str) -> None:
    """CI would take half an hour for the one cell that it asks for."""
    kinds = {cell.kind for cell in matrix.cells_of([OLD, NEW], AIOHTTPS, [kind])}

    assert kinds == {kind}


def test_a_report_is_counted_and_its_failures_named(tmp_path: Path) -> None:
    """A cell would look green although a test failed, or broke while it was cleaned up."""
    (tmp_path / "test_some.py").write_text(SUITE, encoding="utf-8")
    options = ("-q", "-p", "no:cacheprovider", "-o", "junit_family=xunit1", "--junitxml=report.xml")
    alone = [sys.executable, "-m", "pytest", *options, "--rootdir", str(tmp_path), "test_some.py"]
    subprocess.run(alone, cwd=tmp_path, stdout=subprocess.DEVNULL, check=False)

    found = matrix.read_report(tmp_path / "report.xml")

    assert found == {
        "passed": 1,
        "skipped": 1,
        "xfailed": 1,
        "failed": ("test_some.py::test_bad", "test_some.py::test_ends_badly"),
    }


@pytest.mark.parametrize(
    ("result", "good"),
    [
        (Result(versions={}, passed=1), True),
        (Result(versions={}, passed=1, failed=("test",)), False),
        (Result(versions={}, passed=1, trouble="given up"), False),
        (Result(versions={}, skipped=9), False),
    ],
    ids=["passed", "failed", "trouble", "nothing ran"],
)
def test_a_cell_is_good_only_when_tests_ran_and_none_failed(result: Result, *, good: bool) -> None:
    """A cell that could not install, or ran nothing, would count as proof."""
    judged = result.good

    assert judged == good


def test_the_newest_fitting_interpreter_of_pyenv_is_found(tmp_path: Path) -> None:
    """3.13.10 would be passed over for 3.13.9, and a folder that lies about its version believed."""
    for version in ("3.99.9", "3.99.10", "3.9.18"):
        interpreter(tmp_path / "versions" / version / "bin" / "python", version)
    interpreter(tmp_path / "versions" / "3.99.11" / "bin" / "python", "3.98.0")

    found = find_python("3.99", tmp_path)

    assert found == Python(version="3.99.10", path=str(tmp_path / "versions/3.99.10/bin/python"))


def test_an_interpreter_that_does_not_run_is_not_found(tmp_path: Path) -> None:
    """A shim without an interpreter behind it would fail every cell of that Python."""
    shim = interpreter(tmp_path / "python", "")
    shim.write_text("#!/bin/sh\nexit 127\n", encoding="utf-8")

    found = [find_python(wanted, tmp_path) for wanted in (str(shim), str(tmp_path / "absent"), "3.99")]

    assert found == [None, None, None]


def test_a_python_that_is_asked_for_and_absent_ends_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A user who asks for one Python would get a green table of the others."""
    status = matrix.main(["--python", sys.executable, "--python", "3.99"])

    assert status == 2
    assert capsys.readouterr().err.startswith("make matrix: no Python 3.99 on PATH or in ")


@pytest.mark.parametrize(
    ("words", "whole"),
    [
        ([], True),
        (["--resume"], True),
        (["--quick"], False),
        (["--only", "lowest"], False),
        (["--aiohttp", "3.13"], False),
    ],
    ids=["all", "resumed", "quick", "one kind", "one aiohttp"],
)
def test_only_a_full_run_is_kept(words: list[str], *, whole: bool) -> None:
    """RESULTS.md would show one quick cell as if it were the matrix."""
    given: argparse.Namespace = matrix.arguments(words)

    assert given.whole == whole


@pytest.mark.parametrize(
    ("of", "failed", "taken_up"),
    [("these", (), True), ("others", (), False), ("these", ("test",), False)],
    ids=["same sources", "other sources", "failed"],
)
def test_only_what_passed_on_the_same_sources_is_taken_up(
    tmp_path: Path, of: str, failed: tuple[str, ...], *, taken_up: bool
) -> None:
    """``--resume`` would carry yesterday's green cell over into a table of today's sources."""
    result = Result(versions={"python": "3.11.7"}, passed=1, failed=failed)
    matrix.keep_result(tmp_path / "result", of, result)

    found = matrix.kept_result(tmp_path / "result", "these")

    assert found == (result if taken_up else None)


def test_a_cell_that_did_not_run_is_told_beside_one_that_did() -> None:
    """A user would read a table without the column that failed."""
    ran, stuck = Cell(name="ran", kind="aiohttp", python=OLD), Cell(name="stuck", kind="backoff", python=NEW)
    versions = {"python": "3.11.7", "aiohttp": "3.12.15", "backoff": "2.2.1"}
    names = tuple(f"t::{number}" for number in range(12))
    ran_result = Result(versions=versions, passed=5, skipped=1, failed=names, seconds=7.4)
    results = {ran: ran_result, stuck: Result(versions={"python": "3.13.0"}, trouble="no such release")}

    _, *rows = matrix.rows_of(results)
    faults = matrix.faults_of(results)

    assert rows == [
        ["3.11.7", "3.12.15", "2.2.1", "as locked", 5, 1, 0, "**12**", "7"],
        ["3.13.0", "?", "?", "as locked", 0, 0, 0, "did not run", "0"],
    ]
    assert faults == ["- stuck: no such release", *(f"- ran: `t::{n}`" for n in range(10)), "- ran: and 2 more"]
