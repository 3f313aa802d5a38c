"""OpenTelemetry's aiohttp instrumentation, given as a trace config or patched over ``ClientSession.__init__``.

It works below the verdict: every attempt is a span of its own, and the call is what they share as their parent.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, TypeAlias

import aiohttp
import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor, create_trace_config
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.consumers.sessions import OURS, PLAIN, Told, make_session, over_both, told
from tests.support import Behaviour, Peer, answer, drop, failure, run

from holdfast.testing import RecordingSink

Make: TypeAlias = Callable[..., aiohttp.ClientSession]


class Traced:
    """A tracer whose finished spans are kept."""

    def __init__(self) -> None:
        self.provider = TracerProvider()
        self._kept = InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self._kept))

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return tuple(self._kept.get_finished_spans())


class Span(NamedTuple):
    """What a dashboard shows of one span."""

    name: str
    status: int | None
    is_error: bool
    exceptions: tuple[str, ...]


def shown(span: ReadableSpan) -> Span:
    """Take what is compared out of a span."""
    attributes: Any = span.attributes or {}
    raised = tuple(str((event.attributes or {})["exception.type"]) for event in span.events)
    is_error = span.status.status_code is trace.StatusCode.ERROR
    return Span(span.name, attributes.get("http.status_code"), is_error, raised)


@contextmanager
def by_trace_config(traced: Traced) -> Iterator[Make]:
    """Make sessions that are given a trace config."""

    def make(kind: str, sink: RecordingSink | None = None) -> aiohttp.ClientSession:
        return make_session(kind, sink, trace_configs=[create_trace_config(tracer_provider=traced.provider)])

    yield make


@contextmanager
def by_instrumentor(traced: Traced) -> Iterator[Make]:
    """Make sessions while aiohttp is patched."""
    instrumentor = AioHttpClientInstrumentor()
    instrumentor.instrument(tracer_provider=traced.provider)
    try:
        yield make_session
    finally:
        instrumentor.uninstrument()


WAYS: Final = pytest.mark.parametrize("way", [by_trace_config, by_instrumentor])
BAD, GOOD = Span("GET", 503, is_error=True, exceptions=()), Span("GET", 200, is_error=False, exceptions=())


@over_both
@WAYS
def test_a_call_is_a_span_and_carries_its_trace_to_the_server(way: Any, kind: str) -> None:
    """The provider's half of a trace would be cut off from ours."""
    traced = Traced()

    async def scenario() -> Peer:
        async with Peer(answer()) as peer:
            with way(traced) as make:
                async with make(kind) as session:
                    await session.get(peer.url)
            return peer

    peer = run(scenario())

    assert [shown(span) for span in traced.spans] == [GOOD]
    assert carried(peer) == [of(span) for span in traced.spans]


@WAYS
def test_each_attempt_is_a_span_below_the_callers_own(way: Any) -> None:
    """A slow call whose time went into two attempts would look like one slow answer."""
    traced, sink = Traced(), RecordingSink()

    async def scenario() -> Peer:
        async with Peer(answer(503), answer()) as peer:
            with way(traced) as make:
                async with make(OURS, sink) as session:
                    with traced.provider.get_tracer("test").start_as_current_span("checkout"):
                        await session.get(peer.url, headers={"x-mark": "m"})
            return peer

    peer = run(scenario())

    *attempts, checkout = traced.spans
    assert [shown(span) for span in attempts] == [BAD, GOOD]
    assert [span.parent for span in attempts] == [checkout.context, checkout.context]
    assert carried(peer) == [of(span) for span in attempts]
    assert told(sink) == [Told("GET", 200, 2, "success", "none")]


def carried(peer: Peer) -> list[list[str]]:
    """Give every ``traceparent`` line of each request."""
    heads = [seen.head.decode("latin-1").split("\r\n") for seen in peer.seen]
    return [[line for line in head if line.lower().startswith("traceparent")] for head in heads]


def of(span: ReadableSpan) -> list[str]:
    """Give the one ``traceparent`` that a request of this span carries."""
    context = span.context
    assert context is not None
    return [f"traceparent: 00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"]


@pytest.mark.parametrize("status", [404, 422])
@WAYS
def test_a_refusal_is_the_same_span_as_with_a_plain_session(way: Any, status: int) -> None:
    """An alert on failed spans would stay silent, or ring for what it never rang for."""

    def spans(kind: str) -> list[Span]:
        traced = Traced()

        async def scenario() -> None:
            async with Peer(answer(status)) as peer:
                with way(traced) as make:
                    async with make(kind) as session:
                        await session.post(peer.url, json={})

        run(scenario())
        return [shown(span) for span in traced.spans]

    assert spans(OURS) == spans(PLAIN) == [Span("POST", status, is_error=True, exceptions=())]


@pytest.mark.parametrize("behaviour", [drop()], ids=["dropped"])
@WAYS
def test_a_lost_connection_is_the_same_span_as_with_a_plain_session(way: Any, behaviour: Behaviour) -> None:
    """Dashboards group failures by the exception's type, and know ``ServerDisconnectedError``."""

    def spans(kind: str) -> list[Span]:
        traced = Traced()

        async def scenario() -> None:
            async with Peer(behaviour) as peer:
                with way(traced) as make:
                    async with make(kind) as session:
                        await failure(session.post(peer.url, json={}))

        run(scenario())
        return [shown(span) for span in traced.spans]

    lost = Span("POST", None, is_error=True, exceptions=("aiohttp.client_exceptions.ServerDisconnectedError",))
    assert spans(PLAIN) == [lost]
    assert spans(OURS) == [lost]


@over_both
def test_one_session_can_be_taken_out_of_the_instrumentation(kind: str) -> None:
    """``uninstrument_session`` sets a private attribute: a session that keeps it to itself goes on being traced."""
    traced = Traced()

    async def scenario() -> None:
        async with Peer(answer()) as peer:
            with by_instrumentor(traced) as make:
                async with make(kind) as session:
                    AioHttpClientInstrumentor.uninstrument_session(session)
                    await session.get(peer.url)

    run(scenario())

    assert traced.spans == ()
