"""``resilient_middleware``: the same engine for a genuine ``aiohttp.ClientSession`` that somebody else's library wants.

A shell: it finds out which call a request belongs to, hands it to the engine, and gives aiohttp's own response back.
aiohttp runs a middleware once per redirect hop, and once more by itself after a lost connection; all of that is one
call here.

Prefer ``ResilientSession`` where you may choose. What a middleware cannot do:

* There are no keywords per request: an idempotency key is given as the header (or JSON field) itself, and policy and
  provider are the middleware's.
* The deadline covers a call until its response is handed out; from there on aiohttp's timeout alone limits the reading
  of a streamed body. That timeout runs through pauses too, and where a request's own is shorter than the session's,
  which no middleware can see, it ends the call: with ``DeadlineExceededError`` while an answer is awaited, and in a
  pause or while connecting with aiohttp's own ``TimeoutError``, whose report has the stop reason ``cancelled``.
* ``raise_for_status`` is aiohttp's: it raises ``aiohttp.ClientResponseError`` without a report.
* A provider whose redirects are not to be followed (FINIX, FIANT) has the next hop refused with
  ``PermanentFailureError``; pass ``allow_redirects=False`` to get the 3xx itself.
* Each hop is tried again by itself, not from the first address on.
* A body that is a stream, a file or a form is sent on as it is: less is known of how far it got, so that more ends in
  doubt; an async generator is never sent twice.
* A key in the JSON body is put in front of the serialized object, with ``update_body``.
* Middlewares that stand before it in the list run once per hop, those after it once per attempt: authentication that
  signs each request belongs after it. One that makes requests of its own must not let their failures escape.
* A middleware list given with a single request replaces the session's, this one included.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final
from weakref import ref

import aiohttp

from holdfast.core.deadline import deadline_after
from holdfast.engine import events
from holdfast.engine.call import Call
from holdfast.engine.drive import end_unfollowed, make_call
from holdfast.engine.runtime import Runtime, check_type
from holdfast.errors import PermanentFailureError
from holdfast.policy import DEADLINE_CAP_S, Policy
from holdfast.protocols import Answer, EventSink
from holdfast.providers.generic import GENERIC
from holdfast.providers.provider import Provider
from holdfast.report import REPORT_ATTRIBUTE, CallReport
from holdfast.telemetry.structlog import LogSink
from holdfast.transport.body import RequestBody
from holdfast.transport.hop_exchange import HopExchange
from holdfast.transport.hop_request import base_path_of, is_websocket, made_ready, plan_of, timer_of
from holdfast.transport.request import exceeds
from holdfast.transport.single_send import SECRET_HEADERS, SingleSend, under_way

_BEFORE_AIOHTTPS_S: Final = 0.05
"""Our deadline lies this much before aiohttp's timer, or a twentieth of it: who fires first gives the verdict."""


def resilient_middleware(
    *,
    provider: Provider = GENERIC,
    policy: Policy = Policy(),  # noqa: B008 - frozen
    sinks: Sequence[EventSink] | None = None,
) -> aiohttp.ClientMiddlewareType:
    """Make a client middleware that brings each request of a genuine ``aiohttp.ClientSession`` to one verdict.

    It may serve several sessions, of one event loop. ``report_of(response)`` gives a call's report.

    Args:
        provider: What is known of the API on the other side.
        policy: How often, how fast and how long a call may be tried.
        sinks: Where events go; ``None`` means the log.

    Raises:
        TypeError: ``provider`` or ``policy`` is not one.
    """
    check_type("provider", provider, Provider)
    check_type("policy", policy, Policy)
    return _ResilientMiddleware(Runtime(provider, (LogSink(),) if sinks is None else tuple(sinks)), policy)


@dataclass(slots=True, kw_only=True)
class _Journey:
    """One request of the caller's, over all its hops. Confined to one task."""

    owner: object
    timer: object
    runtime: Runtime
    call: Call
    guard: SingleSend | None = None
    """Of the newest hop, as its request is."""

    request: Callable[[], aiohttp.ClientRequest | None] = lambda: None
    statuses: tuple[int, ...] = ()
    redirect: Answer | None = None
    """The newest answer, while it is not known whether aiohttp follows it."""

    telling: asyncio.Handle | None = None
    error: Exception | None = None
    """What every further hop is met with: aiohttp comes back by itself after a lost connection."""

    def goes_on(self, owner: object, request: aiohttp.ClientRequest) -> bool:
        """Say whether this request is a further hop of the journey."""
        return self.owner is owner and self.timer is timer_of(request) and self.request() is not request

    def end_in(self, error: Exception) -> None:
        """Meet every further hop with this."""
        self.error = error
        self._stay_known()

    def wait(self, redirect: Answer, guard: SingleSend) -> None:
        """Wait for the next hop, which aiohttp sends at once if it follows the redirect."""
        self.redirect = redirect
        self.guard = guard.onward()
        self.statuses = (*self.statuses, redirect.status)
        self.telling = asyncio.get_running_loop().call_soon(self.stay)
        self._stay_known()

    def stay(self) -> None:
        """Conclude the call with its redirect, which was not followed."""
        if self.redirect is not None:
            end_unfollowed(self.call, self.redirect, self.runtime)
        self.redirect = None

    def move_on(self) -> None:
        """Take the next hop for a part of the call."""
        if self.telling is not None:
            self.telling.cancel()
        self.redirect = None
        _OPEN.set(tuple(journey for journey in _OPEN.get() if journey is not self))

    def report(self) -> CallReport:
        """Give the report; whoever holds a redirect's response was not sent on."""
        self.stay()
        return self.call.report()

    def _stay_known(self) -> None:
        _OPEN.set((self, *_OPEN.get())[:_MOST_OPEN])


