"""``outbound_context`` for aiohttp.web: an application's outbound sessions, and each request's context for their calls.

One line per application::

    context = outbound_context({"finix": lambda: ResilientSession(...)}).install(app)

    async def handler(request):
        session = request.app[context.keys["finix"]]

* Sessions are opened before everything else that starts with the application, and closed after everything else.
* A request's context holds while its handler runs, and while a body that the handler gave as an async iterable is
  written. A task that may outlive the request's deadline says ``with holdfast.detached():``.
* A WebSocket has an id and no deadline and no keys: it is a connection, not a request that somebody waits for.
* An uncaught ``HoldfastError`` becomes problem details, unless a response has begun.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from math import inf
from typing import Generic, Self, TypeVar, Unpack, cast

import aiohttp
from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import AsyncIterablePayload, Payload
from aiohttp.typedefs import Handler

from holdfast.core.problem import problem_of
from holdfast.engine.inbound import Inbound, InboundOptions, InboundSettings, bound, read_inbound
from holdfast.engine.sessions import check_factories, check_grace, close_sessions, open_sessions
from holdfast.errors import HoldfastError

S = TypeVar("S", bound=aiohttp.ClientSession)


class OutboundContext(Generic[S]):
    """The outbound sessions of an application. Confined to one event loop; may be installed in one application."""

    def __init__(
        self,
        sessions: Mapping[str, Callable[[], S]],
        *,
        grace_s: float = 10.0,
        problem_json: bool = True,
        **inbound: Unpack[InboundOptions],
    ) -> None:
        """Take the factories; see ``outbound_context``."""
        self._factories = check_factories(sessions)
        self._settings = InboundSettings(**inbound)
        self._grace_s = check_grace(grace_s)
        self._problem_json = problem_json
        self.keys: Mapping[str, web.AppKey[S]] = {
            # The type is for the type checker, which has it from the factories; at run time it only names the key.
            name: web.AppKey(f"holdfast.{name}", cast("type[S]", aiohttp.ClientSession))
            for name in sessions
        }
        """Where the application holds each session."""

    async def cleanup_ctx(self, app: web.Application) -> AsyncIterator[None]:
        """Open the sessions when the application starts, and close them when it ends."""
        sessions = await open_sessions(self._factories)
        try:
            for name, session in sessions.items():
                app[self.keys[name]] = session
            yield
        finally:
            await close_sessions(sessions, self._grace_s)

    def install(self, app: web.Application) -> Self:
        """Add both to an application, before everything that it has already."""
        app.cleanup_ctx.insert(0, self.cleanup_ctx)
        app.middlewares.insert(0, self.middleware)
        return self

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Bind the context: the first of the application's middlewares, so that the others have it too."""
        arrived = time.monotonic()
        headers = {
            name: ", ".join(request.headers.getall(name))
            for name in self._settings.headers_read
            if name in request.headers
        }
        place = f"{request.method} {request.path}"
        inbound = read_inbound(headers, settings=self._settings, arrived=arrived, source=request, place=place)
        if request.headers.get(hdrs.UPGRADE, "").lower() == "websocket":  # a connection, and nobody waits for its end
            inbound = replace(inbound, deadline_at=inf, seed=None)
        try:
            with bound(inbound):
                response = await handler(request)
        except HoldfastError as error:
            if request.writer.output_size > 0 or not self._problem_json:
                raise
            problem = problem_of(error, inbound.request_id)
            return web.Response(status=problem.status, headers=dict(problem.headers), body=problem.body)
        if isinstance(response, web.Response) and isinstance(response.body, AsyncIterablePayload):
            response.body = _WrittenInContext(response.body, inbound)
        return response


def outbound_context(
    sessions: Mapping[str, Callable[[], S]],
    *,
    grace_s: float = 10.0,
    problem_json: bool = True,
    **inbound: Unpack[InboundOptions],
) -> OutboundContext[S]:
    """Make the ``cleanup_ctx`` and the ``middleware`` of an application; ``install(app)`` adds both.

    Args:
        sessions: Functions that open the outbound sessions, by name; ``context.keys[name]`` is where they are.
        grace_s: Seconds that calls in flight get to end at shutdown, before they are cancelled.
        problem_json: Whether uncaught errors of ours become problem details.
        **inbound: As for ``holdfast.asgi.OutboundMiddleware``; ``scope`` is a function of the ``web.Request``.

    Raises:
        TypeError: ``sessions``, ``secret`` or ``scope`` is of a wrong type, or a keyword is unknown.
        ValueError: Another argument is out of its range.
    """
    return OutboundContext(sessions, grace_s=grace_s, problem_json=problem_json, **inbound)


class _WrittenInContext(Payload):
    """A body that aiohttp writes after the middlewares have returned. Confined to one event loop."""

    def __init__(self, body: AsyncIterablePayload, inbound: Inbound) -> None:
        super().__init__(body, headers=body.headers, content_type=body.content_type)
        self._inner = body
        self._inbound = inbound

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self._inner.decode(encoding, errors)

    async def as_bytes(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        with bound(self._inbound):
            return await self._inner.as_bytes(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        with bound(self._inbound):
            await self._inner.write(writer)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        with bound(self._inbound):
            await self._inner.write_with_length(writer, content_length)
