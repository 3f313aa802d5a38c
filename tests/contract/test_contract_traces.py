"""Trace callbacks and client middlewares see what they see in plain aiohttp, in the same order."""

from types import SimpleNamespace
from typing import Any, Final

import aiohttp
import pytest
from tests.contract.kinds import Kind, each_kind
from tests.support import Behaviour, Peer, answer, drop, failure, refused_port, run

SIGNALS: Final = [name for name in dir(aiohttp.TraceConfig()) if name.startswith("on_") and name != "on_dns_cache_hit"]


def tracing(told: list[tuple[str, Any, Any, Any]]) -> aiohttp.TraceConfig:
    """Note every signal with its session, context and parameters."""
    config = aiohttp.TraceConfig()
    for name in SIGNALS:

        async def note(session: Any, context: SimpleNamespace, params: Any, name: str = name) -> None:
            told.append((name, session, context.trace_request_ctx, params))

        getattr(config, name).append(note)
    return config


def moved() -> Behaviour:
    """Send the client to another path."""
    return answer(302, b"", location="/to")


ORDERS: Final[dict[str, tuple[tuple[str, dict[str, Any]], tuple[Behaviour, ...], list[str]]]] = {
    "get": (
        ("GET", {}),
        (answer(200, b""),),
        [
            "on_request_start",
            "on_connection_create_start",
            "on_connection_create_end",
            "on_request_headers_sent",
            "on_request_end",
        ],
    ),
    "post": (
        ("POST", {"data": b"x"}),
        (answer(200, b""),),
        [
            "on_request_start",
            "on_connection_create_start",
            "on_connection_create_end",
            "on_request_headers_sent",
            "on_request_chunk_sent",
            "on_request_end",
        ],
    ),
    "redirect": (
        ("GET", {}),
        (moved(), answer(200, b"")),
        [
            "on_request_start",
            "on_connection_create_start",
            "on_connection_create_end",
            "on_request_headers_sent",
            "on_request_redirect",
            "on_connection_reuseconn",
            "on_request_headers_sent",
            "on_request_end",
        ],
    ),
    "dropped": (
        ("POST", {}),
        (drop(),),
        [
            "on_request_start",
            "on_connection_create_start",
            "on_connection_create_end",
            "on_request_headers_sent",
            "on_request_exception",
        ],
    ),
    "error-status": (
        ("GET", {}),
        (answer(500, b""),),
        [
            "on_request_start",
            "on_connection_create_start",
            "on_connection_create_end",
            "on_request_headers_sent",
            "on_request_end",
        ],
    ),
}


@each_kind()
@pytest.mark.parametrize("case", list(ORDERS))
def test_signals_come_in_aiohttps_order(kind: Kind, case: str) -> None:
    """Instrumentation would open spans that nobody closes, or close them twice."""
    (method, options), script, wanted = ORDERS[case]
    told: list[tuple[str, Any, Any, Any]] = []

    async def scenario() -> None:
        async with Peer(*script) as peer, kind.open(peer.url, trace_configs=[tracing(told)]) as session:
            coming = session.request(method, "/from", **options)
            await (failure(coming) if case == "dropped" else coming)

    run(scenario())

    assert [name for name, *_ in told] == wanted


@each_kind()
def test_a_trace_sees_the_requests_context_and_the_users_session(kind: Kind) -> None:
    """Instrumentation that finds its span by the context, or its settings by the session, would find neither."""
    told: list[tuple[str, Any, Any, Any]] = []
    context = {"span": 1}

    async def scenario() -> bool:
        async with (
            Peer(answer(200, b"x")) as peer,
            kind.open(peer.url, trace_configs=[tracing(told)]) as session,
        ):
            response = await session.post("/p", data=b"x", trace_request_ctx=context)
            await response.read()
            return all(isinstance(each[1], aiohttp.ClientSession) for each in told)

    assert run(scenario())
    assert {id(each[2]) for each in told} == {id(context)}
    assert [(each[3].method, each[3].url.path) for each in told if each[0] == "on_request_start"] == [("POST", "/p")]
    assert [each[3].chunk for each in told if each[0] == "on_request_chunk_sent"] == [b"x"]
    assert [each[3].response.status for each in told if each[0] == "on_request_end"] == [200]


