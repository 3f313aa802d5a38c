"""Runs tests against a copy of the package, in a process of its own.

``PYTHONPATH=COPY python -m tests.planted.trial COPY FINDINGS SELECTION...``. What failed is written to the file
``FINDINGS``; the exit status is pytest's.
"""

import json
import sys
from pathlib import Path

import pytest

import holdfast


class Recorder:
    """A pytest plugin that keeps what became of each test. Confined to one thread."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        self.failed: dict[str, str] = {}
        """First line of the failure, by the test's name."""

        self.broken: dict[str, str] = {}
        """What failed outside a test: an import, or a fixture. It proves nothing about the bug."""

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.broken[report.nodeid] = _first_line(report)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            found = self.failed if report.when == "call" else self.broken
            found[report.nodeid] = _first_line(report)
        elif report.when == "call" and report.passed:
            self.passed.append(report.nodeid)


def _first_line(report: pytest.CollectReport | pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    said = report.longreprtext if crash is None else str(crash.message)
    return said.strip().partition("\n")[0]


def main(copy: Path, findings: Path, selections: list[str]) -> int:
    """Run the tests, and write down what became of them."""
    imported = Path(holdfast.__file__)
    if not imported.is_relative_to(copy):
        raise RuntimeError(f"the tests would run against {imported}, and not against the copy in {copy}")
    recorder = Recorder()
    options = ("-q", "-p", "no:cacheprovider", "--tb=short")
    status = pytest.main([*options, *selections], plugins=[recorder])
    findings.write_text(json.dumps(vars(recorder)), encoding="utf-8")
    return int(status)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]), sys.argv[3:]))
