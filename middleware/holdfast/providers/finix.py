"""Finix: payments with the key in the body.

The key is the JSON field ``idempotency_id``, on three endpoints and nowhere else; captures and voids are PUT and carry
none. A decline creates a resource and is final. Only ``failure_code`` and codes are read, never message texts.
"""

from typing import Any, Final
from urllib.parse import quote

from holdfast.outcome import Effect, Outcome
from holdfast.policy import RateLimit
from holdfast.providers.provider import (
    Finding,
    KeySlot,
    Lookup,
    LookupTarget,
    Provider,
    Rule,
    json_object,
    new_key,
    unversioned,
)

FINIX_RATE_LIMIT: Final = RateLimit(per_second=100.0, burst=10, reads_apart=True)
"""Finix's published limit, 100 writes and 100 reads a second, for ``Policy(rate_limit=FINIX_RATE_LIMIT)``.

It is not on by default: each process keeps it for itself, and only you know how many share the account. Source:
https://docs.finix.com/additional-resources/developers/authentication-and-api-basics/rate-limits.md
"""

_BY_STATE: Final = {
    "SUCCEEDED": Finding(Effect.LANDED, Outcome.SUCCESS, "reconciled"),
    "PENDING": Finding(Effect.LANDED, Outcome.SUCCESS, "accepted"),
    "FAILED": Finding(Effect.NONE, Outcome.PERMANENT_FAILURE, "declined"),
    "CANCELED": Finding(Effect.NONE, Outcome.PERMANENT_FAILURE, "canceled"),
}
"""Transfer and Authorization ``state`` (OpenAPI of finix-python). ``UNKNOWN``, and any new word, settles nothing."""

_COLLECTIONS: Final = {"transfers": "transfers", "reversals": "transfers", "authorizations": "authorizations"}
"""Last segment of the endpoint to the collection that its resources are found in; a reversal is a transfer."""


def _path_for(target: LookupTarget) -> str | None:
    collection = _collection(target)
    return None if collection is None else f"/{collection}?idempotency_id={quote(target.key, safe='')}"


def _read(target: LookupTarget, status: int, body: bytes) -> Finding:
    document = json_object(body) if status == 200 else {}  # noqa: PLR2004 - the only answer that describes a resource
    collection = _collection(target)
    embedded = document.get("_embedded")
    if not isinstance(embedded, dict):
        return _by_state(document) if _is_ours(document, target) else Finding(Effect.IN_DOUBT)
    listed = embedded.get(collection)
    # The echo is checked, because a server that ignores the filter lists other people's payments.
    ours = [item for item in listed if _is_ours(item, target)] if isinstance(listed, list) else []
    found = min(ours, key=_weight, default=None)
    if found is None:
        return Finding(Effect.IN_DOUBT)
    verdict = _by_state(found)
    resource = quote(str(found.get("id")), safe="", errors="replace")  # JSON can spell a lone surrogate
    return Finding(verdict.effect, verdict.outcome, verdict.reason, f"/{collection}/{resource}")


def _weight(resource: dict[str, Any]) -> int:
    """Order records under one key: one that landed decides, then one in doubt, and a failed one only alone."""
    return (Effect.LANDED, Effect.IN_DOUBT, Effect.NONE).index(_by_state(resource).effect)


def _collection(target: LookupTarget) -> str | None:
    return _COLLECTIONS.get(unversioned(target.path).rstrip("/").rpartition("/")[2])


def _is_ours(item: object, target: LookupTarget) -> bool:
    if not isinstance(item, dict) or item.get("idempotency_id") != target.key:
        return False
    # A key is unique per endpoint only, and a reversal stands in the same collection as the transfer it reverses.
    wants_reversal = target.path.rstrip("/").endswith("/reversals")
    return wants_reversal is (item.get("type") == "REVERSAL") and target.echoed_by(item)


def _by_state(resource: dict[str, Any]) -> Finding:
    state = resource.get("state")
    known = _BY_STATE.get(state) if isinstance(state, str) else None
    return known or Finding(Effect.IN_DOUBT, reason="unknown_state")


FINIX: Final = Provider(
    name="finix",
    rules=(
        # Finix error codes page, "List of Error Codes"; PAYMENT_DECLINED and CALL_ISSUER are common rows.
        Rule(401, "UNKNOWN", Outcome.PERMANENT_FAILURE, "unauthenticated"),
        Rule(422, "INVALID_FIELD", Outcome.PERMANENT_FAILURE, "invalid_field"),
    ),
    # "Idempotent requests": POST transfers and authorizations; reversals since May 2023 (release notes).
    key_slots=(
        KeySlot("POST", "/transfers", json_field="idempotency_id", make_key=new_key),
        KeySlot("POST", "/authorizations", json_field="idempotency_id", make_key=new_key),
        KeySlot("POST", "/transfers/{id}/reversals", json_field="idempotency_id", make_key=new_key),
    ),
    # Capture, void and settlement close are PUT and unkeyed: they are not idempotent in RFC 9110's sense.
    resend_methods=frozenset({"GET", "HEAD", "OPTIONS"}),
    request_id_header=("X-Request-ID",),
    lookup=Lookup(_path_for, _read),
    follow_redirects=False,
    read_body=True,
    sources=(
        "https://docs.finix.com/additional-resources/developers/implementation-and-testing/error-codes/",
        "https://docs.finix.com/additional-resources/developers/authentication-and-api-basics/idempotent-request",
        "https://docs.finix.com/additional-resources/developers/authentication-and-api-basics/rate-limits.md",
        "https://docs.finix.com/page-data/release-notes/2023/05/prevent-duplicate-refunds/data.json",
        "https://github.com/finix-payments/finix-python/blob/ecacb7736bf217bd43d4c14ff7feedb37ad2f70f/spec/finix_openapi.yaml",
    ),
)
"""Finix, API version 2022-02-01."""
