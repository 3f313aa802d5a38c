"""What one attempt meets at the door of its origin, and what it tells there when it comes back.

In this order: the circuit, a turn at a rate of our own, a free place, a turn at the origin's gate, and the circuit once
more, which may have changed while the attempt waited. What it was given on the way goes back when it is refused or
cancelled. Nobody holds a place while he waits for a turn at our own rate, unless he has waited for the place too: calls
that have a rate to themselves would stand behind those that use theirs up.

While all is well, none of it is more than a look: ``try_enter`` and the first half of ``leave`` are what nearly every
call takes, and what it costs is held by ``benchmarks/protection_cost.py``.
"""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from holdfast.core.breaker import REFUSED, Circuit, CircuitSnapshot, Health, health_of
from holdfast.core.budget import BudgetState, RetryBucket, RetryKind, retry_kind
from holdfast.core.bulkhead import Bulkhead, BulkheadState
from holdfast.core.rate_gate import GateState
from holdfast.core.retry_after import quota_wait
from holdfast.engine.line import GateLine
from holdfast.outcome import StopReason
from holdfast.policy import Policy
from holdfast.protocols import Answer, Fault, Refused
from holdfast.report import Classification

_WITHOUT_CIRCUIT: Final = -1

# Looked up once: a member of an enumeration costs more than a call of a function.
_WORKING: Final = Health.WORKING
_FAILING: Final = Health.FAILING


class OriginState(NamedTuple):
    """Where the limits of one origin stood at one moment. What the policy leaves out is ``None``."""

    origin: str
    circuit: CircuitSnapshot | None
    budget: BudgetState | None
    gate: GateState
    waiting: int
    """Calls that stand in line at the gate."""

    bulkhead: BulkheadState | None


