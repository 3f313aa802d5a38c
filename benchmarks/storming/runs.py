"""One fleet in one scenario with one strategy, from before the fault until long after it, and what came of it."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from time import thread_time
from typing import Any, Final

import aiohttp
from benchmarks.storming.memory import Client, EngineClient, SessionClient
from benchmarks.storming.server import Mode, Server
from benchmarks.storming.strategies import Strategy

from holdfast import CircuitOpenError, LocalLimits, Policy, report_of
from holdfast.testing import VirtualTimeLoop

WARM_UP_S: Final = 30
DOWN_S: Final = 300
AFTER_S: Final = 150
SPARE: Final = 1.2
"""Capacity of the healthy server, as a share of the calls that the fleet makes."""

LEFT: Final = 0.2
"""Share of the usual calls that the server can still serve in a brown-out."""

QUEUE_S: Final = 20
"""Seconds of the usual calls that wait in a server's queue before it turns the next away."""

RECOVERED: Final = 0.95
RECOVERED_S: Final = 5


@dataclass(frozen=True, slots=True)
class Scenario:
    """A fault."""

    name: str
    mode: Mode
    brown_out: bool
    """Whether the capacity falls too."""


SCENARIOS: Final = (
    Scenario("collapse", Mode.WORKS, brown_out=True),
    Scenario("shedding (429)", Mode.SHEDS_429, brown_out=True),
    Scenario("shedding (503)", Mode.SHEDS_503, brown_out=True),
    Scenario("outage", Mode.DOWN, brown_out=False),
    Scenario("blackhole", Mode.SILENT, brown_out=False),
)


@dataclass(slots=True)
class Ended:
    """One call."""

    began: float
    elapsed_s: float
    works: bool
    attempts: int
    refused_cpu_s: float | None
    """Seconds of this thread until the circuit refused it, where that was at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What came of one run."""

    scenario: str
    strategy: str
    clients: int
    through: str
    calls: int
    amplification: float
    """Requests per call, while the fault lasts."""

    peak: float
    """Busiest ten seconds from the fault on, as a share of the usual calls."""

    goodput: float | None
    """Calls that succeed while the fault lasts, as a share of what the server can still serve."""

    recovery_s: int | None
    """Seconds from the repair until 95 % of the calls succeed, for five seconds on end; ``None`` is never."""

    failed_after: int
    p99_s: float
    """Of all calls that begin while the fault lasts, in virtual seconds."""

    refused_p99_ms: float | None
    """Milliseconds of this thread until an open circuit refuses a call, which takes no virtual time at all."""

    load: tuple[int, ...] = ()
    """Requests of each second."""


@dataclass(slots=True)
class Fleet:
    """The clients of one run. Confined to one event loop."""

    clients: int
    strategy: Strategy
    seed: int
    engine_only: bool
    server: Server
    dice: random.Random = field(init=False)
    ended: list[Ended] = field(default_factory=list)
    _members: list[Client] = field(default_factory=list)
    _calls: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)  # noqa: S311 - the same run for the same seed is the point

    def start(self, limits: LocalLimits | None = None, policy: Policy | None = None) -> None:
        """Make the clients; each has limits of its own, unless it is given some."""
        kind = EngineClient if self.engine_only else SessionClient
        draw = self.dice.random
        for _ in range(self.clients):
            own = LocalLimits(draw) if limits is None else limits
            member = kind(self.server, policy or self.strategy.policy, own, advises=self.strategy.advises)
            member.draw_from(draw)
            self._members.append(member)

    def call(self, member: int | None = None) -> None:
        """Begin one call, by any client."""
        which = self.dice.randrange(self.clients) if member is None else member
        task = asyncio.ensure_future(self._make(self._members[which]))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def arrivals(self, until: float) -> None:
        """Begin calls at random moments, one a second and client on average."""
        loop = asyncio.get_running_loop()
        at = loop.time()
        while (at := at + self.dice.expovariate(self.clients)) < until:
            await asyncio.sleep(at - loop.time())
            self.call()

    async def close(self) -> None:
        """Wait for the last call, and close every session."""
        while self._calls:
            await asyncio.wait(self._calls)
        for member in self._members:
            await member.close()

    async def _make(self, member: Client) -> None:
        loop = asyncio.get_running_loop()
        began, refused_s = loop.time(), None
        started = thread_time()
        ended: Any = None
        try:
            ended = await member.call()
            works = ended.status == 200
        except CircuitOpenError as error:
            ended, works = error, False
            refused_s = thread_time() - started if loop.time() == began else None
        except (aiohttp.ClientError, TimeoutError) as error:
            ended, works = error, False
        report = report_of(ended)
        assert report is not None
        self.ended.append(Ended(began, loop.time() - began, works, len(report.attempts), refused_s))


