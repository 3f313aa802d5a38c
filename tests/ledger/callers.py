"""Makes the calls of a run through holdfast, and tells what it said of each."""

import asyncio
import json
import pickle
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol, Self

import aiohttp
from tests.ledger.plan import LOOKUP, Kind, Order, key_of, provider_of
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


async def settle(base_url: str, doubts: Path) -> tuple[Counter[tuple[Kind, str]], Counter[tuple[Kind, str]]]:
    """Look every call up that was left in doubt, and send those again under their key of which nothing was found.

    Returns:
        How many calls of each kind ended with each effect: after the lookup, and after the repetition.
    """
    looked_up: Counter[tuple[Kind, str]] = Counter()
    repeated: Counter[tuple[Kind, str]] = Counter()
    calm = {"X-Calm": "1", "X-Call": "later"}
    bank = provider_of(Kind.KEYED)
    async with ResilientSession(base_url, provider=bank, sinks=[], headers=calm) as session:
        for order, report in _doubtful(doubts):
            if order.kind is Kind.KEYED_LOOKUP:
                report = await session.reconcile(report, LOOKUP)  # noqa: PLW2901 - the same call, known better
                looked_up[order.kind, report.effect.value] += 1
            if report.effect is Effect.IN_DOUBT:
                again = report_of(await _ended(session, order))
                assert again is not None
                report = again  # noqa: PLW2901 - likewise
            repeated[order.kind, report.effect.value] += 1
    return looked_up, repeated


def _doubtful(doubts: Path) -> "list[tuple[Order, CallReport]]":
    found = []
    with doubts.open("rb") as file:
        while file.peek(1):
            found.append(pickle.load(file))  # noqa: S301 - our own file, of a minute ago
    return found
