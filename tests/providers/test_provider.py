import subprocess
import sys
from typing import Any, Final
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.error_body import decode_errors
from holdfast.core.idempotency import check_key
from holdfast.providers import FIANT, FINIX, GENERIC, KeySlot, LookupTarget, Provider
from holdfast.providers.provider import ANY, SAFE_METHODS, below, json_object, new_key, unversioned

SHIPPED = (FINIX, FIANT, GENERIC)
READ_ONLY = frozenset({"GET", "HEAD", "OPTIONS"})


def test_a_provider_that_says_nothing_is_the_most_cautious_one() -> None:
    """Whoever describes a new API by its name alone must not get repeated payments with it."""
    provider = Provider(name="new")

    assert provider == Provider(
        name="new",
        rules=(),
        key_slots=(),
        resend_methods=SAFE_METHODS,
        decode_errors=decode_errors,
        request_id_header=("X-Request-ID",),
        lookup=None,
        polls_conflict=False,
        replays_answer=True,
        follow_redirects=True,
        read_body=False,
        sources=(),
    )


def test_safe_methods_are_those_that_change_nothing() -> None:
    """A method added here is never in doubt: were it a write, lost payments would be reported as none."""
    methods = set(SAFE_METHODS)

    assert methods == {"GET", "HEAD", "OPTIONS", "TRACE", "QUERY"}


