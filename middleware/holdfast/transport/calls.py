"""Makes the calls of one session: reads what is asked, has the engine bring it to a verdict, gives aiohttp's response.

Apart from the session itself, because the attributes of a class with ``__getattr__`` take several times as long to look
up as those of this one.
"""

import asyncio
from collections.abc import Awaitable, Callable
from inspect import signature
from typing import Any, Final, cast

import aiohttp
from aiohttp.client import _RequestContextManager  # the type a request has; it is a coroutine and a context manager
from aiohttp.typedefs import StrOrURL

from holdfast.engine import events
from holdfast.engine.call import Call
from holdfast.engine.drive import make_call
from holdfast.engine.plain import PlainCall
from holdfast.engine.runtime import Runtime
from holdfast.errors import ANSWER_ERRORS
from holdfast.outcome import Outcome, StopReason
from holdfast.protocols import Answer
from holdfast.report import REPORT_ATTRIBUTE, CallReport
from holdfast.transport.bare import Bare
from holdfast.transport.request import RequestReader, settle_tracker
from holdfast.transport.session_exchange import SessionExchange
from holdfast.transport.timers import AttemptTimer

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
        if options or self.reader.reads_bodies:
            return _RequestContextManager(self._make(shown, name, method, url, options))
        return _RequestContextManager(self._make_plain(shown, name, method, url))

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
        in_flight, task = runtime.in_flight, asyncio.current_task()
        in_flight.begin(call, task)
        exchange.task = task
        try:
            answer = await make_call(call, exchange, runtime)
        finally:
            in_flight.end(call)
            body = exchange.body
            if body is not None and body.holds_something:
                await body.release()
        response = _with_report(answer.response, call.report)
        check = self._client.raise_for_status if asked is None else asked
        if check:
            await self._raise_if_asked(check, call, response)
        return response

    async def _make_plain(self, shown: object, name: str, method: str, url: StrOrURL) -> aiohttp.ClientResponse:
        """Make a call of which nothing is said but where it goes: without a record, while all goes well."""
        runtime, task, bare = self.runtime, asyncio.current_task(), self.reader.bare.find(name, url)
        clock = runtime.now
        started = clock()
        call = None if bare is None or task is None else self._begun(bare, started)
        if bare is None or task is None or call is None:
            return await self._make(shown, name, method, url, {})
        asked, in_flight = bare.asked, runtime.in_flight
        exchange = self.reader.new_exchange(bare) if bare.has_secrets else None
        in_flight.begin(call, task)
        try:
            timer: AttemptTimer | None = None
            ended: Any
            try:
                timer = AttemptTimer(bare.line, task, started)
                if exchange is None:
                    ended = await asked.sent(asked.options, bare.limits)
                else:
                    ended = await exchange.sent_first(bare.limits)
            except BaseException as error:  # noqa: BLE001 - the drive raises what is not its own
                ended = error
            plain = _plain_answer(ended, timer)
            if plain is None:
                exchange = exchange or self.reader.new_exchange(bare)
                exchange.task = task
                exchange.take_over(timer, ended)
                del ended  # an error would hold itself, by way of its traceback
                return await self._go_on(call.taken_over(), exchange)
            call.succeed(plain, clock(), runtime)
        finally:
            in_flight.end(call)
        response = _with_report(ended, call.report)
        check = self._client.raise_for_status
        if check:
            await self._raise_if_asked(check, call.record(), response)
        return response

    def _begun(self, bare: Bare, started: float) -> PlainCall | None:
        """Take a turn to send; ``None`` where it has to be waited for, or will not come."""
        try:
            limits = self.runtime.limits.of(bare.origin, bare.policy)
            ticket = limits.try_enter(started, started + bare.deadline_s, False, True)  # noqa: FBT003 - as the port has them
        except Exception:  # noqa: BLE001 - the drive meets the same of limits that are not ours, and tells of it
            return None
        return None if ticket is None else PlainCall(bare.asked.method, started, limits, ticket, bare.new_call)

    async def _go_on(self, call: Call, exchange: SessionExchange) -> aiohttp.ClientResponse:
        answer = await make_call(call, exchange, self.runtime)
        response = _with_report(answer.response, call.report)
        check = self._client.raise_for_status
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


def _plain_answer(ended: aiohttp.ClientResponse | BaseException, timer: AttemptTimer | None) -> Answer | None:
    """Give the answer of a send that came to a success of which nothing else is to be said, and let go of its task.

    A response class of the caller's may fail at being looked at: so it will for the drive, which gives the turn back.
    """
    if timer is None or not isinstance(ended, aiohttp.ClientResponse):
        return None
    try:
        if not 200 <= ended.status <= 299 or ended.history:  # noqa: PLR2004
            return None
        timer.go_on_with(ended)
        return Answer(ended.status, ended.headers)
    except Exception:  # noqa: BLE001 - as above
        return None


def _with_report(response: aiohttp.ClientResponse, report: Callable[[], CallReport]) -> aiohttp.ClientResponse:
    try:  # noqa: SIM105 - suppress() would cost each call half a percent
        setattr(response, REPORT_ATTRIBUTE, report)
    except AttributeError:  # a test's mock may have no room for it
        pass
    return response


async def _check(
    check: Callable[[aiohttp.ClientResponse], Awaitable[None]], call: Call, response: aiohttp.ClientResponse
) -> None:
    try:
        await check(response)
    except BaseException as error:
        setattr(error, REPORT_ATTRIBUTE, call.report())
        response.close()
        raise
