"""``OutboundMiddleware`` for ASGI: an application's outbound sessions, and the context of each request for their calls.

Pure ASGI 3, for any server and framework. Wrap the finished application, or add it with the framework's own means::

    app = OutboundMiddleware(app, sessions={"finix": lambda: ResilientSession(...)})

Handlers find the sessions in ``scope["state"]["finix"]``: ``request.state.finix`` in Starlette and FastAPI.

* Sessions are opened at ``lifespan.startup``, before the application's own startup, and closed after its shutdown,
  whatever it makes of the lifespan protocol. A server without lifespan has them opened by the first request; nobody
  can close them then, and a warning says so.
* A request's context holds until the application returns: until the last chunk of a streamed response, and also while
  its background tasks run. A task that may outlive the request's deadline says ``with holdfast.detached():``.
* A WebSocket has an id and no deadline and no keys: it is a connection, not a request that somebody waits for.
* An uncaught ``HoldfastError`` becomes problem details, unless a response has begun. Frameworks that turn every error
  into a response themselves (Django, Litestar, Quart) leave nothing uncaught: register ``holdfast.problem_of`` there.
"""

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import replace
from math import inf
from typing import Any, Final, Unpack
from weakref import WeakKeyDictionary

from holdfast.core.problem import problem_of
from holdfast.engine.inbound import Inbound, InboundOptions, InboundSettings, bound, read_inbound
from holdfast.engine.sessions import (
    SessionFactory,
    SessionNotOpenedError,
    check_factories,
    check_grace,
    close_sessions,
    open_sessions,
)
from holdfast.errors import HoldfastError

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_log: Final = logging.getLogger("holdfast")
_SERVER_ERROR: Final = 500
_LAST_WORDS_S: Final = 1.0
"""Seconds for an application's lifespan to end after its last answer."""


