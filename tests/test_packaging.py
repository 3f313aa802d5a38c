"""What the package says about itself; the built wheel is tested by ``.ci/run``."""

import re
import tomllib
from pathlib import Path
from typing import Any, Final

import holdfast

ROOT: Final = Path(__file__).resolve().parent.parent
PYPROJECT: Final = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
PROJECT: Final[dict[str, Any]] = tomllib.loads(PYPROJECT)["project"]

REASONED: Final = re.compile(r'^    "(?P<name>[A-Za-z0-9._-]+)(?:\[[a-z,]+\])?[<>=~!][^"]*",  # \w.*$', re.MULTILINE)


def library_of(requirement: str) -> str:
    """Take the name from a requirement such as ``aiohttp>=3.12.15,<4``."""
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]


def range_of(requirement: str) -> str:
    """Take the range from a requirement such as ``pyright[nodejs]>=1.1``."""
    return re.sub(r"^[A-Za-z0-9._-]+(\[[a-z,]+\])?", "", requirement)


def locked_requirements() -> set[tuple[str, str, str]]:
    """List what uv.lock was made for, as library, range and extra."""
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    package = next(package for package in lock["package"] if package["name"] == "holdfast")
    return {
        (entry["name"], entry.get("specifier", ""), entry.get("marker", ""))
        for entry in package["metadata"]["requires-dist"]
    }


def test_the_core_needs_three_libraries() -> None:
    """A user would have to review, and wait for, libraries that no call needs."""
    libraries = [library_of(requirement) for requirement in PROJECT["dependencies"]]

    assert libraries == ["aiohttp", "backoff", "structlog"]


def test_the_version_is_the_same_everywhere() -> None:
    """A user's bug report would name a version that was never released."""
    assert PROJECT["version"] == holdfast.__version__


def test_every_dependency_gives_its_reason() -> None:
    """A user who audits the dependencies would have to guess what each is for."""
    declared = [
        *PROJECT["dependencies"],
        *(requirement for extra in PROJECT["optional-dependencies"].values() for requirement in extra),
    ]
    names = sorted(library_of(requirement) for requirement in declared)

    reasoned = sorted(match["name"] for match in REASONED.finditer(PYPROJECT))

    assert reasoned == names


def test_the_lock_is_made_from_these_requirements() -> None:
    """A user's `make demo` would refuse the lock and take the slow way, with versions that nobody tested."""
    extras = PROJECT["optional-dependencies"].items()
    declared = {(requirement, "") for requirement in PROJECT["dependencies"]} | {
        (requirement, f"extra == '{extra}'") for extra, requirements in extras for requirement in requirements
    }

    locked = locked_requirements()

    assert locked == {(library_of(requirement), range_of(requirement), marker) for requirement, marker in declared}


def test_the_lock_names_public_hosts_only() -> None:
    """A user outside the authors' network could install nothing."""
    hosts = set(re.findall(r"https?://([^/\"]+)", (ROOT / "uv.lock").read_text(encoding="utf-8")))

    assert hosts == {"files.pythonhosted.org", "pypi.org"}
