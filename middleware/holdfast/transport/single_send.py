"""The guard against aiohttp's hidden re-send, which also keeps secrets at home and knows what was sent.

``ClientSession._request`` sends GET, HEAD, OPTIONS, TRACE, PUT and DELETE once more by itself after
``ServerDisconnectedError`` or ``ClientOSError``, on fresh connections too: 3 attempts become 6 requests, and one
capture becomes two. The only switch is private. The public way is a client middleware, outermost in the chain, that
turns these two into an error of our own on the way out; the exchange turns it back. Where trace callbacks would be
shown that error, the switch is used: aiohttp's method runs on our session there, which answers for it.
"""

import asyncio
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from aiohttp import (
    ClientError,
    ClientHandlerType,
    ClientMiddlewareType,
    ClientOSError,
    ClientRequest,
    ClientResponse,
    ServerDisconnectedError,
    hdrs,
)
from yarl import URL

from holdfast.transport.body import RequestBody
from holdfast.transport.home import Home
from holdfast.values import dataclass


@dataclass(frozen=True, slots=True)
class Inquiry:
    """A lookup on its way through a session in which a middleware of ours stands."""

    guard: "SingleSend"
    url: URL
    headers: Mapping[str, str]
    """Put on at the last moment: aiohttp refuses an Authorization beside the session's own."""

    def is_made_by(self, request: ClientRequest) -> bool:
        """Say whether this is the lookup's own request, and not one that a middleware makes beside it."""
        return request.method == hdrs.METH_GET and request.url == self.url

    async def send(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Send the lookup's request."""
        for name in self.headers:
            request.headers[name] = self.headers[name]
        return await self.guard(request, handler)


_UNDER_WAY: Final[ContextVar[ClientRequest | Inquiry | None]] = ContextVar("holdfast_under_way", default=None)


def under_way() -> ClientRequest | Inquiry | None:
    """Give the request, or the lookup, that an engine of ours is sending just now in this task."""
    return _UNDER_WAY.get()


@contextmanager
def looking_up(inquiry: Inquiry) -> Iterator[None]:
    """Let a middleware of ours that is met inside know that this is a lookup, and not a call."""
    token = _UNDER_WAY.set(inquiry)
    try:
        yield
    finally:
        _UNDER_WAY.reset(token)


class HeldBackError(ClientError):
    """Carries a failure past aiohttp's re-send. Never seen outside the transport."""

    def __init__(self, error: Exception) -> None:
        """Keep the failure as it was."""
        super().__init__()
        self.error = error


class SingleSend:
    """Client middleware for one attempt: sends once per hop, keeps secrets at home, and knows what was sent.

    Confined to one event loop.
    """

    __slots__ = (
        *("_answered", "_body", "_closes_before", "_hops", "_is_alone", "_replaced", "_request", "_writes_before"),
        *("holds_back", "home", "inner"),
    )

    def __init__(self, home: Home, body: RequestBody | None = None, *, is_alone: bool = True) -> None:
        """Set up the guard of one attempt.

        Args:
            home: Knows what must not reach another origin.
            body: The body of the attempt.
            is_alone: Whether no middleware stands inside the guard.
        """
        self.home = home
        self.holds_back: bool = True
        """Whether a lost connection must be hidden from aiohttp, which would send again."""

        self._body = body
        self._is_alone = is_alone
        self._writes_before = 0 if body is None else body.writes
        self._closes_before = 0 if body is None else body.closes
        self._replaced = False
        self._request: ClientRequest | None = None
        self._hops = 0
        self._answered = False
        self.inner: list[ClientResponse | BaseException] = []
        """What came of the send itself, hop by hop and try by try, before any middleware of the caller's."""

    @property
    def reached(self) -> bool:
        """Whether aiohttp got as far as sending a hop through the guard."""
        return self._hops > 0

    @property
    def answered(self) -> bool:
        """Whether a response has come, whatever a middleware of the caller's made of it."""
        return self._answered

    def failed_with(self, error: Exception) -> bool:
        """Say whether an error is what the newest send ended in, and not a middleware's own.

        aiohttp's total timer cancels the send and raises ``TimeoutError`` in its place.
        """
        newest = next((one for one in reversed(self.inner) if isinstance(one, BaseException)), None)
        timed_out = isinstance(newest, asyncio.CancelledError) and isinstance(error, TimeoutError)
        return newest is error or timed_out

    @property
    def bytes_sent(self) -> bool | None:
        """Whether any of the attempt has left this process: ``False`` is proof that none did, ``None`` is not known.

        A request whose body was never begun is proof, unless a middleware has put another body or another request in
        its place, be it for a moment. After a redirect the first hop has been sent, and answered.
        """
        if self._hops != 1 or self._answered:
            return self._hops > 0
        if self._body is None or self._replaced or self._body.size == 0:
            return None
        return self._body.writes > self._writes_before

    def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> Awaitable[ClientResponse]:
        """Send one hop.

        Where nothing has to be done to the request or about its end, the handler's own coroutine is given: one around
        it would cost 1 % of a call. A body is watched always, because anything on its way may put another in its place.

        Raises:
            HeldBackError: When awaited: the connection was lost; aiohttp would have sent again.
        """
        self._hops += 1
        self._request = request
        leaves_home = self.home.is_left_by(request)
        if leaves_home or self.holds_back or self._body is not None or not self._is_alone:
            return self._watch(request, handler, leaves_home=leaves_home)
        return handler(request)

    async def _watch(self, request: ClientRequest, handler: ClientHandlerType, *, leaves_home: bool) -> ClientResponse:
        if leaves_home:
            await self.home.strip(request)
        token = None if self._is_alone else _UNDER_WAY.set(request)
        try:
            return await handler(request)
        except (ClientOSError, ServerDisconnectedError) as error:
            if not self.holds_back:
                raise
            raise HeldBackError(error) from None
        finally:
            self._note_body(request)
            if token is not None:
                _UNDER_WAY.reset(token)

    def onward(self) -> "SingleSend":
        """Give the guard of the next hop of the same attempt, where each hop is sent by itself."""
        guard = SingleSend(self.home, is_alone=self._is_alone)
        guard._hops = self._hops
        return guard

    def around(self, middlewares: Sequence[ClientMiddlewareType]) -> tuple[ClientMiddlewareType, ...]:
        """Put the guard around the caller's middlewares.

        It stands inside them too: one that asks for a token after the answer came, and is refused, must not pass for
        a request that was never sent.
        """
        self._is_alone = not middlewares
        return (self, *middlewares, self._note_answer) if middlewares else (self,)

    async def _note_answer(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        self._replaced = self._replaced or request is not self._request
        self._note_body(request)
        try:
            response = await handler(request)
        except BaseException as error:
            self.inner.append(error)
            raise
        self._answered = True
        self.inner.append(response)
        return response

    def _note_body(self, request: ClientRequest) -> None:
        body = self._body
        if body is not None and (request.body is not body or body.closes != self._closes_before):
            self._replaced = True


def unwrapped(error: Exception) -> Exception:
    """Give the failure that was held back, or the one that was not."""
    return error.error if isinstance(error, HeldBackError) else error
