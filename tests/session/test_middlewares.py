"""The caller's client middlewares, keys in their place, and cookies, seen by the server."""

import asyncio
from hashlib import sha256
from typing import Any

import aiohttp
import pytest
from tests.support import AT_ONCE, Peer, answer, drop, failure, refused_port, report, run, said

from holdfast import Effect, Provider, ResilientSession
from holdfast.providers import FIANT, FINIX, GENERIC

DEPOSIT = "/v1/transactions/deposits"


def marking(mark: str, log: list[str]) -> aiohttp.ClientMiddlewareType:
    """Make a middleware that leaves a mark."""

    async def middleware(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        log.append(mark)
        request.headers["x-mark"] = mark
        return await handler(request)

    return middleware


@pytest.mark.parametrize("given", [False, True])
def test_each_attempt_is_signed_afresh_over_key_and_body(*, given: bool) -> None:
    """Fiant refuses a signature whose date is past: the retry of a payment would be a 401."""
    signatures = 0

    async def sign(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        nonlocal signatures
        signatures += 1
        body: Any = request.body
        content = await body.as_bytes() if hasattr(body, "as_bytes") else body
        signed = (
            f"{request.method} {request.url.path} {request.headers['x-pti-request-id']} {sha256(content).hexdigest()}"
        )
        request.headers["x-signature"] = f"{signatures} {signed}"
        return await handler(request)

    async def scenario() -> Peer:
        async with Peer(drop(), drop(), answer(201)) as peer:
            client = aiohttp.ClientSession(peer.url, middlewares=[sign]) if given else None
            options: dict[str, Any] = {"client": client} if given else {"base_url": peer.url, "middlewares": [sign]}
            async with ResilientSession(provider=FIANT, policy=AT_ONCE, **options) as session:
                await session.post(DEPOSIT, json={"amount": 1})
            if client is not None:
                await client.close()
            return peer

    peer = run(scenario())

    assert [seen.headers["x-signature"] for seen in peer.seen] == [
        f"{number} POST {DEPOSIT} {seen.headers['x-pti-request-id']} {sha256(seen.body).hexdigest()}"
        for number, seen in enumerate(peer.seen, 1)
    ]
    assert len(peer.seen) == 3


def test_a_requests_middlewares_replace_the_sessions() -> None:
    """Drop-in code that leaves the session's own out on purpose would get them all the same."""
    log: list[str] = []

    async def scenario() -> list[str]:
        async with (
            Peer(answer()) as peer,
            ResilientSession(peer.url, middlewares=[marking("session", log)]) as session,
        ):
            await session.get("/")
            await session.get("/", middlewares=[marking("request", log)])
            response = await session.get("/", middlewares=())
            assert report(response).attempts
            return [seen.headers.get("x-mark", "") for seen in peer.seen]

    assert run(scenario()) == ["session", "request", ""]
    assert log == ["session", "request"]


def test_a_middleware_that_asks_again_is_the_callers_own_business() -> None:
    """Digest authentication answers a 401 with a second request: it must still be able to."""

    async def digest(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        response = await handler(request)
        if response.status != 401:
            return response
        request.headers["Authorization"] = "Digest x"
        return await handler(request)

    async def scenario() -> tuple[int, list[str | None], int]:
        async with (
            Peer(answer(401), answer(200)) as peer,
            ResilientSession(peer.url, middlewares=[digest]) as session,
        ):
            response = await session.post("/", json={})
            sent = [seen.headers.get("authorization") for seen in peer.seen]
            return response.status, sent, len(report(response).attempts)

    assert run(scenario()) == (200, [None, "Digest x"], 1)


def test_cookies_of_discarded_answers_are_kept() -> None:
    """A load balancer that pins a session by cookie would send each attempt to another machine."""

    async def scenario() -> list[str | None]:
        jar = aiohttp.CookieJar(unsafe=True)
        async with (
            Peer(answer(503, set_cookie="node=7"), answer(200)) as peer,
            ResilientSession(peer.url, policy=AT_ONCE, cookie_jar=jar) as session,
        ):
            await session.get("/")
            return [seen.headers.get("cookie") for seen in peer.seen]

    assert run(scenario()) == [None, "node=7"]


@pytest.mark.parametrize(
    ("provider", "method", "path", "options", "expected"),
    [
        (FINIX, "POST", "/transfers", {"json": {"idempotency_id": "mine"}}, "mine"),
        (FINIX, "POST", "/transfers", {"json": {}, "idempotency_key": "mine"}, "mine"),
        (FINIX, "POST", "/merchants", {"json": {}}, None),
        (FINIX, "PUT", "/authorizations/AU1", {"json": {}}, None),
        (FINIX, "GET", "/transfers", {}, None),
        (FIANT, "POST", DEPOSIT, {"json": {}, "idempotency_key": "mine"}, "mine"),
        (FIANT, "POST", DEPOSIT, {"json": {}, "headers": {"X-PTI-Request-Id": "mine"}}, "mine"),
        (FIANT, "POST", "/v1/users", {"json": {}}, None),
        (FIANT, "GET", "/v1/transactions/x", {}, None),
        (GENERIC, "POST", "/pay", {"json": {}}, None),
        (GENERIC, "POST", "/pay", {"json": {}, "idempotency_key": "mine"}, "mine"),
        (GENERIC, "POST", "/pay", {"headers": [("Idempotency-Key", "mine")]}, "mine"),
    ],
)
def test_the_callers_key_goes_where_the_provider_wants_it(
    provider: Provider, method: str, path: str, options: dict[str, Any], expected: str | None
) -> None:
    """A key in the wrong place protects nothing, and one nobody asked for may be refused."""

    async def scenario() -> tuple[aiohttp.ClientResponse, Peer]:
        async with Peer(answer(201)) as peer, ResilientSession(peer.url, provider=provider) as session:
            return await session.request(method, path, **options), peer

    response, peer = run(scenario())

    (seen,) = peer.seen
    document = seen.document if seen.body else {}
    placed = [
        document.get("idempotency_id"),
        seen.headers.get("x-pti-request-id"),
        seen.headers.get("idempotency-key"),
    ]
    assert [key for key in placed if key is not None] == ([] if expected is None else [expected])
    assert report(response).idempotency_key == expected


@pytest.mark.parametrize(
    ("provider", "path", "options", "words"),
    [
        (FIANT, DEPOSIT, {"idempotency_key": "UPPER"}, r"does not fit"),
        (FIANT, DEPOSIT, {"idempotency_key": "ab"}, r"does not fit"),
        (FIANT, DEPOSIT, {"headers": {"x-pti-request-id": "UPPER"}}, r"does not fit"),
        (FIANT, "/v1/users", {"idempotency_key": "mine"}, r"would protect nothing"),
        (FINIX, "/merchants", {"idempotency_key": "mine"}, r"would protect nothing"),
        (FINIX, "/transfers", {"idempotency_key": "mine", "data": b"not json"}, r"pass the body as json="),
        (FINIX, "/transfers", {"idempotency_key": "a", "json": {"idempotency_id": "b"}}, r"differs from the key"),
    ],
)
def test_a_key_that_cannot_protect_is_refused(
    provider: Provider, path: str, options: dict[str, Any], words: str
) -> None:
    """The caller would retry by hand under a key that the provider never looked at."""

    async def scenario() -> tuple[BaseException, int]:
        async with Peer(answer()) as peer, ResilientSession(peer.url, provider=provider) as session:
            return await failure(
                session.post(path, **{"json": {}, **options} if "data" not in options else options)
            ), len(peer.seen)

    error, sends = run(scenario())

    assert isinstance(error, ValueError)
    assert words in str(error)
    assert f"{provider.name} POST {path}" in str(error)
    assert sends == 0


def test_a_safe_method_needs_no_key_and_refuses_none() -> None:
    """A helper that passes a key with every request would fail on its reads."""

    async def scenario() -> int:
        async with Peer(answer()) as peer, ResilientSession(peer.url, provider=FINIX) as session:
            return (await session.get("/transfers", idempotency_key="k")).status

    assert run(scenario()) == 200


def test_trace_callbacks_see_each_attempt() -> None:
    """Existing instrumentation would see one request where four were sent."""
    started: list[str] = []

    async def on_start(*arguments: Any) -> None:
        started.append(arguments[2].method)

    async def scenario() -> int:
        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(on_start)
        async with (
            Peer(answer(503), drop(), answer()) as peer,
            ResilientSession(peer.url, policy=AT_ONCE, trace_configs=[trace]) as session,
        ):
            await session.get("/")
            return len(peer.seen)

    assert run(scenario()) == 3
    assert started == ["GET"] * 3


def test_a_session_shared_by_many_tasks_keeps_keys_apart() -> None:
    """Two payments under one key are one payment."""

    async def scenario() -> tuple[int, int]:
        async with Peer(said(201, {})) as peer, ResilientSession(peer.url, provider=FINIX) as session:
            document = {"amount": 1}
            await asyncio.gather(*(session.post("/transfers", json=document) for _ in range(50)))
            keys = {seen.document["idempotency_id"] for seen in peer.seen}
            return len(peer.seen), len(keys)

    assert run(scenario()) == (50, 50)


def test_a_middleware_that_is_refused_after_the_answer_does_not_unsend_the_request() -> None:
    """A token service that is down would turn a charge that was made into one that is sent again."""
    nowhere = refused_port()

    async def report_elsewhere(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> Any:
        response = await handler(request)
        async with aiohttp.ClientSession() as other, other.get(f"http://127.0.0.1:{nowhere}/"):
            return response

    async def scenario() -> tuple[Peer, BaseException]:
        async with Peer(answer(201)) as peer, ResilientSession(peer.url, policy=AT_ONCE) as session:
            return peer, await failure(session.post("/charges", middlewares=[report_elsewhere]))

    peer, error = run(scenario())

    assert peer.lines == ["POST /charges"]
    assert isinstance(error, aiohttp.ClientConnectorError)
    assert report(error).effect is Effect.IN_DOUBT


def test_a_middleware_that_fails_before_it_sends_leaves_no_doubt() -> None:
    """A signing key that cannot be read stops the call before anything was sent: nobody has to look it up."""

    async def unsigned(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> Any:
        raise aiohttp.ClientConnectionError(f"no signature for {request.method} {handler!r}")

    async def scenario() -> tuple[Peer, BaseException]:
        async with Peer() as peer, ResilientSession(peer.url, policy=AT_ONCE) as session:
            return peer, await failure(session.post("/charges", json={"amount": 1}, middlewares=[unsigned]))

    peer, error = run(scenario())

    assert peer.lines == []
    assert report(error).effect is Effect.NONE
