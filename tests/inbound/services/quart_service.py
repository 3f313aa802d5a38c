"""Quart, which answers every error itself: it is told what to answer ours with."""

from typing import Any, Final

from quart import Quart, Response, request
from tests.inbound.service import charge, wait_for_slow, whoami, wrapped

from holdfast import HoldfastError, problem_of

quart: Final = Quart(__name__)


@quart.get("/whoami")
async def see() -> dict[str, Any]:
    """Say which request is being served."""
    return await whoami()


@quart.post("/charge")
async def pay() -> dict[str, Any]:
    """Charge a card."""
    return await charge(request.scope["state"])


@quart.get("/slow")
async def wait() -> dict[str, Any]:
    """Call what never answers."""
    return await wait_for_slow(request.scope["state"])


@quart.errorhandler(HoldfastError)
async def answer(error: HoldfastError) -> Response:
    """Answer with problem details."""
    problem = problem_of(error)
    return Response(problem.body, status=problem.status, headers=dict(problem.headers))


app: Final = wrapped(quart)
