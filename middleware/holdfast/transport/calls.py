"""Makes the calls of one session: reads what is asked, has the engine bring it to a verdict, gives aiohttp's response.

Apart from the session itself, because the attributes of a class with ``__getattr__`` take several times as long to look
up as those of this one.
"""

from collections.abc import Awaitable, Callable
from inspect import signature
from typing import Any, Final, cast

import aiohttp
from aiohttp.client import _RequestContextManager  # the type a request has; it is a coroutine and a context manager
from aiohttp.typedefs import StrOrURL

from holdfast.engine import events
from holdfast.engine.call import Call
from holdfast.engine.drive import make_call
from holdfast.engine.runtime import Runtime
from holdfast.errors import ANSWER_ERRORS
from holdfast.outcome import Outcome, StopReason
from holdfast.report import REPORT_ATTRIBUTE
from holdfast.transport.request import RequestReader, settle_tracker

_KEYWORDS: Final = frozenset(signature(aiohttp.ClientSession._request).parameters) | {  # noqa: SLF001 - the one list
    "idempotency_key",
    "policy",
    "operation",
    "reconcile",
}


class Calls:
    """Makes the calls of one session. Confined to one event loop."""

    __slots__ = ("_client", "reader", "runtime")

    def __init__(self, client: aiohttp.ClientSession, reader: RequestReader, runtime: Runtime) -> None:
        """Take what all of them share.

        Args:
            client: What sends their attempts.
            reader: Reads what is asked.
            runtime: Of the session.
        """
        self._client = client
        self.reader: RequestReader = reader
        self.runtime: Runtime = runtime

    def begin(
        self,
        shown: object,
        name: str,
        method: str,
        url: StrOrURL,
        options: Any,  # noqa: ANN401 - a TypedDict, which is not known here, and no dict to a type checker
    ) -> _RequestContextManager:
        """Give a call that is made when it is awaited, or entered.

        Args:
            shown: The session that trace callbacks and middlewares will see.
            name: The session method that was called, whose namesake on the aiohttp session sends the attempts.
            method: The HTTP method.
            url: The caller's address.
            options: The caller's keywords.

        Raises:
            TypeError: One of them is neither aiohttp's nor ours.
        """
        if options and not options.keys() <= _KEYWORDS and type(self._client) is aiohttp.ClientSession:
            unknown: Any = {keyword: value for keyword, value in options.items() if keyword not in _KEYWORDS}
            return self._client.request(method, url, **unknown)  # raises TypeError at once, as aiohttp's own would
        return _RequestContextManager(self._make(shown, name, method, url, options))

    async def _make(
        self, shown: object, name: str, method: str, url: StrOrURL, options: dict[str, Any]
    ) -> aiohttp.ClientResponse:
        runtime = self.runtime
        started = runtime.now()
        try:
            call, exchange, asked, asks_beyond = self.reader.read(shown, name, method, url, options, started)
        except Exception:
            settle_tracker(options.get("upload_tracker"))
            raise
        if asks_beyond:
            events.deadline_clamped(runtime, call, call.deadline, call.started)
        in_flight = runtime.in_flight
        exchange.task = in_flight.begin(call)
        try:
            answer = await make_call(call, exchange, runtime)
        finally:
            in_flight.end(call)
            if exchange.body is not None:
                await exchange.body.release()
        response: aiohttp.ClientResponse = answer.response
        try:  # noqa: SIM105 - suppress() would cost each call half a percent
            setattr(response, REPORT_ATTRIBUTE, call.report)
        except AttributeError:  # a test's mock may have no room for it
            pass
        check = self._client.raise_for_status if asked is None else asked
        if check:
            await self._raise_if_asked(check, call, response)
        return response

    async def _raise_if_asked(self, check: Any, call: Call, response: aiohttp.ClientResponse) -> None:  # noqa: ANN401
        if callable(check):
            await _check(cast(Callable[[aiohttp.ClientResponse], Awaitable[None]], check), call, response)
            return
        if call.outcome is Outcome.SUCCESS or self._is_plain_redirect(call, response.status):
            return
        response.release()
        error = ANSWER_ERRORS[call.outcome]
        raise error(call.report(), status=response.status, message=response.reason or "", headers=response.headers)

    def _is_plain_redirect(self, call: Call, status: int) -> bool:
        """Say whether it is a redirect that the caller did not want followed: to him an answer, to FINIX a failure."""
        looked_up = call.stop_reason is StopReason.RECONCILED
        return 300 <= status < 400 and not looked_up and call.provider.follow_redirects  # noqa: PLR2004


async def _check(
    check: Callable[[aiohttp.ClientResponse], Awaitable[None]], call: Call, response: aiohttp.ClientResponse
) -> None:
    try:
        await check(response)
    except BaseException as error:
        setattr(error, REPORT_ATTRIBUTE, call.report())
        response.close()
        raise
