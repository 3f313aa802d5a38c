"""Fiant (PTI): payments with the key in a header.

The key is the caller-made REQUEST ID in ``x-pti-request-id``; it goes on transactions and user assessments, and not on
creates such as POST /users. A re-used id is an error, not a replay, so a doubt is settled by a lookup under the id.
Requests are signed over verb, body hash, date and path: sign in a client middleware, which runs in each attempt.
"""

from typing import Final
from urllib.parse import quote

from holdfast.outcome import Effect, Outcome
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

REQUEST_ID_PATTERN: Final = "[a-z0-9_-]{3,64}"
"""OpenAPI parameter ``x-pti-request-id``: ``^[a-z0-9_-]{3,64}$``, lower case only."""

_LANDED: Final = Finding(Effect.LANDED, Outcome.SUCCESS, "reconciled")
_BY_STATUS: Final = {
    "PENDING": Finding(Effect.LANDED, Outcome.SUCCESS, "accepted"),
    "AUTHORIZED": _LANDED,
    "CAPTURED": _LANDED,
    "SETTLED": _LANDED,
    "REFUNDED": _LANDED,
    "CHARGED_BACK": _LANDED,
    "REFUSED": Finding(Effect.NONE, Outcome.PERMANENT_FAILURE, "declined"),
    "CANCELED": Finding(Effect.NONE, Outcome.PERMANENT_FAILURE, "canceled"),
}
"""``status`` of TRANSACTION_STATUS (webhook definitions page). ``ERROR``, and any new word, settles nothing."""


def _path_for(target: LookupTarget) -> str | None:
    kind = unversioned(target.path).strip("/")
    key = quote(target.key, safe="")
    if kind == "transactions/assessments":
        return f"/transactions/assessments/{key}"
    return f"/transactions/{key}" if kind.startswith("transactions/") else None


def _read(target: LookupTarget, status: int, body: bytes) -> Finding:
    document = json_object(body) if status == 200 else {}  # noqa: PLR2004 - the only answer that describes a transaction
    if not document:
        return Finding(Effect.IN_DOUBT)
    word = document.get("status")
    known = _BY_STATUS.get(word) if isinstance(word, str) else None
    # The echo is checked, so that no other transaction can settle this one.
    if known is None or document.get("requestId") != target.key or not target.echoed_by(document):
        return Finding(Effect.IN_DOUBT, reason="unknown_state")
    return known


FIANT: Final = Provider(
    name="fiant",
    rules=(
        # Status codes page, row 422: a KYC outcome, never transient. OpenAPI gives the types.
        Rule(400, "INVALID_REQUEST", Outcome.PERMANENT_FAILURE, "invalid_request"),
        Rule(422, "MIN_INFO_MISSING", Outcome.PERMANENT_FAILURE, "more_information_needed"),
        Rule(422, "MIN_ASSESSMENT_MISSING", Outcome.PERMANENT_FAILURE, "assessment_needed"),
        Rule(422, "NO_ERROR", Outcome.PERMANENT_FAILURE, "assessment_needed"),
    ),
    key_slots=(
        KeySlot(
            "POST", "/transactions/{kind}", header="x-pti-request-id", make_key=new_key, pattern=REQUEST_ID_PATTERN
        ),
        KeySlot("POST", "/users/assessments", header="x-pti-request-id", make_key=new_key, pattern=REQUEST_ID_PATTERN),
    ),
    key_words=("idempot", "request id", "request-id", "request_id", "requestid"),
    resend_methods=frozenset({"GET", "HEAD", "OPTIONS"}),
    # Fiant names requests by our own x-pti-request-id and documents no response header.
    request_id_header=("x-pti-request-id",),
    lookup=Lookup(_path_for, _read),
    replays_answer=False,
    follow_redirects=False,
    read_body=True,
    sources=(
        "https://developers.platform.fiant.io/docs/status-codes",
        "https://developers.platform.fiant.io/docs/webhook-definitions",
        "https://github.com/provenancetech/pti-docs/blob/c55c42bcac1b056f20decc13fe465abb4a3be162/api/v1/public-api.yaml",
    ),
)
"""Fiant, public API v1."""
