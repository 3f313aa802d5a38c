"""Sends the attempts of one call from inside a genuine aiohttp session, one hop of it at a time.

aiohttp runs its middlewares anew for every redirect that it follows, with a new request. What must hold over all hops,
where the request came from and what it left behind there, goes on in the guard.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

import aiohttp
from aiohttp import hdrs
from aiohttp.payload import Payload
from yarl import URL

from holdfast.protocols import Answer, Fault
from holdfast.transport.body import RequestBody, rewinds
from holdfast.transport.exchange import HttpExchange
from holdfast.transport.single_send import SingleSend, looking_up

_FOLLOWED: Final = frozenset({301, 302, 303, 307, 308})
"""Statuses that aiohttp follows, where an address comes with them."""


@dataclass(slots=True, kw_only=True)
class HopExchange(HttpExchange):
    """Sends the attempts of one hop through the rest of the middleware chain. Confined to one event loop."""

    request: aiohttp.ClientRequest
    handler: aiohttp.ClientHandlerType
    follows: bool
    """Whether a redirect may be followed by a further hop."""

    statuses: tuple[int, ...] = ()
    """Of the redirects that led here."""

    arrived: SingleSend
    """The guard that the call came here under: a new one on the first hop."""

    @property
    def replayable(self) -> bool:
        """Whether the body can be sent once more, byte for byte."""
        body = self.request.body
        if isinstance(body, RequestBody):
            return body.replayable
        return not isinstance(body, Payload) or rewinds(body)

    @property
    def guard(self) -> SingleSend:
        """What the newest attempt was sent under."""
        return self._guard

    def discard(self, ended: Answer | Fault) -> None:
        """Give back the connection of an answer that the caller will not see, and keep its cookies.

        aiohttp itself takes cookies only from what leaves the chain.
        """
        HttpExchange.discard(self, ended)
        if not isinstance(ended, Answer) or not ended.response.cookies:
            return
        jar = self.request.session.cookie_jar
        jar.update_cookies(ended.response.cookies, ended.response.url)
        self.request.update_cookies(jar.filter_cookies(self.request.url))

    async def _send(self, guard: SingleSend, total_s: float, connect_s: float) -> aiohttp.ClientResponse:
        del connect_s  # aiohttp's own limits stand, as the session has them
        if self.statuses and not self.replayable:
            raise aiohttp.ClientPayloadError(
                "the request body is a stream that was sent to where the redirect came from"
            )
        self._read_until = asyncio.get_running_loop().time() + total_s
        limit = asyncio.timeout_at(self._read_until)
        try:
            async with limit:
                return await guard(self.request, self.handler)
        except TimeoutError as error:
            # Its connect and read limits have classes of their own: this was the timer of the caller's request.
            self._timer_spent = not limit.expired() and not isinstance(error, aiohttp.ServerTimeoutError)
            raise

    async def _get(self, guard: SingleSend, address: str, total_s: float, connect_s: float) -> aiohttp.ClientResponse:
        headers = self._lookup_headers(self.request.headers)
        headers.popall(hdrs.HOST, None)
        headers.popall(hdrs.COOKIE, None)
        with looking_up(guard):
            return await self.request.session.get(
                URL(address),
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=total_s, connect=connect_s),
                allow_redirects=False,
                raise_for_status=False,
            )

    def _new_guard(self) -> SingleSend:
        return self._guard.afresh(self.body) if self._guard.reached else self.arrived

    def _redirects(self, response: aiohttp.ClientResponse) -> tuple[int, ...]:
        del response  # it knows of no hop but its own
        return self.statuses

    def _may_go_on(self, response: aiohttp.ClientResponse) -> bool:
        leads_on = hdrs.LOCATION in response.headers or hdrs.URI in response.headers
        return self.follows and leads_on and response.status in _FOLLOWED
