"""A server without sockets: it speaks ASGI to an application as a script tells it. Confined to one event loop."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from holdfast.asgi import App, Message


@dataclass(slots=True)
class Exchange:
    """What an application did with one connection."""

    sent: list[Message] = field(default_factory=list)
    error: BaseException | None = None

    @property
    def kinds(self) -> list[str]:
        return [message["type"] for message in self.sent]

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def document(self) -> Any:
        return json.loads(self.body)


async def connect(
    app: App, headers: dict[str, str] | None = None, *, kind: str = "http", method: str = "GET", **scope: Any
) -> Exchange:
    """Serve one connection; give what the application sent, and what it raised."""
    exchange = Exchange()
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
    full = {"type": kind, "method": method, "path": "/", "query_string": b"", "headers": raw} | scope

    coming = [True]

    async def receive() -> Message:
        if not coming:
            await asyncio.Event().wait()  # the client stays, and says no more
        coming.clear()
        return {"type": f"{kind}.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        exchange.sent.append(message)

    try:
        await app(full, receive, send)
    except Exception as error:  # noqa: BLE001 - it is what the test looks at
        exchange.error = error
    return exchange


class Lifespan:
    """A server's side of the lifespan protocol."""

    def __init__(self, app: App, scope: dict[str, Any]) -> None:
        self.said: list[Message] = []
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._spoken = asyncio.Event()
        self.task = asyncio.ensure_future(self._run(app, scope))

    async def _run(self, app: App, scope: dict[str, Any]) -> None:
        try:
            await app(scope, self._events.get, self._hear)
        finally:
            self._spoken.set()

    async def _hear(self, message: Message) -> None:
        self.said.append(message)
        self._spoken.set()

    async def tell(self, event: str) -> None:
        """Send an event, and wait for an answer or for the end of the application's lifespan."""
        self._spoken.clear()
        self._events.put_nowait({"type": event})
        async with asyncio.timeout(10):
            await self._spoken.wait()


@asynccontextmanager
async def living(app: App, state: dict[str, Any] | None = None) -> AsyncIterator[Lifespan]:
    """Start an application and stop it; without ``state`` the server knows no lifespan state."""
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}} | ({} if state is None else {"state": state})
    lifespan = Lifespan(app, scope)
    await lifespan.tell("lifespan.startup")
    yield lifespan
    if not lifespan.task.done():
        await lifespan.tell("lifespan.shutdown")
    await lifespan.task
