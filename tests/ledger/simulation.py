"""Runs the calls of one seed on a virtual clock: minutes take microseconds, and the same seed makes the same run.

Each call is audited as soon as it has ended and nothing that it set off is still on its way, and is then forgotten, so
that a million of them fit into memory.
"""

import asyncio
import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from time import process_time
from typing import Any, Final

from tests.ledger.audit import Figures, judge
from tests.ledger.callers import CountingSink
from tests.ledger.plan import LOOKUP, Kind, Order, key_of, orders, provider_of
from tests.ledger.simulated import Account, SimulatedExchange
from tests.ledger.troubles import draw
from tests.ledger.verdicts import verdict_of

from holdfast import Policy, report_of
from holdfast.core.deadline import deadline_after
from holdfast.core.idempotency import NO_KEY, KeyPlan
from holdfast.engine.call import Call
from holdfast.engine.drive import make_call
from holdfast.engine.runtime import Runtime
from holdfast.protocols import Answer
from holdfast.testing import VirtualTimeLoop

IN_FLIGHT: Final = 4_000
CANCELLED_SHARE: Final = 0.02
"""Calls that their caller gives up, at any moment of their first minute, and most of them early."""

ROUNDING_S: Final = 1e-6
"""A sum of floats of a million seconds is exact to this."""

# As in the plan of the ledger: what is looked at is every single verdict, not how the bank is spared.
_WHOLE: Final = Policy(retry_budget=None, breaker=None, rate_gate=False)
POLICIES: Final = (
    replace(_WHOLE, attempt_timeout=30.0),
    replace(_WHOLE, max_attempts=8),
    replace(_WHOLE, max_attempts=10, deadline=60.0, attempt_timeout=20.0),
    replace(_WHOLE, deadline=10.0, attempt_timeout=4.0),
)


@dataclass(slots=True)
class Simulation:
    """One run: its figures, and the hash of everything that happened in it. Confined to one event loop."""

    seed: int
    calls: int
    figures: Figures = field(default_factory=Figures)
    cancelled: int = 0
    past_a_minute: int = 0
    """Calls that lasted longer than 60 virtual seconds."""

    at_five_minutes: int = 0
    """Calls that a deadline of 300 seconds cut off."""

    worst_over_s: float = 0.0
    virtual_s: float = 0.0
    seconds: float = 0.0
    """Of processor time."""

    trace: str = ""
    sink: CountingSink = field(default_factory=CountingSink)
    _hash: Any = field(default_factory=lambda: blake2b(digest_size=16))
    _runtimes: dict[str, Runtime] = field(default_factory=dict)
    _all_settled: asyncio.Event = field(default_factory=asyncio.Event)

    def without_machinery(self) -> "Simulation":
        """Give the figures alone, which can go from one process to another."""
        return replace(self, sink=CountingSink(), _hash=None, _runtimes={}, _all_settled=asyncio.Event())

    def note(self, line: str) -> None:
        """Add one line to the trace."""
        self._hash.update(line.encode())

    async def run(self) -> None:
        """Make every call."""
        started = process_time()
        dice = random.Random(self.seed)  # noqa: S311 - the same run for the same seed is the point
        for provider in {provider_of(kind).name: provider_of(kind) for kind in Kind}.values():
            self._runtimes[provider.name] = Runtime(provider, (self.sink,), draw=dice.random)
        every_order = orders(self.seed, self.calls, POLICIES)
        await asyncio.gather(*(self._work(every_order) for _ in range(min(IN_FLIGHT, self.calls))))
        if self.figures.calls < self.calls:
            await self._all_settled.wait()
        self.virtual_s = asyncio.get_running_loop().time()
        self.seconds = process_time() - started
        self.trace = self._hash.hexdigest()

    async def _work(self, every_order: Iterator[Order]) -> None:
        for order in every_order:
            account = Account(self.seed, order, self.note)
            patience_s = 60.0 * draw(order.call, "patience") ** 4
            if self.seed >= 0 and draw(order.call, "cancelled") < CANCELLED_SHARE:
                await self._give_up(order, account, patience_s)
            else:
                await self._make(order, account)

    async def _give_up(self, order: Order, account: Account, patience_s: float) -> None:
        making = asyncio.ensure_future(self._make(order, account))
        giving_up = asyncio.get_running_loop().call_later(patience_s, making.cancel)
        with suppress(asyncio.CancelledError):
            await making
        self.cancelled += making.cancelled()
        giving_up.cancel()

    async def _make(self, order: Order, account: Account) -> None:
        provider = provider_of(order.kind)
        loop = asyncio.get_running_loop()
        started, key = loop.time(), key_of(order)
        call = Call(
            method=order.kind.method,
            url=f"http://bank.test{order.kind.path(order.call)}",
            provider=provider,
            policy=order.policy,
            deadline=deadline_after(started, order.policy.deadline),
            started=started,
            attempt_timeout_s=order.policy.attempt_timeout,
        )
        call.operation, call.key = order.call, NO_KEY if key is None else KeyPlan(key)
        call.lookup, call.sent = LOOKUP if order.kind is Kind.KEYED_LOOKUP else None, order.body
        ended: Answer | BaseException | None = None
        try:
            ended = await make_call(call, SimulatedExchange(account), self._runtimes[provider.name])
        except asyncio.CancelledError as error:
            ended = error
            raise
        except Exception as error:  # noqa: BLE001 - how a call ends is what is looked at
            ended = error
        finally:
            self._ended(order, account, call, ended, loop.time() - started)

    def _ended(self, order: Order, account: Account, call: Call, ended: object, elapsed_s: float) -> None:
        report = call.report() if isinstance(ended, Answer) else report_of(ended)
        assert report is not None, f"no report on {ended!r}"
        verdict = verdict_of(order.call, order.kind, report, order.policy.deadline)
        verdict.events = self.sink.ended.pop(order.call, 0)
        account.page.told += 1
        over_s = elapsed_s - order.policy.deadline
        self.worst_over_s = max(self.worst_over_s, over_s)
        self.past_a_minute += elapsed_s > 60.0
        self.at_five_minutes += elapsed_s >= 300.0 - ROUNDING_S
        if over_s > ROUNDING_S:
            self.figures.violations["a call outlived its deadline"] += 1
        self.note(f"{verdict} {elapsed_s!r}")

        def settle() -> None:
            account.at_rest = lambda: None
            verdict.proven_sent -= account.lost
            judge(verdict, account.page, self.figures)
            self.figures.requests += account.requests
            self.figures.lookups += account.lookups
            self.figures.faulted += account.faulted
            if self.figures.calls == self.calls:
                self._all_settled.set()

        account.at_rest = settle
        if not account.waiting:
            settle()


def simulate(seed: int, calls: int) -> Simulation:
    """Run one seed from its first call to its last late effect. A seed below 0 has no faults."""
    simulation = Simulation(seed, calls)
    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(grace_s=0.0)) as runner:
        runner.run(simulation.run())
    return simulation
