"""Aiohttp by itself, as all its users have it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from time import perf_counter
from typing import Any, TypeAlias

import aiohttp
from benchmarks.speed.adapters import Fetch, Send, Sends, Submit
from benchmarks.speed.adapters.calls import by_hand, calls_of
from benchmarks.speed.scenarios import CREDENTIALS, SCENARIOS

Request: TypeAlias = Callable[..., AbstractAsyncContextManager[aiohttp.ClientResponse]]
Sessions: TypeAlias = tuple[aiohttp.ClientSession, aiohttp.ClientSession]
"""A plain one, and one with ``CREDENTIALS``."""


def connector(limit: int) -> aiohttp.TCPConnector:
    """Make aiohttp's connector as it is by default, but for the limit."""
    return aiohttp.TCPConnector(limit=limit)


def fetching(get: Request) -> Fetch:
    """Send a GET through an aiohttp client, or one like it."""

    async def fetch(url: str) -> tuple[int, bytes]:
        async with get(url) as response:
            return response.status, await response.read()

    return fetch


def submitting(post: Request) -> Submit:
    """Send a POST likewise."""

    async def submit(url: str, **keywords: Any) -> tuple[int, bytes]:  # noqa: ANN401 - as aiohttp's
        async with post(url, **keywords) as response:
            return response.status, await response.read()

    return submit


@asynccontextmanager
async def sessions(limit: int, *middlewares: aiohttp.ClientMiddlewareType) -> AsyncIterator[Sessions]:
    """Open a plain session, and one with credentials."""
    async with (
        aiohttp.ClientSession(connector=connector(limit), middlewares=middlewares) as session,
        aiohttp.ClientSession(connector=connector(limit), middlewares=middlewares, headers=CREDENTIALS) as authorized,
    ):
        yield session, authorized


def once_each(opened: Sessions, url: str) -> Sends:
    """Make all calls through plain sessions; only the flaky scenario has a loop."""
    session, authorized = opened
    fetch = fetching(session.get)
    post, signed = submitting(session.post), fetching(authorized.get)
    return calls_of(fetch, post, url, authorized=signed, retrying=by_hand(fetch))


@asynccontextmanager
async def bare(url: str, limit: int) -> AsyncIterator[Sends]:
    """Open aiohttp by itself."""
    async with sessions(limit) as opened:
        yield once_each(opened, url)


async def _pass(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    return await handler(request)


@asynccontextmanager
async def passthrough(url: str, limit: int) -> AsyncIterator[Sends]:
    """Open aiohttp with a client middleware that does nothing."""
    async with sessions(limit, _pass) as opened:
        yield once_each(opened, url)


def _logged(send: Send, log: Any, method: str, path: str) -> Send:  # noqa: ANN401 - structlog loggers share no type
    async def told() -> tuple[int, bytes]:
        begun = perf_counter()
        status, body = await send()
        elapsed_s = round(perf_counter() - begun, 3)
        log.info("call", method=method, host="127.0.0.1", path=path, status=status, elapsed_s=elapsed_s)
        return status, body

    return told


@asynccontextmanager
async def line(url: str, limit: int) -> AsyncIterator[Sends]:
    """Open a plain session whose user writes one line after each call."""
    import structlog  # noqa: PLC0415 - the other clients of this module must not pay for it

    log = structlog.get_logger()
    async with bare(url, limit) as sends:
        logged = {
            name: _logged(sends[name], log, scenario.method, scenario.path) for name, scenario in SCENARIOS.items()
        }
        yield sends | logged
