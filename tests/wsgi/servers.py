"""Real WSGI servers as processes: how each is started, and how all of them are surely ended."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import aiohttp
from tests.support import refused_port, run

ROOT: Final = Path(__file__).resolve().parent.parent.parent
APPLICATION: Final = "tests.wsgi.shop:application"

STARTS_WITHIN_S: Final = 30.0
ENDS_WITHIN_S: Final = 10.0


def gunicorn(*options: str) -> Callable[[int], list[str]]:
    """Give the command line of gunicorn."""
    plain = ["--no-control-socket", "--worker-tmp-dir", "/dev/shm"]  # noqa: S108 - gunicorn's advice

    def command(port: int) -> list[str]:
        where = ["--bind", f"127.0.0.1:{port}"]
        return [sys.executable, "-m", "gunicorn", *where, *plain, *options, APPLICATION]

    return command


def granian(port: int) -> list[str]:
    """Give the command line of granian."""
    threads = ["--workers", "1", "--blocking-threads", "8", "--no-ws"]
    return [sys.executable, "-m", "granian", "--interface", "wsgi", "--port", str(port), *threads, APPLICATION]


SERVERS: Final[Mapping[str, Callable[[int], list[str]]]] = MappingProxyType(
    {
        "gunicorn sync": gunicorn("--workers", "2", "--worker-class", "sync"),
        "gunicorn gthread": gunicorn("--worker-class", "gthread", "--threads", "8"),
        "gunicorn preload": gunicorn("--workers", "2", "--preload", "--worker-class", "gthread", "--threads", "8"),
        "granian": granian,
    }
)


class Server:
    """One server and its log. Confined to one thread."""

    def __init__(self, name: str, bank: str, log: Path) -> None:
        self.name = name
        self.log = log
        self.port = refused_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._env = {**os.environ, "SHOP_BANK": bank, "SHOP_LOG": str(log), "PYTHONUNBUFFERED": "1"}
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0

    def start(self) -> None:
        self._starts += 1
        with self.log.with_suffix(".err").open("ab") as complaints:
            self._process = subprocess.Popen(
                SERVERS[self.name](self.port),
                cwd=ROOT,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=complaints,
                stderr=complaints,
                start_new_session=True,
            )
        until = time.monotonic() + STARTS_WITHIN_S
        while not (self._all_workers_are_up() and self._answers()):
            assert self._process.poll() is None, self.complaints()
            assert time.monotonic() < until, self.complaints()
            time.sleep(0.02)

    def stop(self) -> None:
        """End it as an operator does, and whatever does not end so by force."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(ENDS_WITHIN_S)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Give the log lines of one event."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []
        return [line for line in lines if line["event"] == event]

    def complaints(self) -> str:
        return self.log.with_suffix(".err").read_text()

    def _all_workers_are_up(self) -> bool:
        # granian 2.8 never ends when it is told to while a worker starts.
        return self.name != "granian" or self.complaints().count("Started worker") == self._starts

    def _answers(self) -> bool:
        async def ask() -> int:
            async with aiohttp.ClientSession() as session, session.get(f"{self.url}/ready") as response:
                return response.status

        try:
            with socket.create_connection(("127.0.0.1", self.port), 1):
                pass
            return run(ask()) == 200
        except (OSError, aiohttp.ClientError):
            return False


@contextmanager
def serving(name: str, bank: str, log: Path) -> Iterator[Server]:
    """Run a server for the time of a block."""
    server = Server(name, bank, log)
    try:
        server.start()
        yield server
    finally:
        server.stop()
