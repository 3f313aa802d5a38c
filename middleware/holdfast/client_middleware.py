"""``resilient_middleware``: the same engine for a genuine ``aiohttp.ClientSession`` that somebody else's library wants.

A shell: it finds out which call a request belongs to, hands it to the engine, and gives aiohttp's own response back.
aiohttp runs a middleware once per redirect hop, and once more by itself after a lost connection; all of that is one
call here. A middleware of the caller's that stands before this one and asks again makes another call of it, under the
same key, the same deadline and the same doubt.

Prefer ``ResilientSession`` where you may choose. What a middleware cannot do:

* There are no keywords per request: an idempotency key is given as the header (or JSON field) itself, and policy and
  provider are the middleware's.
* The deadline covers a call until its response is handed out; from there on aiohttp's timeout alone limits the reading
  of a streamed body. That timeout runs through pauses too. Where a request's own is longer than the session's, the
  session's counts: no middleware can see a request's. Where it is shorter, it ends the call: with
  ``DeadlineExceededError`` while an answer is awaited, and in a pause or while connecting with aiohttp's own
  ``TimeoutError``, whose report has the stop reason ``cancelled``.
* ``raise_for_status`` and the limit of redirects are aiohttp's: their errors carry no report, and print what aiohttp
  prints, request headers included.
* A provider whose redirects are not to be followed (FINIX, FIANT) has the next hop refused with
  ``PermanentFailureError``; pass ``allow_redirects=False`` to get the 3xx itself.
* Whether a redirect is followed shows only when it is. Where something else takes more than a second between two hops,
  the redirect is told as the call's end, and what follows as another call of the same request.
* Each hop is tried again by itself, not from the first address on.
* A body that is a stream, a file or a form is sent on as it is, and whether it has left is not known; an async
  generator is never sent twice. The same holds for requests without a body where other middlewares stand inside.
* What a middleware inside did by itself (a second try of its own, an answer of its own) is not seen.
* A key in the JSON body is put in front of the serialized object, with ``update_body``.
* Middlewares that stand before it in the list run once per hop, those after it once per attempt: authentication that
  signs each request belongs after it.
* A middleware list given with a single request replaces the session's, this one included.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from typing import Final
from weakref import ref

import aiohttp

from holdfast.core.deadline import deadline_after
from holdfast.engine import events
from holdfast.engine.call import Call
from holdfast.engine.drive import end_unfollowed, make_call
from holdfast.engine.inbound import inherited_deadline
from holdfast.engine.runtime import Runtime, check_type
from holdfast.errors import PermanentFailureError
from holdfast.policy import DEADLINE_CAP_S, Policy
from holdfast.protocols import Answer, EventSink
from holdfast.providers.generic import GENERIC
from holdfast.providers.provider import Provider
from holdfast.report import REPORT_ATTRIBUTE, CallReport, report_of
from holdfast.telemetry.structlog import LogSink
from holdfast.transport.home import SECRET_HEADERS, Home
from holdfast.transport.hop_exchange import HopExchange
from holdfast.transport.hop_request import base_path_of, is_websocket, made_ready, plan_of, timer_of
from holdfast.transport.inherited import inherited_headers
from holdfast.transport.request import exceeds
from holdfast.transport.single_send import Inquiry, SingleSend, under_way
from holdfast.values import dataclass

_SENT_AGAIN: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""Methods that aiohttp sends once more by itself after a lost connection."""

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
    """One request of the caller's: all that aiohttp and other middlewares make of it. Confined to one event loop."""

    timer: object
    """What all of it shares, and no other request has. Held, so that its identity is not given to another."""

    runtime: Runtime
    call: Call
    home: Home
    first: Callable[[], aiohttp.ClientRequest | None]
    newest: Callable[[], aiohttp.ClientRequest | None]
    arrived: SingleSend | None = None
    statuses: tuple[int, ...] = ()
    redirect: Answer | None = None
    """The newest answer that aiohttp may follow."""

    redirected_at: float = 0.0
    telling: asyncio.Handle | None = None
    """Set while it is not known whether aiohttp follows it: tells that it does not."""

    held: object = None
    """Tells when nobody holds the newest response or request any more: then nothing follows."""

    lost: Exception | None = None
    """What aiohttp is met with that comes back by itself after a lost connection."""

    refusal: Exception | None = None
    """What every hop is met with that must not be made."""

    def check(self, request: aiohttp.ClientRequest) -> None:
        """Raise what this hop has to be met with."""
        if self.refusal is not None and request is not self.first():
            raise self.refusal
        if self.lost is not None and request is not self.newest():
            lost, self.lost = self.lost, None
            raise lost

    def depart(self, request: aiohttp.ClientRequest) -> None:
        """Begin a hop: the call goes on, or a middleware of the caller's has asked again after its end."""
        if request is self.newest():
            self.stay()
        self._stop_waiting()
        if not self.call.in_flight and self.call.attempts:
            self.call = self.call.asked_again()
        self.newest = ref(request)

    def wait(self, redirect: Answer, guard: SingleSend, *, at_once: bool) -> None:
        """Wait for the next hop; where nothing can come between, aiohttp sends it at once if it follows."""
        self.redirect, self.redirected_at = replace(redirect, response=None), self.runtime.now()
        self.arrived = guard.onward()
        self.statuses = (*self.statuses, redirect.status)
        loop = asyncio.get_running_loop()
        self.telling = loop.call_soon(self.stay) if at_once else loop.call_later(_PATIENCE_S, self.stay)

    def stay(self) -> None:
        """Conclude the call with its redirect, where it was not followed."""
        if self._stop_waiting() and self.redirect is not None:
            end_unfollowed(self.call, self.redirect, self.runtime, self.redirected_at)

    def report(self) -> CallReport:
        """Give the report; while a hop may follow or is under way, as it will be if none comes to an answer."""
        if self.redirect is None or not self.call.in_flight:
            return self.call.report()
        return self.call.preview(self.redirect, self.redirected_at)

    def _stop_waiting(self) -> bool:
        was_waiting = self.telling is not None
        if self.telling is not None:
            self.telling.cancel()
        self.telling = None
        return was_waiting


