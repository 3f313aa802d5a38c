import json
from typing import Any, Final

import pytest

from holdfast.outcome import Effect, Outcome
from holdfast.providers import FINIX, Finding, LookupTarget
from holdfast.providers.provider import Lookup

KEY: Final = "7f1b4c82-key"
TRANSFER: Final = LookupTarget("POST", "/transfers", KEY)
AUTHORIZATION: Final = LookupTarget("POST", "/v1/authorizations", KEY)
REVERSAL: Final = LookupTarget("POST", "/transfers/TR1/reversals", KEY)

ABSENT: Final = Finding(Effect.IN_DOUBT)
UNKNOWN: Final = Finding(Effect.IN_DOUBT, None, "unknown_state")
SUCCEEDED: Final = Finding(Effect.LANDED, Outcome.SUCCESS, "reconciled")
PENDING: Final = Finding(Effect.LANDED, Outcome.SUCCESS, "accepted")
FAILED: Final = Finding(Effect.NONE, Outcome.PERMANENT_FAILURE, "declined")
CANCELED: Final = Finding(Effect.NONE, Outcome.PERMANENT_FAILURE, "canceled")

STATES: Final = [
    ("SUCCEEDED", SUCCEEDED),
    ("PENDING", PENDING),
    ("FAILED", FAILED),
    ("CANCELED", CANCELED),
    ("UNKNOWN", UNKNOWN),
    ("RETURNED", UNKNOWN),
    ("succeeded", UNKNOWN),
    ("", UNKNOWN),
    (None, UNKNOWN),
    (1, UNKNOWN),
    (["SUCCEEDED"], UNKNOWN),
]
"""Every documented state of a transfer or authorization, and what nobody has documented."""


def lookup() -> Lookup:
    """Give Finix's lookup, which exists."""
    assert FINIX.lookup is not None
    return FINIX.lookup


def resource(state: object, **more: Any) -> dict[str, Any]:
    """Describe a payment of ours as Finix does."""
    return {"id": "TR1", "state": state, "idempotency_id": KEY, "amount": 1000} | more


def listed(collection: str, *resources: object) -> bytes:
    """List payments as Finix does."""
    return json.dumps({"_embedded": {collection: resources}, "page": {"limit": 10}}).encode()


def at(finding: Finding, next_path: str) -> Finding:
    """Say where the resource of a finding is."""
    return Finding(finding.effect, finding.outcome, finding.reason, next_path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/transfers"),
        ("POST", "/transfers/"),
        ("POST", "/v1/transfers"),
        ("POST", "/authorizations"),
        ("POST", "/v2/authorizations"),
        ("POST", "/transfers/TR1/reversals"),
        ("POST", "/v1/transfers/TR1/reversals"),
    ],
)
def test_payments_and_refunds_take_a_key_in_their_body(method: str, path: str) -> None:
    """Without its key a payment whose answer was lost can be neither repeated nor found."""
    slot = FINIX.slot_for(method, path)

    assert slot is not None
    assert (slot.header, slot.json_field, slot.make_key is not None) == (None, "idempotency_id", True)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/balance_transfers"),
        ("POST", "/transfers/TR1"),
        ("PUT", "/transfers/TR1"),
        ("PUT", "/transfers"),
        ("GET", "/transfers"),
        ("PATCH", "/transfers"),
        ("DELETE", "/transfers"),
        ("PUT", "/authorizations/AU1"),
        ("POST", "/authorizations/AU1"),
        ("POST", "/settlements/ST1/transfers"),
        ("DELETE", "/settlements/ST1/transfers"),
        ("POST", "/identities/ID1/settlements"),
        ("POST", "/transfers/TR1/reversals/RV1"),
        ("POST", "/transfers//reversals"),
        ("POST", "/reversals"),
        ("POST", "/authorizations/AU1/reversals"),
        ("POST", "/transfers_attempts"),
        ("POST", "/transfersx"),
        ("POST", "/identities"),
        ("POST", "/payment_instruments"),
        ("POST", "/merchants"),
    ],
)
def test_no_other_endpoint_is_believed_to_honour_a_key(method: str, path: str) -> None:
    """Captures and voids are PUT and unkeyed: a resend that trusts a key there takes the money twice."""
    slot = FINIX.slot_for(method, path)

    assert slot is None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/transfers", f"/transfers?idempotency_id={KEY}"),
        ("/v1/transfers/", f"/transfers?idempotency_id={KEY}"),
        ("/authorizations", f"/authorizations?idempotency_id={KEY}"),
        ("/transfers/TR1/reversals", f"/transfers?idempotency_id={KEY}"),
        ("/v1/transfers/TR1/reversals", f"/transfers?idempotency_id={KEY}"),
        ("/authorizations/AU1", None),
        ("/balance_transfers", None),
        ("/merchants", None),
        ("", None),
    ],
)
def test_a_payment_is_looked_up_by_its_key(path: str, expected: str | None) -> None:
    """The list filtered by the key is the only way to learn what became of a lost payment."""
    found = lookup().path_for(LookupTarget("POST", path, KEY))

    assert found == expected


