"""The calls of one run: what each asks for, how patient it is, and what is known of the bank it asks.

All of it follows from the seed and the number of the call.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final
from urllib.parse import quote

from tests.ledger.troubles import draw

from holdfast import Effect, Outcome, Policy
from holdfast.providers import GENERIC
from holdfast.providers.provider import Finding, KeySlot, Lookup, LookupTarget, Provider, json_object


class Kind(StrEnum):
    """What a call asks for."""

    KEYED = "keyed POST, no lookup"
    KEYED_LOOKUP = "keyed POST, with lookup"
    UNKEYED = "unkeyed POST"
    CAPTURE = "PUT that is not idempotent"
    ACCOUNT = "idempotent PUT"
    READ = "GET"

    @property
    def keyed(self) -> bool:
        return self in {Kind.KEYED, Kind.KEYED_LOOKUP}

    @property
    def method(self) -> str:
        return _PLACES[self][0]

    def path(self, call: str) -> str:
        """Give the path of one call of this kind."""
        return _PLACES[self][1].format(call)


_PLACES: Final = {
    Kind.KEYED: ("POST", "/charges"),
    Kind.KEYED_LOOKUP: ("POST", "/charges"),
    Kind.UNKEYED: ("POST", "/payments"),
    Kind.CAPTURE: ("PUT", "/captures/{}"),
    Kind.ACCOUNT: ("PUT", "/accounts/{}"),
    Kind.READ: ("GET", "/things/{}"),
}

_KINDS: Final = (
    *[Kind.KEYED] * 5,
    *[Kind.KEYED_LOOKUP] * 5,
    *[Kind.UNKEYED] * 4,
    *[Kind.CAPTURE] * 2,
    *[Kind.ACCOUNT] * 2,
    *[Kind.READ] * 2,
)

REFUSED_SHARE: Final = 0.03
"""Calls that the bank declines, whenever and however often it is asked."""

ATTEMPT_TIMEOUT_S: Final = 0.25
LATE_S: Final = 0.4
"""When the bank answers, or acts, that is late: after ``ATTEMPT_TIMEOUT_S``."""

_PATIENT: Final = Policy(
    deadline=5.0,
    attempt_timeout=ATTEMPT_TIMEOUT_S,
    backoff_base=0.01,
    backoff_max=0.05,
    # Its faults are far above any budget: what is looked at is every single verdict, not how the bank is spared.
    retry_budget=None,
    breaker=None,
    rate_gate=False,
)
POLICIES: Final = (
    _PATIENT,
    _PATIENT,
    replace(_PATIENT, deadline=0.4),
    replace(_PATIENT, deadline=0.3, attempt_timeout=None),
)
"""Two of four calls have time for every attempt, and two are cut off by their deadline."""


@dataclass(frozen=True, slots=True)
class Order:
    """One call to make."""

    call: str
    kind: Kind
    amount: int
    policy: Policy

    @property
    def body(self) -> dict[str, object]:
        return {"call": self.call, "amount": self.amount}


def order_of(seed: int, number: int, policies: tuple[Policy, ...] = POLICIES) -> Order:
    """Choose one call of a run."""
    call = f"{seed}-{number}"
    kind = _KINDS[int(draw(call, "kind") * len(_KINDS))]
    policy = policies[int(draw(call, "policy") * len(policies))]
    return Order(call, kind, 1 + int(draw(call, "amount") * 100_000), policy)


def orders(seed: int, calls: int, policies: tuple[Policy, ...] = POLICIES) -> Iterator[Order]:
    """Give the calls of a run, one by one."""
    return (order_of(seed, number, policies) for number in range(calls))


def is_refused(call: str) -> bool:
    """Say whether the bank declines a call: for what it asks for, so that every attempt meets the same."""
    return draw(call, "refused") < REFUSED_SHARE


def _path_for(target: LookupTarget) -> str:
    return f"/charges?key={quote(target.key, safe='')}"


def _read(target: LookupTarget, status: int, body: bytes) -> Finding:
    charges = json_object(body).get("charges", ()) if status == 200 else ()
    if any(charge["key"] == target.key and target.echoed_by(charge) for charge in charges):
        return Finding(Effect.LANDED, Outcome.SUCCESS, "reconciled")
    return Finding(Effect.IN_DOUBT)


LOOKUP: Final = Lookup(_path_for, _read)

KEY_HEADER: Final = "Idempotency-Key"

BANK: Final[Provider] = replace(
    GENERIC,
    name="bank",
    key_slots=(KeySlot("POST", "/charges", header=KEY_HEADER),),
    resend_methods=frozenset({"GET", "HEAD", "OPTIONS"}),
    follow_redirects=False,
    read_body=True,
)
"""As FINIX: keys on one endpoint, and no PUT that may be sent again. The caller gives key and lookup."""


def key_of(order: Order) -> str | None:
    """Give a call's idempotency key, which the caller chooses once."""
    return f"key-{order.call}" if order.kind.keyed else None


def provider_of(kind: Kind) -> Provider:
    """Give what is known of the place that a call goes to."""
    return GENERIC if kind is Kind.ACCOUNT else BANK
