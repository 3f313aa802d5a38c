"""The shape of one row: how a fault is made, how the call that meets it is asked for, and what must come of it."""

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import aiohttp
from tests.faults.drivers import Driver, send
from tests.faults.places import Place

from holdfast import Outcome

AMOUNT: Final = b'{"amount": 100}'
"""The body of every POST and PUT, unless the row is about bodies."""

PATIENT: Final[Mapping[str, Any]] = {
    "max_attempts": 3,
    "deadline": 30.0,
    "backoff_base": 0.001,
    "read_body": True,
}
"""Policy of every row, but for what the row is about."""

SHORT_S: Final = 0.3
"""Seconds that stand for the minutes of a real timeout."""

SHORT: Final[Mapping[str, Any]] = {"max_attempts": 2, "attempt_timeout": SHORT_S}
"""Policy of the rows that wait for a timeout."""


Variant = Literal["every", "first"]
"""Whether the fault hits every attempt, or only the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """How the call is asked for."""

    url: str = "http://pay.test/payments"
    proxy: str | None = None
    client_tls: Callable[[], ssl.SSLContext | aiohttp.Fingerprint] | None = None
    timeout: aiohttp.ClientTimeout | None = None
    policy: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the policy that the row is about."""

    options: Mapping[str, Any] = field(default_factory=dict)
    body: Callable[[], Any] = lambda: AMOUNT
    connector: Callable[[int], Mapping[str, Any]] = lambda _: {}
    """Options of the connector, from how many attempts the fault hits."""

    session: Mapping[str, Any] = field(default_factory=dict)
    """Options of the session."""

    virtual: bool = False
    """Whether the loop's clock jumps over the waits."""


@dataclass(frozen=True, slots=True)
class Said:
    """What must come of one case, in the catalogue's words."""

    final: str
    """The verdict when the fault hits every attempt."""

    retry: bool
    first: str
    """The verdict when it hits the first attempt only."""

    processed: str
    """Whether the server acts on a faulted attempt: ``yes``, ``no`` or ``maybe``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Differs:
    """What we expect in place of the catalogue, in the catalogue's words, and why."""

    cases: str
    """Suffixes of the catalogue's cases: ``G`` GET, ``PK`` POST with a key, ``P`` POST without one, ``U`` PUT."""

    final: str
    retry: bool
    first: str
    outcome: Outcome | None = None
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One fault."""

    id: str
    """The catalogue's number; a plus sign in front marks a fault of our own."""

    flavour: str = ""
    """Which of several ways to make the same fault."""

    place: Place
    ask: Ask = Ask()
    drive: Driver = send

    hits: tuple[Variant, ...] = ("every", "first")
    """The variants that the row makes sense in."""

    seen: int | None = 1
    """Requests that a faulted attempt leaves on the ledger; ``None`` where others send some too."""

    connects: int | None = 1
    """Connections on which a faulted attempt reaches a handler; ``None`` where others make some too."""

    attempts: int | None = None
    """Attempts in the report, where it is neither one nor those that a resend explains."""

    outcome: Outcome | None = None
    """The outcome, where the catalogue's word leaves it open."""

    reason: str | None = None
    """The report's reason when the fault hits every attempt; ``None`` leaves it open."""

    put: str = "PK"
    """The catalogue's case that a PUT is held to; the catalogue has none of its own. Empty where none fits."""

    differs: tuple[Differs, ...] = ()
    says: Mapping[str, Said] = field(default_factory=dict)
    """What must come of a fault of our own, by case."""

    @property
    def name(self) -> str:
        """Number and flavour."""
        return f"{self.id}.{self.flavour}" if self.flavour else self.id
