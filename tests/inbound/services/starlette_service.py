"""Starlette, wrapped from outside, with a lifespan of its own that yields state."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from tests.inbound.service import charge, note, wait_for_slow, whoami, wrapped


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
    """Take part in the protocol."""
    note("app.started")
    yield {"own": "state"}
    note("app.stopped")


async def see(_: Request) -> JSONResponse:
    """Say which request is being served."""
    return JSONResponse(await whoami())


async def pay(request: Request) -> JSONResponse:
    """Charge a card."""
    assert request.state.own == "state"
    return JSONResponse(await charge(request.scope["state"]))


async def wait(request: Request) -> JSONResponse:
    """Call what never answers."""
    return JSONResponse(await wait_for_slow(request.scope["state"]))


routes: Final = [Route("/whoami", see), Route("/charge", pay, methods=["POST"]), Route("/slow", wait)]
app: Final = wrapped(Starlette(routes=routes, lifespan=lifespan))
