"""Aiohttp with what its users retry with; pauses are nought, and a refusal is no reason to send again."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import backoff
from benchmarks.speed.adapters import Sends, Submit
from benchmarks.speed.adapters.calls import calls_of
from benchmarks.speed.adapters.plain import fetching, sessions, submitting
from benchmarks.speed.scenarios import AGAIN, ATTEMPTS


class AgainError(Exception):
    """Raised inside of a retry decorator to be sent again."""


RETRIED: Final = (AgainError, aiohttp.ClientError, TimeoutError)


def _raising(send: Submit) -> Submit:
    async def checked(*arguments: Any, **keywords: Any) -> tuple[int, bytes]:  # noqa: ANN401 - handed on
        status, body = await send(*arguments, **keywords)
        if status == AGAIN:
            raise AgainError
        return status, body

    return checked


@asynccontextmanager
async def decorated(url: str, limit: int, decorate: Callable[[Submit], Submit]) -> AsyncIterator[Sends]:
    """Open plain sessions, and put a decorator on what sends through them."""
    async with sessions(limit) as (session, authorized):
        sends = fetching(session.get), submitting(session.post), fetching(authorized.get)
        fetch, submit, signed = (decorate(_raising(send)) for send in sends)
        yield calls_of(fetch, submit, url, authorized=signed)


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
        sessions(limit) as (session, authorized),
        RetryClient(client_session=session, retry_options=options) as client,
        RetryClient(client_session=authorized, retry_options=options) as signed,
    ):
        yield calls_of(fetching(client.get), submitting(client.post), url, authorized=fetching(signed.get))
