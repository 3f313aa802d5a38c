"""What keeps us from hurting an origin: its circuit, rate gate, concurrency limit and retry budget, in this process.

The limits of one event loop are shared by all its sessions, unless a session is given its own: an origin that refuses
one of them refuses them all.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

from holdfast.core.breaker import Circuit
from holdfast.core.budget import RetryBucket
from holdfast.core.bulkhead import Bulkhead
from holdfast.engine.guard import OriginGuard, OriginState
from holdfast.engine.line import GateLine
from holdfast.policy import Policy

MOST_ORIGINS: Final = 4096
"""Origins whose state is kept. Beyond it those are forgotten that are at rest: nobody in flight or in line, the gate
open, the circuit closed or long open, the retry budget full."""

_MOST_POLICIES: Final = 64
"""Guards that are kept for one origin. A policy may be new with each call, and a guard is only put together."""

_Part = TypeVar("_Part")


class _Origin:
    """What is kept of one origin, in parts by the part of a policy that says how. Confined to one event loop."""

    __slots__ = ("guards", "hold", "parts")

    def __init__(self) -> None:
        self.guards: dict[int, OriginGuard] = {}
        self.parts: dict[object, Any] = {}
        self.hold: Callable[[Circuit, float], None] | None = None

    def part(self, key: object, make: Callable[..., _Part], *arguments: object) -> _Part:
        if key not in self.parts:
            self.parts[key] = make(*arguments)
        part: _Part = self.parts[key]
        return part

    def circuits(self) -> tuple[Circuit, ...]:
        return tuple(part for part in self.parts.values() if isinstance(part, Circuit))

    def is_at_rest(self, now: float) -> bool:
        return self.hold is None and all(part.is_at_rest(now) for part in self.parts.values())


class LocalLimits:
    """The limits of all origins, as this process sees them. Confined to one event loop.

    ``session.limits`` is one. Give several sessions the same, and they share it; by default all sessions of an event
    loop do.
    """

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        """Start with nothing known.

        Args:
            draw: Gives uniform random numbers in ``[0, 1)``.
        """
        self._draw = draw
        self._origins: dict[str, _Origin] = {}
        self._most = MOST_ORIGINS
        self._last: OriginGuard | None = None

    def of(self, origin: str, policy: Policy) -> OriginGuard:
        """Give the guard of calls to one origin under one policy; equal values share their state."""
        last = self._last
        if last is not None and last.policy is policy and last.origin == origin:
            return last  # most services call one origin
        known = self._origins.get(origin)
        guard = None if known is None else known.guards.get(id(policy))
        if guard is None or guard.policy is not policy:
            guard = self._put_together(origin, policy)
        self._last = guard
        return guard

    def origins(self) -> tuple[str, ...]:
        """Give the origins of which something is known."""
        return tuple(self._origins)

    def state(self, origin: str, policy: Policy = Policy()) -> OriginState:  # noqa: B008 - frozen
        """Say where the limits of an origin stand.

        Args:
            origin: Scheme, host and port as the address has them, e.g. ``https://api.test``.
            policy: Of the session or call whose limits are asked for, where it is not the default.
        """
        return self.of(origin, policy).state()

    def open_circuit(self, origin: str) -> None:
        """Refuse every call to an origin until ``release_circuit``; those with ``breaker=None`` are not refused."""
        self._hold(origin, Circuit.hold_open)

    def close_circuit(self, origin: str) -> None:
        """Let every call to an origin through until ``release_circuit``, whatever fails."""
        self._hold(origin, Circuit.hold_closed)

    def release_circuit(self, origin: str) -> None:
        """Give the circuit of an origin back to its own judgement."""
        known = self._origins.get(origin)
        if known is None:
            return
        known.hold = None
        for circuit in known.circuits():
            circuit.release(_now())

    def _hold(self, origin: str, hold: Callable[[Circuit, float], None]) -> None:
        known = self._origin(origin)
        known.hold = hold
        for circuit in known.circuits():
            hold(circuit, _now())

    def _origin(self, origin: str) -> _Origin:
        known = self._origins.get(origin)
        if known is None:
            if len(self._origins) >= self._most:
                now = _now()
                self._origins = {name: each for name, each in self._origins.items() if not each.is_at_rest(now)}
                self._most = max(MOST_ORIGINS, 2 * len(self._origins))  # to look through them costs time
                self._last = None
            known = self._origins[origin] = _Origin()
        return known

    def _put_together(self, origin: str, policy: Policy) -> OriginGuard:
        known, now = self._origin(origin), _now()
        breaker, budget, most, rate = policy.breaker, policy.retry_budget, policy.max_concurrency, policy.rate_limit
        circuit = None
        if breaker is not None:
            is_new = breaker not in known.parts
            circuit = known.part(breaker, Circuit, breaker, now)
            if is_new and known.hold is not None:
                known.hold(circuit, now)
        rates = None
        if rate is not None:
            writes = known.part((rate, "writes"), GateLine, rate)
            rates = (writes, known.part((rate, "reads"), GateLine, rate) if rate.reads_apart else writes)
        if len(known.guards) >= _MOST_POLICIES:
            known.guards.clear()
        known.guards[id(policy)] = guard = OriginGuard(
            origin,
            policy,
            circuit=circuit,
            budget=None if budget is None else known.part(budget, RetryBucket, budget, now),
            line=known.part("gate" if policy.rate_gate else "no gate", GateLine, None),
            rates=rates,
            bulkhead=None if most is None else known.part(most, Bulkhead[asyncio.Future[None]], most),
            draw=self._draw,
        )
        return guard


class LoopLimits:
    """The limits of whichever event loop is running. Safe to share between threads."""

    def of(self, origin: str, policy: Policy) -> OriginGuard:
        """Give the guard of calls to one origin under one policy."""
        return limits_of_loop().of(origin, policy)


_OF_LOOPS: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, LocalLimits]] = WeakKeyDictionary()


def limits_of_loop() -> LocalLimits:
    """Give the limits that the sessions of the running event loop share.

    Raises:
        RuntimeError: No event loop is running.
    """
    loop = asyncio.get_running_loop()
    known = _OF_LOOPS.get(loop)
    if known is None:
        known = _OF_LOOPS[loop] = LocalLimits()
    return known


def check_limits(limits: object) -> None:
    """Refuse what cannot be a session's limits where it enters.

    Raises:
        TypeError: It has no ``of``, or is a class.
    """
    if isinstance(limits, type) or not callable(getattr(limits, "of", None)):
        got = f"the class {limits.__name__}" if isinstance(limits, type) else type(limits).__name__
        raise TypeError(f"limits= must be a LocalLimits, or have of(origin, policy) as it has, got {got}")


def _now() -> float:
    return asyncio.get_running_loop().time()