@pytest.mark.parametrize(
    ("provider", "methods"),
    [
        (GENERIC, {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"}),
        (FINIX, READ_ONLY),
        (FIANT, READ_ONLY),
    ],
    ids=["generic", "finix", "fiant"],
)
def test_only_harmless_methods_are_resent_without_a_key(provider: Provider, methods: frozenset[str]) -> None:
    """Finix captures and voids by PUT: sent twice, a capture takes the money twice."""
    allowed = provider.resend_methods

    assert allowed == methods


@pytest.mark.parametrize(
    ("provider", "traits"),
    [
        (GENERIC, ("generic", True, False, False, True, ("X-Request-ID", "Request-Id"), False)),
        (FINIX, ("finix", False, True, False, True, ("X-Request-ID",), True)),
        (FIANT, ("fiant", False, True, False, False, ("x-pti-request-id",), True)),
    ],
    ids=["generic", "finix", "fiant"],
)
def test_each_provider_has_its_traits(
    provider: Provider, traits: tuple[str, bool, bool, bool, bool, tuple[str, ...], bool]
) -> None:
    """A redirect followed with a payment in hand, or an answer expected where none is replayed, costs money."""
    found = (
        provider.name,
        provider.follow_redirects,
        provider.read_body,
        provider.polls_conflict,
        provider.replays_answer,
        provider.request_id_header,
        provider.lookup is not None,
    )

    assert found == traits


@pytest.mark.parametrize("provider", SHIPPED, ids=lambda provider: provider.name)
def test_what_we_know_names_its_sources(provider: Provider) -> None:
    """A rule about money that nobody can check against the provider's own page is a rumour."""
    odd = [source for source in provider.sources if not source.startswith("https://")]

    assert (odd, len(provider.sources) >= 2) == ([], True)


@pytest.mark.parametrize("provider", [FINIX, FIANT], ids=["finix", "fiant"])
def test_made_keys_fit_their_slot_and_are_never_the_same(provider: Provider) -> None:
    """Two payments under one key are one payment, and a key the provider refuses is a call that never works."""
    makers = [(slot, slot.make_key) for slot in provider.key_slots if slot.make_key is not None]

    keys = [check_key(make_key(), slot) for slot, make_key in makers for _ in range(500)]

    assert len(makers) == len(provider.key_slots)
    assert len(set(keys)) == 500 * len(provider.key_slots)


def test_a_made_key_is_a_random_uuid() -> None:
    """A provider that validates its ids would refuse every charge whose key is not of the form it documents."""
    made = [UUID(key) for key in (new_key() for _ in range(500))]

    assert {(each.version, each.variant) for each in made} == {(4, RFC_4122)}
    assert len(set(made)) == 500
    assert {str(each)[19] for each in made} == set("89ab")


FORKED: Final = """
import os
from holdfast.providers.provider import new_key

new_key()
child = os.fork()
os.write(1, f"{new_key()}\\n".encode())
if child:
    os.waitpid(child, 0)
"""


def test_a_forked_process_makes_keys_of_its_own() -> None:
    """Two workers that were forked from one would send each other's keys, and one payment would pass for the other."""
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, check=True)

    assert len(set(done.stdout.split())) == 2


# Slots

NARROW = KeySlot("POST", "/pay/{id}/now", header="x-narrow")
WIDE = KeySlot(ANY, "/pay/{id}/now", header="x-wide")
DOTTED = KeySlot("POST", "/a.b", header="x-dotted")
TABLE = Provider(name="table", key_slots=(NARROW, WIDE, DOTTED))


@pytest.mark.parametrize(
    ("method", "path", "slot"),
    [
        ("POST", "/pay/1/now", NARROW),
        ("PUT", "/pay/1/now", WIDE),
        ("POST", "/v1/pay/1/now", NARROW),
        ("POST", "/v12/pay/1/now", NARROW),
        ("POST", "/pay/1/now/", NARROW),
        ("POST", "/pay/a%2Fb/now", NARROW),
        ("POST", "/pay/1/2/now", None),
        ("POST", "/pay//now", None),
        ("POST", "/pay/now", None),
        ("POST", "/pay/1/now/x", None),
        ("POST", "/x/pay/1/now", None),
        ("POST", "/v/pay/1/now", None),
        ("POST", "/v1/v1/pay/1/now", None),
        ("POST", "pay/1/now", None),
        ("POST", "/pay/1/now\n", None),
        ("POST", "/PAY/1/now", None),
        ("POST", "/a.b", DOTTED),
        ("POST", "/axb", None),
        ("POST", "", None),
    ],
)
def test_a_slot_belongs_to_its_endpoint_and_to_no_neighbour(method: str, path: str, slot: KeySlot | None) -> None:
    """A key counted on where the provider ignores it makes a resend look safe, and it is a second payment."""
    found = TABLE.slot_for(method, path)

    assert found is slot


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/anything"), ("GET", "/"), ("PATCH", ""), ("DELETE", "/v1/x/y"), ("PURGE", "/x")]
)
def test_plain_http_takes_the_callers_key_anywhere_and_makes_none(method: str, path: str) -> None:
    """An unknown server may ignore a key: only the caller can know that this one does not."""
    slot = GENERIC.slot_for(method, path)

    assert slot == KeySlot("*", "*", header="Idempotency-Key", json_field=None, make_key=None, pattern=None)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/transfers", "/transfers"),
        ("/v22/transfers/TR1", "/transfers/TR1"),
        ("/transfers", "/transfers"),
        ("/v1", "/v1"),
        ("/v1/", "/"),
        ("/v1x/transfers", "/v1x/transfers"),
        ("/vx/transfers", "/vx/transfers"),
        ("/v1/v1/transfers", "/v1/transfers"),
        ("/transfers/v1/x", "/transfers/v1/x"),
        ("", ""),
    ],
)
def test_a_version_is_stripped_from_the_front_only(path: str, expected: str) -> None:
    """The same endpoint is reached with the version in the base address or in the path."""
    stripped = unversioned(path)

    assert stripped == expected


@pytest.mark.parametrize(
    ("path", "base_path", "expected"),
    [
        ("/v1/transfers", "/v1", ("/v1", "/transfers")),
        ("/v1/transfers", "/v1/", ("/v1", "/transfers")),
        ("/v1/transfers", "/v1//", ("/v1", "/transfers")),
        ("/transfers", "", ("", "/transfers")),
        ("/transfers", "/", ("", "/transfers")),
        ("/v10/transfers", "/v1", ("", "/v10/transfers")),
        ("/v1", "/v1", ("", "/v1")),
        ("/a/b/c", "/a/b", ("/a/b", "/c")),
        ("/x/a/b", "/a", ("", "/x/a/b")),
        ("", "/v1", ("", "")),
    ],
)
def test_a_path_is_read_below_the_base_address(path: str, base_path: str, expected: tuple[str, str]) -> None:
    """A session with ``/v1`` in its base address must find the same key slots as one without."""
    split = below(path, base_path)

    assert split == expected


# Bodies of lookups

SENT = {"amount": 1000, "currency": "USD", "merchant": "MU1", "source": "PI1", "tags": {"order": "7"}}


