"""Aiohttp by itself, as all its users have it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from time import perf_counter
from typing import Any, TypeAlias

import aiohttp
from benchmarks.speed.adapters import Fetch, Send, Sends, Submit
from benchmarks.speed.adapters.calls import by_hand, calls_of
from benchmarks.speed.scenarios import SCENARIOS

Request: TypeAlias = Callable[..., AbstractAsyncContextManager[aiohttp.ClientResponse]]


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


def once_each(session: aiohttp.ClientSession, url: str) -> Sends:
    """Make all calls through a plain session; only the flaky scenario has a loop."""
    fetch = fetching(session.get)
    return calls_of(fetch, submitting(session.post), url, retrying=by_hand(fetch))


@asynccontextmanager
async def bare(url: str, limit: int) -> AsyncIterator[Sends]:
    """Open a plain session."""
    async with aiohttp.ClientSession(connector=connector(limit)) as session:
        yield once_each(session, url)


async def _pass(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    return await handler(request)


@asynccontextmanager
async def passthrough(url: str, limit: int) -> AsyncIterator[Sends]:
    """Open a session with a client middleware that does nothing."""
    async with aiohttp.ClientSession(connector=connector(limit), middlewares=[_pass]) as session:
        yield once_each(session, url)


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
