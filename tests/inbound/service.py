"""The service that every server and every framework is tested with: what its handlers do, and how it is wrapped.

It runs in a process of its own. What happens in it is written to the file that ``SERVICE_LOG`` names, one JSON object
per line: its log, and the opening and closing of its sessions.
"""

import asyncio
import json
import os
import random
from pathlib import Path
from typing import Any, Final

import structlog

from holdfast import Policy, ResilientSession
from holdfast.asgi import App, OutboundMiddleware
from holdfast.engine.inbound import current
from holdfast.providers import FINIX

LOG: Final = Path(os.environ.get("SERVICE_LOG", os.devnull))
SECRET: Final = b"the same in every process"
PAYMENT: Final = {"amount": 1000, "currency": "USD", "merchant": "MU1", "source": "PI1"}


def note(event: str, **facts: Any) -> None:
    """Write one line."""
    with LOG.open("a", encoding="utf-8") as log:
        log.write(json.dumps({"event": event, **facts}) + "\n")


class WatchedSession(ResilientSession):
    """Notes when it is opened and closed."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        note("session.opened")

    async def close(self) -> None:
        if not self.closed:
            note("session.closed")
        await super().close()


def write_line(_logger: object, _method: str, fields: Any) -> str:
    """Be structlog's last processor."""
    note(**fields)
    raise structlog.DropEvent


def configure_log() -> None:
    """Configure structlog as an application does."""
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, write_line], cache_logger_on_first_use=False
    )


def tenant_of(scope: Any) -> str | None:
    """Name the caller, whom a gateway has authenticated."""
    return next((value.decode() for name, value in scope["headers"] if name == b"x-tenant"), None)


def open_finix() -> WatchedSession:
    """Open the session to the sandbox."""
    return WatchedSession(os.environ["SERVICE_BANK"], provider=FINIX, policy=Policy(backoff_base=0.0))


def open_slow() -> WatchedSession:
    """Open the session to a peer that never answers."""
    return WatchedSession(os.environ["SERVICE_SLOW"])


OPTIONS: Final[Any] = {
    "sessions": {"finix": open_finix, "slow": open_slow},
    "secret": SECRET,
    "scope": tenant_of,
    "grace_s": 0.5,
}


def wrapped(app: Any) -> App:
    """Put the middleware around a finished application."""
    configure_log()
    return OutboundMiddleware(app, **OPTIONS)


async def whoami() -> dict[str, Any]:
    """Say which request is being served, after others had their turn."""
    await asyncio.sleep(random.random() / 200)  # noqa: S311 - a pause, not a secret
    inbound = current()
    logged = structlog.contextvars.get_contextvars().get("request_id")
    return {"id": None if inbound is None else inbound.request_id, "logged": logged}


async def charge(state: Any) -> dict[str, Any]:
    """Charge a card through the session that the middleware has opened."""
    structlog.get_logger().info("handler.charge")
    response = await state["finix"].post("/transfers", json=PAYMENT, operation="charge")
    return {"status": response.status}


async def wait_for_slow(state: Any) -> dict[str, Any]:
    """Call the peer that never answers."""
    await state["slow"].get("/")
    return {}
