"""One request through the ASGI middleware: its context, and what becomes of an error that nobody catches."""

import asyncio
import logging
import time
from typing import Any

import pytest
import structlog
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from tests.inbound.driver import Exchange, connect, living
from tests.support import AT_ONCE, Peer, answer, hang, run, said

from holdfast import CircuitOpenError, HoldfastError, ResilientSession, detached
from holdfast.asgi import App, OutboundMiddleware
from holdfast.engine.inbound import Inbound, current
from holdfast.providers import FINIX

DECLINE = {"_embedded": {"errors": [{"logref": "3fe8e6ab", "code": "DECLINED", "failure_code": "GENERIC_DECLINE"}]}}


def log_id() -> Any:
    """Give the request's id as log lines show it."""
    return structlog.contextvars.get_contextvars().get("request_id")


def answering(work: Any) -> App:
    """Make an application that answers each request with 200 once this work is done."""

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        await work(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    return app


async def serve(app: App, *args: Any, options: Any = None, **scope: Any) -> Exchange:
    """Start an application, send it one request, and stop it."""
    wrapped = OutboundMiddleware(app, {}, **(options or {}))
    async with living(wrapped, {}):
        return await connect(wrapped, *args, **scope)


def inbound_of(headers: dict[str, str], **scope: Any) -> Inbound:
    """Give what an application finds to be served."""
    found: list[Any] = []

    async def look(_scope: Any) -> None:
        found.append((current(), log_id()))

    options = scope.pop("options", None)
    run(serve(answering(look), headers, options=options, **scope))
    assert current() is None
    assert log_id() is None
    ((inbound, logged),) = found
    assert logged == inbound.request_id
    return inbound  # type: ignore[no-any-return]


def test_a_request_is_served_within_its_context() -> None:
    """Handlers would have neither the id nor the time left at hand, and their calls would run on."""
    before = time.monotonic()

    inbound = inbound_of({"X-Request-ID": "req-1", "X-Request-Timeout": "2"})

    assert inbound.request_id == "req-1"
    assert before + 2.0 <= inbound.deadline_at <= time.monotonic() + 2.0


def test_a_request_without_headers_has_the_applications_time_and_a_made_id() -> None:
    """A plain request would be served without limit."""
    before = time.monotonic()

    inbound = inbound_of({}, options={"max_deadline": 20.0})

    assert before + 20.0 <= inbound.deadline_at <= time.monotonic() + 20.0
    assert len(inbound.request_id) == 32


def test_a_repeated_header_is_not_half_believed(caplog: pytest.LogCaptureFixture) -> None:
    """A client could slip a second deadline or id past a gateway that looks at the first."""
    raw = [(b"x-request-id", b"a"), (b"X-Request-ID", b"b"), (b"x-request-timeout", b"1"), (b"x-request-timeout", b"9")]
    found: list[Any] = []

    async def look(_scope: Any) -> None:
        found.append(current())

    run(_raw(look, raw))

    assert found[0].request_id not in {"a", "b", "a, b"}
    assert found[0].deadline_at > time.monotonic() + 200
    assert "ignored malformed x-request-timeout, x-request-id" in caplog.text


async def _raw(look: Any, raw: list[tuple[bytes, bytes]]) -> None:
    wrapped = OutboundMiddleware(answering(look), {})

    async def nothing(*_: Any) -> Any:
        return None

    await wrapped({"type": "http", "method": "GET", "path": "/", "headers": raw}, nothing, nothing)


def test_any_bytes_in_headers_are_survived(caplog: pytest.LogCaptureFixture) -> None:
    """Any stranger could make the service answer 500."""
    names = (b"x-request-timeout", b"x-request-id", b"traceparent", b"idempotency-key")
    served: list[Any] = []

    async def look(_scope: Any) -> None:
        served.append(current())

    values = [bytes([byte]) * length for byte in range(256) for length in (1, 40)] + [b"9" * 10_000]

    async def scenario() -> None:
        for value in values:
            await _raw(look, [(name, value) for name in names])

    run(scenario())

    assert len(served) == len(values)
    assert len(caplog.records) <= len(values) + 1  # one warning each, and one that says that no keys are derived


def test_a_websocket_has_an_id_and_no_deadline() -> None:
    """The calls of a connection that lives for hours would all be refused after five minutes."""
    headers = {"X-Request-ID": "ws-1", "X-Request-Timeout": "1", "Idempotency-Key": "k"}
    options = {"secret": b"0123456789abcdef", "scope": lambda _: "t"}

    inbound = inbound_of(headers, kind="websocket", options=options)

    assert (inbound.request_id, inbound.deadline_at, inbound.seed) == ("ws-1", float("inf"), None)


def test_other_scopes_pass_untouched() -> None:
    """A server's own extension would break on headers that it does not have."""
    seen: list[Any] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope)

    run(connect(OutboundMiddleware(app, {}), kind="webtransport"))

    assert [scope["type"] for scope in seen] == ["webtransport"]
    assert "state" not in seen[0]