@each_kind()
def test_a_trace_is_shown_the_session_that_the_user_has(kind: Kind) -> None:
    """Instrumentation that keeps its settings on the session would look for them on another one."""
    told: list[tuple[str, Any, Any, Any]] = []

    async def scenario() -> bool:
        async with Peer(answer()) as peer, kind.open(peer.url, trace_configs=[tracing(told)]) as session:
            await session.get("/")
            return all(each[1] is session for each in told)

    assert run(scenario())


@each_kind()
def test_a_middleware_is_shown_the_session_that_the_user_has(kind: Kind) -> None:
    """A middleware that asks for a token through ``request.session`` would go past the retries."""
    seen: list[Any] = []

    async def note(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        seen.append(request.session)
        return await handler(request)

    async def scenario() -> bool:
        async with Peer(answer()) as peer, kind.open(peer.url, middlewares=(note,)) as session:
            await session.get("/")
            return seen == [session]

    assert run(scenario())


@each_kind()
def test_headers_that_a_trace_adds_are_sent(kind: Kind) -> None:
    """Distributed tracing would break off here."""

    async def inject(_: Any, __: Any, params: aiohttp.TraceRequestStartParams) -> None:
        params.headers["traceparent"] = "00-1-2-01"

    async def scenario() -> list[str]:
        config = aiohttp.TraceConfig()
        config.on_request_start.append(inject)
        async with Peer(moved(), answer()) as peer, kind.open(peer.url, trace_configs=[config]) as session:
            await session.get("/")
            return [seen.headers["traceparent"] for seen in peer.seen]

    assert run(scenario()) == ["00-1-2-01"] * 2


@each_kind()
def test_a_context_factory_of_the_callers_is_used(kind: Kind) -> None:
    """Instrumentation with a context of its own would get a bare namespace."""
    made: list[Any] = []

    def factory(trace_request_ctx: Any) -> SimpleNamespace:
        made.append(trace_request_ctx)
        return SimpleNamespace(own=True)

    async def scenario() -> bool:
        told: list[bool] = []

        async def note(_: Any, context: Any, __: Any) -> None:
            told.append(context.own)

        config = aiohttp.TraceConfig(trace_config_ctx_factory=factory)  # type: ignore[arg-type]
        config.on_request_end.append(note)
        async with Peer(answer()) as peer, kind.open(peer.url, trace_configs=[config]) as session:
            await session.get("/", trace_request_ctx="ctx")
        return told == [True]

    assert run(scenario())
    assert made == ["ctx"]


@each_kind(resilient="with raise_for_status=True traces see on_request_end, and in aiohttp on_request_exception")
def test_a_status_that_is_raised_is_traced_as_an_exception(kind: Kind) -> None:
    """A span of a failed request would be closed as a good one."""
    told: list[tuple[str, Any, Any, Any]] = []

    async def scenario() -> None:
        async with Peer(answer(500)) as peer, kind.open(peer.url, trace_configs=[tracing(told)]) as session:
            await failure(session.get("/", raise_for_status=True))

    run(scenario())

    assert told[-1][0] == "on_request_exception"


@each_kind()
def test_a_failed_connection_is_traced_as_an_exception(kind: Kind) -> None:
    """A span would stay open for ever."""
    told: list[tuple[str, Any, Any, Any]] = []

    async def scenario() -> BaseException:
        async with kind.open(trace_configs=[tracing(told)]) as session:
            return await failure(session.get(f"http://127.0.0.1:{refused_port()}/"))

    error = run(scenario())

    assert [each[0] for each in told] == ["on_request_start", "on_connection_create_start", "on_request_exception"]
    assert type(told[-1][3].exception) is type(error) is aiohttp.ClientConnectorError


@each_kind()
def test_a_lost_connection_is_traced_as_the_exception_that_comes_out(kind: Kind) -> None:
    """A span would carry an error that neither aiohttp's documentation nor the caller knows."""
    told: list[tuple[str, Any, Any, Any]] = []

    async def scenario() -> BaseException:
        async with Peer(drop()) as peer, kind.open(peer.url, trace_configs=[tracing(told)]) as session:
            return await failure(session.post("/"))

    error = run(scenario())

    assert type(told[-1][3].exception) is type(error) is aiohttp.ServerDisconnectedError


def stamping(name: str, order: list[str]) -> aiohttp.ClientMiddlewareType:
    """Make a middleware that adds a header and notes its turn."""

    async def stamp(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        order.append(f"{name} in")
        request.headers[f"X-{name}"] = "1"
        response = await handler(request)
        order.append(f"{name} out")
        return response

    return stamp


@each_kind()
def test_middlewares_of_the_session_run_in_their_order(kind: Kind) -> None:
    """A signature would be made before what it signs."""
    order: list[str] = []

    async def scenario() -> list[bool]:
        chain = (stamping("A", order), stamping("B", order))
        async with Peer(answer()) as peer, kind.open(peer.url, middlewares=chain) as session:
            await session.get("/")
            return [name in peer.seen[0].headers for name in ("x-a", "x-b")]

    assert run(scenario()) == [True, True]
    assert order == ["A in", "B in", "B out", "A out"]


@each_kind()
@pytest.mark.parametrize(("given", "ran"), [(None, ["S"]), ((), []), (("R",), ["R"])])
def test_middlewares_of_a_request_take_the_place_of_the_sessions(
    kind: Kind, given: tuple[str, ...] | None, ran: list[str]
) -> None:
    """A request that must go out bare would be changed, or one that must be signed would not."""
    order: list[str] = []

    async def scenario() -> None:
        chain = None if given is None else [stamping(name, order) for name in given]
        async with Peer(answer()) as peer, kind.open(peer.url, middlewares=(stamping("S", order),)) as session:
            await session.get("/", middlewares=chain)

    run(scenario())

    assert [each.removesuffix(" in") for each in order if each.endswith(" in")] == ran


@each_kind()
def test_a_middleware_can_answer_by_itself_and_change_the_body(kind: Kind) -> None:
    """A cache or a signer written for aiohttp would not work."""

    async def scenario() -> tuple[bytes, str]:
        async def change(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
            await request.update_body(b"changed")
            return await handler(request)

        async with Peer(answer(200, b"")) as peer, kind.open(peer.url, middlewares=(change,)) as session:
            await session.post("/", data=b"original")
            return peer.seen[0].body, peer.seen[0].headers["content-length"]

    assert run(scenario()) == (b"changed", "7")


@each_kind()
def test_what_a_middleware_raises_comes_out(kind: Kind) -> None:
    """A middleware that refuses would be taken for a network that fails."""

    class RefusedError(Exception):
        pass

    async def refuse(_: aiohttp.ClientRequest, __: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        raise RefusedError

    async def scenario() -> tuple[BaseException, int]:
        async with Peer(answer()) as peer, kind.open(peer.url, middlewares=(refuse,)) as session:
            return await failure(session.get("/")), peer.connections

    error, connections = run(scenario())

    assert (type(error), connections) == (RefusedError, 0)


@each_kind()
def test_a_middleware_runs_on_every_hop(kind: Kind) -> None:
    """A signature that is made per request would be missing after a redirect."""
    order: list[str] = []

    async def scenario() -> None:
        async with Peer(moved(), answer()) as peer, kind.open(peer.url, middlewares=(stamping("A", order),)) as session:
            await session.get("/")

    run(scenario())

    assert order == ["A in", "A out"] * 2


@each_kind()
def test_a_middleware_that_sends_again_is_let(kind: Kind) -> None:
    """A digest log-in, which answers a 401 by sending once more, would fail."""

    async def scenario() -> tuple[int, int]:
        async def twice(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
            response = await handler(request)
            if response.status == 401:
                response.release()
                request.headers["Authorization"] = "Own"
                return await handler(request)
            return response

        async with Peer(answer(401), answer()) as peer, kind.open(peer.url, middlewares=(twice,)) as session:
            return (await session.post("/", data=b"x")).status, len(peer.seen)

    assert run(scenario()) == (200, 2)
