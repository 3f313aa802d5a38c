"""What one attempt meets at the door of its origin, and what it tells there when it comes back.

In this order: the circuit, a free place, a turn at the rate gate, and the circuit once more, which may have changed
while the attempt waited. What it was given on the way goes back when it is refused or cancelled.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from holdfast.core.breaker import REFUSED, Circuit, CircuitSnapshot, Health, Ticket, health_of
from holdfast.core.budget import BudgetState, RetryBucket, RetryKind, retry_kind
from holdfast.core.bulkhead import Bulkhead, BulkheadState
from holdfast.core.rate_gate import GateState
from holdfast.core.retry_after import quota_wait
from holdfast.engine.line import GateLine
from holdfast.outcome import StopReason
from holdfast.policy import Policy
from holdfast.protocols import Answer, Fault, Refused
from holdfast.report import Classification

_WITHOUT_CIRCUIT: Final = Ticket(-1)


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginState:
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

    __slots__ = ("_budget", "_bulkhead", "_circuit", "_draw", "_gate", "_line", "_news", "_origin", "_rates", "policy")

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
        self._origin = origin
        self._circuit = circuit
        self._budget = budget
        self._line = line
        self._gate = line.gate
        self._rates = rates
        self._bulkhead = bulkhead
        self._draw = draw
        self._news: str | None = None

    async def enter(self, now: float, deadline_at: float, *, again: bool, safe: bool) -> int | Refused:
        """Wait for a turn to send an attempt, at most until a moment of the event loop's clock."""
        circuit, bulkhead = self._circuit, self._bulkhead
        if circuit is not None and circuit.refuses(now):
            return Refused(StopReason.CIRCUIT_OPEN, circuit.retry_after(now))
        if bulkhead is not None and not bulkhead.enter():
            refused = await self._wait_for_place(bulkhead, now, deadline_at)
            if refused is not None:
                return refused
            now = _now()
        if self._rates is not None or not self._line.pass_at_once(now, deadline_at):
            refused = await self._wait_for_turn(now, deadline_at, safe=safe)
            if refused is not None:
                return refused
            now = _now()
        ticket = _WITHOUT_CIRCUIT
        if circuit is not None:
            before = circuit.generation
            ticket = circuit.admit(now, self._draw())
            if ticket != before:
                self._note(circuit, before, now)
        if ticket == REFUSED and circuit is not None:
            self._undo(self._lines(safe=safe))
            return Refused(StopReason.CIRCUIT_OPEN, circuit.retry_after(now))
        if not again and self._budget is not None:
            self._budget.deposit()
        return ticket

    def leave(self, ticket: int, ended: Answer | Fault, verdict: Classification, *, sent_at: float, now: float) -> None:
        """Tell what became of an attempt that began at ``sent_at`` and ended now."""
        status = ended.status if isinstance(ended, Answer) else None
        health = health_of(status, verdict.reason)
        if health is Health.WORKING:
            self._gate.succeeded(now)
        elif health is Health.FAILING:
            self._gate.failed(sent_at, now)
        if isinstance(ended, Answer):
            self._obey(ended, verdict, sent_at, now)
        if self._bulkhead is not None:
            _wake(self._bulkhead.leave())
        circuit = self._circuit
        if circuit is None:
            return
        if health is Health.WORKING and ticket == circuit.generation:
            circuit.succeeded(Ticket(ticket), now)  # as nearly always: it changes nothing
            return
        before = circuit.generation
        if health is Health.WORKING:
            circuit.succeeded(Ticket(ticket), now)
        elif health is Health.FAILING:
            advised_s = verdict.retry_after if status == 503 and verdict.retry_after else 0.0  # noqa: PLR2004
            circuit.failed(Ticket(ticket), now, self._draw(), advised_s)
        else:
            circuit.abandoned(Ticket(ticket))
        self._note(circuit, before, now)

    def abandon(self, ticket: int) -> None:
        """Tell that an attempt was cut off: it says nothing of the origin."""
        if self._circuit is not None:
            self._circuit.abandoned(Ticket(ticket))
        if self._bulkhead is not None:
            _wake(self._bulkhead.leave())

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
        """Give the circuit's state once, after it has changed."""
        if self._news is None:
            return None
        news, self._news = self._news, None
        return news

    def state(self) -> OriginState:
        """Say where the limits stand."""
        now = _now()
        return OriginState(
            origin=self._origin,
            circuit=None if self._circuit is None else self._circuit.snapshot(now),
            budget=None if self._budget is None else self._budget.state(now),
            gate=self._gate.state(now),
            waiting=self._line.waiting + sum(rate.waiting for rate in set(self._rates or ())),
            bulkhead=None if self._bulkhead is None else self._bulkhead.state(),
        )

    def _obey(self, answer: Answer, verdict: Classification, sent_at: float, now: float) -> None:
        """Close the gate where the origin says so, and let those in line know."""
        if not self.policy.rate_gate:
            return
        if answer.status == 429:  # noqa: PLR2004 - RFC 6585 section 4
            self._gate.throttled(sent_at, now, verdict.retry_after, self._draw())
        elif wait_s := quota_wait(answer.headers):
            self._gate.exhausted(now, wait_s, self._draw())
        else:
            return
        self._line.ask_again()

    def _kind_after(self, ended: Answer | Fault) -> RetryKind:
        if isinstance(ended, Fault):
            return retry_kind(None, bytes_sent=ended.bytes_sent)
        kind = retry_kind(ended.status, bytes_sent=True)
        # The price of a retry after a 429 is that of one that the gate paces.
        return RetryKind.TRANSIENT if kind is RetryKind.THROTTLED and not self.policy.rate_gate else kind

    def _note(self, circuit: Circuit, before: int, now: float) -> None:
        if circuit.generation != before:
            self._news = circuit.snapshot(now).state.value

    def _undo(self, passed: Iterable[GateLine]) -> None:
        for line in passed:
            line.give_back()
        if self._bulkhead is not None:
            _wake(self._bulkhead.leave())

    def _lines(self, *, safe: bool) -> tuple[GateLine, ...]:
        return (self._line,) if self._rates is None else (self._rates[safe], self._line)

    async def _wait_for_turn(self, now: float, deadline_at: float, *, safe: bool) -> Refused | None:
        passed: list[GateLine] = []
        try:
            for line in self._lines(safe=safe):
                refusal = await line.turn(now, deadline_at)
                if refusal is not None:
                    self._undo(passed)
                    return Refused(StopReason.RETRY_AFTER_TOO_LONG, refusal.wait_s)
                passed.append(line)
                now = _now()
        except BaseException:
            self._undo(passed)
            raise
        return None

    async def _wait_for_place(
        self, bulkhead: "Bulkhead[asyncio.Future[None]]", now: float, deadline_at: float
    ) -> Refused | None:
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


def _wake(place: asyncio.Future[None] | None) -> None:
    if place is not None and not place.done():
        place.set_result(None)
