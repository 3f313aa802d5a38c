"""How the sandbox's tests drive it: a real server, a real aiohttp client, one fresh event loop per test."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import aiohttp

from holdfast.sandbox import Sandbox

T = TypeVar("T")

Scenario = Callable[[aiohttp.ClientSession, Sandbox], Awaitable[T]]


def drive(scenario: Scenario[T], **options: Any) -> T:
    """Run a scenario against a sandbox made with the given options."""

    async def main() -> T:
        async with Sandbox(**options) as sandbox, aiohttp.ClientSession(sandbox.url) as client:
            return await scenario(client, sandbox)

    return asyncio.run(main())


def payment(amount: int = 1000, key: str | None = "key-1", **more: Any) -> dict[str, Any]:
    """Make the body of a Finix transfer or authorization."""
    keyed = {} if key is None else {"idempotency_id": key}
    return {"merchant": "MU1", "currency": "USD", "source": "PI1", "amount": amount, **keyed, **more}


async def lost(coming: Awaitable[aiohttp.ClientResponse]) -> BaseException | None:
    """Await a response and its body, and give the failure that it ends in, if any."""
    try:
        async with await coming as response:
            await response.read()
    except aiohttp.ClientError as error:
        return error
    return None
