"""Aiohttp with what its users retry with; pauses are nought, and a refusal is no reason to send again."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
import backoff
from benchmarks.speed.adapters import Send, Sends
from benchmarks.speed.adapters.plain import connector, sends_of
from benchmarks.speed.scenarios import AGAIN, ATTEMPTS, SCENARIOS


class AgainError(Exception):
    """Raised inside of a retry decorator to be sent again."""


RETRIED: Final = (AgainError, aiohttp.ClientError, TimeoutError)


def _raising(send: Send) -> Send:
    async def checked() -> tuple[int, bytes]:
        status, body = await send()
        if status == AGAIN:
            raise AgainError
        return status, body

    return checked


@asynccontextmanager
async def decorated(url: str, limit: int, decorate: Callable[[Send], Send]) -> AsyncIterator[Sends]:
    """Open a plain session, and put a decorator on every call made through it."""
    async with aiohttp.ClientSession(connector=connector(limit)) as session:
        sends = sends_of(session.get, session.post, url)
        yield sends | {name: decorate(_raising(sends[name])) for name in SCENARIOS}


@asynccontextmanager
async def with_backoff(url: str, limit: int) -> AsyncIterator[Sends]:
    """Use the decorator of ``backoff``."""
    again = backoff.on_exception(backoff.constant, RETRIED, max_tries=ATTEMPTS, interval=0, jitter=None)
    async with decorated(url, limit, again) as sends:
        yield sends


@asynccontextmanager
async def with_aiohttp_retry(url: str, limit: int) -> AsyncIterator[Sends]:
    """Use the client of ``aiohttp-retry``, which sends again after any 5xx."""
    from aiohttp_retry import ListRetry, RetryClient  # noqa: PLC0415 - `backoff` must not pay for it

    options = ListRetry(timeouts=[0.0] * (ATTEMPTS - 1))
    async with (
        aiohttp.ClientSession(connector=connector(limit)) as session,
        RetryClient(client_session=session, retry_options=options) as client,
    ):
        yield sends_of(client.get, client.post, url)