def test_the_context_holds_until_the_last_chunk_and_while_background_tasks_run() -> None:
    """A streamed response would lose its id and its deadline after the first chunk."""
    seen: list[Any] = []

    async def chunks() -> Any:
        for _ in range(3):
            await asyncio.sleep(0)
            seen.append(log_id())
            yield b"x"

    async def afterwards() -> None:
        seen.append(log_id())
        with detached():
            seen.append(current())

    async def stream(_: Request) -> Response:
        return StreamingResponse(chunks(), background=BackgroundTask(afterwards))

    exchange = run(serve(Starlette(routes=[Route("/", stream)]), {"X-Request-ID": "req-1"}))

    assert exchange.body == b"xxx"
    assert seen == ["req-1"] * 4 + [None]


@pytest.mark.parametrize("inside", [False, True], ids=["wrapped", "add_middleware"])
def test_contexts_of_interleaved_requests_stay_apart(inside: bool) -> None:  # noqa: FBT001 - two ways to say one thing
    """One customer's deadline, id or keys would be used for another's payment."""

    async def look(_: Request) -> JSONResponse:
        seen = set()
        for _turn in range(5):
            await asyncio.sleep(0)
            inbound = current()
            seen.add((inbound and inbound.request_id, log_id()))
        return JSONResponse([list(pair) for pair in seen])

    async def pass_on(request: Request, call_next: Any) -> Any:
        return await call_next(request)

    async def scenario() -> list[Any]:
        app: Any = Starlette(routes=[Route("/", look)])
        app.add_middleware(BaseHTTPMiddleware, dispatch=pass_on)  # which serves in a task of its own
        if inside:
            app.add_middleware(OutboundMiddleware, sessions={})
        else:
            app = OutboundMiddleware(app, {})
        async with living(app, {}):
            exchanges = await asyncio.gather(*(connect(app, {"X-Request-ID": f"r-{n}"}) for n in range(1_000)))
            return [exchange.document for exchange in exchanges]

    answers = run(scenario())

    assert answers == [[[f"r-{n}", f"r-{n}"]] for n in range(1_000)]


async def decline(session: ResilientSession) -> None:
    """Make a call that is refused for good."""
    await session.post("/transfers", json={"amount": 1}, raise_for_status=True)


def starlette_that(handler: Any, **options: Any) -> Any:
    """Make a Starlette application with one route."""
    return Starlette(routes=[Route("/", handler, methods=["GET", "POST", "HEAD"])], **options)


@pytest.mark.parametrize("shape", ["raw", "wrapped", "add_middleware"])
def test_an_uncaught_error_of_ours_becomes_problem_details(shape: str) -> None:
    """Our caller would get a bare 500 for a card that was declined, and nothing to quote."""

    async def scenario() -> Exchange:
        async with Peer(said(402, DECLINE)) as peer:
            sessions = {"finix": lambda: ResilientSession(peer.url, provider=FINIX)}

            async def handler(request: Request) -> Response:
                await decline(request.state.finix)
                return Response()

            async def raw(scope: Any) -> None:
                await decline(scope["state"]["finix"])

            app: Any = answering(raw) if shape == "raw" else starlette_that(handler)
            if shape == "add_middleware":
                app.add_middleware(OutboundMiddleware, sessions=sessions)
            else:
                app = OutboundMiddleware(app, sessions)
            state: dict[str, Any] = {}
            async with living(app, state):
                return await connect(app, {"X-Request-ID": "req-1"}, state=dict(state), method="POST")

    exchange = run(scenario())

    assert exchange.error is None
    assert (exchange.status, exchange.headers["content-type"]) == (502, "application/problem+json")
    assert exchange.document["logrefs"] == ["3fe8e6ab"]
    assert exchange.document["request_id"] == "req-1"
    assert exchange.kinds == ["http.response.start", "http.response.body"]


def test_an_inbound_deadline_becomes_a_504_in_time() -> None:
    """Our caller's gateway would give up first, and never learn what became of the payment."""

    async def scenario() -> tuple[Exchange, float]:
        async with Peer(hang()) as peer:

            async def handler(scope: Any) -> None:
                await scope["state"]["slow"].post("/charge", json={})

            app = OutboundMiddleware(answering(handler), {"slow": lambda: ResilientSession(peer.url, policy=AT_ONCE)})
            state: dict[str, Any] = {}
            async with living(app, state):
                begun = time.monotonic()
                exchange = await connect(app, {"X-Request-Timeout": "0.3"}, state=dict(state))
                return exchange, time.monotonic() - begun

    exchange, took = run(scenario())

    assert (exchange.status, exchange.document["effect"]) == (504, "in_doubt")
    assert took < 0.6