def test_a_key_cannot_add_to_the_query() -> None:
    """An unescaped ``&`` in a caller's key would ask for another payment than the one in doubt."""
    found = lookup().path_for(LookupTarget("POST", "/transfers", "a&limit=1 /?#b"))

    assert found == "/transfers?idempotency_id=a%26limit%3D1%20%2F%3F%23b"


@pytest.mark.parametrize(("state", "expected"), STATES, ids=str)
def test_a_list_that_shows_our_payment_tells_what_became_of_it(state: object, expected: Finding) -> None:
    """Each documented state settles the call as it says; a new word settles nothing."""
    body = listed("transfers", resource(state))

    finding = lookup().read(TRANSFER, 200, body)

    assert finding == at(expected, "/transfers/TR1")


@pytest.mark.parametrize(("state", "expected"), STATES, ids=str)
def test_the_payment_itself_tells_the_same_as_the_list(state: object, expected: Finding) -> None:
    """The second answer is the one the caller gets to read: the two must not disagree."""
    body = json.dumps(resource(state)).encode()

    finding = lookup().read(TRANSFER, 200, body)

    assert finding == expected


@pytest.mark.parametrize(
    ("target", "collection", "kind", "next_path"),
    [
        (TRANSFER, "transfers", "DEBIT", "/transfers/TR1"),
        (AUTHORIZATION, "authorizations", None, "/authorizations/TR1"),
        (REVERSAL, "transfers", "REVERSAL", "/transfers/TR1"),
    ],
)
def test_each_kind_of_payment_is_found_in_its_own_collection(
    target: LookupTarget, collection: str, kind: str | None, next_path: str
) -> None:
    """A refund is a transfer at Finix: looked for elsewhere it would stay in doubt for ever."""
    found = resource("SUCCEEDED", type=kind)

    findings = [lookup().read(target, 200, listed(name, found)) for name in (collection, "disputes")]

    assert findings == [at(SUCCEEDED, next_path), ABSENT]


@pytest.mark.parametrize(("target", "kind"), [(REVERSAL, "DEBIT"), (REVERSAL, None), (TRANSFER, "REVERSAL")])
def test_a_charge_does_not_settle_its_refund_under_the_same_key(target: LookupTarget, kind: str | None) -> None:
    """Keys are unique per endpoint only: the charge would vouch for a refund that was lost, and nobody sends it."""
    finding = lookup().read(target, 200, listed("transfers", resource("SUCCEEDED", type=kind)))

    assert finding == ABSENT


