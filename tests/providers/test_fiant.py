import json
from typing import Any, Final

import pytest

from holdfast.outcome import Effect, Outcome
from holdfast.providers import FIANT, Finding, LookupTarget
from holdfast.providers.provider import Lookup

KEY: Final = "36dbe68f-2747"
DEPOSIT: Final = LookupTarget("POST", "/transactions/deposits", KEY)

ABSENT: Final = Finding(Effect.IN_DOUBT)
UNKNOWN: Final = Finding(Effect.IN_DOUBT, None, "unknown_state")
LANDED: Final = Finding(Effect.LANDED, Outcome.SUCCESS, "reconciled")


def lookup() -> Lookup:
    """Give Fiant's lookup, which exists."""
    assert FIANT.lookup is not None
    return FIANT.lookup


def transaction(status: object, **more: Any) -> bytes:
    """Describe a transaction of ours as Fiant does."""
    return json.dumps(
        {"resourceType": "TRANSACTION_STATUS", "requestId": KEY, "status": status, "amount": 100} | more
    ).encode()


@pytest.mark.parametrize(
    "path",
    [
        "/transactions/assessments",
        "/transactions/validations",
        "/transactions/deposits",
        "/transactions/withdrawals",
        "/transactions/payments",
        "/transactions/transfers",
        "/transactions/trades",
        "/transactions/mints",
        "/transactions/purchases",
        "/transactions/sales",
        "/users/assessments",
        "/v1/transactions/deposits",
        "/v1/users/assessments",
        "/transactions/deposits/",
    ],
)
def test_transactions_and_assessments_take_a_key_in_a_header(path: str) -> None:
    """The request id is required there, and it is the only name by which a lost transaction can be found."""
    slot = FIANT.slot_for("POST", path)

    assert slot is not None
    assert (slot.header, slot.json_field, slot.pattern, slot.make_key is not None) == (
        "x-pti-request-id",
        None,
        "[a-z0-9_-]{3,64}",
        True,
    )


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/users"),
        ("POST", "/v1/users"),
        ("POST", "/users/u1/wallets"),
        ("POST", "/users/u1/payment-information"),
        ("POST", "/users/u1/assessments"),
        ("POST", "/users/assessments/a1"),
        ("POST", "/digital-items"),
        ("POST", "/transactions"),
        ("POST", "/transactions/"),
        ("POST", "/transactions/deposits/x"),
        ("POST", "/auth/jwt"),
        ("GET", "/transactions/r1"),
        ("DELETE", "/transactions/r1"),
        ("PUT", "/transactions/deposits"),
        ("GET", "/users/assessments"),
    ],
)
def test_creates_and_everything_else_take_no_key(method: str, path: str) -> None:
    """POST /users has no idempotency at all: a resend after a lost answer makes a second user."""
    slot = FIANT.slot_for(method, path)

    assert slot is None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/transactions/deposits", f"/transactions/{KEY}"),
        ("/v1/transactions/withdrawals/", f"/transactions/{KEY}"),
        ("/transactions/assessments", f"/transactions/assessments/{KEY}"),
        ("/v1/transactions/assessments", f"/transactions/assessments/{KEY}"),
        ("/users/assessments", None),
        ("/users", None),
        ("/transactions", None),
        ("/transactionsx/deposits", None),
        ("", None),
    ],
)
def test_a_transaction_is_looked_up_by_its_request_id(path: str, expected: str | None) -> None:
    """Fiant replays nothing: asking by the id is the only way out of a doubt."""
    found = lookup().path_for(LookupTarget("POST", path, KEY))

    assert found == expected


def test_a_request_id_cannot_lead_the_lookup_elsewhere() -> None:
    """A slash in an id would ask another endpoint with our signature."""
    found = lookup().path_for(LookupTarget("POST", "/transactions/deposits", "../users?x"))

    assert found == "/transactions/..%2Fusers%3Fx"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("PENDING", Finding(Effect.LANDED, Outcome.SUCCESS, "accepted")),
        ("AUTHORIZED", LANDED),
        ("CAPTURED", LANDED),
        ("SETTLED", LANDED),
        ("REFUNDED", LANDED),
        ("CHARGED_BACK", LANDED),
        ("REFUSED", Finding(Effect.NONE, Outcome.PERMANENT_FAILURE, "declined")),
        ("CANCELED", Finding(Effect.NONE, Outcome.PERMANENT_FAILURE, "canceled")),
        ("ERROR", UNKNOWN),
        ("ON_HOLD", UNKNOWN),
        ("settled", UNKNOWN),
        ("", UNKNOWN),
        (None, UNKNOWN),
        (1, UNKNOWN),
        (["SETTLED"], UNKNOWN),
    ],
    ids=str,
)
def test_each_documented_status_settles_the_call_as_it_says(status: object, expected: Finding) -> None:
    """Money that is on its way must not be sent again, and a word that nobody knows settles nothing."""
    finding = lookup().read(DEPOSIT, 200, transaction(status))

    assert finding == expected


@pytest.mark.parametrize("request_id", ["another", KEY.upper(), "", None, 7, [KEY]], ids=str)
def test_somebody_elses_transaction_settles_nothing(request_id: object) -> None:
    """A cache or proxy that mixes answers up would report another customer's payment as this one's."""
    finding = lookup().read(DEPOSIT, 200, transaction("SETTLED", requestId=request_id))

    assert finding == UNKNOWN


@pytest.mark.parametrize(("amount", "expected"), [(100, LANDED), (101, UNKNOWN)])
def test_a_transaction_over_another_amount_is_not_ours(amount: int, expected: Finding) -> None:
    """A request id that was re-used names the first transaction: its success says nothing about ours."""
    target = LookupTarget("POST", "/transactions/deposits", KEY, {"amount": amount})

    finding = lookup().read(target, 200, transaction("SETTLED"))

    assert finding == expected


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"null", b"<html>SETTLED</html>", b'{"status": "SETTLED"'])
def test_an_answer_that_describes_nothing_leaves_the_doubt(body: bytes) -> None:
    """An absent record right after a timeout is no proof: the request may still be on its way."""
    finding = lookup().read(DEPOSIT, 200, body)

    assert finding == ABSENT


@pytest.mark.parametrize("status", [201, 202, 204, 400, 401, 403, 404, 409, 429, 500, 503])
def test_only_a_200_describes_a_transaction(status: int) -> None:
    """A 404 says "not yet" as often as "never"."""
    finding = lookup().read(DEPOSIT, status, transaction("REFUSED"))

    assert finding == ABSENT