class OutboundMiddleware:
    """Owns an application's outbound sessions and hands each request's context to their calls.

    Confined to one event loop at a time; sessions are opened for each loop that serves requests.
    """

    def __init__(
        self,
        app: App,
        sessions: Mapping[str, SessionFactory],
        *,
        grace_s: float = 10.0,
        problem_json: bool = True,
        **inbound: Unpack[InboundOptions],
    ) -> None:
        """Wrap an application.

        Args:
            app: Any ASGI application.
            sessions: Functions that open the outbound sessions, by the name they have in ``scope["state"]``.
            grace_s: Seconds that calls in flight get to end at shutdown, before they are cancelled.
            problem_json: Whether uncaught errors of ours become problem details.
            **inbound: What is taken from requests: ``deadline_header="X-Request-Timeout"``, ``max_deadline=300.0``,
                ``request_id_header="X-Request-ID"``, ``secret=None`` and ``scope=None``, a function of the ASGI scope;
                ``holdfast.engine.inbound.InboundSettings`` says what each means.

        Raises:
            TypeError: ``sessions``, ``secret`` or ``scope`` is of a wrong type, or a keyword is unknown.
            ValueError: Another argument is out of its range.
        """
        self._app = app
        self._factories = check_factories(sessions)
        self._settings = InboundSettings(**inbound)
        self._grace_s = check_grace(grace_s)
        self._problem_json = problem_json
        self._wanted = {name.encode(): name for name in self._settings.headers_read}
        self._states: WeakKeyDictionary[asyncio.AbstractEventLoop, Mapping[str, Any]] = WeakKeyDictionary()
        self._openings: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Future[dict[str, Any]]]
        self._openings = WeakKeyDictionary()
        self._has_warned = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        arrived = time.monotonic()
        sessions = self._states.get(asyncio.get_running_loop()) if self._factories else {}
        if sessions is None:
            sessions = await self._open_late()
        state = scope.get("state")
        if state is None or not self._factories.keys() <= state.keys():
            scope = {**scope, "state": {**sessions, **(state or {})}}
        headers = self._headers(scope.get("headers", ()))
        place = f"{scope.get('method', '')} {scope.get('path', '')}"
        inbound = read_inbound(headers, settings=self._settings, arrived=arrived, source=scope, place=place)
        if scope["type"] == "websocket":
            inbound = replace(inbound, deadline_at=inf, seed=None)
            with bound(inbound):
                await self._app(scope, receive, send)
            return
        with bound(inbound):
            await self._serve(scope, receive, send, inbound)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, inbound: Inbound) -> None:
        if not self._problem_json:
            await self._app(scope, receive, send)
            return
        reply = _Reply(send)
        try:
            await self._app(scope, receive, reply.send)
        except HoldfastError as error:
            if reply.has_begun:
                raise
            reply.drop()
            problem = problem_of(error, inbound.request_id)
            headers = [(name.encode(), value.encode()) for name, value in problem.headers]
            body = b"" if scope["method"] == "HEAD" else problem.body
            await send({"type": "http.response.start", "status": problem.status, "headers": headers})
            await send({"type": "http.response.body", "body": body, "more_body": False})
        except Exception:
            await reply.release()
            raise
        else:
            await reply.release()

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        try:
            sessions = await open_sessions(self._factories)
        except SessionNotOpenedError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        # A server that knows no lifespan state gets by without: the same dict is put into each request's scope.
        state = scope.get("state")
        if state is None:
            state = {}
            scope = {**scope, "state": state}
        state.update(sessions)
        inner = _InnerLifespan(self._app, scope)
        grace_s = 0.0  # for a lifespan that is cut off
        try:
            said = await inner.tell("lifespan.startup")
            if said["type"] == "lifespan.startup.complete":
                self._states[asyncio.get_running_loop()] = state
                await send(said)
                await receive()
                said = await inner.tell("lifespan.shutdown")
                grace_s = self._grace_s
        finally:
            await inner.end()
            await close_sessions(sessions, grace_s)
            self._states.pop(asyncio.get_running_loop(), None)
        await send(said)

    async def _open_late(self) -> Mapping[str, Any]:
        """Open the sessions for a loop on which no lifespan has begun."""
        loop = asyncio.get_running_loop()
        opening = self._openings.get(loop)
        if opening is None:
            if not self._has_warned:
                _log.warning(
                    "holdfast: a request came before any lifespan.startup: its sessions are opened now, and nobody "
                    "will close them. Start the server with its lifespan protocol on"
                )
            self._has_warned = True
            opening = self._openings[loop] = asyncio.ensure_future(open_sessions(self._factories))
        try:
            # Shielded, because the others who wait for it are not to fail when this client goes away.
            self._states[loop] = await asyncio.shield(opening)
        finally:
            if opening.done() and (opening.cancelled() or opening.exception() is not None):
                self._openings.pop(loop, None)  # the next request tries again
        return self._states[loop]

    def _headers(self, raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
        """Pick what is read; a repeated header is joined with commas (RFC 9110 section 5.2)."""
        found: dict[str, str] = {}
        for raw_name, value in raw:
            name = self._wanted.get(raw_name.lower())
            if name is not None:
                text = value.decode("latin-1")
                found[name] = f"{found[name]}, {text}" if name in found else text
        return found


class _Reply:
    """Watches whether a response has begun. Confined to one event loop.

    Starlette answers an uncaught error with a bare 500 of its own and raises the error again, at once. Such an answer,
    made while an error of ours is being handled, is held back until then; if none comes out, it was the application's.
    """

    __slots__ = ("_held", "_release", "_releasing", "_send", "has_begun")

    def __init__(self, send: Send) -> None:
        self._send = send
        self._held: list[Message] = []
        self._releasing: asyncio.Handle | None = None
        self._release: asyncio.Task[None] | None = None  # held, so that it is not collected
        self.has_begun = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _answers_our_error(message["status"]):
            self._held.append(message)
            return
        if self._held and message["type"] == "http.response.body" and not message.get("more_body", False):
            self._held.append(message)
            self._releasing = asyncio.get_running_loop().call_soon(self._release_beside)
            return
        await self.release()
        await self._pass_on(message)

    async def release(self) -> None:
        """Send what was held back."""
        held = self.drop()
        for message in held:
            await self._pass_on(message)

    def drop(self) -> list[Message]:
        """Forget what was held back."""
        if self._releasing is not None:
            self._releasing.cancel()
        held, self._held = self._held, []
        return held

    def _release_beside(self) -> None:
        self._release = asyncio.ensure_future(self.release())

    async def _pass_on(self, message: Message) -> None:
        self.has_begun = self.has_begun or message["type"] == "http.response.start"
        await self._send(message)


def _answers_our_error(status: int) -> bool:
    return status == _SERVER_ERROR and isinstance(sys.exception(), HoldfastError)


class _InnerLifespan:
    """The application's own lifespan, in a task beside ours. Confined to one event loop.

    An application that raises or returns instead of answering does not take part in the protocol, and is served all the
    same (ASGI, Lifespan Protocol, "Scope").
    """

    def __init__(self, app: App, scope: Scope) -> None:
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._from_app: asyncio.Queue[Message | None] = asyncio.Queue()
        self._has_received = False
        self._task = asyncio.ensure_future(self._run(app, scope))

    async def tell(self, event: str) -> Message:
        """Send an event; give the application's answer, or ``complete`` for one that gives none."""
        complete = {"type": f"{event}.complete"}
        if self._task.done() and self._from_app.empty():
            return complete
        self._to_app.put_nowait({"type": event})
        while (said := await self._from_app.get()) is not None:
            if said["type"] in {f"{event}.complete", f"{event}.failed"}:
                return said
        return complete

    async def end(self) -> None:
        """Let an application that goes on after its last answer go on no longer."""
        self._task.cancel()
        await asyncio.wait([self._task], timeout=_LAST_WORDS_S)

    async def _run(self, app: App, scope: Scope) -> None:
        try:
            await app(scope, self._receive, self._from_app.put)
        except Exception as error:  # noqa: BLE001 - it is not ours, and to raise is how an application refuses
            level = logging.WARNING if self._has_received else logging.DEBUG
            kind = type(error).__name__
            _log.log(level, "holdfast: the application ended its lifespan with %s, and is served without it", kind)
        finally:
            self._from_app.put_nowait(None)

    async def _receive(self) -> Message:
        self._has_received = True
        return await self._to_app.get()
