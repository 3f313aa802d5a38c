"""``httpx``, by itself and with ``httpx-retries``; pools and timeouts as aiohttp has them by default."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from uuid import uuid4

import httpx
from benchmarks.speed.adapters import Send, Sends
from benchmarks.speed.adapters.plain import by_hand
from benchmarks.speed.scenarios import ATTEMPTS, HELD, KEY_FIELD, KEY_HEADER, ORDER, SCENARIOS

_TIMEOUT: Final = httpx.Timeout(300.0)


def _limits(limit: int) -> httpx.Limits:
    most = limit or None
    return httpx.Limits(max_connections=most, max_keepalive_connections=most, keepalive_expiry=15.0)


def _sends_of(client: httpx.AsyncClient, url: str) -> Sends:
    charges, transfers = (f"{url}{SCENARIOS[name].path}" for name in ("post", "refused"))

    def getting(address: str) -> Send:
        async def send() -> tuple[int, bytes]:
            response = await client.get(address)
            return response.status_code, response.content

        return send

    async def charge() -> tuple[int, bytes]:
        response = await client.post(charges, json=ORDER, headers={KEY_HEADER: str(uuid4())})
        return response.status_code, response.content

    async def transfer() -> tuple[int, bytes]:
        response = await client.post(transfers, json=ORDER | {KEY_FIELD: str(uuid4())})
        return response.status_code, response.content

    return {
        "get": getting(f"{url}{SCENARIOS['get'].path}"),
        "post": charge,
        "flaky": getting(f"{url}{SCENARIOS['flaky'].path}"),
        "refused": transfer,
        "held": getting(f"{url}{HELD}"),
    }


@asynccontextmanager
async def bare(url: str, limit: int) -> AsyncIterator[Sends]:
    """Open a plain client; only the flaky scenario has a loop."""
    async with httpx.AsyncClient(limits=_limits(limit), timeout=_TIMEOUT) as client:
        sends = _sends_of(client, url)
        yield sends | {"flaky": by_hand(sends["flaky"])}


@asynccontextmanager
async def retrying(url: str, limit: int) -> AsyncIterator[Sends]:
    """Open a client with the retrying transport."""
    from httpx_retries import Retry, RetryTransport  # noqa: PLC0415 - `bare` must not pay for it

    inner = httpx.AsyncHTTPTransport(limits=_limits(limit))
    transport = RetryTransport(transport=inner, retry=Retry(total=ATTEMPTS - 1, backoff_factor=0.0))
    async with httpx.AsyncClient(transport=transport, timeout=_TIMEOUT) as client:
        yield _sends_of(client, url)
