"""What Finix's bodies look like: resources, pages and errors.

Shapes after Finix's pages on error codes and pagination and the fields its own SDK tests assert. Bodies are printed as
Finix prints them, over several lines with spaces round the colons: finix-java depends on it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from holdfast.sandbox.messages import Document, Incoming


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One sort of resource."""

    collection: str
    """Name in paths and lists, such as ``transfers``."""

    singular: str
    """Name in errors and the ledger, such as ``transfer``."""

    prefix: str
    """First letters of every id."""

    @property
    def noun(self) -> str:
        """Name in messages, such as ``Transfer``."""
        return self.singular.replace("_", " ").capitalize()


TRANSFER: Final = Kind(collection="transfers", singular="transfer", prefix="TR")
AUTHORIZATION: Final = Kind(collection="authorizations", singular="authorization", prefix="AU")
MERCHANT: Final = Kind(collection="merchants", singular="merchant", prefix="MU")
IDENTITY: Final = Kind(collection="identities", singular="identity", prefix="ID")
INSTRUMENT: Final = Kind(collection="payment_instruments", singular="payment_instrument", prefix="PI")

KINDS: Final = (TRANSFER, AUTHORIZATION, MERCHANT, IDENTITY, INSTRUMENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decline:
    """Why the pretended issuer says no."""

    code: str
    """``failure_code``."""

    message: str
    """``failure_message``."""


# https://docs.finix.com/.../testing-your-integration: amounts that Finix's own sandbox declines, in cents.
DECLINES: Final[Mapping[int, Decline]] = MappingProxyType(
    {
        102: Decline(code="GENERIC_DECLINE", message="Declined for an unknown reason."),
        103: Decline(code="CANCELLATION_VIA_API", message="The transaction was cancelled."),
        193: Decline(code="INSUFFICIENT_FUNDS", message="Insufficient funds."),
        194: Decline(code="INVALID_ACCOUNT_NUMBER", message="Invalid card number."),
        889986: Decline(code="ADDRESS_VERIFICATION_FAILED_RISK_RULES", message="Address verification failed."),
        889987: Decline(code="CVV_FAILED_RISK_RULES", message="Security code verification failed."),
    }
)

CAPTURE_DECLINED: Final = 102  # finix-nodejs, src/test/errorResponses.test.ts


def printed(document: Mapping[str, object]) -> bytes:
    """Print a document as Finix does."""
    return json.dumps(document, indent=2, separators=(",", " : ")).encode()


def payment(kind: Kind, identity: str, incoming: Incoming, amount: int, decline: Decline | None) -> Document:
    """Shape a new transfer or authorization.

    Args:
        kind: `TRANSFER` or `AUTHORIZATION`.
        identity: Id of the resource.
        incoming: The request that makes it.
        amount: In cents.
        decline: Why it failed; None when it succeeded.
    """
    sent = incoming.document or {}
    own = {"is_void": False, "transfer": None, "void_state": "UNATTEMPTED"} if kind is AUTHORIZATION else {}
    return {
        "id": identity,
        "amount": amount,
        "currency": sent.get("currency"),
        "failure_code": decline and decline.code,
        "failure_message": decline and decline.message,
        "idempotency_id": sent.get("idempotency_id") if incoming.method == "POST" else None,
        "merchant": sent.get("merchant"),
        "messages": [],
        "raw": None,
        "source": sent.get("source"),
        "state": "FAILED" if decline else "SUCCEEDED",
        "tags": sent.get("tags") or {},
        "trace_id": identity[2:18],
        **own,
        **({"type": "DEBIT"} if kind is TRANSFER else {}),
        "_links": self_link(f"{incoming.origin}/{kind.collection}/{identity}"),
    }


def page(kind: Kind, incoming: Incoming, rows: Sequence[Document], limit: int) -> Document:
    """Shape one page of a list, cut to ``limit`` rows.

    Args:
        kind: What is listed.
        incoming: The request, for the link.
        rows: Everything from the cursor on.
        limit: Most rows on the page.
    """
    shown = rows[:limit]
    return {
        "_embedded": {kind.collection: list(shown)},
        "_links": self_link(incoming.here),
        "page": {"limit": limit, "next_cursor": shown[-1]["id"] if len(rows) > limit else None},
    }


def self_link(href: str) -> Document:
    """Shape ``_links`` with nothing but the own address."""
    return {"self": {"href": href}}


def envelope(errors: Sequence[Mapping[str, object]]) -> Document:
    """Shape an error body."""
    return {"total": len(errors), "_embedded": {"errors": list(errors)}}


def error(logref: str, code: str, message: str, href: str) -> Document:
    """Shape one error.

    Args:
        logref: Unique for this request and response.
        code: Such as ``NOT_FOUND``.
        message: For people.
        href: The address asked for.
    """
    return {"logref": logref, "message": message, "code": code, "_links": self_link(href)}


def declined(base: Document, kind: Kind, resource: Document, origin: str) -> Document:
    """Add to an error, in place, what a decline of ``POST`` carries: the resource, its link and why.

    Args:
        base: The error, from `error`.
        kind: `TRANSFER` or `AUTHORIZATION`.
        resource: What was made all the same.
        origin: Scheme, host and port, for the link.
    """
    identity = str(resource["id"])
    href = f"{origin}/{kind.collection}/{identity}"
    links = base.pop("_links")
    base[kind.singular] = identity
    base["failure_code"] = resource["failure_code"]
    base["failure_message"] = resource["failure_message"]
    base["_links"] = {**(links if isinstance(links, dict) else {}), kind.singular: {"href": href}}
    return base
