"""Sends the attempts of one call with the methods of an aiohttp session, redirects and all."""

import asyncio
from collections.abc import Awaitable
from typing import Any, Final, NamedTuple

import aiohttp
from aiohttp.typedefs import StrOrURL
from multidict import CIMultiDict

from holdfast.transport.exchange import HttpExchange
from holdfast.transport.home import Home
from holdfast.transport.method import Send, method_of
from holdfast.transport.single_send import SingleSend
from holdfast.transport.timers import AttemptTimer, Line

_NEVER_ROUND_UP: Final = float("inf")
_OF_A_LOOKUP: Final = frozenset(
    {"headers", "auth", "cookies", "proxy", "proxy_auth", "proxy_headers", "ssl", "ssl_context", "verify_ssl"}
    | {"fingerprint", "server_hostname", "trace_request_ctx", "skip_auto_headers"}
)


class TimeLimits:
    """What aiohttp is told of an attempt's limits. Confined to one event loop."""

    __slots__ = ("_connect_s", "_endless", "given")

    def __init__(self, given: aiohttp.ClientTimeout) -> None:
        """Take the caller's own, whose total is that of the attempt."""
        self.given: aiohttp.ClientTimeout = given
        self._connect_s = -1.0
        self._endless = given

    def within(self, total_s: float | None, connect_s: float) -> aiohttp.ClientTimeout:
        """Give the limits of an attempt, in seconds."""
        given = self.given
        return aiohttp.ClientTimeout(
            total=total_s,
            # aiohttp takes 0 for "no limit", and so does a drop-in.
            connect=min(given.connect, connect_s) if given.connect else connect_s,
            sock_connect=given.sock_connect,
            sock_read=given.sock_read,
            # aiohttp rounds timers of 5 s and above up to a whole second of the loop's clock; the deadline is exact.
            ceil_threshold=_NEVER_ROUND_UP,
        )

    def without_total(self, connect_s: float) -> aiohttp.ClientTimeout:
        """Give those of an attempt whose total time is seen to elsewhere: one value for all of the same length."""
        if connect_s != self._connect_s:
            self._connect_s, self._endless = connect_s, self.within(None, connect_s)
        return self._endless


class Asked(NamedTuple):
    """What a caller asked aiohttp for; the same in every attempt, and in every call that asks for it again."""

    client: aiohttp.ClientSession
    shown: object
    """The session that those who look on are shown; ``None`` where nobody does."""

    name: str
    """The method that the caller used; its namesake on the client makes each attempt."""

    method: str
    url: StrOrURL
    """As the caller gave it."""

    options: dict[str, Any]
    """The caller's keywords, less those that differ between attempts."""

    middlewares: tuple[aiohttp.ClientMiddlewareType, ...]
    limits: TimeLimits
    """Those of aiohttp that the caller set."""

    usual_s: float
    """Seconds of an attempt whose time the deadline does not cut."""

    line: Line | None
    """Of attempts of this length; ``None`` where the method, or who looks on, must see aiohttp's own total timeout."""

    def its_method(self) -> Send:
        """Give the client's method, to run on the session that is shown."""
        return method_of(self.client, self.shown, self.name)

    def sent(self, options: dict[str, Any], limits: aiohttp.ClientTimeout) -> Awaitable[aiohttp.ClientResponse]:
        """Send it as ``get()`` and its like do, less they themselves: 3 % of a call."""
        send = self.client._request  # noqa: SLF001
        if not options:  # spreading nothing would cost another half percent
            return send(self.method, self.url, timeout=limits, raise_for_status=False)
        return send(self.method, self.url, timeout=limits, raise_for_status=False, **options)

    def is_shown(self) -> bool:
        """Say whether that method really runs on the session that is shown, which answers for what it asks."""
        return self.shown is not None and getattr(self.its_method(), "__self__", None) is self.shown


