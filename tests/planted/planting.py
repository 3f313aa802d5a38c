"""Plants a bug in a copy of the package, and finds out which tests see it. The package itself is never touched."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.planted.bugs import UNHARMED, Bug

ROOT: Final = Path(__file__).resolve().parents[2]
LIMIT_S: Final = 60.0
"""For one trial. A trial that takes longer is an error and not a bug caught: a hang names no test."""

_OURS: Final = ("COV_", "COVERAGE_", "PYTEST_")
"""Variables of the test run that we are in; a trial that heeded them would be measured and shared out too."""


class PlantError(Exception):
    """Raised when a plant does not fit the source, or a trial says nothing about it."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of the tests against one copy."""

    passed: tuple[str, ...]
    failed: dict[str, str]
    """First line of each failure, by the test's name, in the order of the run."""

    def failed_of(self, selection: str) -> str | None:
        """Name the first failed test of a selection."""
        return next((name for name in self.failed if is_of(name, selection)), None)


def is_of(name: str, selection: str) -> bool:
    """Say whether a test, perhaps with parameters, belongs to a selection."""
    return name == selection or name.startswith((f"{selection}[", f"{selection}::", f"{selection}/"))


def planted(source: str, bug: Bug) -> str:
    """Give a module's text with the bug in it.

    Raises:
        PlantError: The text to replace does not stand there exactly once.
    """
    found = source.count(bug.text)
    if found != 1:
        raise PlantError(
            f"the plant {bug.name!r} no longer fits: its text stands {found} times in holdfast/{bug.file}, not once."
            f" Find where the code went, and mend the row in tests/planted/bugs.py:\n{bug.text}"
        )
    return source.replace(bug.text, bug.becomes)


def copy_package(folder: Path, bug: Bug | None = None) -> Path:
    """Copy the package into a folder, with a bug planted or as it is; give the source root."""
    copy = folder / "middleware"
    shutil.copytree(ROOT / "middleware", copy, ignore=shutil.ignore_patterns("__pycache__"))
    if bug is not None:
        module = copy / "holdfast" / bug.file
        module.write_text(planted(module.read_text(encoding="utf-8"), bug), encoding="utf-8")
    return copy


def try_out(copy: Path, selections: Iterable[str], limit_s: float = LIMIT_S) -> Trial:
    """Run tests against a copy.

    Raises:
        PlantError: It took too long, or something else than a test failed.
    """
    findings = copy.with_name("findings.json")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    environment |= {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "tests.planted.trial", str(copy), str(findings), *selections]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=limit_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise PlantError(f"the trial was not over after {limit_s:g} s:\n{error.stdout!r}") from None
    kept: Any = json.loads(findings.read_text(encoding="utf-8")) if findings.exists() else {"broken": "everything"}
    if kept["broken"] or done.returncode not in {0, 1}:
        raise PlantError(f"the trial proves nothing, {kept['broken']}:\n{done.stdout}\n{done.stderr}")
    return Trial(tuple(kept["passed"]), kept["failed"])


def catch(bug: Bug, folder: Path) -> dict[str, str]:
    """Plant a bug, and give the first test that saw it, with its words, for each selection that did.

    Raises:
        PlantError: The plant no longer fits, breaks an ordinary success too, or the trial proves nothing.
    """
    trial = try_out(copy_package(folder, bug), (*bug.caught_by, *UNHARMED))
    harmed = [name for selection in UNHARMED if (name := trial.failed_of(selection))]
    if harmed:
        raise PlantError(f"{bug.name!r} breaks an ordinary success: {harmed[0]}: {trial.failed[harmed[0]]}")
    return {first: trial.failed[first] for selection in bug.caught_by if (first := trial.failed_of(selection))}
