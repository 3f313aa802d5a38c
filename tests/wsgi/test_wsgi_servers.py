"""The middleware in real servers, around real frameworks, with the sandbox behind them."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import aiohttp
import pytest
from tests.blocking.serving import on_a_thread
from tests.support import run
from tests.wsgi.servers import SERVERS, Server, serving

from holdfast.sandbox import Sandbox

FRAMEWORKS: Final = ("bare", "flask", "django")
REQUESTS: Final = 1000
AT_ONCE: Final = 32


class Shop(NamedTuple):
    """A server and the bank behind it."""

    server: Server
    bank: Sandbox


@pytest.fixture(scope="module", params=SERVERS)
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Run a server of each kind, once for all tests of this file."""
    log = tmp_path_factory.mktemp("shop") / "log.jsonl"
    with on_a_thread(Sandbox(slow_s=60.0)) as bank, serving(request.param, bank.url, log) as server:
        yield Shop(server, bank)


class Said(NamedTuple):
    """An answer of the shop."""

    status: int
    kind: str
    document: Any
    took_s: float


async def post(client: aiohttp.ClientSession, path: str, **headers: str) -> Said:
    """Ask the shop to do something."""
    begun = time.monotonic()
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.post(path, headers=given) as response:
        document = await response.json(content_type=None)
        return Said(response.status, response.content_type, document, time.monotonic() - begun)


def test_an_inbound_deadline_of_two_seconds_ends_the_outbound_call(shop: Shop) -> None:
    """A service behind an impatient gateway would work on for callers that have long gone."""

    async def scenario() -> list[Said]:
        async with aiohttp.ClientSession(shop.server.url) as client:
            asked = [post(client, f"/{name}/wait", X_Request_Timeout="2") for name in FRAMEWORKS]
            return await asyncio.gather(*asked)

    answers = run(scenario())

    calls = [line for line in shop.server.lines("outbound.call") if line.get("operation") == "wait"]
    assert [(said.status, said.kind) for said in answers] == [(504, "application/problem+json")] * 3
    assert [line["stop_reason"] for line in calls] == ["deadline"] * 3
    assert all(1.0 < line["elapsed_s"] < 2.5 for line in calls), calls


def test_a_thousand_interleaved_requests_keep_their_contexts_apart(shop: Shop) -> None:
    """A request would be logged, limited and charged in another one's name."""

    async def ask(client: aiohttp.ClientSession, gate: asyncio.Semaphore, number: int) -> str:
        where = f"/{FRAMEWORKS[number % 3]}/parts?number={number}"
        async with gate, client.get(where, headers={"X-Request-ID": f"r-{number}"}) as response:
            return await response.text()

    async def scenario() -> list[str]:
        gate = asyncio.Semaphore(AT_ONCE)
        async with aiohttp.ClientSession(shop.server.url) as client:
            return await asyncio.gather(*(ask(client, gate, number) for number in range(REQUESTS)))

    answers = run(scenario())

    own = shop.server.lines("part")
    calls = [line for line in shop.server.lines("outbound.call") if line.get("operation") == "part"]
    assert answers == [f"r-{number}\n" * 3 for number in range(REQUESTS)]
    assert Counter((line["number"], line["request_id"]) for line in own) == dict.fromkeys(
        ((number, f"r-{number}") for number in range(REQUESTS)), 3
    )
    assert sorted((line["path"], line["inbound_request_id"]) for line in calls) == sorted(
        (f"/transfers/{number}", f"r-{number}") for number in range(0, REQUESTS, 20)
    )
    assert shop.server.lines("leaked") == []


def test_a_retry_charges_once_and_another_tenant_apart_also_after_a_restart(shop: Shop) -> None:
    """A caller that tries again would pay twice, or get the answer to another tenant's payment."""

    async def charges(tenant: str) -> list[Said]:
        async with aiohttp.ClientSession(shop.server.url) as client:
            return [
                await post(client, f"/{name}/charge", Idempotency_Key="order-7", X_Tenant=f"{tenant}-{name}")
                for name in FRAMEWORKS
                for _ in range(2)
            ]

    before = shop.bank.ledger.count
    first = run(charges("a"))
    shop.server.stop()
    opened, closed = (Counter(line["pid"] for line in shop.server.lines(word)) for word in ("opened", "closed"))
    shop.server.start()
    again, others = run(charges("a")), run(charges("b"))

    ids = {said.document["id"] for said in first}
    assert {said.status for said in [*first, *again, *others]} == {201}
    assert (len(ids), {said.document["id"] for said in again}) == (3, ids)
    assert len({said.document["id"] for said in others} - ids) == 3
    assert shop.bank.ledger.count == before + 6
    assert set(opened.values()) == {1}, "sessions are opened once per process"
    assert closed == opened, "and closed once"
    assert {said.document["pid"] for said in first} <= set(opened)
