"""No secret of a call reaches a log line, a report, or the text or pickle of what we raise."""

import asyncio
import io
import logging
import pickle
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import pytest
import structlog
from tests.support import (
    Behaviour,
    Peer,
    answer,
    cut,
    drop,
    failure,
    hang,
    raw,
    refused_port,
    run,
    said,
    silent_address,
)

from holdfast import HoldfastError, Policy, Provider, ResilientSession, report_of
from holdfast.providers import FIANT, FINIX, GENERIC
from holdfast.telemetry.structlog import LogSink
from holdfast.testing import RecordingSink

BEARER: Final = "bearer-5ecret-7f3a"
PASSWORD: Final = "passw0rd-5ecret"
API_KEY: Final = "apikey-5ecret-91"
CARD: Final = "4242424242424242"
QUERY: Final = "query-5ecret-33"
COOKIE: Final = "cookie-5ecret-44"
FRAGMENT: Final = "fragment-5ecret"
ECHO: Final = "echoed-5ecret-55"
SECRETS: Final = (BEARER, PASSWORD, API_KEY, CARD, QUERY, COOKIE, FRAGMENT, ECHO)
QUICK: Final = Policy(backoff_base=0.0, deadline=0.3, max_attempts=2)

ENDINGS: Final[dict[str, Behaviour]] = {
    "success": answer(201),
    "success with a body": said(201, {"card": CARD, "echo": ECHO}),
    "refused": said(400, {"logref": "L1", "code": "BAD", "message": "No.", "echo": ECHO}, set_cookie=COOKIE),
    "unavailable": said(503, {"logref": "L1", "echo": ECHO}, x_secret=ECHO),
    "conflict": answer(409, x_secret=ECHO),
    "dropped": drop(),
    "malformed": raw(f"HTTP/1.1 {ECHO}\r\n\r\n".encode(), then="close"),
    "lost body": cut(201, ECHO.encode(), 1000),
    "never": hang(),
    "redirect": answer(302, location=f"/there?token={QUERY}"),
    "bad redirect": answer(302, location=f"ftp://user:{PASSWORD}@host/?token={QUERY}"),
    "worse redirect": answer(302, location=f"http://[?token={QUERY}"),
}