def test_an_error_after_the_response_has_begun_is_the_servers() -> None:
    """Two responses would go out on one connection."""
    error = CircuitOpenError("https://bank.test", 1.0)

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise error

    exchange = run(serve(app))

    assert exchange.kinds == ["http.response.start"]
    assert exchange.error is error


def test_an_error_in_a_streamed_body_is_the_servers() -> None:
    """Starlette's half-sent answer would be followed by a second head."""

    async def chunks() -> Any:
        yield b"x"
        raise CircuitOpenError("https://bank.test", 1.0)

    async def stream(_: Request) -> Response:
        return StreamingResponse(chunks())

    exchange = run(serve(starlette_that(stream)))

    assert exchange.kinds == ["http.response.start", "http.response.body"]
    assert exchange.status == 200
    assert isinstance(exchange.error, CircuitOpenError)


@pytest.mark.parametrize("wrapping", ["raw", "starlette"])
def test_the_applications_own_exceptions_are_untouched(wrapping: str) -> None:
    """A bug of the application would be reported as the bank's."""
    error = LookupError("mine")

    async def fails(_: Any) -> Response:
        raise error

    exchange = run(serve(answering(fails) if wrapping == "raw" else starlette_that(fails)))

    assert exchange.error is error
    assert (exchange.kinds and exchange.status) in ([], 500)


def test_an_answer_that_the_application_gives_our_error_itself_stays() -> None:
    """A user's own error page would be replaced."""

    async def fails(_: Request) -> Response:
        raise CircuitOpenError("https://bank.test", 1.0)

    async def apologise(_: Request, error: Exception) -> Response:
        return PlainTextResponse(type(error).__name__, status_code=500)

    exchange = run(serve(starlette_that(fails, exception_handlers={HoldfastError: apologise})))

    assert (exchange.status, exchange.body, exchange.error) == (500, b"CircuitOpenError", None)


def test_a_long_answer_to_our_error_is_not_held_back_for_ever() -> None:
    """A user's error page in several parts would be lost, or kept until the end."""
    order: list[str] = []

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        try:
            raise CircuitOpenError("https://bank.test", 1.0)
        except HoldfastError:
            await send({"type": "http.response.start", "status": 500, "headers": []})
            await send({"type": "http.response.body", "body": b"a", "more_body": True})
            order.append("sent")
            await send({"type": "http.response.body", "body": b"b"})

    exchange = run(serve(app))

    assert (exchange.status, exchange.body, order) == (500, b"ab", ["sent"])


def test_the_conversion_can_be_turned_off() -> None:
    """An application with an error format of its own could not use the rest."""

    async def fails(_: Any) -> None:
        raise CircuitOpenError("https://bank.test", 1.0)

    exchange = run(serve(answering(fails), options={"problem_json": False}))

    assert isinstance(exchange.error, CircuitOpenError)
    assert exchange.sent == []


def test_a_head_request_gets_the_head_of_the_problem() -> None:
    """A body after HEAD would be taken for the next answer."""

    async def fails(_: Any) -> None:
        raise CircuitOpenError("https://bank.test", 1.0)

    exchange = run(serve(answering(fails), method="HEAD"))

    assert (exchange.status, exchange.headers["retry-after"], exchange.body) == (503, "1", b"")


def test_keys_are_derived_once_the_application_knows_its_caller() -> None:
    """Logins happen inside of the middleware: the feature would be off in every real service."""

    async def scenario() -> list[Any]:
        async with Peer(answer(201)) as peer:

            async def handler(scope: Any) -> None:
                scope["user"] = scope["path"]
                await scope["state"]["finix"].post("/transfers", json={"amount": 1})

            app = OutboundMiddleware(
                answering(handler),
                {"finix": lambda: ResilientSession(peer.url, provider=FINIX)},
                secret=b"0123456789abcdef",
                scope=lambda scope: scope["user"],
            )
            async with living(app):
                for user in ("anna", "anna", "bert"):
                    await connect(app, {"Idempotency-Key": "order-7"}, path=user)
            return [seen.document["idempotency_id"] for seen in peer.seen]

    first, retry, other = run(scenario())

    assert first == retry != other


def test_an_application_without_the_secret_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """The user would believe in a protection that is not there, or drown in a line per request."""
    caplog.set_level(logging.INFO, "holdfast")

    async def scenario() -> None:
        async def idle(_: Any) -> None: ...

        app = OutboundMiddleware(answering(idle), {})
        async with living(app):
            for _ in range(5):
                await connect(app, {"Idempotency-Key": "order-7"})

    run(scenario())

    assert [record.getMessage() for record in caplog.records] == [
        "holdfast: no idempotency keys are derived from inbound ones: the middleware was given no secret= and no scope="
    ]
