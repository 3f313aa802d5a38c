from collections.abc import Mapping
from hashlib import sha256
from itertools import count
from types import MappingProxyType
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.idempotency import NO_KEY, KeyPlan, check_key, fingerprint, plan_key, with_json_field
from holdfast.providers import FIANT, FINIX, GENERIC, KeySlot

IN_HEADER: Final = KeySlot("POST", "/pay", header="Idempotency-Key", make_key=lambda: "made")
IN_HEADER_IF_GIVEN: Final = KeySlot("POST", "/pay", header="Idempotency-Key")
IN_JSON: Final = KeySlot("POST", "/pay", json_field="idempotency_id", make_key=lambda: "made")
STRICT: Final = KeySlot("POST", "/pay", header="x-id", make_key=lambda: "made", pattern="[a-z]{3,5}")
SECRET: Final = "sk_live_51H8Secret!"


def plan(
    slot: KeySlot | None,
    *,
    given: str | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
    document: object = None,
    editable: bool = False,
) -> KeyPlan:
    """Plan the key of a request that has nothing but what a test names."""
    return plan_key(slot, given=given, headers=headers, document=document, editable=editable)


@pytest.mark.parametrize(
    ("slot", "request_", "expected"),
    [
        (None, {}, NO_KEY),
        (None, {"headers": {"Idempotency-Key": "k"}}, NO_KEY),
        (IN_HEADER, {}, KeyPlan("made", "Idempotency-Key", None)),
        (IN_HEADER, {"given": "mine"}, KeyPlan("mine", "Idempotency-Key", None)),
        (IN_HEADER, {"headers": {"Idempotency-Key": "theirs"}}, KeyPlan("theirs", None, None)),
        (IN_HEADER, {"headers": {"idempotency-KEY": "theirs"}}, KeyPlan("theirs", None, None)),
        (IN_HEADER, {"given": "same", "headers": {"Idempotency-Key": "same"}}, KeyPlan("same", None, None)),
        (IN_HEADER, {"headers": {"Idempotency": "other"}}, KeyPlan("made", "Idempotency-Key", None)),
        (IN_HEADER, {"document": {"Idempotency-Key": "body"}}, KeyPlan("made", "Idempotency-Key", None)),
        (IN_HEADER_IF_GIVEN, {}, NO_KEY),
        (IN_HEADER_IF_GIVEN, {"given": "mine"}, KeyPlan("mine", "Idempotency-Key", None)),
        (IN_HEADER_IF_GIVEN, {"headers": {"idempotency-key": "theirs"}}, KeyPlan("theirs", None, None)),
        (IN_JSON, {"document": {}, "editable": True}, KeyPlan("made", None, "idempotency_id")),
        (IN_JSON, {"document": {"amount": 1}, "editable": True}, KeyPlan("made", None, "idempotency_id")),
        (IN_JSON, {"given": "mine", "document": {}, "editable": True}, KeyPlan("mine", None, "idempotency_id")),
        (IN_JSON, {"document": {"idempotency_id": "theirs"}, "editable": True}, KeyPlan("theirs", None, None)),
        (IN_JSON, {"document": {"idempotency_id": "theirs"}}, KeyPlan("theirs", None, None)),
        (
            IN_JSON,
            {"given": "same", "document": {"idempotency_id": "same"}, "editable": True},
            KeyPlan("same", None, None),
        ),
        (IN_JSON, {"document": {"idempotency_id": None}, "editable": True}, KeyPlan("made", None, "idempotency_id")),
        (IN_JSON, {}, NO_KEY),
        (IN_JSON, {"document": [1]}, NO_KEY),
        (
            IN_JSON,
            {"headers": {"idempotency_id": "h"}, "document": {}, "editable": True},
            KeyPlan("made", None, "idempotency_id"),
        ),
        (STRICT, {"given": "abc"}, KeyPlan("abc", "x-id", None)),
    ],
)
def test_the_key_is_the_callers_or_made_and_goes_where_the_provider_looks(
    slot: KeySlot | None, request_: dict[str, Any], expected: KeyPlan
) -> None:
    """A key in the wrong place protects nothing, and a second key beside the caller's own pays twice."""
    planned = plan(slot, **request_)

    assert planned == expected


