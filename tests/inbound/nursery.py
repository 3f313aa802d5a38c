"""Starts servers as processes of their own, and ends them for sure.

Frameworks take seconds to import, so one process, the nursery, imports them all once and forks a server off when it is
told to on its standard input. When that is closed, for whatever reason, it kills what is left and ends.
"""

import asyncio
import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, Final

import aiohttp
from tests.support import refused_port

ROOT: Final = Path(__file__).resolve().parent.parent.parent
PATIENCE_S: Final = 20.0
"""How long a server may take to start or to stop, on a busy machine."""


def serve_uvicorn(app: str, port: int) -> None:
    """Serve with uvicorn."""
    import uvicorn  # noqa: PLC0415 - only the nursery needs it

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", lifespan="on", access_log=False)


def serve_hypercorn(app: str, port: int) -> None:
    """Serve with hypercorn, in this very process."""
    from hypercorn.config import Config  # noqa: PLC0415 - likewise
    from hypercorn.run import run  # noqa: PLC0415

    config = Config()
    config.application_path, config.bind, config.workers = app, [f"127.0.0.1:{port}"], 0
    run(config)


def serve_granian(app: str, port: int) -> None:
    """Serve with granian: one worker process."""
    from granian import Granian  # noqa: PLC0415 - likewise
    from granian.constants import Interfaces  # noqa: PLC0415

    Granian(app, address="127.0.0.1", port=port, interface=Interfaces.ASGI, log_enabled=False).serve()


SERVERS: Final[Mapping[str, Callable[[str, int], None]]] = {
    "uvicorn": serve_uvicorn,
    "hypercorn": serve_hypercorn,
    "granian": serve_granian,
}
FRAMEWORKS: Final = ("raw", "starlette", "fastapi", "litestar", "quart", "django")
_HEAVY: Final = (
    "uvicorn",
    "hypercorn.run",
    "hypercorn.asyncio.run",
    "granian",
    "holdfast.asgi",
    "fastapi",
    "starlette.applications",
    "litestar",
    "quart",
    "django.core.asgi",
    "django.urls",
)


class Nursery:
    """The nursery as a test holds it. Safe to share between threads."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._lock = Lock()

    def ask(self, **order: Any) -> Any:
        """Give an order and wait for its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    @asynccontextmanager
    async def running(self, server: str, framework: str, **facts: Any) -> AsyncIterator[str]:
        """Run a service; give its address. At the end it is asked to stop, as an init system would, and must obey.

        Args:
            server: Key of ``SERVERS``.
            framework: One of ``FRAMEWORKS``.
            **facts: Its environment.
        """
        port = refused_port()
        environment = {name: str(value) for name, value in facts.items()}
        app = f"tests.inbound.services.{framework}_service:app"
        pid = await asyncio.to_thread(self.ask, serve=server, app=app, port=port, env=environment)
        url = f"http://127.0.0.1:{port}"
        try:
            await _until_it_answers(url)
            yield url
            os.kill(pid, signal.SIGTERM)
            status = await asyncio.wait_for(asyncio.to_thread(self.ask, wait=pid), PATIENCE_S)
            assert status in {0, -signal.SIGTERM}, f"{server} ended with {status}"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


async def _until_it_answers(url: str) -> None:
    async with asyncio.timeout(PATIENCE_S), aiohttp.ClientSession() as client:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with client.get(f"{url}/whoami") as response:
                    assert response.status == 200, await response.text()
                    return
            await asyncio.sleep(0.02)


@contextmanager
def nursery(log: Path) -> Iterator[Nursery]:
    """Start a nursery; what servers print goes to this file."""
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-W", "default", "-m", "tests.inbound.nursery"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        with process:
            try:
                yield Nursery(process)
            finally:
                os.killpg(process.pid, signal.SIGKILL)


def main() -> None:
    """Be the nursery."""
    for name in _HEAVY:
        importlib.import_module(name)
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            answer = os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                _be_server(order)
        print(json.dumps(answer), flush=True)  # noqa: T201 - the answer
    os.killpg(0, signal.SIGKILL)


def _be_server(order: dict[str, Any]) -> None:
    status = 1
    try:
        # Standard input and output are the nursery's: a server that wrote there would answer for it.
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(2, 1)
        os.environ.update(order["env"])
        SERVERS[order["serve"]](order["app"], order["port"])
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()