class SessionExchange(HttpExchange):
    """Sends the attempts of one call through an aiohttp session. Confined to one event loop."""

    home: Home | None = None
    """Where the call comes from, and what stays there; ``None`` where it needs no guard, because nothing must."""

    has_secrets: bool = True
    """Whether there was anything to keep at home when the call began: the session may get it while the call waits."""

    holds_back: bool = True
    """Whether a lost connection must be hidden from aiohttp, which would send again."""

    task: "asyncio.Task[Any] | None" = None
    """The one that makes the call."""

    _first: aiohttp.ClientResponse | BaseException | None = None
    """What came of a send that was made before there was an exchange."""

    def __init__(self, asked: Asked, read_body: bool, key_headers: frozenset[str]) -> None:  # noqa: FBT001 - cheaper
        """Begin with what every request has; what only some have is set where one has it.

        Args:
            asked: What is sent.
            read_body: Whether a success counts only once its body has been read.
            key_headers: In lower case: request headers that carry a key.
        """
        self.asked: Asked = asked
        self.read_body = read_body
        self.key_headers = key_headers

    def sent_first(self, limits: aiohttp.ClientTimeout) -> Awaitable[aiohttp.ClientResponse]:
        """Make a send that ``take_over`` has be the first attempt, where it does not come to a plain success."""
        guard = self._guard = self._new_guard()
        asked = self.asked
        return asked.sent(asked.options if guard is None else self._guarded(guard, asked.usual_s), limits)

    def take_over(self, timer: AttemptTimer | None, ended: aiohttp.ClientResponse | BaseException) -> None:
        """Have a send that was made already be the first attempt.

        Args:
            timer: That of the send; ``None`` where it did not come to one.
            ended: What came of it.
        """
        self._timer, self._first = timer, ended

    def _new_guard(self) -> SingleSend | None:
        if self._first is not None:
            return self._guard  # that of the send that was made
        if self.home is None or not (self.has_secrets or self.asked.client.headers):
            return None
        self.home.begin_anew()
        guard = SingleSend(self.home, self.body)
        guard.holds_back = self.holds_back
        return guard

    def _send(self, guard: SingleSend | None, total_s: float, connect_s: float) -> Awaitable[aiohttp.ClientResponse]:
        if self._first is not None:
            first, self._first = self._first, None
            return _come_to(first)
        asked, line, task = self.asked, self.asked.line, self.task
        options = asked.options if guard is None else self._guarded(guard, total_s)
        if line is None or task is None or total_s != line.seconds:
            self._timer = None
            return self._send_timed_by_aiohttp(options, asked.limits.within(total_s, connect_s))
        limits = asked.limits.without_total(connect_s)
        self._timer = AttemptTimer(line, task, line.loop.time())
        return asked.sent(options, limits)

    async def _send_timed_by_aiohttp(
        self, options: dict[str, Any], limits: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        asked = self.asked
        where = (asked.method, asked.url) if asked.name == "request" else (asked.url,)
        coming: Any = asked.its_method()(*where, timeout=limits, raise_for_status=False, **options)
        # A mock in aiohttp's place may know ``async with`` only.
        response: aiohttp.ClientResponse = await (coming if hasattr(coming, "__await__") else coming.__aenter__())
        return response

    def _guarded(self, guard: SingleSend, total_s: float) -> dict[str, Any]:
        asked = self.asked
        options = asked.options.copy()
        if self.body is not None:
            options["data"] = self.body
        options["middlewares"] = guard.around(asked.middlewares)
        # aiohttp refuses a tracker that has seen a request.
        asked.options.pop("upload_tracker", None)
        return self._with_inherited(options, total_s)

    async def _get(self, guard: SingleSend, address: str, total_s: float, connect_s: float) -> aiohttp.ClientResponse:
        asked = self.asked
        options = {name: value for name, value in asked.options.items() if name in _OF_A_LOOKUP}
        options["headers"] = self._lookup_headers(options.get("headers"))
        get = method_of(asked.client, asked.shown, "get")
        return await get(
            address,
            timeout=asked.limits.within(total_s, connect_s),
            middlewares=guard.around(asked.middlewares),
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


async def _come_to(ended: aiohttp.ClientResponse | BaseException) -> aiohttp.ClientResponse:
    """Give, or raise, what a send has come to."""
    try:
        if isinstance(ended, BaseException):
            raise ended
        return ended
    finally:
        del ended  # an error would hold itself, by way of its traceback