class OriginGuard:
    """The limits of one origin under one policy. Confined to one event loop."""

    __slots__ = ("_budget", "_bulkhead", "_circuit", "_draw", "_gate", "_line", "_rates", "origin", "policy")

    def __init__(
        self,
        origin: str,
        policy: Policy,
        *,
        circuit: Circuit | None,
        budget: RetryBucket | None,
        line: GateLine,
        rates: tuple[GateLine, GateLine] | None,
        bulkhead: "Bulkhead[asyncio.Future[None]] | None",
        draw: Callable[[], float],
    ) -> None:
        """Put together what may be shared with other policies.

        Args:
            origin: Scheme, host and port.
            policy: Whose limits these are.
            circuit: Of all calls with this breaker; ``None`` for none.
            budget: Of all calls with this retry budget; ``None`` for none.
            line: The one that every call to the origin goes through, and that a 429 closes.
            rates: Those that keep a rate of our own, for unsafe and for safe methods; ``None`` for none.
            bulkhead: Of all calls with this limit; ``None`` for none.
            draw: Gives uniform random numbers in ``[0, 1)``.
        """
        self.policy: Policy = policy
        self.origin: str = origin
        self._circuit = circuit
        self._budget = budget
        self._line = line
        self._gate = line.gate
        self._rates = rates
        self._bulkhead = bulkhead
        self._draw = draw

    def try_enter(self, now: float, deadline_at: float, again: bool, safe: bool) -> int | None:  # noqa: FBT001 - cheaper
        """Take a turn to send an attempt, where all is well and nothing is to be waited for."""
        circuit, bulkhead, budget = self._circuit, self._bulkhead, self._budget
        ticket = _WITHOUT_CIRCUIT if circuit is None else circuit.steady_ticket
        if ticket == REFUSED or (bulkhead is not None and not bulkhead.enter()):
            return None
        if self._rates is None and now < self._gate.free_until:
            self._gate.counted += 1
        elif not self._turns_at_once(now, deadline_at, safe=safe):
            self._leave_place()
            return None
        if not again and budget is not None and not budget.is_full:
            budget.deposit()
        return ticket

    async def enter(self, now: float, deadline_at: float, *, again: bool, safe: bool) -> int | Refused:
        """Wait for a turn to send an attempt, at most until a moment of the event loop's clock."""
        circuit = self._circuit
        if circuit is not None and circuit.refuses(now):
            return Refused(StopReason.CIRCUIT_OPEN, circuit.retry_after(now))
        held: list[Callable[[], None]] = []
        try:
            refused = await self._wait(held, deadline_at, safe=safe)
        except BaseException:
            _give_back(held)
            raise
        now = _now()
        ticket = _WITHOUT_CIRCUIT
        if refused is None and circuit is not None:
            ticket = circuit.admit(now, self._draw())
            if ticket == REFUSED:
                refused = Refused(StopReason.CIRCUIT_OPEN, circuit.retry_after(now))
        if refused is not None:
            _give_back(held)
            return refused
        if not again and self._budget is not None:
            self._budget.deposit()
        return ticket

    def leave(
        self, ticket: int, ended: Answer | Fault, verdict: Classification, *, sent_at: float, now: float
    ) -> str | None:
        """Tell what became of an attempt that began at ``sent_at`` and ended now; give the circuit's news."""
        circuit = self._circuit
        if (
            isinstance(ended, Answer)
            and 200 <= ended.status < 300  # noqa: PLR2004 - a success, as nearly always
            and not ended.unreadable
            and not self._gate.gap
            and (circuit is None or ticket == circuit.steady_ticket)
        ):
            headers = ended.headers
            if not (  # QUOTA_HEADERS of core.retry_after, written out: four looks cost less than any loop
                "ratelimit" in headers
                or "x-ratelimit-remaining" in headers
                or "ratelimit-remaining" in headers
                or "x-rate-limit-remaining" in headers
            ):
                if circuit is not None:
                    circuit.succeeded(ticket, now)
                if self._bulkhead is not None:
                    self._leave_place()
                return None
        health = self._tell_gate(ended, verdict, sent_at, now)
        self._leave_place()
        if circuit is None:
            return None
        if health is _WORKING:
            circuit.succeeded(ticket, now)
        elif health is _FAILING:
            overloaded = isinstance(ended, Answer) and ended.status == 503  # noqa: PLR2004 - RFC 9110 section 15.6.4
            advised_s = verdict.retry_after if overloaded and verdict.retry_after else 0.0
            circuit.failed(ticket, now, self._draw(), advised_s)
        else:
            circuit.abandoned(ticket)
        return circuit.take_news()

    def abandon(self, ticket: int) -> None:
        """Tell that an attempt was cut off: it says nothing of the origin."""
        if self._circuit is not None:
            self._circuit.abandoned(ticket)
        self._leave_place()

    def refuses(self) -> bool:
        """Say whether the circuit refuses calls just now."""
        return self._circuit is not None and self._circuit.refuses(_now())

    def take_retry(self, ended: Answer | Fault) -> bool:
        """Take a token for a retry after this; ``False`` when the budget is spent."""
        return self._budget is None or self._budget.take(_now(), self._kind_after(ended))

    def give_back_retry(self, ended: Answer | Fault) -> None:
        """Put back the token of a retry that was not sent."""
        if self._budget is not None:
            self._budget.give_back(self._kind_after(ended))

    def take_news(self) -> str | None:
        """Give the circuit's state once, after it has changed, by itself or by hand."""
        return None if self._circuit is None else self._circuit.take_news()

    def state(self) -> OriginState:
        """Say where the limits stand."""
        now = _now()
        return OriginState(
            origin=self.origin,
            circuit=None if self._circuit is None else self._circuit.snapshot(now),
            budget=None if self._budget is None else self._budget.state(now),
            gate=self._gate.state(now),
            waiting=self._line.waiting + sum(rate.waiting for rate in set(self._rates or ())),
            bulkhead=None if self._bulkhead is None else self._bulkhead.state(),
        )

    def _tell_gate(self, ended: Answer | Fault, verdict: Classification, sent_at: float, now: float) -> Health:
        """Adapt the pace, close the gate where the origin says so, and let those in line know."""
        answer = ended if isinstance(ended, Answer) else None
        health = health_of(None if answer is None else answer.status, verdict.reason)
        if health is _WORKING:
            self._gate.succeeded(now)
        elif health is _FAILING:
            self._gate.failed(sent_at, now)
        if answer is None or not self.policy.rate_gate:
            return health
        if answer.status == 429:  # noqa: PLR2004 - RFC 6585 section 4
            self._gate.throttled(sent_at, now, verdict.retry_after, self._draw())
            self._line.ask_again()
        elif wait_s := quota_wait(answer.headers):
            self._gate.exhausted(now, wait_s, self._draw())
            self._line.ask_again()
        return health

    def _kind_after(self, ended: Answer | Fault) -> RetryKind:
        if isinstance(ended, Fault):
            return retry_kind(None, bytes_sent=ended.bytes_sent)
        kind = retry_kind(ended.status, bytes_sent=True)
        # The price of a retry after a 429 is that of one that the gate paces.
        return RetryKind.TRANSIENT if kind is RetryKind.THROTTLED and not self.policy.rate_gate else kind

    def _leave_place(self) -> None:
        if self._bulkhead is not None:
            _wake(self._bulkhead.leave())

    def _turns_at_once(self, now: float, deadline_at: float, *, safe: bool) -> bool:
        rate = None if self._rates is None else self._rates[safe]
        if rate is not None and not rate.pass_at_once(now, deadline_at):
            return False
        if self._line.pass_at_once(now, deadline_at):
            return True
        if rate is not None:
            rate.give_back()
        return False

    async def _wait(self, held: list[Callable[[], None]], deadline_at: float, *, safe: bool) -> Refused | None:
        """Wait for all that is to be waited for, and keep how to give back what was got."""
        rate, bulkhead = None if self._rates is None else self._rates[safe], self._bulkhead
        refused = None if rate is None else await _turn(rate, held, deadline_at)
        if refused is None and bulkhead is not None:
            if not bulkhead.enter():
                _give_back(held)
                refused = await self._wait_for_place(bulkhead, deadline_at)
                if refused is not None:
                    return refused
                held.append(self._leave_place)
                refused = None if rate is None else await _turn(rate, held, deadline_at)
            else:
                held.append(self._leave_place)
        return await _turn(self._line, held, deadline_at) if refused is None else refused

    async def _wait_for_place(self, bulkhead: "Bulkhead[asyncio.Future[None]]", deadline_at: float) -> Refused | None:
        now = _now()
        closed_s = self._gate.state(now).closed_s
        if now + closed_s >= deadline_at:
            return Refused(StopReason.RETRY_AFTER_TOO_LONG, closed_s)
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        bulkhead.join(place)
        try:
            async with asyncio.timeout_at(deadline_at):
                await place
        except BaseException as error:
            _wake(bulkhead.give_up(place))
            if isinstance(error, TimeoutError):
                return Refused(StopReason.DEADLINE, None)
            raise
        return None


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _turn(line: GateLine, held: list[Callable[[], None]], deadline_at: float) -> Refused | None:
    refusal = await line.turn(_now(), deadline_at)
    if refusal is not None:
        return Refused(StopReason.RETRY_AFTER_TOO_LONG, refusal.wait_s)
    held.append(line.give_back)
    return None


def _give_back(held: list[Callable[[], None]]) -> None:
    while held:
        held.pop()()


def _wake(place: asyncio.Future[None] | None) -> None:
    if place is not None and not place.done():
        place.set_result(None)