@pytest.mark.parametrize(
    ("slot", "request_", "message"),
    [
        (None, {"given": SECRET}, "idempotency_key= would protect nothing: no idempotency key is honoured here"),
        (IN_JSON, {"given": SECRET}, "its key is the JSON field 'idempotency_id': pass the body as json=, an object"),
        (IN_JSON, {"given": SECRET, "document": [1]}, "would protect nothing: its key is the JSON field"),
        (
            IN_HEADER,
            {"given": SECRET, "headers": {"idempotency-key": "another"}},
            "idempotency_key= differs from the key already in the request",
        ),
        (
            IN_JSON,
            {"given": "another", "document": {"idempotency_id": SECRET}, "editable": True},
            "idempotency_key= differs from the key already in the request",
        ),
        (IN_HEADER, {"given": ""}, r"\(0 characters\) does not fit 1 to 255 visible ASCII characters"),
        (IN_HEADER, {"headers": {"Idempotency-Key": ""}}, r"\(0 characters\) does not fit 1 to 255"),
        (IN_HEADER, {"given": SECRET + "\n"}, r"\(20 characters\) does not fit 1 to 255 visible ASCII characters"),
        (IN_JSON, {"document": {"idempotency_id": 7}, "editable": True}, "an idempotency key must be a str, got int"),
        (IN_JSON, {"document": {"idempotency_id": [SECRET]}, "editable": True}, "must be a str, got list"),
        (STRICT, {"given": SECRET}, r"\(19 characters\) does not fit \[a-z\]\{3,5\}"),
        (STRICT, {"given": "abcdef"}, r"\(6 characters\) does not fit \[a-z\]\{3,5\}"),
    ],
)
def test_a_key_that_would_protect_nothing_is_refused_without_repeating_it(
    slot: KeySlot | None, request_: dict[str, Any], message: str
) -> None:
    """The caller must learn before the send that a retry would not be safe, and the log must not learn the key."""
    with pytest.raises(ValueError, match=message) as refusal:
        plan(slot, **request_)

    assert SECRET not in str(refusal.value) + repr(refusal.value)


def test_a_made_key_that_does_not_fit_is_refused() -> None:
    """A key factory of the user's own with a bug in it must not reach the provider."""
    broken = KeySlot("POST", "/pay", header="x-id", make_key=lambda: "UPPER", pattern="[a-z]+")

    with pytest.raises(ValueError, match=r"^the idempotency key \(5 characters\) does not fit \[a-z\]\+$"):
        plan(broken)


def test_a_key_is_made_once_and_only_where_none_is_given() -> None:
    """A factory may count or store its keys: one made for nothing is one that somebody reconciles in vain."""
    numbers = count(1)
    slot = KeySlot("POST", "/pay", header="x-id", make_key=lambda: f"key-{next(numbers)}")

    plans = plan(slot), plan(slot, given="mine"), plan(slot, headers={"X-Id": "theirs"}), plan(slot)

    assert plans == (KeyPlan("key-1", "x-id"), KeyPlan("mine", "x-id"), KeyPlan("theirs"), KeyPlan("key-2", "x-id"))


@pytest.mark.parametrize(
    ("key", "fits"),
    [
        ("a", True),
        ("!~", True),
        ("a b", True),
        ("a" * 255, True),
        ("a" * 256, False),
        ("", False),
        (" a", False),
        ("a ", False),
        ("a\n", False),
        ("a\r\nX-Admin: 1", False),
        ("a\x00b", False),
        ("\x7f", False),
        ("clé", False),
        ("٣", False),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_a_key_is_visible_ascii_unless_the_provider_says_otherwise(
    key: str,
    fits: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """A line break in a key would write headers of an attacker's choosing into our request."""
    try:
        accepted = check_key(key, IN_HEADER) == key
    except ValueError:
        accepted = False

    assert accepted is fits


@pytest.mark.parametrize("key", [None, 7, b"bytes", ["k"], 1.5])
def test_a_key_that_is_no_text_is_refused(key: object) -> None:
    """``str(b"k")`` would send ``b'k'``, a key that no lookup finds."""
    with pytest.raises(ValueError, match=rf"^an idempotency key must be a str, got {type(key).__name__}$"):
        check_key(key, IN_HEADER)


@given(st.text(max_size=300))
def test_a_key_goes_out_as_it_is_or_not_at_all(key: str) -> None:
    """The provider compares bytes: a key that was trimmed or folded on the way is another key."""
    for slot in (IN_HEADER, STRICT, *FINIX.key_slots, *FIANT.key_slots, *GENERIC.key_slots):
        try:
            checked = check_key(key, slot)
        except ValueError:
            continue

        assert (checked, checked.isascii(), checked.isprintable()) == (key, True, True)


@pytest.mark.parametrize("body", [b"", b'{"amount": 1}', b"\x00\xff"])
def test_a_fingerprint_is_the_sha_256_of_the_bytes(body: bytes) -> None:
    """It is compared across processes and releases: another digest would see a changed body where there is none."""
    printed = fingerprint(body)

    assert printed == sha256(body).hexdigest()


def test_one_changed_byte_changes_the_fingerprint() -> None:
    """The same key on another amount must be noticed before the provider does."""
    prints = {fingerprint(body) for body in (b'{"amount": 1}', b'{"amount": 2}', b'{"amount":1}', b"")}

    assert len(prints) == 4


@pytest.mark.parametrize(
    "document",
    [{"amount": 1}, {}, {"amount": 1, "idempotency_id": None}, MappingProxyType({"amount": 1, "tags": {"a": "b"}})],
    ids=str,
)
def test_the_key_is_added_to_a_copy(document: Mapping[str, Any]) -> None:
    """A caller who re-uses one dict for two payments would send the first one's key with the second."""
    before = dict(document)

    keyed = with_json_field(document, "idempotency_id", "k1")

    assert (type(keyed), keyed) == (dict, {**before, "idempotency_id": "k1"})
    assert document == before