@pytest.mark.parametrize(
    "body",
    [
        listed("transfers"),
        listed("transfers", resource("SUCCEEDED", idempotency_id="another")),
        listed("transfers", resource("SUCCEEDED", idempotency_id=None)),
        listed("transfers", resource("SUCCEEDED", idempotency_id=KEY.upper())),
        listed("transfers", {"id": "TR1", "state": "SUCCEEDED"}),
        listed("transfers", "TR1", None, 7, [resource("SUCCEEDED")]),
        listed("authorizations", resource("SUCCEEDED")),
        b'{"_embedded": {"transfers": {"id": "TR1", "state": "SUCCEEDED"}}}',
        b'{"_embedded": {"transfers": null}}',
        b'{"_embedded": {}}',
        b'{"_embedded": []}',
        json.dumps(resource("SUCCEEDED", idempotency_id="another")).encode(),
        json.dumps(resource("FAILED", idempotency_id=None)).encode(),
        b'{"id": "TR1", "state": "SUCCEEDED"}',
        b"{}",
        b"[]",
        b"",
        b"<html>SUCCEEDED</html>",
        b'{"_embedded": {"transfers": [',
    ],
    ids=lambda body: body.decode()[:60],
)
def test_a_payment_that_is_absent_or_not_ours_leaves_the_doubt(body: bytes) -> None:
    """An absent record may still arrive, and somebody else's payment must never pass for this one."""
    finding = lookup().read(TRANSFER, 200, body)

    assert finding == ABSENT


def test_another_payment_under_our_key_leaves_the_doubt() -> None:
    """A key that was re-used names the first payment: its success says nothing about ours."""
    target = LookupTarget("POST", "/transfers", KEY, {"amount": 2000, "idempotency_id": KEY})
    single = json.dumps(resource("SUCCEEDED")).encode()

    findings = [lookup().read(target, 200, body) for body in (listed("transfers", resource("SUCCEEDED")), single)]

    assert findings == [ABSENT, ABSENT]


def test_our_payment_is_found_among_others() -> None:
    """A server that ignores the filter lists everybody's payments, ours somewhere among them."""
    others = [resource("FAILED", id=f"TR{number}", idempotency_id=f"k{number}") for number in range(5)]
    body = listed("transfers", *others, resource("SUCCEEDED", id="TRours"), resource("FAILED", id="TRlater"))

    finding = lookup().read(TRANSFER, 200, body)

    assert finding == at(SUCCEEDED, "/transfers/TRours")


@pytest.mark.parametrize("status", [201, 202, 204, 304, 400, 401, 403, 404, 429, 500, 503])
def test_only_a_200_describes_a_payment(status: int) -> None:
    """The body of an error page is not a record, whatever it looks like; a 404 right after a timeout is no proof."""
    body = listed("transfers", resource("SUCCEEDED"))

    findings = [lookup().read(TRANSFER, status, each) for each in (body, json.dumps(resource("FAILED")).encode(), b"")]

    assert findings == [ABSENT, ABSENT, ABSENT]


@pytest.mark.parametrize(
    ("identifier", "next_path"),
    [("TR/../x?y#z", "/transfers/TR%2F..%2Fx%3Fy%23z"), ("\ud800", "/transfers/%3F"), ("é", "/transfers/%C3%A9")],
    ids=ascii,
)
def test_an_id_from_the_network_cannot_lead_the_lookup_elsewhere(identifier: str, next_path: str) -> None:
    """The id goes into an address that is asked with our credentials."""
    body = listed("transfers", resource("SUCCEEDED", id=identifier))

    finding = lookup().read(TRANSFER, 200, body)

    assert finding == at(SUCCEEDED, next_path)


@pytest.mark.parametrize(
    ("states", "effect"),
    [
        (("FAILED", "SUCCEEDED"), Effect.LANDED),
        (("FAILED", "UNKNOWN"), Effect.IN_DOUBT),
        (("FAILED", "CANCELED"), Effect.NONE),
    ],
)
def test_a_failed_record_does_not_hide_one_that_landed(states: tuple[str, ...], effect: Effect) -> None:
    """Whichever stands first in the list would decide whether the customer is asked to pay again."""
    body = listed("transfers", *(resource(state) for state in states))

    assert lookup().read(TRANSFER, 200, body).effect is effect
    assert lookup().read(TRANSFER, 200, listed("transfers", *map(resource, reversed(states)))).effect is effect