class _Journeys:
    """The journeys that may go on. Confined to one event loop.

    One ends when nobody holds its last response. Nothing tells the end of one that ended in an error: of those the
    oldest make room.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[int, _Journey] = OrderedDict()

    def of(self, request: aiohttp.ClientRequest) -> _Journey | None:
        """Give the journey that a request belongs to."""
        return self._known.get(id(timer_of(request)))

    def add(self, journey: _Journey) -> None:
        """Keep a journey."""
        if len(self._known) >= _MOST_JOURNEYS:
            self._known.popitem(last=False)[1].stay()
        self._known[id(journey.timer)] = journey

    def end_with(self, journey: _Journey, last: aiohttp.ClientResponse | aiohttp.ClientRequest) -> None:
        """Forget a journey when nobody holds its last response or request any more."""

        def forget(held: object) -> None:
            if journey.held is held:
                self._known.pop(id(journey.timer), None)

        journey.held = ref(last, forget)


_MOST_JOURNEYS: Final = 1024
_PATIENCE_S: Final = 1.0
"""How long a redirect may wait to be followed, where aiohttp does other things first, before it is told as the end."""


class _ResilientMiddleware:
    """The middleware that ``resilient_middleware`` makes. Confined to one event loop."""

    def __init__(self, runtime: Runtime, policy: Policy) -> None:
        self._runtime = runtime
        self._provider = runtime.provider
        self._policy = policy
        self._key_headers = self._provider.key_headers
        self._journeys = _Journeys()
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
        if isinstance(sending, Inquiry) and sending.is_made_by(request):
            return await sending.send(request, handler)
        if sending is request or is_websocket(request):
            return await handler(request)
        journey = self._journeys.of(request) or self._begin(request)
        journey.check(request)
        journey.depart(request)
        try:
            return await self._send_hop(journey, request, handler)
        except BaseException:
            if journey.lost is None:
                self._journeys.end_with(journey, request)
            raise

    async def _send_hop(
        self, journey: _Journey, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        call, provider = journey.call, self._provider
        inherited = inherited_headers(request.headers, {}, self._key_headers)
        exchange = HopExchange(
            request=request,
            handler=handler,
            owner=self,
            follows=provider.follow_redirects,
            statuses=journey.statuses,
            arrived=journey.arrived if call.in_flight else None,
            body=await made_ready(request, call.key),
            home=journey.home,
            read_body=provider.read_body if self._policy.read_body is None else self._policy.read_body,
            key_headers=self._key_headers,
            inherited=inherited,
        )
        try:
            answer = await make_call(call, exchange, self._runtime)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            journey.lost = _twin_of(error) if request.method in _SENT_AGAIN else None
            raise
        response: aiohttp.ClientResponse = answer.response
        setattr(response, REPORT_ATTRIBUTE, journey.report)
        self._journeys.end_with(journey, response)
        if call.in_flight:
            session = request.session
            journey.wait(answer, exchange.guard, at_once=not (session.trust_env or session.trace_configs))
        elif not provider.follow_redirects and 300 <= response.status < 400:  # noqa: PLR2004
            known = call.report()
            journey.refusal = PermanentFailureError(known, status=response.status, message=response.reason or "")
        return response

    def _begin(self, request: aiohttp.ClientRequest) -> _Journey:
        inherited = inherited_headers(request.headers, {}, self._key_headers)
        kept_home = SECRET_HEADERS | self._key_headers | (frozenset() if inherited is None else inherited.names)
        home = Home(kept_home, body_may_leave=self._policy.redirect_body)
        held = ref(request)
        journey = _Journey(
            timer=timer_of(request),
            runtime=self._runtime,
            call=self._call(request),
            home=home,
            first=held,
            newest=held,
        )
        self._journeys.add(journey)
        return journey

    def _call(self, request: aiohttp.ClientRequest) -> Call:
        plan, document = plan_of(request, self._provider)
        started = self._runtime.now()
        limits = request.session.timeout
        if exceeds(limits, DEADLINE_CAP_S) and not self._has_warned:
            self._has_warned = True
            events.deadline_clamped(self._runtime, None, None, started)
        call = Call(
            method=request.method,
            url=str(request.url),
            provider=self._provider,
            policy=self._policy,
            deadline=inherited_deadline(
                deadline_after(started, min(self._policy.deadline, _before(limits.total))), started
            ),
            started=started,
            attempt_timeout_s=self._policy.attempt_timeout,
        )
        call.key, call.lookup = plan, None if plan.key is None else self._provider.lookup
        call.sent, call.base_path = document, base_path_of(request)
        return call


def _before(total_s: float | None) -> float:
    if total_s is None or total_s <= 0:  # aiohttp takes 0 for "no limit"
        return DEADLINE_CAP_S
    return total_s - min(_BEFORE_AIOHTTPS_S, total_s / 20)


def _twin_of(error: Exception) -> Exception:
    """Copy an error without its traceback, which holds the request and its body."""
    twin = copy(error)
    setattr(twin, REPORT_ATTRIBUTE, report_of(error))
    return twin