class Collector(logging.Handler):
    """Keeps what a log file would hold."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.text = ""
        self.setFormatter(logging.Formatter("%(name)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.text += self.format(record) + repr({k: v for k, v in vars(record).items() if k not in ("msg", "args")})


def texts_of(error: BaseException) -> list[str]:
    """Everything of an error of ours that can end in a log, a ticket or a queue."""
    found = [str(report_of(error)), repr(report_of(error))]
    if isinstance(error, HoldfastError):
        found += [str(error), repr(error), pickle.dumps(error).decode("latin-1"), str(error.args)]
        found += traceback.format_exception(error, chain=False)
        found += [repr(error.__dict__.get("request_info")), repr(error.__dict__.get("history"))]
    return found


@asynccontextmanager
async def collecting() -> AsyncIterator[tuple[Collector, RecordingSink, io.StringIO]]:
    """Collect everything that is logged meanwhile."""
    handler, out = Collector(), io.StringIO()
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield handler, RecordingSink(), out
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


async def leaks(
    behaviour: Behaviour | None, provider: Provider, method: str, *, cancel: bool = False, port: int = 0, **options: Any
) -> set[str]:
    """Make one call full of secrets; give those that got out."""
    async with collecting() as (handler, sink, out), Peer(behaviour or hang()) as peer:
        logger = structlog.wrap_logger(structlog.PrintLogger(out), processors=[structlog.processors.JSONRenderer()])
        url = f"http://user:{PASSWORD}@127.0.0.1:{port or peer.port}/transfers?card={CARD}&token={QUERY}#{FRAGMENT}"
        async with ResilientSession(
            provider=provider,
            policy=QUICK,
            sinks=[sink, LogSink(), LogSink(logger)],
            headers={"X-Api-Key": API_KEY},
            cookies={"session": COOKIE},
        ) as session:
            call = asyncio.ensure_future(session.request(method, url, headers={"X-Token": BEARER}, **options))
            if cancel:
                await asyncio.sleep(0.02)
                call.cancel()
            await asyncio.wait([call])
            ended: Any = None if call.cancelled() else call.exception() or call.result()
            texts = [repr(session), str(session), handler.text, out.getvalue(), repr(sink.events)]
            texts += texts_of(ended) if isinstance(ended, BaseException) else [repr(report_of(ended))]
            assert sink.named("outbound.call")
            assert out.getvalue()
            assert "outbound.call" in handler.text
    return {secret for secret in SECRETS for text in texts if secret in text}


BODIES: Final[dict[str, dict[str, Any]]] = {
    "json": {"json": {"card": CARD}},
    "text": {"data": f'{{"card": "{CARD}"}}'},
    "form": {"data": {"card": CARD}},
}


@pytest.mark.parametrize("provider", [GENERIC, FINIX, FIANT], ids=lambda provider: provider.name)
@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("ending", ENDINGS)
def test_no_secret_gets_out_however_the_call_ends(provider: Provider, ending: str, *, raises: bool) -> None:
    """A card number in a log file is an incident with a legal deadline of its own."""
    found = run(leaks(ENDINGS[ending], provider, "POST", raise_for_status=raises, **BODIES["json"]))

    assert found == set()


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_no_secret_gets_out_of_any_body(body: str, method: str) -> None:
    """A form is as secret as a JSON document."""
    found = run(leaks(ENDINGS["unavailable"], FINIX, method, raise_for_status=True, **BODIES[body]))

    assert found == set()


def test_no_secret_gets_out_of_a_refused_connection() -> None:
    """The error of a wrong port would print the password that stands before the host."""
    assert run(leaks(None, GENERIC, "POST", port=refused_port(), **BODIES["json"])) == set()


def test_no_secret_gets_out_of_a_cancelled_call() -> None:
    """A shutdown would write the card number of every payment in flight."""
    assert run(leaks(hang(), FINIX, "POST", cancel=True, **BODIES["json"])) == set()


def test_no_secret_gets_out_of_a_lookup() -> None:
    """The lookup of a payment in doubt would write what the payment itself did not."""

    async def scenario() -> set[str]:
        return await leaks(answer(500), FINIX, "POST", **BODIES["json"])

    assert run(scenario()) == set()


def test_a_connect_timeout_does_not_print_the_address() -> None:
    """Aiohttp writes the whole URL, query and all, into this one error, which is raised as itself."""

    async def scenario() -> BaseException:
        async with (
            silent_address() as port,
            ResilientSession(policy=QUICK, timeout=aiohttp.ClientTimeout(sock_connect=0.05)) as session,
        ):
            return await failure(session.get(f"http://user:{PASSWORD}@127.0.0.1:{port}/?token={QUERY}"))

    error = run(scenario())

    assert isinstance(error, aiohttp.ConnectionTimeoutError)
    assert not [secret for secret in SECRETS if secret in str(error) + repr(error)]


def test_a_wrong_key_is_not_repeated_in_its_error() -> None:
    """A key that was mistaken for another secret would stand in the traceback."""

    async def scenario() -> list[BaseException]:
        async with ResilientSession("http://127.0.0.1:1", provider=FIANT) as session:
            path = "/v1/transactions/deposits"
            return [
                await failure(session.post(path, json={}, idempotency_key=f"{PASSWORD} upper CASE")),
                await failure(session.post(path, json={}, headers={"x-pti-request-id": f"{PASSWORD} CASE"})),
                await failure(session.post("/v1/users", json={}, idempotency_key=PASSWORD)),
            ]

    errors = run(scenario())

    assert [type(error) for error in errors] == [ValueError] * 3
    assert not [error for error in errors if PASSWORD in str(error)]
