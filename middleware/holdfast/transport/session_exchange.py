"""Sends the attempts of one call with the methods of an aiohttp session, redirects and all."""

from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from multidict import CIMultiDict

from holdfast.transport.exchange import HttpExchange
from holdfast.transport.method import Send
from holdfast.transport.single_send import SingleSend

_NEVER_ROUND_UP: Final = float("inf")
_OF_A_LOOKUP: Final = frozenset(
    {"headers", "auth", "cookies", "proxy", "proxy_auth", "proxy_headers", "ssl", "ssl_context", "verify_ssl"}
    | {"fingerprint", "server_hostname", "trace_request_ctx", "skip_auto_headers"}
)


@dataclass(slots=True, kw_only=True)
class SessionExchange(HttpExchange):
    """Sends the attempts of one call through an aiohttp session. Confined to one event loop."""

    send_request: Send
    """The session's own method, bound to method and address; called once per attempt."""

    get: Send
    """The session's ``get``, for lookups."""

    options: dict[str, Any]
    """The caller's keywords, less those that differ between attempts."""

    middlewares: tuple[aiohttp.ClientMiddlewareType, ...]
    timeout: aiohttp.ClientTimeout

    async def _send(self, guard: SingleSend, total_s: float, connect_s: float) -> aiohttp.ClientResponse:
        chain = guard.around(self.middlewares)
        try:
            options = self._with_inherited(self.options, total_s)
            coming: Any = self.send_request(timeout=self._timeout(total_s, connect_s), middlewares=chain, **options)
            # A mock in aiohttp's place may know ``async with`` only.
            response: aiohttp.ClientResponse = await (coming if hasattr(coming, "__await__") else coming.__aenter__())
            return response
        finally:
            # aiohttp refuses a tracker that has seen a request.
            self.options.pop("upload_tracker", None)

    async def _get(self, guard: SingleSend, address: str, total_s: float, connect_s: float) -> aiohttp.ClientResponse:
        options = {name: value for name, value in self.options.items() if name in _OF_A_LOOKUP}
        options["headers"] = self._lookup_headers(options.get("headers"))
        return await self.get(
            address,
            timeout=self._timeout(total_s, connect_s),
            middlewares=guard.around(self.middlewares),
            allow_redirects=False,
            raise_for_status=False,
            **self._with_inherited(options, total_s),
        )

    def _with_inherited(self, options: dict[str, Any], total_s: float) -> dict[str, Any]:
        if self.inherited is None:
            return options
        headers = CIMultiDict(options.get("headers") or ())
        self.inherited.put_into(headers, total_s)
        return {**options, "headers": headers}

    def _timeout(self, total_s: float, connect_s: float) -> aiohttp.ClientTimeout:
        given = self.timeout
        return aiohttp.ClientTimeout(
            total=total_s,
            # aiohttp takes 0 for "no limit", and so does a drop-in.
            connect=min(given.connect, connect_s) if given.connect else connect_s,
            sock_connect=given.sock_connect,
            sock_read=given.sock_read,
            # aiohttp rounds timers of 5 s and above up to a whole second of the loop's clock; the deadline is exact.
            ceil_threshold=_NEVER_ROUND_UP,
        )
