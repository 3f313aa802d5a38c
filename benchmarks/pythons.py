"""Finds the Pythons of this machine: those on PATH, and those of pyenv, by asking each who it is."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PYTHONS: Final = ("3.11", "3.12", "3.13", "3.14")


class NoPythonError(Exception):
    """Raised when an interpreter that is asked for by name is not here, or none at all is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Python:
    """An interpreter that runs."""

    version: str
    path: str
    """Its own path and not that of a shim, because uv does not follow pyenv's shims from everywhere."""


def python_at(path: str) -> Python | None:
    """Ask an interpreter who it is; ``None`` when it does not run, as a shim may not."""
    ask = [path, "-c", "import platform, sys; print(platform.python_version(), sys.executable)"]
    try:
        said = subprocess.run(ask, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    version, _, own_path = said.stdout.strip().partition(" ")
    return Python(version=version, path=own_path)


def find_python(wanted: str, pyenv: Path) -> Python | None:
    """Find the interpreter of a version such as ``3.12``, on PATH or among pyenv's; a path stands for itself."""
    if os.sep in wanted:
        return python_at(wanted)
    newest_first = sorted(pyenv.glob(f"versions/{wanted}*"), key=lambda home: numbers_of(home.name), reverse=True)
    candidates = [shutil.which(f"python{wanted}"), *(str(home / "bin" / "python") for home in newest_first)]
    for found in map(python_at, filter(None, candidates)):
        if found is not None and f"{found.version}.".startswith(f"{wanted}."):
            return found
    return None


def numbers_of(version: str) -> list[int]:
    """Take a version apart, so that 3.13.10 sorts above 3.13.9; what is not a number counts as 0."""
    return [int(part) if part.isdigit() else 0 for part in version.split(".")]


def pythons_of(wanted: Sequence[str] | None, pyenv: Path) -> tuple[list[Python], list[str]]:
    """Find the interpreters that are asked for, oldest first, or all there are; and name those that are not here.

    Raises:
        NoPythonError: One that is asked for by name is not here, or none at all is.
    """
    found = {name: find_python(name, pyenv) for name in wanted or PYTHONS}
    absent = [name for name, python in found.items() if python is None]
    by_version = {python.version: python for python in found.values() if python is not None}
    pythons = sorted(by_version.values(), key=lambda python: numbers_of(python.version))
    if not pythons or (wanted and absent):
        names = ", ".join(absent)
        raise NoPythonError(f"no Python {names} on PATH or in {pyenv}/versions; install it, or name another: --python")
    return pythons, absent
