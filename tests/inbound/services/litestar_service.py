"""Litestar, which answers every error itself: it is told what to answer ours with."""

from typing import Any, Final

from litestar import Litestar, Request, Response, get, post
from tests.inbound.service import charge, wait_for_slow, whoami, wrapped

from holdfast import HoldfastError, problem_of


@get("/whoami")
async def see() -> dict[str, Any]:
    """Say which request is being served."""
    return await whoami()


@post("/charge", status_code=200)
async def pay(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Charge a card."""
    return await charge(request.scope["state"])


@get("/slow")
async def wait(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Call what never answers."""
    return await wait_for_slow(request.scope["state"])


def answer(_: Request[Any, Any, Any], error: HoldfastError) -> Response[bytes]:
    """Answer with problem details."""
    problem = problem_of(error)
    return Response(problem.body, status_code=problem.status, headers=dict(problem.headers))


app: Final = wrapped(
    Litestar([see, pay, wait], exception_handlers={HoldfastError: answer}, openapi_config=None, logging_config=None)
)
