"""Aiohttp under the decorator of ``tenacity``."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import tenacity
from benchmarks.speed.adapters import Sends
from benchmarks.speed.adapters.retrying import RETRIED, decorated
from benchmarks.speed.scenarios import ATTEMPTS


@asynccontextmanager
async def opened(url: str, limit: int) -> AsyncIterator[Sends]:
    """Retry without pauses."""
    again = tenacity.retry(
        retry=tenacity.retry_if_exception_type(RETRIED),
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=tenacity.wait_none(),
        reraise=True,
    )
    async with decorated(url, limit, again) as sends:
        yield sends
