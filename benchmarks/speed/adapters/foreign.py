"""``httpx``, by itself and with ``httpx-retries``; pools and timeouts as aiohttp has them by default."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
from benchmarks.speed.adapters import Fetch, Sends, Submit
from benchmarks.speed.adapters.calls import by_hand, calls_of
from benchmarks.speed.scenarios import ATTEMPTS, CREDENTIALS

_TIMEOUT: Final = httpx.Timeout(300.0)


def _limits(limit: int) -> httpx.Limits:
    most = limit or None
    return httpx.Limits(max_connections=most, max_keepalive_connections=most, keepalive_expiry=15.0)


def _fetching(client: httpx.AsyncClient) -> Fetch:
    async def fetch(url: str) -> tuple[int, bytes]:
        response = await client.get(url)
        return response.status_code, response.content

    return fetch


def _submitting(client: httpx.AsyncClient) -> Submit:
    async def submit(url: str, **keywords: Any) -> tuple[int, bytes]:  # noqa: ANN401 - as httpx's
        response = await client.post(url, **keywords)
        return response.status_code, response.content

    return submit


@asynccontextmanager
async def bare(url: str, limit: int) -> AsyncIterator[Sends]:
    """Open a plain client; only the flaky scenario has a loop."""
    async with (
        httpx.AsyncClient(limits=_limits(limit), timeout=_TIMEOUT) as client,
        httpx.AsyncClient(limits=_limits(limit), timeout=_TIMEOUT, headers=CREDENTIALS) as authorized,
    ):
        fetch, signed = _fetching(client), _fetching(authorized)
        yield calls_of(fetch, _submitting(client), url, authorized=signed, retrying=by_hand(fetch))


@asynccontextmanager
async def retrying(url: str, limit: int) -> AsyncIterator[Sends]:
    """Open a client with the retrying transport."""
    from httpx_retries import Retry, RetryTransport  # noqa: PLC0415 - `bare` must not pay for it

    inner = httpx.AsyncHTTPTransport(limits=_limits(limit))
    transport = RetryTransport(transport=inner, retry=Retry(total=ATTEMPTS - 1, backoff_factor=0.0))
    async with (
        httpx.AsyncClient(transport=transport, timeout=_TIMEOUT) as client,
        httpx.AsyncClient(transport=transport, timeout=_TIMEOUT, headers=CREDENTIALS) as authorized,
    ):
        yield calls_of(_fetching(client), _submitting(client), url, authorized=_fetching(authorized))