@pytest.mark.parametrize(
    ("sent", "record", "echoed"),
    [
        (SENT, SENT, True),
        (SENT, SENT | {"tags": {}, "id": "TR1"}, True),
        (SENT, {"id": "TR1"}, True),
        (SENT, {}, True),
        ({}, SENT, True),
        (SENT, SENT | {"amount": "1000"}, True),
        (SENT, SENT | {"amount": None}, True),
        (SENT | {"amount": None}, SENT, True),
        (SENT, SENT | {"destination": "PI9"}, True),
        (SENT, SENT | {"amount": 1001}, False),
        (SENT, SENT | {"amount": 0}, False),
        (SENT | {"amount": 0}, SENT, False),
        (SENT, SENT | {"currency": "EUR"}, False),
        (SENT, SENT | {"merchant": "MU2"}, False),
        (SENT, SENT | {"source": "PI2"}, False),
        (SENT | {"destination": "PI8"}, SENT | {"destination": "PI9"}, False),
    ],
)
def test_a_record_with_another_amount_or_payer_is_not_ours(
    sent: dict[str, object],
    record: dict[str, object],
    echoed: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """Under a re-used key the provider shows the first payment: taken for ours, ours is reported as made."""
    target = LookupTarget("POST", "/transfers", "key-1", sent)

    verdict = target.echoed_by(record)

    assert verdict is echoed


def test_a_lookup_never_prints_the_body_it_asks_about() -> None:
    """The body of a payment holds a card or an account; a debugger's ``repr`` must not put it into a log."""
    target = LookupTarget("POST", "/transfers", "key-1", {"source": "4111111111111111"})

    printed = repr(target) + str(target)

    assert "4111" not in printed


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b"{}", {}),
        (b"[]", {}),
        (b'[{"a": 1}]', {}),
        (b'"a"', {}),
        (b"1", {}),
        (b"NaN", {}),
        (b"null", {}),
        (b"", {}),
        (b"<html>", {}),
        (b'{"a": 1', {}),
        (b"\xff\xfe\xff", {}),
        (b'{"a": ' + b"1" * 5000 + b"}", {}),
        (b"[" * 100_000, {}),
    ],
    ids=lambda value: ascii(value)[:24],
)
def test_a_lookups_answer_is_an_object_or_nothing(body: bytes, expected: dict[str, int]) -> None:
    """A lookup that raises leaves the caller without the verdict it was made for."""
    document = json_object(body)

    assert document == expected


@given(
    target=st.builds(
        LookupTarget,
        st.sampled_from(["POST", "PUT"]),
        st.sampled_from(["/transfers", "/authorizations", "/transfers/TR1/reversals", "/transactions/deposits"])
        | st.text(),
        st.just("key-1"),
    ),
    status=st.sampled_from([200, 404, 500]) | st.integers(100, 999),
    body=st.binary(max_size=60)
    | st.recursive(
        st.sampled_from(["SUCCEEDED", "SETTLED", "key-1", "\ud800", "", None, 1, True]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["_embedded", "transfers", "authorizations", "state", "status", "id"])
                | st.sampled_from(["idempotency_id", "requestId"]),
                inner,
                max_size=5,
            )
        ),
        max_leaves=12,
    ).map(lambda document: repr(document).replace("'", '"').replace("None", "null").replace("True", "true").encode()),
    provider=st.sampled_from([FINIX, FIANT]),
)
def test_no_answer_to_a_lookup_makes_it_raise(
    target: LookupTarget, status: int, body: bytes, provider: Provider
) -> None:
    """Reading is part of the verdict: it must always be given, whatever a proxy answers in the provider's place."""
    assert provider.lookup is not None

    finding = provider.lookup.read(target, status, body)

    assert (finding.outcome is None) == (finding.effect.value == "in_doubt")
    assert status == 200 or finding.outcome is None
    assert finding.outcome is None or b"key-1" in body


@pytest.mark.parametrize("places", [{}, {"header": "Key", "json_field": "key"}])
def test_a_slot_puts_the_key_in_one_place(places: dict[str, Any]) -> None:
    """A slot without a place would count every call as keyed and send each one without a key, again and again."""
    with pytest.raises(ValueError, match="either a header or a json_field"):
        KeySlot("POST", "/charges", **places)