def run(scenario: Scenario, strategy: Strategy, clients: int, seed: int, *, engine_only: bool) -> Figures:
    """Run one fleet through one scenario."""
    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(grace_s=0.0)) as runner:
        return runner.run(_run(scenario, strategy, clients, seed, engine_only=engine_only))


async def _run(scenario: Scenario, strategy: Strategy, clients: int, seed: int, *, engine_only: bool) -> Figures:
    loop = asyncio.get_running_loop()
    server = Server(SPARE * clients, QUEUE_S * clients)
    fleet = Fleet(clients, strategy, seed, engine_only, server)
    fleet.start()

    def breaks() -> None:
        server.mode = scenario.mode
        server.capacity = LEFT * clients if scenario.brown_out else server.capacity

    def repaired() -> None:
        server.mode, server.capacity = Mode.WORKS, SPARE * clients

    repair = WARM_UP_S + DOWN_S
    loop.call_at(WARM_UP_S, breaks)
    loop.call_at(repair, repaired)
    await fleet.arrivals(repair + AFTER_S)
    await fleet.close()
    return _figures(scenario, fleet)


def _figures(scenario: Scenario, fleet: Fleet) -> Figures:
    repair = WARM_UP_S + DOWN_S
    arrived, clients = fleet.server.arrived, fleet.clients
    during = [call for call in fleet.ended if WARM_UP_S <= call.began < repair]
    after = [call for call in fleet.ended if call.began >= repair]
    served = sum(call.works and WARM_UP_S + 10 <= call.began + call.elapsed_s < repair for call in fleet.ended)
    refused = sorted(call.refused_cpu_s for call in fleet.ended if call.refused_cpu_s is not None)
    windows = [sum(arrived[at + second] for second in range(10)) for at in range(WARM_UP_S, repair + AFTER_S - 10)]
    return Figures(
        scenario=scenario.name,
        strategy=fleet.strategy.name,
        clients=clients,
        through="engine" if fleet.engine_only else "session",
        calls=len(fleet.ended),
        amplification=sum(arrived[second] for second in range(WARM_UP_S, repair)) / len(during),
        peak=max(windows) / (10 * clients),
        goodput=served / ((DOWN_S - 10) * LEFT * clients) if scenario.brown_out else None,
        recovery_s=_recovery_s(after, repair),
        failed_after=sum(not call.works for call in after),
        p99_s=_share(sorted(call.elapsed_s for call in during), 0.99),
        refused_p99_ms=_share(refused, 0.99) * 1000 if refused else None,
        load=tuple(arrived[second] for second in range(repair + AFTER_S)),
    )


def _recovery_s(after: list[Ended], repair: int) -> int | None:
    begun, worked = Counter[int](), Counter[int]()
    for call in after:
        begun[int(call.began) - repair] += 1
        worked[int(call.began) - repair] += call.works
    healthy: Callable[[int], bool] = lambda second: worked[second] >= RECOVERED * begun[second]  # noqa: E731
    seconds = range(AFTER_S - RECOVERED_S)
    return next((at for at in seconds if all(healthy(at + more) for more in range(RECOVERED_S))), None)


def _share(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """What came of clients that all fail at the same instant."""

    strategy: str
    clients: int
    burst_s: float
    """Of the limiter: how many seconds of its rate it lets through at once."""

    attempts: float
    """Requests per call."""

    succeeded: int
    lasted_s: float
    """Until the last call ended; 10 s would be ideal."""


def run_instant(strategy: Strategy, clients: int, seed: int, *, burst_s: float, shared: bool) -> Instant:
    """Let every client call at once what can serve a tenth of them in a second."""
    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(grace_s=0.0)) as runner:
        return runner.run(_instant(strategy, clients, seed, burst_s=burst_s, shared=shared))


async def _instant(strategy: Strategy, clients: int, seed: int, *, burst_s: float, shared: bool) -> Instant:
    server = Server(clients / 10, 0, Mode.SHEDS_429, burst_s)
    server.fill()
    fleet = Fleet(clients, strategy, seed, engine_only=False, server=server)
    limits = LocalLimits(fleet.dice.random) if shared else None
    # Time and attempts enough for those who pause: what is looked at is how many they need.
    patient = strategy.policy.max_attempts > 1 and strategy.policy.backoff_base > 0
    attempts = 50 if patient else strategy.policy.max_attempts
    policy = replace(strategy.policy, attempt_timeout=None, deadline=300.0, max_attempts=attempts)
    fleet.start(limits, policy)
    for member in range(clients):
        fleet.call(member)
    await fleet.close()
    return Instant(
        strategy=strategy.name + (", one process" if shared else ""),
        clients=clients,
        burst_s=burst_s,
        attempts=server.arrived.total() / clients,
        succeeded=sum(call.works for call in fleet.ended),
        lasted_s=max(call.elapsed_s for call in fleet.ended),
    )
