"""FastAPI, with the middleware added by its own means."""

from typing import Any, Final

from fastapi import FastAPI, Request
from tests.inbound.service import OPTIONS, charge, configure_log, wait_for_slow, whoami

from holdfast.asgi import OutboundMiddleware

configure_log()
app: Final = FastAPI()
app.add_middleware(OutboundMiddleware, **OPTIONS)


@app.get("/whoami")
async def see() -> dict[str, Any]:
    """Say which request is being served."""
    return await whoami()


@app.post("/charge")
async def pay(request: Request) -> dict[str, Any]:
    """Charge a card."""
    return await charge(request.scope["state"])


@app.get("/slow")
async def wait(request: Request) -> dict[str, Any]:
    """Call what never answers."""
    return await wait_for_slow(request.scope["state"])
