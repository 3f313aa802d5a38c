"""aiohttp.web applications: sessions for the whole life of the application, a context for each request."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import structlog
from aiohttp import web
from tests.support import AT_ONCE, Peer, answer, hang, run, said

from holdfast import CircuitOpenError, ResilientSession
from holdfast.aiohttp_web import OutboundContext, outbound_context
from holdfast.engine.inbound import current
from holdfast.providers import FINIX

DECLINE = {"_embedded": {"errors": [{"logref": "3fe8e6ab", "code": "DECLINED", "failure_code": "GENERIC_DECLINE"}]}}


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[aiohttp.ClientSession]:
    """Serve an application on a port of its own; give a client of it."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as client:
            yield client
    finally:
        await runner.cleanup()


def log_id() -> Any:
    """Give the request's id as log lines show it."""
    return structlog.contextvars.get_contextvars().get("request_id")


def app_with(handler: Any, **options: Any) -> tuple[web.Application, OutboundContext[ResilientSession]]:
    """Make an application with one route and the context installed."""
    app = web.Application()
    app.router.add_route("*", "/", handler)
    factories = options.pop("sessions", {})
    return app, outbound_context(factories, **options).install(app)


def test_sessions_are_there_under_typed_keys_and_are_closed_last() -> None:
    """An application's own startup could not use them, and its own cleanup would find them closed."""
    order: list[str] = []

    async def scenario() -> str:
        async with Peer(answer(200, b"paid")) as peer:
            app = web.Application()

            async def own(_: web.Application) -> AsyncIterator[None]:
                order.append(f"started, closed={app[key].closed}")
                yield
                order.append(f"stopping, closed={app[key].closed}")

            async def handler(request: web.Request) -> web.Response:
                session: ResilientSession = request.app[key]
                response = await session.get("/")
                return web.Response(text=await response.text())

            app.cleanup_ctx.append(own)
            app.router.add_get("/", handler)
            context = outbound_context({"bank": lambda: ResilientSession(peer.url)}).install(app)
            key = context.keys["bank"]
            async with serving(app) as client, client.get("/") as response:
                text = await response.text()
            order.append(f"ended, closed={app[key].closed}")
            return text

    text = run(scenario())

    assert text == "paid"
    assert order == ["started, closed=False", "stopping, closed=False", "ended, closed=True"]


def test_contexts_of_interleaved_requests_stay_apart_on_shared_connections() -> None:
    """Aiohttp serves all requests of a connection in one task: one's id and deadline would be left for the next."""

    async def handler(_: web.Request) -> web.Response:
        await asyncio.sleep(0)
        inbound = current()
        return web.json_response([inbound and inbound.request_id, log_id()])

    async def scenario() -> list[Any]:
        gate = asyncio.Semaphore(20)

        async def ask(client: aiohttp.ClientSession, name: str) -> Any:
            async with gate, client.get("/", headers={"X-Request-ID": name}) as response:
                return await response.json()

        async with serving(app_with(handler)[0]) as client:
            return await asyncio.gather(*(ask(client, f"r-{number}") for number in range(1_000)))

    answers = run(scenario())

    assert answers == [[f"r-{number}", f"r-{number}"] for number in range(1_000)]


def test_the_applications_own_middlewares_have_the_context_too() -> None:
    """The access log of a service, which a middleware of its own writes, would lack the id."""
    seen: list[Any] = []

    @web.middleware
    async def own(request: web.Request, handler: Any) -> web.StreamResponse:
        seen.append(log_id())
        response: web.StreamResponse = await handler(request)
        return response

    async def handler(_: web.Request) -> web.Response:
        return web.Response()

    async def scenario() -> None:
        app = web.Application(middlewares=[own])
        app.router.add_get("/", handler)
        outbound_context({}).install(app)
        async with serving(app) as client:
            await client.get("/", headers={"X-Request-ID": "r-1"})

    run(scenario())

    assert seen == ["r-1"]


def test_a_repeated_header_is_not_half_believed() -> None:
    """A client could slip a second id past a gateway that looks at the first."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(text=str(log_id()))

    async def scenario() -> str:
        async with serving(app_with(handler)[0]) as client:
            response = await client.get("/", headers=[("X-Request-ID", "a"), ("X-Request-ID", "b")])
            return await response.text()

    assert run(scenario()) not in {"a", "b", "a, b"}


def test_a_streamed_body_is_written_within_the_context() -> None:
    """The calls made for later chunks would have no deadline and no id."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            await asyncio.sleep(0)
            yield f"{log_id()} ".encode()

    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=chunks(), content_type="text/plain")

    async def scenario() -> tuple[str, str]:
        async with (
            serving(app_with(handler)[0]) as client,
            client.get("/", headers={"X-Request-ID": "r-1"}) as response,
        ):
            return await response.text(), response.content_type

    seen = run(scenario())

    assert seen == ("r-1 r-1 r-1 ", "text/plain")


