"""Holdfast, with every protection on as it is by default; only the pauses between attempts are nought."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from uuid import uuid4

from benchmarks.speed.adapters import Sends
from benchmarks.speed.adapters.plain import connector, sends_of
from benchmarks.speed.scenarios import ORDER, SCENARIOS

from holdfast import Policy, ResilientSession
from holdfast.providers import FINIX

_AT_ONCE: Final = Policy(backoff_base=0.0)


@asynccontextmanager
async def holdfast(url: str, limit: int) -> AsyncIterator[Sends]:
    """Open a session for any API and one for Finix, which makes the key of a transfer itself."""
    charges, transfers = (f"{url}{SCENARIOS[name].path}" for name in ("post", "refused"))
    async with (
        ResilientSession(connector=connector(limit), policy=_AT_ONCE) as session,
        ResilientSession(connector=connector(limit), policy=_AT_ONCE, provider=FINIX) as finix,
    ):

        async def charge() -> tuple[int, bytes]:
            async with session.post(charges, json=ORDER, idempotency_key=str(uuid4())) as response:
                return response.status, await response.read()

        async def transfer() -> tuple[int, bytes]:
            async with finix.post(transfers, json=ORDER) as response:
                return response.status, await response.read()

        yield sends_of(session.get, session.post, url) | {"post": charge, "refused": transfer}
