"""Sets up one row, makes the call, and gives back how it ended and what the server saw."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import aiohttp
from tests.faults.certificates import certificates
from tests.faults.handlers import healthy
from tests.faults.ledger import Ledger
from tests.faults.places import Place, Signposts, server, tunnel
from tests.faults.rows import PATIENT, Ask, Row, Variant
from tests.faults.scene import Ended, Scene
from tests.support import run, run_virtual

from holdfast import Policy, ResilientSession
from holdfast.testing import RecordingSink

METHODS: Final = {"G": "GET", "PK": "POST", "P": "POST", "U": "PUT"}
CALL: Final = "call-1"
KEY: Final = "key-1"
ALWAYS: Final = 99
"""More attempts than any row makes."""


def run_row(row: Row, case: str, variant: Variant) -> Ended:
    """Make the row's call and give its ending. Nothing may be left behind."""

    async def main() -> Ended:
        async with _scene(row, case, variant) as scene:
            return await asyncio.wait_for(row.drive(scene), None if row.ask.virtual else 20)

    return (run_virtual if row.ask.virtual else run)(main())


@asynccontextmanager
async def _scene(row: Row, case: str, variant: Variant) -> AsyncIterator[Scene]:
    ask, ledger, sink = row.ask, Ledger(f"{row.name} {case}"), RecordingSink()
    hits = 1 if variant == "first" else ALWAYS
    async with AsyncExitStack() as stack:
        steps = [await stack.enter_async_context(row.place(ledger))]
        if variant == "first":
            steps.append(await stack.enter_async_context(_healthy_place(ask)(ledger)))
        connector = aiohttp.TCPConnector(
            resolver=Signposts(*steps),
            use_dns_cache=False,
            ssl=certificates().client if ask.client_tls is None else ask.client_tls(),
            **ask.connector(hits),
        )
        policy = Policy(**{**PATIENT, **ask.policy})
        session = await stack.enter_async_context(
            ResilientSession(connector=connector, policy=policy, sinks=[sink], **ask.session)
        )
        yield Scene(
            session=session,
            method=METHODS[case],
            url=ask.url,
            options=_options(ask, case),
            ledger=ledger,
            hits=hits,
            sink=sink,
        )


def _healthy_place(ask: Ask) -> Place:
    if not ask.url.startswith("https"):
        return server(healthy)
    origin = server(healthy, lambda: certificates().good)
    return origin if ask.proxy is None else tunnel(origin)


def _options(ask: Ask, case: str) -> dict[str, Any]:
    options: dict[str, Any] = {"headers": {"X-Call": CALL, "Content-Type": "application/json"}, **ask.options}
    if case != "G":
        options["data"] = ask.body()
    if case == "PK":
        options["idempotency_key"] = KEY
    if ask.proxy is not None:
        options["proxy"] = ask.proxy
    if ask.timeout is not None:
        options["timeout"] = ask.timeout
    return options
