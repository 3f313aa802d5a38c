"""Django on ASGI, which knows no lifespan and answers every error itself: a middleware of its own says what with."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from tests.inbound.service import charge, wait_for_slow, whoami, wrapped

from holdfast import HoldfastError, problem_of


async def see(_: HttpRequest) -> JsonResponse:
    """Say which request is being served."""
    return JsonResponse(await whoami())


async def pay(request: Any) -> JsonResponse:
    """Charge a card."""
    return JsonResponse(await charge(request.scope["state"]))


async def wait(request: Any) -> JsonResponse:
    """Call what never answers."""
    return JsonResponse(await wait_for_slow(request.scope["state"]))


class Answering:
    """Answers errors of ours with problem details."""

    async_capable = True
    sync_capable = False

    def __init__(self, get_response: Callable[[HttpRequest], Awaitable[HttpResponse]]) -> None:
        self._get_response = get_response

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        return await self._get_response(request)

    async def process_exception(self, _: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, HoldfastError):
            return None
        problem = problem_of(error)
        return HttpResponse(problem.body, status=problem.status, headers=dict(problem.headers))


urlpatterns: Final = [path("whoami", see), path("charge", pay), path("slow", wait)]
settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    MIDDLEWARE=[f"{__name__}.Answering"],
    SECRET_KEY="x",
    LOGGING_CONFIG=None,
)
django.setup()
app: Final = wrapped(get_asgi_application())
