"""Idempotency keys: where one goes, whether one is well-formed, and which body it is bound to.

Pure: nothing here sends, and a key is made only by the factory that the provider's slot names. The key of a call is
chosen once, before the first attempt, and the same bytes go out on every attempt.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, NamedTuple

from holdfast.providers.provider import KeySlot

HEADER_KEY_PATTERN: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")
"""Visible ASCII, 1 to 255 characters: Stripe's limit, and what RFC 9110 section 5.5 lets stand in a field value."""


class KeyPlan(NamedTuple):
    """The idempotency key of one call, and where it has to be put."""

    key: str | None = None
    header: str | None = None
    """Header to set to ``key``; ``None`` when it is there already or goes elsewhere."""

    json_field: str | None = None
    """Field to set to ``key`` in a copy of the JSON body; ``None`` likewise."""


NO_KEY: Final = KeyPlan()

_compiled: Final = lru_cache(maxsize=256)(re.compile)


def plan_key(
    slot: KeySlot | None, *, given: str | None, headers: Mapping[str, str], document: object, editable: bool
) -> KeyPlan:
    """Choose the key of a call. A caller's own key always wins.

    Args:
        slot: Where the provider takes a key on this endpoint; ``None`` where it takes none.
        given: The caller's ``idempotency_key=``.
        headers: The request's own headers, looked up case-insensitively.
        document: The request's JSON body, or ``None``.
        editable: Whether a field can be added to the body: it was given as ``json=`` and is an object.

    Raises:
        ValueError: The caller's key is malformed for this provider, disagrees with the one in the request, or is given
            for an endpoint that honours none.
    """
    if slot is None:
        return _refuse_key(given)
    present = _present(slot, headers, document)
    if present is not None and given is not None and present != given:
        raise ValueError("idempotency_key= differs from the key already in the request: give it once")
    if present is not None:
        return KeyPlan(check_key(present, slot))
    if slot.json_field is not None and not editable:
        return _refuse_key(given, f"its key is the JSON field {slot.json_field!r}: pass the body as json=, an object")
    if given is None and slot.make_key is None:
        return NO_KEY
    key = slot.make_key() if given is None and slot.make_key is not None else given
    return KeyPlan(check_key(key, slot), slot.header, slot.json_field)


def check_key(key: object, slot: KeySlot) -> str:
    """Return the key, or say what is wrong with it without repeating it.

    Raises:
        ValueError: It is not a string or does not fit the slot's pattern.
    """
    if not isinstance(key, str):
        raise ValueError(f"an idempotency key must be a str, got {type(key).__name__}")  # noqa: TRY004 - a bad key, whatever is wrong with it
    pattern = _compiled(slot.pattern) if slot.pattern else HEADER_KEY_PATTERN
    if pattern.fullmatch(key) is None:
        wanted = slot.pattern or "1 to 255 visible ASCII characters"
        raise ValueError(f"the idempotency key ({len(key)} characters) does not fit {wanted}")
    return key


def _refuse_key(given: str | None, why: str = "no idempotency key is honoured here: leave it out") -> KeyPlan:
    if given is not None:
        raise ValueError(f"idempotency_key= would protect nothing: {why}")
    return NO_KEY


def fingerprint(body: bytes) -> str:
    """Identify a body, so that a key is never used for two of them.

    Returns:
        SHA-256 of the bytes, in lower-case hex: what the IETF idempotency-key draft calls a fingerprint.
    """
    return sha256(body).hexdigest()


def with_json_field(json: Mapping[str, Any], field: str, key: str) -> dict[str, Any]:
    """Return a copy of the JSON object with the key in it; the caller's object is left as it was."""
    return {**json, field: key}


def _present(slot: KeySlot, headers: Mapping[str, str], document: object) -> str | None:
    if slot.json_field is not None and isinstance(document, Mapping):
        present: str | None = document.get(slot.json_field)
        return present
    if slot.header is None or not headers:
        return None
    wanted = slot.header.lower()
    return next((str(value) for name, value in headers.items() if name.lower() == wanted), None)
