"""How a row's call is made, where there is more to it than making it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import aiohttp
from tests.faults.scene import Ended, Scene, outcome_of

Driver = Callable[[Scene], Awaitable[Ended]]

HOLD_S: Final = 0.45
"""Seconds for which a stranger holds the only connection: longer than one short timeout, shorter than two."""


async def send(scene: Scene) -> Ended:
    """Make the call."""
    return await outcome_of(scene.call(), scene)


async def send_with_open_circuit(scene: Scene) -> Ended:
    """Make the call while the origin's circuit is open."""
    scene.session.limits.open_circuit(scene.url.removesuffix("/payments"))
    return await outcome_of(scene.call(), scene)


async def send_closed(scene: Scene) -> Ended:
    """Make the call on a session that was closed."""
    await scene.session.close()
    return await outcome_of(scene.call(), scene)


async def send_without_connector(scene: Scene) -> Ended:
    """Make the call on a session whose connector was closed behind its back."""
    connector = scene.session.connector
    assert isinstance(connector, aiohttp.BaseConnector)
    await connector.close()
    return await outcome_of(scene.call(), scene)


async def send_on_reused(scene: Scene) -> Ended:
    """Make a call that succeeds, wait until the server is done with it, and make the row's on the same connection."""
    place = scene.url.removesuffix("/payments")
    response = await scene.session.client.get(f"{place}/warm-up")
    await response.read()
    await asyncio.sleep(0.05)
    return await outcome_of(scene.call(), scene)


async def send_from_crowded_pool(scene: Scene) -> Ended:
    """Make the call while another holds the only connection: for good, or until after the first attempt."""
    place = scene.url.removesuffix("/payments")
    holder = asyncio.ensure_future(scene.session.client.get(f"{place}/hold"))
    await asyncio.sleep(0.05)
    if scene.hits == 1:
        asyncio.get_running_loop().call_later(HOLD_S, holder.cancel)
    ended = await outcome_of(scene.call(), scene)
    holder.cancel()
    await asyncio.gather(holder, return_exceptions=True)
    return ended


async def cancel_once_written(scene: Scene) -> Ended:
    """Give the call up when the server has the whole of it."""
    calling = asyncio.ensure_future(scene.call())
    await _until(lambda: any(request.complete for request in scene.ledger.requests))
    calling.cancel()
    return await outcome_of(_of(calling), scene)


async def cancel_in_pause(scene: Scene) -> Ended:
    """Give the call up while it waits to try again."""
    calling = asyncio.ensure_future(scene.call())
    await _until(lambda: bool(scene.sink.named("outbound.retry")))
    calling.cancel()
    return await outcome_of(_of(calling), scene)


async def send_beside_another(scene: Scene) -> Ended:
    """Make the call while another process is at work on the same key."""
    other = scene.session.client.post(
        scene.url, data=scene.options["data"], headers={**scene.options["headers"], "Idempotency-Key": "key-1"}
    )
    running = asyncio.ensure_future(_of_context(other))
    await asyncio.sleep(0.05)
    ended = await outcome_of(scene.call(), scene)
    response = await running
    assert (response.status, await response.read()) == (200, ended.body)
    return ended


async def _until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - what is waited for belongs to the server and the library
        await asyncio.sleep(0.001)


async def _of(calling: "asyncio.Future[aiohttp.ClientResponse]") -> aiohttp.ClientResponse:
    return await calling


async def _of_context(coming: Awaitable[aiohttp.ClientResponse]) -> aiohttp.ClientResponse:
    return await coming
