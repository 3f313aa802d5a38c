"""How the command's tests run it: as a process of its own, with every warning an error, on pipes or on a terminal."""

import os
import pty
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

TIMEOUT_S: Final = 30.0

COMMAND: Final = (sys.executable, "-W", "error", "-m", "holdfast")

_NO_RICH: Final = """
import sys

class NoRich:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "rich":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NoRich())
from holdfast.cli import main
sys.exit(main())
"""
WITHOUT_RICH: Final = (sys.executable, "-W", "error", "-c", _NO_RICH)
"""The command in a process to which rich is not installed."""


class Done(NamedTuple):
    """What a run left behind."""

    code: int
    out: str
    err: str


def run(*arguments: str, stdin: bytes = b"") -> Done:
    """Run the command on pipes."""
    done = subprocess.run(
        [*COMMAND, *arguments], input=stdin, capture_output=True, env=_environment(), timeout=TIMEOUT_S, check=False
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start the command on pipes, and see to it that it ends."""
    with subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(),
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def run_on_terminal(*arguments: str, command: tuple[str, ...] = COMMAND) -> Done:
    """Run the command on a pseudo-terminal of 150 columns; ``err`` stays empty, because a terminal has one screen."""
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [*command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            env=_environment() | {"TERM": "xterm-256color", "COLUMNS": "150", "LINES": "40"},
        )
    finally:
        os.close(theirs)
    with process:
        shown = b"".join(_chunks(ours))
    os.close(ours)
    return Done(process.returncode, shown.decode(), "")


def _chunks(terminal: int) -> Iterator[bytes]:
    while select.select([terminal], [], [], TIMEOUT_S)[0]:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # Linux: EIO when the other side is closed
            return
        if not chunk:
            return
        yield chunk


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR", "COLUMNS"}}
    return kept | {"PYTHONUTF8": "1"}
