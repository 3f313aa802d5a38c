"""Holdfast, with every protection on as it is by default; only the pauses between attempts are nought."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from uuid import uuid4

from benchmarks.speed.adapters import Sends
from benchmarks.speed.adapters.calls import calls_of
from benchmarks.speed.adapters.plain import connector, fetching, submitting
from benchmarks.speed.scenarios import CREDENTIALS, ORDER, SCENARIOS

from holdfast import Policy, ResilientSession
from holdfast.providers import FINIX

_AT_ONCE: Final = Policy(backoff_base=0.0)


@asynccontextmanager
async def holdfast(url: str, limit: int) -> AsyncIterator[Sends]:
    """Open a session for any API, one with credentials, and one for Finix, which makes the key of a transfer itself."""
    charges, transfers = (f"{url}{SCENARIOS[name].path}" for name in ("post", "refused"))
    async with (
        ResilientSession(connector=connector(limit), policy=_AT_ONCE) as session,
        ResilientSession(connector=connector(limit), policy=_AT_ONCE, headers=CREDENTIALS) as authorized,
        ResilientSession(connector=connector(limit), policy=_AT_ONCE, provider=FINIX) as finix,
    ):
        post_any, post_finix = submitting(session.post), submitting(finix.post)

        async def charge() -> tuple[int, bytes]:
            return await post_any(charges, json=ORDER, idempotency_key=str(uuid4()))

        async def transfer() -> tuple[int, bytes]:
            return await post_finix(transfers, json=ORDER)

        own = {"post": charge, "refused": transfer}
        yield calls_of(fetching(session.get), post_any, url, authorized=fetching(authorized.get)) | own
