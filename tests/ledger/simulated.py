"""The bank without sockets, on a clock that jumps: the transport of ``holdfast.protocols.Exchange``, in memory.

A request travels, waits and is worked on as timers of the event loop, whether or not its caller still waits for it; so
what arrives late, arrives late. Failures are aiohttp's own exceptions, judged by holdfast's own table.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import log
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy
from tests.ledger.audit import Page
from tests.ledger.books import BUSY, Asked, Books, Entry, Reply
from tests.ledger.plan import Order, key_of
from tests.ledger.troubles import HEALTHY, Cut, Ending, Trouble, When, draw, trouble_of
from yarl import URL

from holdfast.protocols import Answer, Fault
from holdfast.transport.faults import fault_of

TRAVEL_S: Final = 0.05
"""Mean time of a request, or an answer, on its way."""

WORK_S: Final = 0.3
SLOW_S: Final = (5.0, 420.0)
"""Shortest and longest time that a slow bank takes: some of it fits into a deadline, and some does not."""

ADVICE_S: Final = ("0", "1", "20", "90", "400")
"""What ``Retry-After`` says on a 429; the last is longer than any deadline."""

NO_CONNECTION_SHARE: Final = 0.02
LOST_SHARE: Final = 0.02
"""Of requests that never arrive, and of answers that never come back, each."""

_ERROR_BODY: Final = b'{"error":"trouble"}'
_ANYWHERE: Final = URL("http://bank.test/")
_REQUEST_INFO: Final = aiohttp.RequestInfo(_ANYWHERE, "POST", CIMultiDictProxy(CIMultiDict()), _ANYWHERE)

Ended = Answer | Fault


@dataclass(slots=True)
class Account:
    """What the bank knows of one call, until its last timer has run. Confined to one event loop."""

    seed: int
    order: Order
    trace: Callable[[str], None]
    page: Page = field(default_factory=Page)
    waiting: int = 0
    """Timers that are still to run."""

    requests: int = 0
    lookups: int = 0
    lost: int = 0
    """Requests of the call, and not of its lookups, that never arrived."""

    faulted: int = 0
    at_rest: Callable[[], None] = lambda: None
    """Called whenever no timer is left."""

    books: Books = field(init=False)

    def __post_init__(self) -> None:
        self.books = Books(self._enter)

    def later(self, seconds: float, then: Callable[..., None], *arguments: Any) -> None:
        """Run something in virtual time, even when nobody waits for it any more."""
        self.waiting += 1
        asyncio.get_running_loop().call_later(seconds, self._run, then, arguments)

    def _run(self, then: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        then(*arguments)
        self.waiting -= 1
        if not self.waiting:
            self.at_rest()

    def _enter(self, entry: Entry) -> None:
        self.page.effects += 1
        self.trace(f"effect {entry.call} {entry.number} {entry.at!r}")


@dataclass(slots=True)
class SimulatedExchange:
    """Sends the attempts of one call to a bank in memory. Confined to one event loop."""

    account: Account
    replayable: bool = True
    bytes_sent: bool | None = None
    status: int | None = None

    async def send(self, total_s: float, connect_s: float) -> Ended:
        """Make one attempt, within limits in seconds."""
        order, account = self.account.order, self.account
        account.requests += 1
        asked = Asked(
            call=order.call,
            number=account.requests,
            method=order.kind.method,
            path=order.kind.path(order.call),
            key=key_of(order),
            body=b'{"amount":%d}' % order.amount,
        )
        return await self._ask(asked, total_s, connect_s)

    async def look_up(self, address: str, total_s: float, connect_s: float) -> Ended:
        """GET a path, and read the whole answer."""
        place = urlsplit(address)
        self.account.lookups += 1
        call = f"{self.account.order.call} lookup"
        asked = Asked(call, self.account.lookups, "GET", place.path, parse_qs(place.query)["key"][0], b"")
        return await self._ask(asked, total_s, connect_s)

    def discard(self, ended: Ended) -> None:
        """Do nothing: there is no connection to give back."""

    async def _ask(self, asked: Asked, total_s: float, connect_s: float) -> Ended:
        self.bytes_sent = False
        trip = Trip(self.account, asked)
        if trip.has_no_connection:
            await asyncio.sleep(min(connect_s, trip.slow_s))
            return fault_of(aiohttp.ConnectionTimeoutError(), bytes_sent=None)
        self.bytes_sent = True
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Ended] = loop.create_future()
        trip.begin(ended)
        limit = loop.call_later(total_s, time_out, ended)
        try:
            return await ended
        finally:
            limit.cancel()


class Trip:
    """One request on its way to the bank, and the answer on its way back. Confined to one event loop."""

    __slots__ = ("_account", "_asked", "_ended", "_trouble")

    def __init__(self, account: Account, asked: Asked) -> None:
        self._account = account
        self._asked = asked
        self._trouble = trouble_of(account.seed, asked.call, asked.number) if account.seed >= 0 else HEALTHY
        self._ended: asyncio.Future[Ended] | None = None

    @property
    def has_no_connection(self) -> bool:
        """Whether the request never leaves."""
        return self._faulty and self._draw("connect") < NO_CONNECTION_SHARE

    @property
    def slow_s(self) -> float:
        """How long something takes that takes long."""
        shortest, longest = SLOW_S
        return float(shortest * (longest / shortest) ** self._draw("slow"))

    def begin(self, ended: "asyncio.Future[Ended]") -> None:
        """Leave for the bank."""
        self._ended = ended
        if self._faulty and self._draw("lost request") < LOST_SHARE:
            self._account.lost += not self._is_lookup
            return
        self._account.later(self._travel_s("there"), self._arrive)

    @property
    def _is_lookup(self) -> bool:
        return self._asked.call.endswith(" lookup")

    @property
    def _faulty(self) -> bool:
        return self._account.seed >= 0

    def _draw(self, what: str) -> float:
        return draw(self._account.seed, self._asked.call, self._asked.number, what)

    def _travel_s(self, way: str) -> float:
        return -TRAVEL_S * log(1.0 - self._draw(way))

    def _arrive(self) -> None:
        asked, account, trouble = self._asked, self._account, self._trouble
        if self._is_lookup:
            self._answer(account.books.look_up(str(asked.key)))
            return
        page = account.page
        page.asked += 1
        page.keys.add(asked.key)
        page.bodies.add(asked.body.decode())
        account.faulted += trouble.is_fault
        if trouble.effect is When.NEVER:
            self._answer(None)
            return
        reply = account.books.begin(asked)
        if reply is None:
            work_s = self.slow_s if trouble.effect is When.LATE else WORK_S * self._draw("work")
            account.later(work_s, self._work)
            return
        self._answer(reply)

    def _work(self) -> None:
        now = asyncio.get_running_loop().time()
        self._answer(self._account.books.finish(self._asked, now))

    def _answer(self, reply: Reply | None) -> None:
        if self._faulty and self._draw("lost answer") < LOST_SHARE:
            return
        late_s = self.slow_s if self._trouble.answers_late and self._trouble.effect is not When.LATE else 0.0
        self._account.later(late_s + self._travel_s("back"), self._arrive_back, reply)

    def _arrive_back(self, reply: Reply | None) -> None:
        assert self._ended is not None
        if self._ended.done():
            return
        trouble = HEALTHY if reply is BUSY else self._trouble
        if reply is None or trouble.status != 200:
            reply = Reply(trouble.status, _ERROR_BODY)
        end(self._ended, as_seen(reply, trouble, self._advice(reply.status)))

    def _advice(self, status: int) -> Mapping[str, str]:
        if status != 429:
            return {}
        return {"Retry-After": ADVICE_S[int(self._draw("advice") * len(ADVICE_S))]}


def end(ended: "asyncio.Future[Ended]", how: Ended) -> None:
    """End an attempt, unless it has ended."""
    if not ended.done():
        ended.set_result(how)


def time_out(ended: "asyncio.Future[Ended]") -> None:
    """End an attempt that has lasted long enough."""
    end(ended, fault_of(TimeoutError(), bytes_sent=True))


def as_seen(reply: Reply, trouble: Trouble, headers: Mapping[str, str]) -> Ended:
    """Give what aiohttp makes of an answer that came as the trouble says."""
    if trouble.cut is Cut.WHOLE:
        return Answer(reply.status, headers, reply.body)
    if trouble.cut in {Cut.SHORT_BODY, Cut.SHORT_CHUNK}:
        return Answer(reply.status, headers, unreadable=True)
    if trouble.cut is Cut.MALFORMED:
        return fault_of(aiohttp.ClientResponseError(_REQUEST_INFO, (), status=400), bytes_sent=True)
    if trouble.ending is Ending.RST:
        return fault_of(aiohttp.ClientOSError(104, "Connection reset by peer"), bytes_sent=True)
    return fault_of(aiohttp.ServerDisconnectedError(), bytes_sent=True)
