"""The shape of what we know of one API.

A provider is data: which statuses and codes mean what, which endpoints take an idempotency key and in which form, how
its error bodies read, and where to look up what became of a call. Nothing here sends or waits.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import field
from functools import lru_cache
from os import urandom
from typing import Any, Final

from holdfast.core.error_body import decode_errors
from holdfast.outcome import Effect, Outcome
from holdfast.report import ErrorDetail
from holdfast.values import dataclass

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "QUERY"})
"""Methods that change nothing at the provider (RFC 9110 section 9.2.1; QUERY: RFC 10008)."""

IDEMPOTENT_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""Methods whose repetition does no more than one of them (RFC 9110 section 9.2.2). Finix's capture is a PUT that is
not, so this is GENERIC's rule and not everybody's."""

MONEY_FIELDS: Final = ("amount", "currency", "merchant", "source", "destination")
"""Fields of a payment that its record repeats as they were sent."""

ANY: Final = "*"
"""In a ``KeySlot``: every method, or every path."""

_VARIANT: Final = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}
"""The hexadecimal digit whose two upper bits are those of RFC 9562 section 4.1, by one that was drawn."""

_VERSION_PREFIX: Final = r"(?:/v\d+)?"


@dataclass(frozen=True, slots=True)
class KeySlot:
    """Where one kind of endpoint takes its idempotency key."""

    method: str
    path: str
    """Template of the path below the base address, e.g. ``/transfers/{id}/reversals``. A leading ``/v1`` is ignored."""

    header: str | None = None
    json_field: str | None = None
    make_key: Callable[[], str] | None = None
    """Makes a fresh key; ``None`` means that only the caller's own key is sent."""

    pattern: str | None = None
    """What the provider accepts, as a regular expression; ``None`` means 1 to 255 visible ASCII characters."""

    def __post_init__(self) -> None:
        """Refuse a slot that puts the key nowhere, or in two places.

        Raises:
            ValueError: Not exactly one of ``header`` and ``json_field`` is given.
        """
        if (self.header is None) is (self.json_field is None):
            raise ValueError("a KeySlot names either a header or a json_field for the key")


@dataclass(frozen=True, slots=True)
class Rule:
    """One status and code of one provider, more exact than the statuses of the common table.

    It is read after the common rows: no rule makes a success, a conflict or a decline into something else.
    """

    status: int
    code: str
    outcome: Outcome
    reason: str


@dataclass(frozen=True, slots=True)
class LookupTarget:
    """The call that a lookup asks about."""

    method: str
    path: str
    """Path below the base address, without query, e.g. ``/transfers``."""

    key: str
    """Empty where the call carried none, which only a lookup of the caller's own is asked about."""

    sent: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The request's JSON body, to tell our own record from another payment under the same key; empty when unknown."""

    def echoed_by(self, record: Mapping[str, Any]) -> bool:
        """Say whether a record could be this call's: no money field in both of them differs."""
        return all(
            str(self.sent[name]) == str(record[name])
            for name in MONEY_FIELDS
            if self.sent.get(name) is not None and record.get(name) is not None
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """What a lookup's answer says about a call."""

    effect: Effect
    outcome: Outcome | None = None
    """The verdict it supports; ``None`` where it supports none."""

    reason: str = "not_found"
    next_path: str | None = None
    """Where the resource itself is, when this answer was only a list."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """How to find out what became of an in-doubt call: where to ask with GET, and how to read the answer."""

    path_for: Callable[[LookupTarget], str | None]
    """Path and query below the base address; ``None`` where the provider has no lookup for this call."""

    read: Callable[[LookupTarget, int, bytes], Finding]
    """Read status and body of the answer. Pure, and never raises. An absent record is no proof: it stays in doubt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """What we know of one API. Safe to share between threads."""

    name: str
    rules: tuple[Rule, ...] = ()
    key_slots: tuple[KeySlot, ...] = ()
    resend_methods: frozenset[str] = SAFE_METHODS
    """Methods that may be sent again without a key after they may have taken effect."""

    decode_errors: Callable[[bytes], tuple[ErrorDetail, ...]] = decode_errors
    key_words: tuple[str, ...] = ("idempot",)
    """Words, in lower case, by which an error names the key; found in a code or text, they only ever add caution."""

    request_id_header: tuple[str, ...] = ("X-Request-ID",)
    """Response headers that name the provider's own id of a request; the first one present is reported."""

    lookup: Lookup | None = None
    polls_conflict: bool = False
    """Whether a 409 under our key means "still running, ask again" (IETF idempotency-key draft, Stripe)."""

    replays_answer: bool = True
    """Whether the same key and body give the stored answer back, so that sending again fetches a lost body."""

    follow_redirects: bool = True
    read_body: bool = False
    """Whether a success's body is read inside the attempt, where its loss still counts."""

    sources: tuple[str, ...] = ()

    @property
    def key_headers(self) -> frozenset[str]:
        """Request headers that carry a key, in lower case."""
        return frozenset(slot.header.lower() for slot in self.key_slots if slot.header is not None)

    def slot_for(self, method: str, path: str) -> KeySlot | None:
        """Give the slot of an endpoint that takes a key.

        Args:
            method: Upper-case method.
            path: Path below the session's base address, without query.
        """
        for slot in self.key_slots:
            wanted, template = slot.method, slot.path
            if wanted != method and wanted != ANY:  # noqa: PLR1714 - a tuple would cost more
                continue
            if template in (ANY, path) or _compiled(template).fullmatch(path):
                return slot
        return None


def new_key() -> str:
    """Make a key that nobody has made before: a random UUID (RFC 9562 section 5.4), in lower case.

    It comes from the operating system, which no fork repeats, and is written here for a quarter of what
    ``str(uuid.uuid4())`` takes, by way of a number and an object.
    """
    drawn = urandom(16).hex()
    return f"{drawn[:8]}-{drawn[8:12]}-4{drawn[13:16]}-{_VARIANT[drawn[16]]}{drawn[17:20]}-{drawn[20:]}"


def json_object(body: bytes) -> dict[str, Any]:
    """Parse a body that should be a JSON object; anything else is an empty one. Never raises."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def below(path: str, base_path: str) -> tuple[str, str]:
    """Split a path into the session's base path and what lies below it."""
    base = base_path.rstrip("/")
    return (base, path[len(base) :]) if path.startswith(f"{base}/") else ("", path)


def unversioned(path: str) -> str:
    """Strip a leading ``/v1`` and the like from a path."""
    return re.sub(rf"^{_VERSION_PREFIX}(?=/)", "", path)


@lru_cache(maxsize=256)
def _compiled(template: str) -> re.Pattern[str]:
    literal = re.split(r"\{[^{}]*\}", template)
    return re.compile(_VERSION_PREFIX + "[^/]+".join(map(re.escape, literal)) + "/?")