def test_an_uncaught_error_of_ours_becomes_problem_details() -> None:
    """Our caller would get a bare 500 for a card that was declined, and nothing to quote."""

    async def scenario() -> tuple[int, str, Any]:
        async with Peer(said(402, DECLINE)) as peer:

            async def handler(request: web.Request) -> web.Response:
                await request.app[context.keys["finix"]].post("/transfers", json={"amount": 1}, raise_for_status=True)
                return web.Response()

            app, context = app_with(handler, sessions={"finix": lambda: ResilientSession(peer.url, provider=FINIX)})
            async with serving(app) as client, client.post("/", headers={"X-Request-ID": "r-1"}) as response:
                return response.status, response.content_type, await response.json(content_type=None)

    status, kind, document = run(scenario())

    assert (status, kind) == (502, "application/problem+json")
    assert (document["logrefs"], document["request_id"]) == (["3fe8e6ab"], "r-1")


def test_an_inbound_deadline_becomes_a_504_in_time() -> None:
    """The caller's gateway would give up first, and never learn what became of the payment."""

    async def scenario() -> tuple[int, float]:
        async with Peer(hang()) as peer:

            async def handler(request: web.Request) -> web.Response:
                await request.app[context.keys["slow"]].get("/")
                return web.Response()

            app, context = app_with(handler, sessions={"slow": lambda: ResilientSession(peer.url, policy=AT_ONCE)})
            begun = asyncio.get_running_loop().time()
            async with serving(app) as client, client.get("/", headers={"X-Request-Timeout": "0.3"}) as response:
                return response.status, asyncio.get_running_loop().time() - begun

    status, took = run(scenario())

    assert status == 504
    assert took < 0.8


def test_an_error_after_the_response_has_begun_cuts_it_off() -> None:
    """A second response would go out in the middle of the first."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half")
        raise CircuitOpenError("https://bank.test", 1.0)

    async def scenario() -> tuple[int, bool]:
        async with serving(app_with(handler)[0]) as client, client.get("/") as response:
            try:
                await response.read()
            except aiohttp.ClientPayloadError:
                return response.status, True
            return response.status, False

    assert run(scenario()) == (200, True)


@pytest.mark.parametrize(
    ("handler_error", "options", "status"),
    [
        (web.HTTPConflict(), {}, 409),
        (LookupError("mine"), {}, 500),
        (CircuitOpenError("https://bank.test", 1.0), {"problem_json": False}, 500),
    ],
)
def test_other_errors_are_the_applications(handler_error: Exception, options: dict[str, Any], status: int) -> None:
    """A user's own errors would come out as the bank's."""

    async def handler(_: web.Request) -> web.Response:
        raise handler_error

    async def scenario() -> tuple[int, str]:
        async with serving(app_with(handler, **options)[0]) as client, client.get("/") as response:
            return response.status, response.content_type

    found, kind = run(scenario())

    assert (found, kind) == (status, "text/plain")


def test_the_scope_is_asked_with_the_request() -> None:
    """A caller's retry would charge again, because nobody could tell who calls."""

    async def scenario() -> list[Any]:
        async with Peer(answer(201)) as peer:

            async def handler(request: web.Request) -> web.Response:
                await request.app[context.keys["finix"]].post("/transfers", json={"amount": 1})
                return web.Response()

            app, context = app_with(
                handler,
                sessions={"finix": lambda: ResilientSession(peer.url, provider=FINIX)},
                secret=b"0123456789abcdef",
                scope=lambda request: request.headers["X-User"],
            )
            async with serving(app) as client:
                for user in ("anna", "anna", "bert"):
                    await client.post("/", headers={"X-User": user, "Idempotency-Key": "order-7"})
            return [seen.document["idempotency_id"] for seen in peer.seen]

    first, retry, other = run(scenario())

    assert first == retry != other


def test_an_application_whose_session_cannot_be_opened_does_not_start() -> None:
    """A service would start, take requests and fail each of them."""

    def fails() -> ResilientSession:
        raise KeyError("s3cret")

    async def handler(_: web.Request) -> web.Response:
        return web.Response()

    async def scenario() -> None:
        runner = web.AppRunner(app_with(handler, sessions={"finix": fails})[0])
        try:
            await runner.setup()
        finally:
            await runner.cleanup()

    with pytest.raises(RuntimeError, match="session 'finix' was not opened: KeyError") as caught:
        run(scenario())

    assert "s3cret" not in str(caught.value)
    assert caught.value.__suppress_context__  # a traceback would print what the factory read
