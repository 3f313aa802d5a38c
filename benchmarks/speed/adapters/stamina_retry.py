"""Aiohttp under the decorator of ``stamina``."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import stamina
from benchmarks.speed.adapters import Sends
from benchmarks.speed.adapters.retrying import RETRIED, decorated
from benchmarks.speed.scenarios import ATTEMPTS


@asynccontextmanager
async def opened(url: str, limit: int) -> AsyncIterator[Sends]:
    """Retry without pauses."""
    again = stamina.retry(on=RETRIED, attempts=ATTEMPTS, timeout=None, wait_initial=0.0, wait_max=0.0, wait_jitter=0.0)
    async with decorated(url, limit, again) as sends:
        yield sends
