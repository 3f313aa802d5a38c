"""The guard against aiohttp's hidden re-send, and against secrets that follow a redirect.

``ClientSession._request`` sends GET, HEAD, OPTIONS, TRACE, PUT and DELETE once more by itself after
``ServerDisconnectedError`` or ``ClientOSError``, on fresh connections too: 3 attempts become 6 requests, and one
capture becomes two. The only switch is private. The public way is a client middleware, outermost in the chain, that
turns these two into an error of our own on the way out; the exchange turns it back. Where trace callbacks would be
shown that error, the switch is used: aiohttp's method runs on our session there, which answers for it.

On a redirect to another origin aiohttp drops Authorization and Cookie only. The guard also drops idempotency keys, API
keys, cookies of the request's own, and the body of a 307 or 308. What has been abroad does not come home: who sent it
back chose its address.
"""

import asyncio
from collections.abc import Iterator, Sequence
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
    Payload,
    ServerDisconnectedError,
    hdrs,
)
from yarl import URL

from holdfast.transport.body import RequestBody

SECRET_HEADERS: Final = frozenset({"idempotency-key", "x-api-key", "api-key", "x-auth-token"})
"""Headers that must not reach another origin, besides those that aiohttp drops and the provider's key header."""


_UNDER_WAY: Final[ContextVar["ClientRequest | SingleSend | None"]] = ContextVar("holdfast_under_way", default=None)


def under_way() -> "ClientRequest | SingleSend | None":
    """Give the request that an engine of ours is sending just now in this task, or the guard of its lookup."""
    return _UNDER_WAY.get()


@contextmanager
def looking_up(guard: "SingleSend") -> Iterator[None]:
    """Let a middleware of ours that is met inside know that this is a lookup, and not a call."""
    token = _UNDER_WAY.set(guard)
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
        "_abroad",
        "_answered",
        "_body",
        "_body_may_leave",
        "_body_stayed",
        "_holds_back",
        "_home",
        "_hops",
        "_is_alone",
        "_replaced",
        "_secret_headers",
        "_writes_before",
        "inner_errors",
    )

    def __init__(
        self,
        secret_headers: frozenset[str] = SECRET_HEADERS,
        body: RequestBody | None = None,
        *,
        body_may_leave: bool = False,
        is_alone: bool = True,
        holds_back: bool = True,
    ) -> None:
        """Set up the guard of one attempt.

        Args:
            secret_headers: In lower case: headers that must not reach another origin.
            body: The body of the attempt.
            body_may_leave: Whether it may follow a redirect to another origin.
            is_alone: Whether no middleware stands inside the guard.
            holds_back: Whether a lost connection must be hidden from aiohttp, which would send again.
        """
        self._secret_headers = secret_headers
        self._body = body
        self._body_may_leave = body_may_leave
        self._body_stayed = False
        self._is_alone = is_alone
        self._holds_back = holds_back
        self._writes_before = 0 if body is None else body.writes
        self._replaced = False
        self._home: URL | None = None
        self._hops = 0
        self._abroad = False
        self._answered = False
        self.inner_errors: list[BaseException] = []
        """What the send itself raised, hop by hop and try by try, before any middleware of the caller's."""

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
        newest = self.inner_errors[-1] if self.inner_errors else None
        timed_out = isinstance(newest, asyncio.CancelledError) and isinstance(error, TimeoutError)
        return newest is error or timed_out

    @property
    def key_dropped(self) -> bool:
        """Whether a hop went to another origin, without the key."""
        return self._abroad

    @property
    def body_dropped(self) -> bool:
        """Whether a hop that was to repeat the request went to another origin, without the body."""
        return self._body_stayed

    @property
    def bytes_sent(self) -> bool | None:
        """Whether any of the attempt has left this process: ``False`` is proof that none did, ``None`` is not known.

        A request whose body was never begun is proof, unless a middleware has put another body in its place. After a
        redirect the first hop has been sent, and answered.
        """
        if self._hops != 1 or self._answered:
            return self._hops > 0
        if self._body is None or self._replaced or self._body.size == 0:
            return None
        return self._body.writes > self._writes_before

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Send one hop.

        Raises:
            HeldBackError: The connection was lost; aiohttp would have sent again.
        """
        self._hops += 1
        await self._keep_secrets_home(request)
        token = None if self._is_alone else _UNDER_WAY.set(request)
        try:
            return await handler(request)
        except (ClientOSError, ServerDisconnectedError) as error:
            if not self._holds_back:
                raise
            raise HeldBackError(error) from None
        finally:
            self._replaced = self._body is not None and request.body is not self._body
            if token is not None:
                _UNDER_WAY.reset(token)

    def onward(self) -> "SingleSend":
        """Give the guard of the next hop of the same attempt, where each hop is sent by itself."""
        guard = self.afresh(None)
        guard._hops = self._hops  # noqa: SLF001 - of this class
        return guard

    def afresh(self, body: RequestBody | None) -> "SingleSend":
        """Give a guard for sending the newest hop again."""
        guard = SingleSend(self._secret_headers, body, body_may_leave=self._body_may_leave, is_alone=self._is_alone)
        guard._home, guard._abroad, guard._body_stayed = self._home, self._abroad, self._body_stayed
        return guard

    def around(self, middlewares: Sequence[ClientMiddlewareType]) -> tuple[ClientMiddlewareType, ...]:
        """Put the guard around the caller's middlewares.

        It stands inside them too: one that asks for a token after the answer came, and is refused, must not pass for
        a request that was never sent.
        """
        self._is_alone = not middlewares
        return (self, *middlewares, self._note_answer) if middlewares else (self,)

    async def _note_answer(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        try:
            response = await handler(request)
        except BaseException as error:
            self.inner_errors.append(error)
            raise
        self._answered = True
        return response

    async def _keep_secrets_home(self, request: ClientRequest) -> None:
        if self._home is None:
            self._home = request.url
        self._abroad = self._abroad or self._home.origin() != request.url.origin()
        if not self._abroad:
            return
        for name in [name for name in request.headers if name.lower() in self._secret_headers]:
            del request.headers[name]
        _send_cookies_of_the_jar_only(request)
        if self._body_may_leave or not _has_body(request):
            return
        self._body_stayed = True
        await _drop_body(request)


async def _drop_body(request: ClientRequest) -> None:
    request.chunked = request.compress = None
    for name in (hdrs.CONTENT_TYPE, hdrs.CONTENT_ENCODING, hdrs.TRANSFER_ENCODING):
        request.headers.popall(name, None)
    await request.update_body(None)


def _has_body(request: ClientRequest) -> bool:
    return isinstance(request.body, Payload) and request.body.size != 0


def _send_cookies_of_the_jar_only(request: ClientRequest) -> None:
    request.headers.popall(hdrs.COOKIE, None)
    theirs = request.session.cookie_jar.filter_cookies(request.url)
    if theirs:
        request.headers[hdrs.COOKIE] = theirs.output(header="", sep=";").strip()


def unwrapped(error: Exception) -> Exception:
    """Give the failure that was held back, or the one that was not."""
    return error.error if isinstance(error, HeldBackError) else error
