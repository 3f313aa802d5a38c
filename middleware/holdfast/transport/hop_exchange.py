"""Sends the attempts of one call from inside a genuine aiohttp session, one hop of it at a time.

aiohttp runs its middlewares anew for every redirect that it follows, with a new request. Middlewares of the caller's
may stand between this one and the wire: what they did to the request is undone before it is sent again, and a failure
is proof that nothing was sent only where it came out of the sending of this very request.
"""

import asyncio
from dataclasses import dataclass, field
from traceback import walk_tb
from typing import Any, ClassVar, Final

import aiohttp
from aiohttp import hdrs
from aiohttp.helpers import TimerNoop
from aiohttp.payload import Payload
from multidict import CIMultiDict
from yarl import URL

from holdfast.protocols import Answer, Fault
from holdfast.transport.body import RequestBody, rewinds
from holdfast.transport.exchange import HttpExchange
from holdfast.transport.home import Home
from holdfast.transport.hop_request import timer_of
from holdfast.transport.single_send import Inquiry, SingleSend, looking_up

_FOLLOWED: Final = frozenset({301, 302, 303, 307, 308})
"""Statuses that aiohttp follows, where an address comes with them."""

_AIOHTTPS_SEND: Final = "_connect_and_send_request"
"""aiohttp's own handler, at the end of every chain."""


@dataclass(kw_only=True)
class HopExchange(HttpExchange):
    """Sends the attempts of one hop through the rest of the middleware chain. Confined to one event loop."""

    sees_single_hops: ClassVar[bool] = True

    request: aiohttp.ClientRequest
    handler: aiohttp.ClientHandlerType
    owner: aiohttp.ClientMiddlewareType
    """The middleware that this is done for."""

    home: Home
    """Where the call comes from, and what stays there."""

    follows: bool
    """Whether a redirect may be followed by a further hop."""

    statuses: tuple[int, ...] = ()
    """Of the redirects that led here."""

    arrived: SingleSend | None = None
    """The guard under which the attempt in flight came here from the hop before."""

    _as_given: tuple[Payload | bytes, CIMultiDict[str]] | None = field(default=None, init=False)
    """Body and headers before the first attempt."""

    _has_new_cookies: bool = field(default=False, init=False)

    @property
    def replayable(self) -> bool:
        """Whether the body can be sent once more, byte for byte."""
        body = self.request.body if self._as_given is None else self._as_given[0]
        if isinstance(body, RequestBody):
            return body.replayable
        is_still_there = self.request.body is body
        return not isinstance(body, Payload) or (is_still_there and rewinds(body))

    @property
    def guard(self) -> SingleSend:
        """What the newest attempt was sent under."""
        return self._guard or SingleSend(self.home)

    def discard(self, ended: Answer | Fault) -> None:
        """Give back the connection of an answer that the caller will not see, and keep its cookies.

        aiohttp itself takes cookies only from what leaves the chain.
        """
        HttpExchange.discard(self, ended)
        if isinstance(ended, Answer) and ended.response.cookies:
            self.request.session.cookie_jar.update_cookies(ended.response.cookies, ended.response.url)
            self._has_new_cookies = True

    async def _send(self, guard: SingleSend | None, total_s: float, connect_s: float) -> aiohttp.ClientResponse:
        del guard, connect_s  # it is known; aiohttp's own limits stand, as the session has them
        if self.statuses and not self.replayable:
            raise aiohttp.ClientPayloadError(
                "the request body is a stream that was sent to where the redirect came from"
            )
        await self._undo()
        if self.inherited is not None:
            self.inherited.put_into(self.request.headers, total_s)
        self._read_until = asyncio.get_running_loop().time() + total_s
        limit = asyncio.timeout_at(self._read_until)
        try:
            async with limit:
                return await self.guard(self.request, self.handler)
        except TimeoutError:
            self._timer_spent = not limit.expired() and _has_fired(timer_of(self.request))
            raise

    async def _undo(self) -> None:
        """Give the request back what it had before the middlewares inside, and the cookies that came since."""
        request = self.request
        if self._as_given is None:
            self._as_given = request.body, request.headers.copy()
            return
        body, headers = self._as_given
        if request.body is not body:
            await request.update_body(body)
        request.headers.clear()
        request.headers.extend(headers)
        if self._has_new_cookies:
            request.update_cookies(request.session.cookie_jar.filter_cookies(request.url))
            self._as_given = body, request.headers.copy()
        self._has_new_cookies = False

    async def _get(self, guard: SingleSend, address: str, total_s: float, connect_s: float) -> aiohttp.ClientResponse:
        request, session = self.request, self.request.session
        headers = self._lookup_headers(request.headers)
        for name in (hdrs.HOST, hdrs.COOKIE):
            headers.popall(name, None)
        if self.inherited is not None:
            self.inherited.put_into(headers, total_s)
        given: tuple[aiohttp.ClientMiddlewareType, ...] = tuple(getattr(session, "_middlewares", None) or ())
        with looking_up(Inquiry(guard, URL(address), headers)):
            return await session.get(
                URL(address),
                timeout=aiohttp.ClientTimeout(total=total_s, connect=connect_s),
                middlewares=given if self.owner in given else (self.owner, *given),
                allow_redirects=False,
                raise_for_status=False,
                **_route_of(request),
            )

    def _new_guard(self) -> SingleSend:
        arrived, self.arrived = self.arrived, None
        return arrived or SingleSend(self.home, self.body, is_alone=False)

    def _redirects(self, response: aiohttp.ClientResponse) -> tuple[int, ...]:
        del response  # it knows of no hop but its own
        return self.statuses

    def _may_go_on(self, response: aiohttp.ClientResponse) -> bool:
        leads_on = hdrs.LOCATION in response.headers or hdrs.URI in response.headers
        return self.follows and leads_on and response.status in _FOLLOWED

    def _speaks_for_itself(self, error: Exception) -> bool:
        if getattr(self.handler, "__name__", "") == _AIOHTTPS_SEND:
            return True
        # Somebody stands inside, who may have sent before, or may have failed at something else.
        return self.guard.bytes_sent is False and _comes_out_of(error, self.request)


def _has_fired(timer: object) -> bool:
    """Say whether aiohttp's timer of the caller's whole request has fired; a middleware's own says nothing of it."""
    return bool(getattr(timer, "_cancelled", not isinstance(timer, TimerNoop)))


def _comes_out_of(error: Exception, request: aiohttp.ClientRequest) -> bool:
    raised = [error] if error.__cause__ is None else [error, error.__cause__]
    frames = (frame for one in raised for frame, _ in walk_tb(one.__traceback__))
    return any(frame.f_code.co_name == _AIOHTTPS_SEND and frame.f_locals.get("req") is request for frame in frames)


def _route_of(request: aiohttp.ClientRequest) -> dict[str, Any]:
    """Give the way by which the request itself goes out: its proxy, and its certificates."""
    proxy_headers = CIMultiDict(request.proxy_headers or ())
    if request.proxy_auth is not None:
        proxy_headers[hdrs.PROXY_AUTHORIZATION] = request.proxy_auth.encode()
    route = {"ssl": request.ssl, "server_hostname": request.server_hostname}
    return route if request.proxy is None else route | {"proxy": request.proxy, "proxy_headers": proxy_headers}
