"""A shop that charges cards, three times over: as a bare WSGI application, in Flask and in Django.

Real servers import it; ``SHOP_BANK`` names the sandbox, ``SHOP_LOG`` the file that its log lines go to.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.util import shift_path_info

import aiohttp
import django
import flask
import structlog
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

from holdfast import HoldfastError
from holdfast.blocking import BlockingSession
from holdfast.engine.inbound import current
from holdfast.providers import FINIX
from holdfast.wsgi import OutboundMiddleware, problem_answer

BANK: Final = os.environ["SHOP_BANK"]
LOG: Final = Path(os.environ["SHOP_LOG"])

Sessions = Mapping[str, BlockingSession]

structlog.configure(
    processors=[structlog.contextvars.merge_contextvars, structlog.processors.JSONRenderer()],
    logger_factory=structlog.WriteLoggerFactory(file=LOG.open("a", buffering=1)),
)
log: Final = structlog.get_logger()


class NotingConnector(aiohttp.TCPConnector):
    """Notes in the log that it was made, and that it was closed."""

    def __init__(self) -> None:
        super().__init__()
        log.info("opened", pid=os.getpid())

    def close(self, *, abort_ssl: bool = False) -> Any:
        if not self.closed:
            log.info("closed", pid=os.getpid())
        return super().close(abort_ssl=abort_ssl)


def charge(sessions: Sessions) -> tuple[int, dict[str, Any]]:
    """Charge a card."""
    payment = {"amount": 1000, "currency": "USD", "merchant": "MU1", "source": "PI1"}
    response = sessions["finix"].post("/transfers", json=payment, operation="charge")
    return response.status, {"id": response.json()["id"]}


def wait(sessions: Sessions) -> tuple[int, dict[str, Any]]:
    """Make a call whose answer comes far too late."""
    payment = {"amount": 1000, "currency": "USD", "merchant": "MU1", "source": "PI1"}
    sessions["finix"].post("/transfers", json=payment, operation="wait", headers={"X-Sandbox-Fault": "slow"})
    return 500, {}


def parts(sessions: Sessions, number: int) -> Iterator[bytes]:
    """Say three times whose request this is; every twentieth also asks the bank in between."""
    for part in range(3):
        inbound = current()
        log.info("part", number=number)
        if part == 1 and number % 20 == 0:
            sessions["finix"].get(f"/transfers/{number}", operation="part")
        time.sleep(0.0005)  # lets another thread in
        yield f"{inbound and inbound.request_id}\n".encode()


# --- bare


def bare(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Serve without a framework."""
    sessions: Sessions = environ["holdfast.sessions"]
    if environ["PATH_INFO"] == "/parts":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return parts(sessions, int(parse_qs(environ["QUERY_STRING"])["number"][0]))
    status, document = {"/charge": charge, "/wait": wait}[environ["PATH_INFO"]](sessions)
    start_response(f"{status} Said", [("Content-Type", "application/json")])
    return [json.dumps({**document, "pid": os.getpid()}).encode()]


# --- Flask

in_flask: Final = flask.Flask("shop")
in_flask.register_error_handler(HoldfastError, problem_answer)


@in_flask.get("/parts")
def flask_parts() -> flask.Response:
    """Stream."""
    made = parts(flask.request.environ["holdfast.sessions"], int(flask.request.args["number"]))
    return flask.Response(flask.stream_with_context(made), mimetype="text/plain")


@in_flask.post("/<any(charge, wait):action>")
def flask_action(action: str) -> tuple[dict[str, Any], int]:
    """Charge or wait."""
    status, document = {"charge": charge, "wait": wait}[action](flask.request.environ["holdfast.sessions"])
    return {**document, "pid": os.getpid()}, status


# --- Django


class DjangoProblems:
    """Django's form of an exception handler."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, _: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, HoldfastError):
            return None
        body, status, headers = problem_answer(error)
        return HttpResponse(body, status=status, headers=headers)


def django_parts(request: HttpRequest) -> HttpResponse:
    """Stream."""
    made = parts(request.environ["holdfast.sessions"], int(request.GET["number"]))
    return StreamingHttpResponse(made, content_type="text/plain")


def django_action(request: HttpRequest, action: str) -> HttpResponse:
    """Charge or wait."""
    status, document = {"charge": charge, "wait": wait}[action](request.environ["holdfast.sessions"])
    return HttpResponse(json.dumps({**document, "pid": os.getpid()}), status=status, content_type="application/json")


urlpatterns: Final = [path("parts", django_parts), path("<str:action>", django_action)]

settings.configure(
    ALLOWED_HOSTS=["*"],
    LOGGING_CONFIG=None,
    MIDDLEWARE=[f"{__name__}.DjangoProblems"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="of no use to anybody",
)
django.setup()
in_django: Final = get_wsgi_application()


# --- all three, behind one middleware

from_before_the_fork: Final = BlockingSession(BANK)
"""Made, and used, where the server imports this: with --preload, in the master."""

from_before_the_fork.get("/nothing")


def shops(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Choose by the first part of the path."""
    name = shift_path_info(environ)
    if name == "ready":
        status = from_before_the_fork.get("/nothing").status
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"{os.getpid()} {status}".encode()]
    shop: WSGIApplication = {"bare": bare, "flask": in_flask, "django": in_django}[str(name)]
    return shop(environ, start_response)


with_sessions: Final = OutboundMiddleware(
    shops,
    {"finix": lambda: BlockingSession(BANK, provider=FINIX, connector=NotingConnector)},
    secret=b"0123456789abcdef0123456789abcdef",
    scope=lambda environ: environ.get("HTTP_X_TENANT"),
)


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Stand outside of the middleware, where nothing of a request may be left."""
    if (left := current()) is not None:
        log.error("leaked", of=left.request_id)
    body = with_sessions(environ, start_response)
    if (left := current()) is not None:
        log.error("leaked", of=left.request_id)
    return body