_OPEN: Final[ContextVar[tuple[_Journey, ...]]] = ContextVar("holdfast_journeys", default=())
"""Journeys of this task that may go on, newest first. Most never do, and nothing tells: so only a few are kept."""

_MOST_OPEN: Final = 4
"""A middleware of the caller's may make requests of its own, with hops of their own, between two hops."""


class _ResilientMiddleware:
    """The middleware that ``resilient_middleware`` makes. Confined to one event loop."""

    def __init__(self, runtime: Runtime, policy: Policy) -> None:
        self._runtime = runtime
        self._provider = runtime.provider
        self._policy = policy
        self._key_headers = self._provider.key_headers
        self._has_warned = False

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Send one hop of a call, as often as its verdict takes.

        Raises:
            PermanentFailureError: The provider's redirects are not to be followed, and aiohttp was about to.
            DeadlineExceededError: Time ran out before an answer came.
            Exception: No answer came: the last failure, as itself, with its report.
        """
        sending = under_way()
        if isinstance(sending, SingleSend):
            return await sending(request, handler)
        if sending is request or is_websocket(request):
            return await handler(request)
        journey = self._journey_of(request)
        if journey.error is not None:
            raise journey.error
        return await self._send_hop(journey, request, handler)

    async def _send_hop(
        self, journey: _Journey, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        call, provider = journey.call, self._provider
        body = await made_ready(request, call.key)
        exchange = HopExchange(
            request=request,
            handler=handler,
            follows=provider.follow_redirects,
            statuses=journey.statuses,
            arrived=journey.guard or self._first_guard(body),
            body=body,
            read_body=provider.read_body if self._policy.read_body is None else self._policy.read_body,
            key_headers=self._key_headers,
        )
        journey.request = ref(request)
        try:
            answer = await make_call(call, exchange, self._runtime)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            journey.end_in(error)
            raise
        response: aiohttp.ClientResponse = answer.response
        setattr(response, REPORT_ATTRIBUTE, journey.report)
        if call.in_flight:
            journey.wait(answer, exchange.guard)
        elif not provider.follow_redirects and 300 <= response.status < 400:  # noqa: PLR2004
            refusal = PermanentFailureError(call.report(), status=response.status, message=response.reason or "")
            journey.end_in(refusal)
        return response

    def _journey_of(self, request: aiohttp.ClientRequest) -> _Journey:
        known = next((journey for journey in _OPEN.get() if journey.goes_on(self, request)), None)
        if known is None:
            return self._begin(request)
        known.move_on()
        if known.error is None and not known.call.in_flight:
            known.call = self._call(request)  # something took its time between the hops: the call has been told
        return known

    def _begin(self, request: aiohttp.ClientRequest) -> _Journey:
        return _Journey(owner=self, timer=timer_of(request), runtime=self._runtime, call=self._call(request))

    def _first_guard(self, body: RequestBody | None) -> SingleSend:
        return SingleSend(
            SECRET_HEADERS | self._key_headers, body, body_may_leave=self._policy.redirect_body, is_alone=False
        )

    def _call(self, request: aiohttp.ClientRequest) -> Call:
        plan, document = plan_of(request, self._provider)
        started = self._runtime.now()
        limits = request.session.timeout
        if exceeds(limits, DEADLINE_CAP_S) and not self._has_warned:
            self._has_warned = True
            events.deadline_clamped(self._runtime, None, None, started)
        return Call(
            method=request.method,
            url=str(request.url),
            provider=self._provider,
            policy=self._policy,
            deadline=deadline_after(started, min(self._policy.deadline, _before(limits.total))),
            started=started,
            attempt_timeout_s=self._policy.attempt_timeout,
            key=plan,
            lookup=None if plan.key is None else self._provider.lookup,
            sent=document,
            base_path=base_path_of(request),
        )


def _before(total_s: float | None) -> float:
    if total_s is None or total_s <= 0:  # aiohttp takes 0 for "no limit"
        return DEADLINE_CAP_S
    return total_s - min(_BEFORE_AIOHTTPS_S, total_s / 20)
