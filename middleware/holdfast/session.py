"""``ResilientSession``: the ``aiohttp.ClientSession`` whose every call ends in one honest verdict.

A shell: it reads the caller's keywords, hands one call to the engine, and gives aiohttp's own response back. It holds
an aiohttp session and passes everything that is not a request through to it.
"""
# pyright: reportIncompatibleMethodOverride=false
# Each request takes four keywords more than aiohttp's, which pyright cannot see in an unpacked TypedDict.

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from inspect import signature
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import aiohttp
from aiohttp.client import _RequestContextManager  # the type a request has; it is a coroutine and a context manager
from aiohttp.typedefs import StrOrURL

from holdfast.core.deadline import deadline_after
from holdfast.engine import events
from holdfast.engine.inbound import inherited_deadline
from holdfast.engine.limits import LocalLimits, check_limits, limits_of_loop
from holdfast.engine.reconcile import look_up, reconciliation
from holdfast.engine.runtime import Runtime, check_type
from holdfast.outcome import Effect, StopReason
from holdfast.policy import DEADLINE_CAP_S, Policy
from holdfast.protocols import EventSink, Limits
from holdfast.providers.generic import GENERIC
from holdfast.providers.provider import Lookup, Provider
from holdfast.report import CallReport
from holdfast.telemetry.structlog import LogSink
from holdfast.transport.calls import Calls
from holdfast.transport.method import method_of, sends_once
from holdfast.transport.request import RequestReader, exceeds

if TYPE_CHECKING:
    from typing import Unpack

    from aiohttp.client import _RequestOptions

    # What isinstance() says at run time, where aiohttp warns of a real subclass: a function that is annotated with
    # aiohttp.ClientSession takes a ResilientSession.
    _DropIn = aiohttp.ClientSession

    class _CallOptions(_RequestOptions, total=False):
        idempotency_key: str | None
        policy: Policy | None
        operation: str | None
        reconcile: Lookup | None

else:
    _DropIn = object

_OWN: Final = frozenset({"client", "limits", "_provider", "_policy", "_calls", "_owns_client"})


