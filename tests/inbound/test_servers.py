"""Real servers, real frameworks, the sandbox behind them: what the middleware promises holds in each pair."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from tests.inbound.nursery import FRAMEWORKS, SERVERS, Nursery, nursery
from tests.support import Peer, hang, run, until

from holdfast.sandbox import Sandbox

REQUESTS: Final = 1_000
AT_ONCE: Final = 100
LIMIT_S: Final = 2.0
LAG_S: Final = 1.0
"""By which a loop that serves a thousand requests, on a busy machine, may be late."""


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Start one nursery for all pairs that this worker is given; none may complain of what was left behind."""
    printed = tmp_path_factory.mktemp("servers") / "stderr.txt"
    with nursery(printed) as started:
        yield started
    complaints = re.findall(".*(?:Traceback|Unclosed|never retrieved|never awaited|destroyed).*", printed.read_text())
    assert complaints == []


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What a client, and the log, saw of one service from its start to its end."""

    sessions: dict[str, int]
    strangers: list[Any]
    """Answers that show another request's id than was sent."""

    slow: tuple[int, str]
    slow_s: Any
    """How long its call lived, by its own report."""

    slow_connections: int
    """All of them are closed again."""

    charges: list[int]
    effects: int
    lines: dict[str, set[str]]
    """Events of the log by the inbound request's id."""


def is_slow(line: dict[str, Any]) -> bool:
    """Say whether it is the verdict on the call that was never answered."""
    return bool(line["event"] == "outbound.call" and line["inbound_request_id"] == "slow")


async def ask(client: aiohttp.ClientSession, number: int, gate: asyncio.Semaphore) -> Any:
    """Ask who we are; give the answer where it is another's."""
    name = f"r-{number}"
    async with gate, client.get("/whoami", headers={"X-Request-ID": name}) as response:
        answer = await response.json()
        return None if answer == {"id": name, "logged": name} else (name, answer)


async def call_slow(client: aiohttp.ClientSession) -> tuple[int, str]:
    """Ask for what never comes; give the answer."""
    async with client.get("/slow", headers={"X-Request-Timeout": str(LIMIT_S), "X-Request-ID": "slow"}) as response:
        await response.read()
        return response.status, response.content_type


async def charge(client: aiohttp.ClientSession, name: str, tenant: str, key: str) -> int:
    """Have a card charged; give the provider's status."""
    headers = {"X-Request-ID": name, "X-Tenant": tenant, "Idempotency-Key": key}
    async with client.post("/charge", headers=headers) as response:
        assert response.status == 200, await response.text()
        return int((await response.json())["status"])


def lines_of(log: Path) -> list[dict[str, Any]]:
    """Read a service's log."""
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


def events_by_request(lines: list[dict[str, Any]]) -> dict[str, set[str]]:
    """Group the log by the inbound request's id."""
    grouped: dict[str, set[str]] = {}
    for line in lines:
        name = line.get("inbound_request_id") or line.get("request_id")
        if name is not None:
            grouped.setdefault(name, set()).add(line["event"])
    return grouped


async def visit(servers: Nursery, server: str, framework: str, log: Path) -> Visit:
    """Start a service, do everything with it at once, and stop it."""
    gate = asyncio.Semaphore(AT_ONCE)
    async with Sandbox() as bank, Peer(hang()) as slow:
        environment = {"SERVICE_LOG": log, "SERVICE_BANK": bank.url, "SERVICE_SLOW": slow.url}
        async with servers.running(server, framework, **environment) as url, aiohttp.ClientSession(url) as client:
            waiting = asyncio.ensure_future(call_slow(client))
            answers = await asyncio.gather(*(ask(client, number, gate) for number in range(REQUESTS)))
            charges = [
                await charge(client, "c-1", "tenant-a", "order-7"),
                await charge(client, "c-2", "tenant-a", "order-7"),
                await charge(client, "c-3", "tenant-b", "order-7"),
            ]
            answer = await waiting
            await until(lambda: slow.ended == slow.connections)
        lines = lines_of(log)
        return Visit(
            sessions=dict(Counter(line["event"] for line in lines if line["event"].startswith("session."))),
            strangers=[answer for answer in answers if answer is not None],
            slow=answer,
            slow_s=next(line["elapsed_s"] for line in lines if is_slow(line)),
            slow_connections=slow.connections,
            charges=charges,
            effects=bank.ledger.count,
            lines={name: events for name, events in events_by_request(lines).items() if name[0] in "sc"},
        )


KEPT: Final = Visit(
    sessions={"session.opened": 2, "session.closed": 2},
    strangers=[],
    slow=(504, "application/problem+json"),
    slow_s=pytest.approx(LIMIT_S, abs=LAG_S),
    slow_connections=1,
    charges=[201, 201, 201],
    effects=2,
    lines={
        "slow": {"outbound.attempt", "outbound.call"},
        "c-1": {"handler.charge", "outbound.attempt", "outbound.call"},
        "c-2": {"handler.charge", "outbound.attempt", "outbound.call"},
        "c-3": {"handler.charge", "outbound.attempt", "outbound.call"},
    },
)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_service_keeps_every_promise_on_every_server(framework: str, servers: Nursery, tmp_path: Path) -> None:
    """On one server or framework sessions would leak, requests trade places, or a retry charge a card again."""

    async def scenario() -> dict[str, Visit]:
        visits = (visit(servers, server, framework, tmp_path / f"{server}.jsonl") for server in SERVERS)
        return dict(zip(SERVERS, await asyncio.gather(*visits), strict=True))

    seen = run(scenario())

    assert seen == dict.fromkeys(SERVERS, KEPT)


@pytest.mark.parametrize("server", SERVERS)
def test_a_retry_after_a_restart_charges_nothing_new(server: str, servers: Nursery, tmp_path: Path) -> None:
    """A deployment between a request and its retry would charge the card twice."""

    async def scenario() -> tuple[list[int], int]:
        async with Sandbox() as bank:
            environment = {"SERVICE_LOG": tmp_path / "log", "SERVICE_BANK": bank.url, "SERVICE_SLOW": bank.url}
            statuses = []
            for name, tenant in (("c-1", "tenant-a"), ("c-2", "tenant-a"), ("c-3", "tenant-b")):
                async with (
                    servers.running(server, "fastapi", **environment) as url,
                    aiohttp.ClientSession(url) as client,
                ):
                    statuses.append(await charge(client, name, tenant, "order-7"))
            return statuses, bank.ledger.count

    statuses, effects = run(scenario())

    assert (statuses, effects) == ([201, 201, 201], 2)
