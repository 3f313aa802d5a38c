"""Makes the calls of a run through holdfast, and tells what it said of each."""

import asyncio
import json
import pickle
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, Self

import aiohttp
from tests.ledger.plan import LOOKUP, POLICIES, Kind, Order, key_of, provider_of
from tests.ledger.verdicts import Verdict, verdict_of

from holdfast import CallReport, Effect, ResilientSession, report_of


class Caller(Protocol):
    """Makes calls, each to its end. Confined to one event loop."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *raised: object) -> None: ...

    async def make(self, order: Order) -> Verdict:
        """Make one call and tell how it ended."""
        ...


class CountingSink:
    """Counts the ``outbound.call`` events of each call, by its ``operation``. Confined to one event loop."""

    def __init__(self) -> None:
        self.ended: Counter[str] = Counter()

    def enabled(self, level: int) -> bool:  # noqa: ARG002 - the port's signature
        return True

    def emit(self, event: str, level: int, fields: dict[str, Any]) -> None:  # noqa: ARG002 - the port's signature
        if event == "outbound.call":
            self.ended[fields["operation"]] += 1


class HoldfastCaller:
    """Calls through two sessions: one knows the bank, and the other knows nothing. Confined to one event loop."""

    def __init__(self, base_url: str, doubts: Path) -> None:
        """Name the bank, and the file that gets the report of every call that can be looked up later."""
        self.sink = CountingSink()
        self._base_url = base_url
        self._doubts = doubts.open("wb")
        self._stack = AsyncExitStack()
        self._sessions: dict[str, ResilientSession] = {}

    async def __aenter__(self) -> Self:
        for provider in {provider_of(kind).name: provider_of(kind) for kind in Kind}.values():
            session = ResilientSession(self._base_url, provider=provider, sinks=[self.sink])
            self._sessions[provider.name] = await self._stack.enter_async_context(session)
        return self

    async def __aexit__(self, *raised: object) -> None:
        self._doubts.close()
        await self._stack.aclose()

    async def make(self, order: Order) -> Verdict:
        """Make one call and tell how it ended."""
        loop = asyncio.get_running_loop()
        session = self._sessions[provider_of(order.kind).name]
        started = loop.time()
        ended = await _ended(session, order)
        now = loop.time()
        report = report_of(ended)
        assert report is not None, f"no report on {ended!r}"
        verdict = verdict_of(order.call, order.kind, report, order.policy.deadline)
        verdict.elapsed_s, verdict.ended_at = now - started, now
        verdict.own_body = await own_body(ended, order) if isinstance(ended, aiohttp.ClientResponse) else None
        verdict.events = self.sink.ended.pop(order.call, 0)
        if report.effect is Effect.IN_DOUBT and order.kind.keyed:
            pickle.dump((order, report), self._doubts)
        return verdict


async def _ended(session: ResilientSession, order: Order) -> aiohttp.ClientResponse | Exception:
    options: dict[str, Any] = {} if order.kind is Kind.READ else {"json": order.body}
    if order.kind.keyed:
        options["idempotency_key"] = key_of(order)
    if order.kind is Kind.KEYED_LOOKUP:
        options["reconcile"] = LOOKUP
    send = {"POST": session.post, "PUT": session.put, "GET": session.get}[order.kind.method]
    try:
        return await send(
            order.kind.path(order.call),
            headers={"X-Call": order.call},
            policy=order.policy,
            operation=order.call,
            **options,
        )
    except Exception as error:  # noqa: BLE001 - how a call ends is what is looked at
        return error


async def own_body(response: aiohttp.ClientResponse, order: Order) -> bool | None:
    """Read a success to its end, and say whether it tells of this call and no other."""
    try:
        body = await response.read()
    except (aiohttp.ClientError, TimeoutError):
        return None
    if response.status != 200:
        return None
    page = json.loads(body)
    page = page["charges"][0] if "charges" in page else page
    amount = 0 if order.kind is Kind.READ else order.amount
    return bool(page["call"] == order.call and page["amount"] == amount)


@dataclass(slots=True)
class Settled:
    """How many calls of each kind ended with each effect, when it was asked for later."""

    looked_up: Counter[tuple[Kind, str]] = field(default_factory=Counter)
    """After the lookup."""

    repeated: Counter[tuple[Kind, str]] = field(default_factory=Counter)
    """After the repetition, where the lookup found nothing."""


async def settle(base_url: str, doubts: Path) -> Settled:
    """Look every call up that was left in doubt, and send those again under their key of which nothing was found."""
    settled, calm = Settled(), {"X-Calm": "1", "X-Call": "later"}
    policy, bank = replace(POLICIES[0], attempt_timeout=None), provider_of(Kind.KEYED)
    left = iter(_doubtful(doubts))
    async with ResilientSession(base_url, provider=bank, policy=policy, sinks=[], headers=calm) as session:
        await asyncio.gather(*(_settle_some(session, left, settled) for _ in range(8)))
    return settled


async def _settle_some(session: ResilientSession, left: Iterator[tuple[Order, CallReport]], settled: Settled) -> None:
    for order, report in left:
        known = report
        if order.kind is Kind.KEYED_LOOKUP:
            known = await session.reconcile(report, LOOKUP, sent=order.body)
            settled.looked_up[order.kind, known.effect.value] += 1
        if known.effect is Effect.IN_DOUBT:
            known = await _repeated(session, order)
        settled.repeated[order.kind, known.effect.value] += 1


async def _repeated(session: ResilientSession, order: Order) -> CallReport:
    ended = await _ended(session, order)
    report = report_of(ended)
    assert report is not None
    if isinstance(ended, aiohttp.ClientResponse):
        ended.release()
    return report


def _doubtful(doubts: Path) -> list[tuple[Order, CallReport]]:
    found = []
    with doubts.open("rb") as file:
        while file.peek(1):
            found.append(pickle.load(file))  # noqa: S301 - our own file, of a minute ago
    return found
