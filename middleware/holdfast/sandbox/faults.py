"""Which fault befalls which request.

Two sources. The header ``X-Sandbox-Fault`` says so request by request; without it, a seeded plan draws. The same
seed and the same order of arrival give the same faults, whatever the requests are.

Header forms: ``NAME`` for every request; ``NAME*N`` for the first N; a comma list of these for successive requests,
and none after its end. ``none`` is a step without a fault, and shields a request from the plan. Steps are counted per
idempotency key; without a key per ``X-Call``; without that per method and path.
"""

import random
import re
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

FAULT_HEADER: Final = "X-Sandbox-Fault"

_STEP: Final = re.compile(r"(?P<name>[a-z0-9-]+)(?:\*(?P<times>[1-9][0-9]{0,2}))?", re.ASCII)
_NO_FAULT: Final = "none"


class Fault(StrEnum):
    """Every way the sandbox can break. The order is part of the seeded plan."""

    REFUSE = "refuse"
    RESET_BEFORE = "reset-before"
    RESET_AFTER = "reset-after"
    SLOW = "slow"
    ERROR_500_BEFORE = "500-before"
    ERROR_500_AFTER = "500-after"
    ERROR_503_BEFORE = "503-before"
    RATE_LIMIT = "429"
    TRUNCATED = "truncated"
    MALFORMED = "malformed"


class Delivery(StrEnum):
    """How the answer, if any, leaves the server."""

    WHOLE = "whole"
    LATE = "late"
    CLOSED = "closed"
    RESET = "reset"
    CUT = "cut"
    GARBLED = "garbled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Harm:
    """What a fault does to a request."""

    executes: bool
    """True when the operation is carried out, effect and all, before the fault strikes."""

    status: int | None = None
    """Status answered in place of the true one; None leaves the answer as it is."""

    delivery: Delivery = Delivery.WHOLE
    """How the answer leaves."""


HARMS: Final[dict[Fault | None, Harm]] = {
    None: Harm(executes=True),
    Fault.REFUSE: Harm(executes=False, delivery=Delivery.CLOSED),
    Fault.RESET_BEFORE: Harm(executes=False, delivery=Delivery.RESET),
    Fault.RESET_AFTER: Harm(executes=True, delivery=Delivery.RESET),
    Fault.SLOW: Harm(executes=True, delivery=Delivery.LATE),
    Fault.ERROR_500_BEFORE: Harm(executes=False, status=500),
    Fault.ERROR_500_AFTER: Harm(executes=True, status=500),
    Fault.ERROR_503_BEFORE: Harm(executes=False, status=503),
    Fault.RATE_LIMIT: Harm(executes=False, status=429),
    Fault.TRUNCATED: Harm(executes=True, delivery=Delivery.CUT),
    Fault.MALFORMED: Harm(executes=True, delivery=Delivery.GARBLED),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """The decision about one request."""

    fault: Fault | None = None
    """What will go wrong; None lets the request through unharmed."""

    retry_after: int = 0
    """Seconds that a 429 advises to wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A parsed ``X-Sandbox-Fault`` header."""

    steps: tuple[Fault | None, ...]
    """Faults of successive requests; None is a request without one."""

    standing: bool
    """True for the plain form: the one step holds for every request."""

    @classmethod
    def parse(cls, text: str) -> "Script":
        """Read the header.

        Args:
            text: Header value, such as ``reset-after*2`` or ``500-before,none,slow``.

        Raises:
            ValueError: A step is not a known fault: a typing error must not pass for a calm server.
        """
        steps: list[Fault | None] = []
        counted = False
        for item in text.split(","):
            found = _STEP.fullmatch(item.strip())
            if found is None or (found["name"] != _NO_FAULT and found["name"] not in _NAMES):
                known = ", ".join((*Fault, _NO_FAULT))
                raise ValueError(f"{FAULT_HEADER} must be made of NAME or NAME*N with NAME one of {known}")
            counted = counted or found["times"] is not None
            steps += [_NAMES.get(found["name"])] * int(found["times"] or 1)
        return cls(steps=tuple(steps), standing=len(steps) == 1 and not counted)


_NAMES: Final = {fault.value: fault for fault in Fault}


class FaultPlan:
    """Deals out the faults of one sandbox. Confined to one event loop."""

    __slots__ = ("_probability", "_random", "_seen")

    def __init__(self, probability: float, seed: int) -> None:
        """Make a plan.

        Args:
            probability: Share of requests that draw a fault, in ``[0, 1]``.
            seed: The same seed gives the same sequence of faults.

        Raises:
            ValueError: ``probability`` is outside ``[0, 1]``.
        """
        if not 0.0 <= probability <= 1.0:
            raise ValueError(f"faults must be between 0 and 1, got {probability}")
        self._probability = probability
        self._random = random.Random(seed)  # noqa: S311 - a repeatable plan, not a secret
        self._seen: Counter[tuple[str, Script]] = Counter()

    def on_arrival(self, script: Script | None) -> Injection | None:
        """Decide from the head of a request alone, where that is possible.

        Args:
            script: The parsed header; None draws the next fault of the seeded sequence.

        Returns:
            The decision, or None when the header counts requests, so that the body, which may hold the key, must be
            read first.
        """
        if script is None:
            return self._draw()
        return Injection(fault=script.steps[0]) if script.standing else None

    def next_step(self, script: Script, subject: str) -> Injection:
        """Take the next step of a counted header.

        Args:
            script: The parsed header.
            subject: Whose requests are counted.
        """
        place = self._seen[subject, script]
        self._seen[subject, script] += 1
        return Injection(fault=script.steps[place]) if place < len(script.steps) else Injection()

    def _draw(self) -> Injection:
        # Three draws whatever comes of them: request number n gets the same fault at every probability that reaches it.
        chance, fault, retry_after = self._random.random(), self._random.choice(_DECK), self._random.randrange(2)
        if chance >= self._probability:
            return Injection()
        return Injection(fault=fault, retry_after=retry_after)


_DECK: Final = tuple(Fault)
