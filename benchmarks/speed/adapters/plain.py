"""Aiohttp by itself; where it must send again, a loop by hand does it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from time import perf_counter
from typing import Any, TypeAlias
from uuid import uuid4

import aiohttp
from benchmarks.speed.adapters import Send, Sends
from benchmarks.speed.scenarios import AGAIN, ATTEMPTS, HELD, KEY_FIELD, KEY_HEADER, ORDER, SCENARIOS

Request: TypeAlias = Callable[..., AbstractAsyncContextManager[aiohttp.ClientResponse]]


def connector(limit: int) -> aiohttp.TCPConnector:
    """Make aiohttp's connector as it is by default, but for the limit."""
    return aiohttp.TCPConnector(limit=limit)


def getting(get: Request, url: str) -> Send:
    """Send a GET."""

    async def send() -> tuple[int, bytes]:
        async with get(url) as response:
            return response.status, await response.read()

    return send


def sends_of(get: Request, post: Request, url: str) -> Sends:
    """Make the calls of all scenarios, each sent once."""
    charges, transfers = (f"{url}{SCENARIOS[name].path}" for name in ("post", "refused"))

    async def charge() -> tuple[int, bytes]:
        async with post(charges, json=ORDER, headers={KEY_HEADER: str(uuid4())}) as response:
            return response.status, await response.read()

    async def transfer() -> tuple[int, bytes]:
        async with post(transfers, json=ORDER | {KEY_FIELD: str(uuid4())}) as response:
            return response.status, await response.read()

    return {
        "get": getting(get, f"{url}{SCENARIOS['get'].path}"),
        "post": charge,
        "flaky": getting(get, f"{url}{SCENARIOS['flaky'].path}"),
        "refused": transfer,
        "held": getting(get, f"{url}{HELD}"),
    }


def by_hand(send: Send) -> Send:
    """Send again after a 503, as one would by hand."""

    async def again() -> tuple[int, bytes]:
        for _ in range(ATTEMPTS):
            status, body = await send()
            if status != AGAIN:
                break
        return status, body

    return again


@asynccontextmanager
async def bare(url: str, limit: int) -> AsyncIterator[Sends]:
    """Open a plain session; only the flaky scenario has a loop."""
    async with aiohttp.ClientSession(connector=connector(limit)) as session:
        sends = sends_of(session.get, session.post, url)
        yield sends | {"flaky": by_hand(sends["flaky"])}


async def _pass(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    return await handler(request)


@asynccontextmanager
async def passthrough(url: str, limit: int) -> AsyncIterator[Sends]:
    """Open a session with a client middleware that does nothing."""
    async with aiohttp.ClientSession(connector=connector(limit), middlewares=[_pass]) as session:
        sends = sends_of(session.get, session.post, url)
        yield sends | {"flaky": by_hand(sends["flaky"])}


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
