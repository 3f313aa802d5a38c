"""Where aiohttp's tests run: the sources of a release and an interpreter for them, in a folder that is thrown away."""

import hashlib
import importlib.metadata
import json
import re
import subprocess
import sys
import tarfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

INDEX: Final = "https://pypi.org/simple/aiohttp/"
JSON_INDEX: Final = "application/vnd.pypi.simple.v1+json"
"""PEP 691."""

WAIT_S: Final = 60.0
NEEDED: Final = (
    "coverage",
    "freezegun",
    "pytest",
    "pytest-mock",
    "pytest-timeout",
    "pytest-xdist",
    "re-assert",
    "trustme",
)
WANTED: Final = ("pytest-codspeed", "proxy.py>=2.4.4rc5", "blockbuster", "isal", "zlib-ng", "uvloop", "Brotli")
"""What aiohttp's tests do without, in part. gunicorn is left out: freezegun imports it in mid-test, and blockbuster
forbids what it does then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """A release's tests, and an interpreter that has what they need."""

    python: Path
    sources: Path
    """The folder that the release's ``tests`` lie in."""

    settings: Path
    """aiohttp's own pytest settings."""

    missing: tuple[str, ...]
    """Packages that could not be had."""

    def test_files(self) -> list[str]:
        """Name the test files that have to do with a client session."""
        about = re.compile(r"\b(ClientSession|aiohttp_client|TestClient)\b")
        files = sorted((self.sources / "tests").glob("test_*.py"))
        return [f"tests/{file.name}" for file in files if about.search(file.read_text("utf-8"))]


def furnish(folder: Path, version: str) -> Workshop:
    """Bring a release's tests and their interpreter into a folder; what is there already is kept.

    Raises:
        LookupError: The index has no sources of that release.
        ValueError: They are not what the index says they are.
    """
    sources = folder / f"aiohttp-{version}"
    if not sources.exists():
        _unpack(_download(version, folder), sources)
    ini = sources / "pytest.ini"
    python, missing = _interpreter(folder / f"venv-{version}", version)
    settings = ini if ini.exists() else sources / "setup.cfg"
    return Workshop(python=python, sources=sources, settings=settings, missing=missing)


def _download(version: str, folder: Path) -> Path:
    ask = urllib.request.Request(INDEX, headers={"Accept": JSON_INDEX})
    with urllib.request.urlopen(ask, timeout=WAIT_S) as answer:  # noqa: S310 - https, as written above
        files: list[dict[str, Any]] = json.load(answer)["files"]
    name = f"aiohttp-{version}.tar.gz"
    entry = next((file for file in files if file["filename"] == name), None)
    if entry is None or not entry["url"].startswith("https://"):
        raise LookupError(f"{INDEX} has no {name}: install a released aiohttp, and run this again")
    with urllib.request.urlopen(entry["url"], timeout=WAIT_S) as answer:  # noqa: S310 - checked above
        content: bytes = answer.read()
    if hashlib.sha256(content).hexdigest() != entry["hashes"]["sha256"]:
        raise ValueError(f"{name} is not what {INDEX} says it is: its SHA-256 differs")
    archive = folder / name
    archive.write_bytes(content)
    return archive


def _unpack(archive: Path, sources: Path) -> None:
    # Without the package itself, which would be imported in place of the installed one.
    wanted = re.compile(rf"{re.escape(sources.name)}/(tests/.*|pytest\.ini|setup\.cfg|README\.rst)")
    with tarfile.open(archive) as tar:
        members = [member for member in tar if wanted.fullmatch(member.name)]
        tar.extractall(sources.parent, members, filter="data")


def _interpreter(venv: Path, version: str) -> tuple[Path, tuple[str, ...]]:
    python, done = venv / "bin" / "python", venv / "missing.json"
    if done.exists():
        return python, tuple(json.loads(done.read_text()))
    subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
    pins = venv / "pins.txt"
    pins.write_text("\n".join(_pins()))
    asked = importlib.metadata.requires("holdfast") or []
    needs = [need for need in asked if "extra ==" not in need]
    _install(python, pins, f"aiohttp=={version}", *needs, *NEEDED, check=True)
    together = _install(python, pins, *WANTED, check=False)
    missing = () if together else tuple(name for name in WANTED if not _install(python, pins, name, check=False))
    done.write_text(json.dumps(missing))
    return python, missing


def _pins() -> list[str]:
    """Name what is installed here, so that both run on the same yarl, multidict and pytest."""
    found = {one.metadata["Name"]: one.version for one in importlib.metadata.distributions()}
    return sorted(f"{name}=={version}" for name, version in found.items() if name != "holdfast")


def _install(python: Path, pins: Path, *packages: str, check: bool) -> bool:
    command: list[str | Path] = [
        python,
        "-m",
        "pip",
        "install",
        "-qq",
        "--disable-pip-version-check",
        "--constraint",
        pins,
        *packages,
    ]
    return subprocess.run(command, check=check).returncode == 0
