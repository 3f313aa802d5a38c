"""The pretended Fiant, shape by shape, over a real connection."""

from typing import Any

import aiohttp
import pytest
from tests.sandbox.driving import drive

from holdfast.sandbox import LedgerEntry, Sandbox

ID = {"x-pti-request-id": "req-1"}
INVALID_ID = {
    "type": "INVALID_REQUEST",
    "code": 1000,
    "errors": ["Invalid header: 'x-pti-request-id' must match ^[a-z0-9_-]{3,64}$"],
}
KINDS = {
    "deposits": "DEPOSIT",
    "withdrawals": "WITHDRAWAL",
    "payments": "PAYMENT",
    "transfers": "TRANSFER",
    "trades": "TRADE",
    "mints": "MINT",
    "purchases": "PURCHASE",
    "sales": "SALE",
    "validations": "VALIDATION",
    "assessments": "ASSESSMENT",
}


@pytest.mark.parametrize(("kind", "name"), KINDS.items())
def test_a_transaction_is_made_and_its_state_is_found_by_request_id(kind: str, name: str) -> None:
    """The lookup by one's own id is the only way to learn what a lost answer said."""

    async def scenario(client: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        body = {"amount": 100, "currency": "EUR", "userId": "u1"}
        headers = {**ID, "x-pti-client-id": "c1", "X-Call": "order-7"}
        response = await client.post(f"/v1/transactions/{kind}", json=body, headers=headers)
        made = await response.json()
        state = await (await client.get("/v1/transactions/req-1")).json()

        assert response.status == 201
        assert made == {"id": made["id"], "link": f"{sandbox.url}/v1/user/u1/transactions/{made['id']}"}
        assert state == {
            "resourceType": "TRANSACTION_STATUS",
            "clientId": "c1",
            "userId": "u1",
            "requestId": "req-1",
            "status": "AUTHORIZED",
            "date": state["date"],
            "amount": 100,
            "currency": "EUR",
            "transactionType": name,
            "paymentStatusDetail": {},
        }
        assert sandbox.ledger.effects() == (
            LedgerEntry(
                sequence=1,
                provider="fiant",
                operation=f"fiant.{name.lower()}",
                key="req-1",
                amount=100,
                resource_id=made["id"],
                reference="order-7",
            ),
        )

    drive(scenario)


def test_accepted_is_not_finished() -> None:
    """A 202 has no body; who waits for JSON in it fails on a payment that was taken."""

    async def scenario(client: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        response = await client.post("/v1/transactions/deposits", json={"amount": 202}, headers=ID)
        state = await (await client.get("/v1/transactions/req-1")).json()

        assert (response.status, await response.read()) == (202, b"")
        assert state["status"] == "PENDING"
        assert sandbox.ledger.count == 1

    drive(scenario)


@pytest.mark.parametrize(
    "request_id", [None, "ab", "a" * 65, "Req-1", "req 1", "req.1", "r\u00e9q-1"], ids=lambda value: repr(value)[:12]
)
@pytest.mark.parametrize("path", ["/v1/transactions/deposits", "/v1/users/assessments"])
def test_a_missing_or_misshapen_request_id_is_refused(path: str, request_id: str | None) -> None:
    """Upper case is the usual mistake, made by anyone who sends a UUID in capitals."""

    async def scenario(client: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        headers = {} if request_id is None else {"x-pti-request-id": request_id}
        response = await client.post(path, json={"amount": 1}, headers=headers)

        assert (response.status, await response.json()) == (400, INVALID_ID)
        assert sandbox.ledger.count == 0

    drive(scenario)


@pytest.mark.parametrize("body", [{"amount": 100}, {"amount": 200}, {"amount": 4221}])
@pytest.mark.parametrize("path", ["/v1/transactions/deposits", "/v1/transactions/sales", "/v1/users/assessments"])
def test_a_request_id_works_once_whatever_the_body_and_path(path: str, body: dict[str, Any]) -> None:
    """Fiant replays nothing: the second send is a 409, and calling it a failure would lose a payment."""

    async def scenario(client: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        await client.post("/v1/transactions/deposits", json={"amount": 100}, headers=ID)
        response = await client.post(path, json=body, headers=ID)

        assert (response.status, await response.json()) == (409, {"type": "ALREADY_IN_PROGRESS", "code": 1003})
        assert sandbox.ledger.count == 1

    drive(scenario)


@pytest.mark.parametrize(
    ("amount", "status", "document"),
    [
        (4221, 422, {"type": "MIN_INFO_MISSING", "code": 1001, "fields": ["FULL_NAME", "EMAIL_ADDRESS"]}),
        (4222, 422, {"type": "MIN_ASSESSMENT_MISSING", "code": 1002, "assessment": {}}),
        (4223, 422, {"type": "NO_ERROR", "code": 0}),
        (402, 402, {"error": "request failed", "code": 402}),
        (
            -1,
            400,
            {
                "type": "INVALID_REQUEST",
                "code": 1000,
                "errors": ["Invalid field: 'amount' must be greater than or equal to 0"],
            },
        ),
    ],
)
def test_each_refusal_has_its_documented_shape_and_no_effect(
    amount: int, status: int, document: dict[str, Any]
) -> None:
    """Four shapes of error body: a decoder that knows one of them says nothing useful about the rest."""

    async def scenario(client: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        response = await client.post("/v1/transactions/payments", json={"amount": amount}, headers=ID)

        assert (response.status, await response.json()) == (status, document)
        assert sandbox.ledger.count == 0

    drive(scenario)


def test_a_failed_request_is_found_as_refused_and_a_business_refusal_is_not_found() -> None:
    """After a 422 the same id may be used again; after a 402 it is spent."""

    async def scenario(client: aiohttp.ClientSession, _: Sandbox) -> None:
        await client.post("/v1/transactions/payments", json={"amount": 4221}, headers=ID)
        absent = await client.get("/v1/transactions/req-1")
        await client.post("/v1/transactions/payments", json={"amount": 402}, headers=ID)
        state = await (await client.get("/v1/transactions/req-1")).json()
        again = await client.post("/v1/transactions/payments", json={"amount": 1}, headers=ID)

        assert (absent.status, await absent.json()) == (404, {"error": "not found", "code": 404})
        assert (state["status"], state["paymentStatusDetail"]["providerResponseCategory"]) == (
            "REFUSED",
            "SOFT_DECLINE",
        )
        assert again.status == 409

    drive(scenario)


def test_an_unreadable_body_is_refused_in_the_documented_shape() -> None:
    """A broken serializer must be told so and must charge nobody."""

    async def scenario(client: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        for path in ("/v1/transactions/deposits", "/v1/users"):
            response = await client.post(path, data=b"{", headers=ID)

            assert (response.status, await response.json()) == (
                400,
                {"type": "INVALID_REQUEST", "code": 1000, "errors": ["Invalid body: not a JSON object"]},
            )
        assert sandbox.ledger.count == 0

    drive(scenario)


def test_a_transaction_is_cancelled_once() -> None:
    """DELETE is sent again by aiohttp itself: the second must change nothing, and count as no second charge."""

    async def scenario(client: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        await client.post("/v1/transactions/deposits", json={"amount": 100}, headers=ID)
        statuses = [(await client.delete("/v1/transactions/req-1")).status for _ in range(2)]
        absent = await client.delete("/v1/transactions/nope")
        state = await (await client.get("/v1/transactions/req-1")).json()

        assert (statuses, absent.status, state["status"]) == ([204, 204], 404, "CANCELED")
        assert [entry.operation for entry in sandbox.ledger.effects()] == ["fiant.deposit", "fiant.cancel"]
        assert sandbox.ledger.charged_twice() == ()

    drive(scenario)


def test_a_user_has_no_request_id_and_cannot_be_added_twice() -> None:
    """A resend of a user that landed is a 409 that means success; only the sandbox shows it cheaply."""

    async def scenario(client: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        first = await client.post("/v1/users", json={"id": "u1", "name": "Ann"}, headers=ID)
        again = await client.post("/v1/users", json={"id": "u1"})
        nameless = await client.post("/v1/users", json={})
        (entry,) = sandbox.ledger.effects()

        assert (first.status, await first.json()) == (201, {"id": "u1", "name": "Ann"})
        assert (again.status, await again.json()) == (409, {"error": "User already exist", "code": 409})
        assert nameless.status == 400
        assert (entry.operation, entry.key, entry.resource_id) == ("fiant.user", None, "u1")

    drive(scenario)


def test_a_user_assessment_needs_a_request_id_and_is_an_effect() -> None:
    """It starts a check of a person that costs money."""

    async def scenario(client: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        response = await client.post("/v1/users/assessments", json={"userId": "u1"}, headers=ID)
        (entry,) = sandbox.ledger.effects()

        assert response.status == 201
        assert (entry.operation, entry.key, entry.amount) == ("fiant.user_assessment", "req-1", None)

    drive(scenario)


@pytest.mark.parametrize(
    ("method", "path", "document"),
    [
        ("GET", "/v1/transactions/nope", {"error": "not found", "code": 404}),
        ("GET", "/v1/nothing", {"error": "not found", "code": 404}),
        ("POST", "/v1/transactions/swaps/x", {"error": "not found", "code": 404}),
        ("PATCH", "/v1/users", {"error": "method not allowed", "code": 405}),
    ],
)
def test_what_is_not_there_is_said_in_the_plain_shape(method: str, path: str, document: dict[str, Any]) -> None:
    """The decoder must meet Fiant's own 404, not a web framework's."""

    async def scenario(client: aiohttp.ClientSession, _: Sandbox) -> None:
        response = await client.request(method, path)

        assert (response.status, await response.json()) == (document["code"], document)

    drive(scenario)