class ResilientSession(_DropIn):
    """Drops in for ``aiohttp.ClientSession``. Confined to one event loop.

    Responses are aiohttp's own and are returned whatever their status, unless ``raise_for_status`` asks otherwise.
    Every request takes four keywords more than aiohttp's:

    * ``idempotency_key``: str, the caller's own key; it always wins over a made one.
    * ``policy``: ``Policy`` for this call, instead of the session's.
    * ``operation``: str, a low-cardinality name for logs and metrics.
    * ``reconcile``: ``Lookup`` for this call, instead of the provider's.
    """

    def __init__(
        self,
        base_url: StrOrURL | None = None,
        *,
        provider: Provider = GENERIC,
        policy: Policy = Policy(),  # noqa: B008 - frozen
        client: aiohttp.ClientSession | None = None,
        sinks: Sequence[EventSink] | None = None,
        limits: Limits | None = None,
        **client_options: Any,  # noqa: ANN401 - any keyword of aiohttp.ClientSession
    ) -> None:
        """Open a session. Must be called inside a running event loop, as aiohttp's.

        Args:
            base_url: As for ``aiohttp.ClientSession``; it ends in a slash.
            provider: What is known of the API on the other side.
            policy: How often, how fast and how long a call may be tried.
            client: An aiohttp session to send through; it is left open. ``None`` makes one, which is closed with this.
            sinks: Where events go; ``None`` means the log.
            limits: What keeps us from hurting an origin: a ``LocalLimits``, or anything with the shape of ``Limits``.
                ``None`` shares the state of this event loop's sessions.
            **client_options: Any keyword of ``aiohttp.ClientSession``; only without ``client``.

        Raises:
            TypeError: ``provider``, ``policy``, ``limits`` or ``client`` is not one, or ``client`` comes with options.
        """
        check_type("provider", provider, Provider)
        check_type("policy", policy, Policy)
        if limits is not None:
            check_limits(limits)
        if client is not None:
            check_type("client", client, aiohttp.ClientSession)
        if isinstance(client, ResilientSession):
            raise TypeError("client= is a ResilientSession already: its calls would be tried again by both")
        if client is not None and (client_options or base_url is not None):
            given = ", ".join([*(["base_url"] if base_url is not None else []), *client_options])
            raise TypeError(f"client= is a finished session: pass {given} to that aiohttp.ClientSession instead")
        self._owns_client = client is None
        self._provider = provider
        self._policy = policy
        self.limits: LocalLimits | Any = limits_of_loop() if limits is None else limits
        told = (LogSink(),) if sinks is None else tuple(sinks)
        runtime = Runtime(provider, told, self.limits, now=asyncio.get_running_loop().time)
        self.client: aiohttp.ClientSession = (
            aiohttp.ClientSession(base_url, **client_options) if client is None else client
        )
        alone = self._owns_client and sends_once(self.client)
        reader = RequestReader(self.client, provider, policy, runtime.now, sends_once=alone)
        self._calls = Calls(self.client, reader, runtime)
        self._warn_of_session_timeout(asked="timeout" in client_options)

    # isinstance(session, aiohttp.ClientSession) is true, by this and not by a subclass, which aiohttp forbids.
    @property  # type: ignore[misc]
    def __class__(self) -> type[aiohttp.ClientSession]:  # type: ignore[override]
        return aiohttp.ClientSession

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever aiohttp's session has
        """Pass anything that is not ours through to the aiohttp session."""
        if name in _OWN:
            raise AttributeError(name)
        # What aiohttp's own get() and _request() ask their self, where they run on this session.
        if name == "_request":
            return method_of(self.client, self, name)
        if name == "_retry_connection":
            return False
        return getattr(self.client, name)

    def __setattr__(self, name: str, value: Any) -> None:  # noqa: ANN401 - likewise
        """Set what is ours here, and anything else on the aiohttp session."""
        if name in _OWN or hasattr(type(self), name):
            object.__setattr__(self, name, value)
        else:
            setattr(self.client, name, value)

    def __delattr__(self, name: str) -> None:
        """Delete it where it was set."""
        if name in vars(self):
            object.__delattr__(self, name)
        else:
            delattr(self.client, name)

    def __repr__(self) -> str:
        """Name the provider and whether the session is open."""
        return f"<ResilientSession provider={self._provider.name!r} closed={self.closed}>"

    async def __aenter__(self) -> Self:
        """Enter; the session is open already."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Close the session."""
        await self.close()

    def __enter__(self) -> None:
        """Say, as aiohttp does, that it is ``async with`` that is wanted."""
        self.client.__enter__()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Exist beside ``__enter__``, which always raises."""

    @property
    def closed(self) -> bool:
        """Whether the aiohttp session is closed."""
        return bool(self.client.closed)

    async def close(self) -> None:
        """Close the aiohttp session, if this one made it. May be called twice."""
        if self._owns_client:
            await self.client.close()
        self._calls.reader.lines.close()

    async def drain(self, grace_s: float) -> None:
        """Wait for the calls in flight to end, for so many seconds; then cancel those that have not.

        Each still ends in its ``outbound.call`` event. The session stays open.
        """
        await self._calls.runtime.in_flight.drain(grace_s)

    def request(self, method: str, url: StrOrURL, **kwargs: "Unpack[_CallOptions]") -> _RequestContextManager:
        """Make a call with any method."""
        return self._calls.begin(self, "request", method, url, kwargs)

    def get(self, url: StrOrURL, **kwargs: "Unpack[_CallOptions]") -> _RequestContextManager:
        """Make a GET call."""
        return self._calls.begin(self, "get", "GET", url, kwargs)

    def options(self, url: StrOrURL, **kwargs: "Unpack[_CallOptions]") -> _RequestContextManager:
        """Make an OPTIONS call."""
        return self._calls.begin(self, "options", "OPTIONS", url, kwargs)

    def head(self, url: StrOrURL, **kwargs: "Unpack[_CallOptions]") -> _RequestContextManager:
        """Make a HEAD call."""
        return self._calls.begin(self, "head", "HEAD", url, kwargs)

    def post(self, url: StrOrURL, **kwargs: "Unpack[_CallOptions]") -> _RequestContextManager:
        """Make a POST call."""
        return self._calls.begin(self, "post", "POST", url, kwargs)

    def put(self, url: StrOrURL, **kwargs: "Unpack[_CallOptions]") -> _RequestContextManager:
        """Make a PUT call."""
        return self._calls.begin(self, "put", "PUT", url, kwargs)

    def patch(self, url: StrOrURL, **kwargs: "Unpack[_CallOptions]") -> _RequestContextManager:
        """Make a PATCH call."""
        return self._calls.begin(self, "patch", "PATCH", url, kwargs)

    def delete(self, url: StrOrURL, **kwargs: "Unpack[_CallOptions]") -> _RequestContextManager:
        """Make a DELETE call."""
        return self._calls.begin(self, "delete", "DELETE", url, kwargs)

    async def reconcile(
        self, report: CallReport, lookup: Lookup | None = None, *, sent: Mapping[str, Any] | None = None
    ) -> CallReport:
        """Look up what became of an in-doubt call.

        Args:
            report: The report of the call, from this process or another.
            lookup: How to look it up; ``None`` means the provider's way.
            sent: The JSON object that the call sent, which no report holds. It tells the call's own record from another
                payment under the same key, and a call that ended in a conflict is not settled without it.

        Returns:
            The report with its verdict settled and ``stop_reason`` ``reconciled``; or the report as it was, when it is
            not in doubt, carries no key, or the provider does not know the call (yet).

        Raises:
            ValueError: The report is of a call to another provider.
        """
        if report.provider != self._provider.name:
            raise ValueError(
                f"the report is of provider {report.provider!r}, this session's is {self._provider.name!r}"
            )
        plan = reconciliation(
            lookup or (None if report.idempotency_key is None else self._provider.lookup),
            method=report.method,
            url=self._calls.reader.as_this_user(report.url),
            base_path=self._calls.reader.base_path,
            key=report.idempotency_key,
            outcome=report.outcome,
            sent=sent,
        )
        if report.effect is not Effect.IN_DOUBT or plan is None:
            return report
        started = self._calls.runtime.now()
        deadline = inherited_deadline(deadline_after(started, self._policy.deadline), started)
        exchange = self._calls.reader.lookups(self)
        finding, _ = await look_up(plan, exchange.look_up, self._calls.runtime, self._policy, deadline)
        settled = finding.outcome is not None
        if finding.outcome is not None:
            report = replace(
                report,
                outcome=finding.outcome,
                effect=finding.effect,
                reason=finding.reason,
                stop_reason=StopReason.RECONCILED,
            )
        known = events.describe_report(report)
        events.lookup_ended(self._calls.runtime, known, settled=settled, elapsed_s=self._calls.runtime.now() - started)
        return report

    if not TYPE_CHECKING:  # where the inherited signatures say more

        def ws_connect(self, url, **kwargs):  # noqa: ANN001, ANN003, ANN201
            """Open a WebSocket, which is not a call: it passes through untouched."""
            return self.client.ws_connect(url, **kwargs)

        def detach(self):  # noqa: ANN201
            """Let go of the connector without closing it."""
            return self.client.detach()

    def _warn_of_session_timeout(self, *, asked: bool) -> None:
        # A client that was given comes with aiohttp's own default, which nobody asked for.
        if exceeds(self.client.timeout, self._policy.deadline if asked else DEADLINE_CAP_S):
            events.deadline_clamped(self._calls.runtime, None, None, 0.0)


for _name in ("request", "get", "options", "head", "post", "put", "patch", "delete", "ws_connect"):
    # inspect and mock's autospec see what they would see of aiohttp's.
    getattr(ResilientSession, _name).__signature__ = signature(getattr(aiohttp.ClientSession, _name))
