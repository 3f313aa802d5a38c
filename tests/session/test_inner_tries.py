"""A caller's middleware that tries again, or sends something else, by itself: what it saw counts."""

from typing import Any

import aiohttp
import pytest
from tests.support import AT_ONCE, Behaviour, Peer, answer, drop, failure, report, run

from holdfast import Effect, ResilientSession


async def again(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Send again what was lost, as a naive middleware does."""
    try:
        return await handler(request)
    except aiohttp.ClientError:
        return await handler(request)


async def twice(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Ask a second time, whatever the first answer was."""
    await handler(request)
    return await handler(request)


@pytest.mark.parametrize(
    ("middleware", "script", "requests", "effect"),
    [
        (again, (drop(), answer(400)), 2, Effect.IN_DOUBT),
        (again, (drop(), answer(429), answer(201)), 2, Effect.IN_DOUBT),
        (again, (drop(), answer(201)), 2, Effect.LANDED),
        (twice, (answer(201), answer(400)), 2, Effect.LANDED),
        (twice, (answer(503), answer(400)), 2, Effect.IN_DOUBT),
        (twice, (answer(401), answer(400)), 2, Effect.NONE),
    ],
)
def test_what_a_middleware_did_before_its_answer_is_not_forgotten(
    middleware: Any, script: tuple[Behaviour, ...], requests: int, effect: Effect
) -> None:
    """The first try may have charged the card; the last answer speaks for itself alone."""

    async def scenario() -> tuple[int, Effect]:
        async with (
            Peer(*script) as peer,
            ResilientSession(peer.url, policy=AT_ONCE, middlewares=[middleware]) as session,
        ):
            response = await session.post("/pay", json={"a": 1})
            return len(peer.seen), report(response).effect

    assert run(scenario()) == (requests, effect)


async def swaps(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Send an encrypted body, and put the caller's back."""
    plain: Any = request.body
    await request.update_body(b"encrypted")
    try:
        return await handler(request)
    finally:
        await request.update_body(plain)


async def copies(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Send a request of its own making."""
    made = aiohttp.ClientRequest(
        request.method,
        request.url,
        data=b"other",
        loop=request.loop,
        session=request.session,
        response_class=request.response_class,
    )
    return await handler(made)


@pytest.mark.parametrize("middleware", [swaps, copies])
def test_a_body_that_was_never_begun_proves_nothing_where_another_was_sent(middleware: Any) -> None:
    """The payment left under another body: told as never sent, it would be sent again."""

    async def scenario() -> tuple[int, Effect]:
        async with (
            Peer(drop()) as peer,
            ResilientSession(peer.url, policy=AT_ONCE, middlewares=[middleware]) as session,
        ):
            error = await failure(session.post("/pay", json={"a": 1}))
            return len(peer.seen), report(error).effect

    assert run(scenario()) == (1, Effect.IN_DOUBT)
