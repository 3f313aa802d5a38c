"""The pretended Finix, shape by shape, over a real connection."""

import json
from typing import Any

import aiohttp
import pytest
from tests.sandbox.driving import drive, payment

from holdfast.sandbox import LedgerEntry, Sandbox


async def only_error(response: aiohttp.ClientResponse) -> dict[str, Any]:
    """Read an envelope that must hold exactly one error."""
    document = await response.json()
    assert document["total"] == 1
    (error,) = document["_embedded"]["errors"]
    assert isinstance(error, dict)
    return error


@pytest.mark.parametrize(("collection", "prefix"), [("transfers", "TR"), ("authorizations", "AU")])
def test_a_payment_is_made_shown_and_written_to_the_ledger(collection: str, prefix: str) -> None:
    """Without this nothing can be tried against the sandbox at all."""

    async def scenario(client: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        made = await client.post(f"/{collection}", json=payment(), headers={"X-Call": "order-7"})
        resource = await made.json()
        shown = await client.get(f"/{collection}/{resource['id']}")

        assert (made.status, shown.status) == (201, 200)
        assert await shown.json() == resource
        assert resource["id"].startswith(prefix)
        assert resource["_links"]["self"]["href"] == f"{sandbox.url}/{collection}/{resource['id']}"
        assert (resource["state"], resource["amount"], resource["failure_code"]) == ("SUCCEEDED", 1000, None)
        assert sandbox.ledger.effects() == (
            LedgerEntry(
                sequence=1,
                provider="finix",
                operation=f"finix.{collection[:-1]}",
                key="key-1",
                amount=1000,
                resource_id=resource["id"],
                reference="order-7",
            ),
        )

    drive(scenario)


def test_a_body_is_printed_as_finix_prints_it() -> None:
    """A decoder that leans on Finix's spacing would work here and fail there."""

    async def scenario(client: aiohttp.ClientSession, _: Sandbox) -> bytes:
        response = await client.get("/transfers/TRnope")
        return await response.read()

    assert b'"_embedded" : {\n' in drive(scenario)


@pytest.mark.parametrize(
    ("amount", "failure_code"),
    [
        (102, "GENERIC_DECLINE"),
        (103, "CANCELLATION_VIA_API"),
        (193, "INSUFFICIENT_FUNDS"),
        (194, "INVALID_ACCOUNT_NUMBER"),
        (889986, "ADDRESS_VERIFICATION_FAILED_RISK_RULES"),
        (889987, "CVV_FAILED_RISK_RULES"),
    ],
)
@pytest.mark.parametrize("singular", ["transfer", "authorization"])
def test_a_magic_amount_is_declined_and_leaves_a_failed_resource(singular: str, amount: int, failure_code: str) -> None:
    """A decline looks like an error but must never be sent again; users need to see one on demand."""

    async def scenario(client: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        response = await client.post(f"/{singular}s", json=payment(amount))
        error = await only_error(response)
        resource = await (await client.get(f"/{singular}s/{error[singular]}")).json()

        assert response.status == 402
        assert error == {
            "logref": error["logref"],
            "message": f"{singular.capitalize()} {error[singular]} was declined",
            "code": "DECLINED",
            singular: error[singular],
            "failure_code": failure_code,
            "failure_message": resource["failure_message"],
            "_links": {
                "self": {"href": f"{sandbox.url}/{singular}s"},
                singular: {"href": f"{sandbox.url}/{singular}s/{error[singular]}"},
            },
        }
        assert (resource["state"], resource["failure_code"]) == ("FAILED", failure_code)
        assert sandbox.ledger.count == 0

    drive(scenario)


@pytest.mark.parametrize(("amount", "status", "effects"), [(1000, 201, 1), (193, 402, 0)])
def test_the_same_id_and_body_replay_the_stored_answer_byte_for_byte(amount: int, status: int, effects: int) -> None:
    """A replay that differed from the original would hide a second charge, or a second decline."""

    async def scenario(client: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        body = payment(amount)
        first = await client.post("/transfers", json=body)
        again = await client.post("/transfers", json=dict(reversed(body.items())))

        assert (first.status, again.status) == (status, status)
        assert await first.read() == await again.read()
        assert first.headers["X-Request-ID"] != again.headers["X-Request-ID"]
        assert sandbox.ledger.count == effects
        assert [seen.effect for seen in sandbox.requests] == [effects == 1, False]

    drive(scenario)


def test_the_same_id_with_another_body_is_refused() -> None:
    """One key for two payments is a defect of the caller, and must not charge for the second."""

    async def scenario(client: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        await client.post("/transfers", json=payment(1000))
        response = await client.post("/transfers", json=payment(2000))
        error = await only_error(response)

        assert (response.status, error["code"]) == (422, "UNPROCESSABLE_ENTITY")
        assert error["message"] == "idempotency_id key-1 was already used with a different request"
        assert sandbox.ledger.count == 1

    drive(scenario)


def test_an_id_is_unique_per_endpoint_and_a_refused_request_does_not_use_it_up() -> None:
    """Finix checks ids per endpoint; a stricter sandbox would reject calls that work in production."""

    async def scenario(client: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        refused = await client.post("/transfers", json=payment(-1))
        transfer = await client.post("/transfers", json=payment())
        authorization = await client.post("/authorizations", json=payment())

        assert [refused.status, transfer.status, authorization.status] == [422, 201, 201]
        assert sandbox.ledger.charged_twice() == ("key-1",)

    drive(scenario)


def test_a_payment_without_an_id_is_made_each_time() -> None:
    """The charge made twice that holdfast exists to prevent must be possible here, or no test could catch it."""

    async def scenario(client: aiohttp.ClientSession, sandbox: Sandbox) -> tuple[str, ...]:
        for _ in range(2):
            await client.post("/transfers", json=payment(key=None), headers={"X-Call": "order-7"})
        return sandbox.ledger.charged_twice()

    assert drive(scenario) == ("order-7",)


def test_a_list_finds_a_payment_by_its_id_and_pages_newest_first() -> None:
    """This lookup is how an in-doubt call is settled; a wrong row would settle it wrongly."""

    async def scenario(client: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        ids = [(await (await client.post("/transfers", json=payment(key=key))).json())["id"] for key in "abc"]
        found = await (await client.get("/transfers", params={"idempotency_id": "b"})).json()
        absent = await (await client.get("/authorizations", params={"idempotency_id": "b"})).json()
        first = await (await client.get("/transfers", params={"limit": "2"})).json()
        cursor = first["page"]["next_cursor"]
        second = await (await client.get("/transfers", params={"limit": "2", "after_cursor": cursor})).json()
        wrong = await client.get("/transfers", params={"limit": "0"})

        assert [row["id"] for row in found["_embedded"]["transfers"]] == [ids[1]]
        assert found["page"] == {"limit": 20, "next_cursor": None}
        assert found["_links"] == {"self": {"href": f"{sandbox.url}/transfers"}}
        assert absent["_embedded"] == {"authorizations": []}
        assert [row["id"] for row in first["_embedded"]["transfers"]] == [ids[2], ids[1]]
        assert [row["id"] for row in second["_embedded"]["transfers"]] == [ids[0]]
        assert (wrong.status, (await only_error(wrong))["field"]) == (422, "limit")

    drive(scenario)


def test_a_declined_payment_is_found_by_its_id_as_failed() -> None:
    """Found is not the same as paid: a lookup that ignores the state would call a decline landed."""

    async def scenario(client: aiohttp.ClientSession, _: Sandbox) -> list[str]:
        await client.post("/transfers", json=payment(102))
        found = await (await client.get("/transfers", params={"idempotency_id": "key-1"})).json()
        return [row["state"] for row in found["_embedded"]["transfers"]]

    assert drive(scenario) == ["FAILED"]


@pytest.mark.parametrize(
    ("first", "then", "message"),
    [
        ({"capture_amount": 400}, {"capture_amount": 400}, "was already captured"),
        ({"capture_amount": 400}, {"void_me": True}, "was already captured"),
        ({"void_me": True}, {"capture_amount": 400}, "was already voided"),
        ({"void_me": True}, {"void_me": True}, "was already voided"),
    ],
)
def test_an_authorization_is_captured_or_voided_once(first: dict[str, Any], then: dict[str, Any], message: str) -> None:
    """Capture and void are PUT without a key: a hidden second send shows up as this 422."""

    async def scenario(client: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        authorization = await (await client.post("/authorizations", json=payment())).json()
        path = f"/authorizations/{authorization['id']}"
        done = await client.put(path, json=first)
        again = await client.put(path, json=then)
        error = await only_error(again)

        assert (done.status, again.status, error["code"]) == (200, 422, "UNPROCESSABLE_ENTITY")
        assert error["message"] == f"Authorization {authorization['id']} {message}"
        assert sandbox.ledger.count == 2

    drive(scenario)


def test_a_capture_makes_a_transfer() -> None:
    """The money moves at capture: the ledger must say how much, and name the transfer, with no key."""

    async def scenario(client: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        made = await (await client.post("/authorizations", json=payment())).json()
        captured = await (await client.put(f"/authorizations/{made['id']}", json={"capture_amount": 400})).json()
        transfer = await (await client.get(f"/transfers/{captured['transfer']}")).json()
        entry = sandbox.ledger.effects()[-1]

        assert (transfer["amount"], transfer["merchant"], transfer["currency"]) == (400, "MU1", "USD")
        assert (entry.operation, entry.key, entry.amount) == ("finix.capture", None, 400)
        assert entry.resource_id == transfer["id"]

    drive(scenario)


def test_a_void_is_an_effect_without_a_key() -> None:
    """A lost void leaves the buyer's money held; it must be countable."""

    async def scenario(client: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        made = await (await client.post("/authorizations", json=payment())).json()
        voided = await (await client.put(f"/authorizations/{made['id']}", json={"void_me": True})).json()
        entry = sandbox.ledger.effects()[-1]

        assert (voided["is_void"], voided["void_state"]) == (True, "SUCCEEDED")
        assert (entry.operation, entry.key, entry.resource_id) == ("finix.void", None, made["id"])

    drive(scenario)


def test_a_declined_capture_has_the_code_that_finix_leaves_out_of_its_table() -> None:
    """PAYMENT_DECLINED is undocumented; a client that knows only DECLINED would send the capture again."""

    async def scenario(client: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        made = await (await client.post("/authorizations", json=payment())).json()
        path = f"/authorizations/{made['id']}"
        response = await client.put(path, json={"capture_amount": 102})
        error = await only_error(response)
        transfer = await (await client.get(f"/transfers/{error['transfer']}")).json()
        retried = await client.put(path, json={"capture_amount": 1000})

        assert response.status == 402
        assert error == {
            "logref": error["logref"],
            "message": f"Transfer {transfer['id']} was declined",
            "code": "PAYMENT_DECLINED",
            "_links": {"self": {"href": sandbox.url + path}},
            "transfer": transfer["id"],
        }
        assert transfer["state"] == "FAILED"
        assert (retried.status, sandbox.ledger.count) == (200, 2)

    drive(scenario)


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [({"capture_amount": 1001}, 422, "capture_amount"), ({}, 422, "capture_amount"), ({"tags": {"a": "b"}}, 200, None)],
)
def test_an_update_that_is_no_capture_and_no_void_has_no_effect(
    body: dict[str, Any], status: int, field: str | None
) -> None:
    """More than was authorized cannot be captured, and new tags move no money."""

    async def scenario(client: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        made = await (await client.post("/authorizations", json=payment())).json()
        response = await client.put(f"/authorizations/{made['id']}", json=body)

        assert response.status == status
        assert field is None or (await only_error(response))["field"] == field
        assert sandbox.ledger.count == 1

    drive(scenario)


def test_a_declined_authorization_cannot_be_captured() -> None:
    """A FAILED resource exists but holds no money."""

    async def scenario(client: aiohttp.ClientSession, _: Sandbox) -> tuple[int, str]:
        error = await only_error(await client.post("/authorizations", json=payment(102)))
        path = f"/authorizations/{error['authorization']}"
        response = await client.put(path, json={"capture_amount": 50})
        return response.status, (await only_error(response))["code"]

    assert drive(scenario) == (422, "UNPROCESSABLE_ENTITY")


def test_a_reversal_is_keyed_and_never_gives_back_more_than_was_paid() -> None:
    """A refund made twice costs as much as a charge made twice."""

    async def scenario(client: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        paid = await (await client.post("/transfers", json=payment())).json()
        path = f"/transfers/{paid['id']}/reversals"
        refund = {"refund_amount": 600, "idempotency_id": "refund-1"}
        first = await client.post(path, json=refund)
        again = await client.post(path, json=refund)
        beyond = await client.post(path, json={"refund_amount": 401})
        amountless = await client.post(path, json={})
        reversal = await first.json()
        of_reversal = await client.post(f"/transfers/{reversal['id']}/reversals", json={"refund_amount": 1})
        listed = await (await client.get(path)).json()

        assert [first.status, again.status] == [201, 201]
        assert [beyond.status, amountless.status, of_reversal.status] == [422, 422, 422]
        assert await first.read() == await again.read()
        assert (reversal["type"], reversal["amount"], reversal["parent_transfer"]) == ("REVERSAL", 600, paid["id"])
        assert [row["id"] for row in listed["_embedded"]["transfers"]] == [reversal["id"]]
        assert [entry.operation for entry in sandbox.ledger.by_key("refund-1")] == ["finix.reversal"]

    drive(scenario)


@pytest.mark.parametrize("collection", ["merchants", "identities", "payment_instruments"])
def test_a_simple_create_has_no_key_and_happens_again_when_sent_again(collection: str) -> None:
    """These endpoints honour no key: a resend makes a second resource, even with the field in the body."""

    async def scenario(client: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        body = {"idempotency_id": "key-1", "tags": {"shop": "7"}}
        made = [await (await client.post(f"/{collection}", json=body)).json() for _ in range(2)]
        shown = await (await client.get(f"/{collection}/{made[0]['id']}")).json()
        listed = await (await client.get(f"/{collection}")).json()

        assert shown == made[0]
        assert [row["id"] for row in listed["_embedded"][collection]] == [made[1]["id"], made[0]["id"]]
        assert [(entry.key, entry.amount) for entry in sandbox.ledger.effects()] == [(None, None)] * 2
        assert [seen.key for seen in sandbox.requests] == [None] * 4

    drive(scenario)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b'{"amount": NaN}', b"\xff", b"[" * 100_000])
def test_an_unreadable_body_is_a_bad_request(body: bytes) -> None:
    """A broken serializer must be told so, in Finix's envelope, and must charge nobody."""

    async def scenario(client: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        response = await client.post("/transfers", data=body)
        error = await only_error(response)

        assert (response.status, error["code"]) == (400, "BAD_REQUEST")
        assert sandbox.ledger.count == 0

    drive(scenario)


@pytest.mark.parametrize("body", [b"x" * (1 << 20), b"\x00 not gzip"])
@pytest.mark.parametrize("encoding", ["gzip", None])
def test_a_body_that_cannot_be_read_to_its_end_is_a_bad_request(body: bytes, encoding: str | None) -> None:
    """Beyond aiohttp's limit of a mebibyte, or wrongly compressed: still an envelope, never a traceback."""

    async def scenario(client: aiohttp.ClientSession, _: Sandbox) -> int:
        headers = {} if encoding is None else {"Content-Encoding": encoding}
        response = await client.post("/transfers", data=body, headers=headers)
        return response.status

    assert drive(scenario) == 400


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"merchant": "MU1", "currency": "USD"}, ["amount"]),
        ({"merchant": "MU1", "amount": 5}, ["currency"]),
        ({"currency": "USD", "amount": 5}, ["merchant"]),
        ({}, ["merchant", "currency", "amount"]),
        (payment(amount=True), ["amount"]),
        (payment(-1), ["amount"]),
        (payment(idempotency_id=7), ["idempotency_id"]),
    ],
)
def test_each_missing_or_invalid_field_is_an_error_of_its_own(body: dict[str, Any], fields: list[str]) -> None:
    """One body with several errors, each with its own logref, is what the log line has to carry."""

    async def scenario(client: aiohttp.ClientSession, _: Sandbox) -> None:
        response = await client.post("/transfers", json=body)
        document = await response.json()
        errors = document["_embedded"]["errors"]

        assert (response.status, document["total"]) == (422, len(fields))
        assert [(error["code"], error["field"]) for error in errors] == [("INVALID_FIELD", name) for name in fields]
        assert len({error["logref"] for error in errors}) == len(fields)

    drive(scenario)


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "message"),
    [
        ("GET", "/transfers/TRnope", 404, "NOT_FOUND", "TRnope was not found"),
        ("PUT", "/authorizations/AUnope", 404, "NOT_FOUND", "AUnope was not found"),
        ("POST", "/transfers/TRnope/reversals", 404, "NOT_FOUND", "TRnope was not found"),
        ("GET", "/transfers/TRnope/reversals", 404, "NOT_FOUND", "TRnope was not found"),
        ("GET", "/nothing/here", 404, "NOT_FOUND", "/nothing/here was not found"),
        ("PATCH", "/transfers", 405, "METHOD_NOT_ALLOWED", "Request method 'PATCH' not supported"),
        ("DELETE", "/transfers/TR1", 405, "METHOD_NOT_ALLOWED", "Request method 'DELETE' not supported"),
    ],
)
def test_what_is_not_there_is_said_in_the_envelope(
    method: str, path: str, status: int, code: str, message: str
) -> None:
    """Every refusal has the one error shape, or the decoder would be tested on two."""

    async def scenario(client: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        response = await client.request(method, path, json={})
        error = await only_error(response)

        assert response.status == status
        assert error == {
            "logref": error["logref"],
            "message": message,
            "code": code,
            "_links": {"self": {"href": sandbox.url + path}},
        }

    drive(scenario)


@pytest.mark.parametrize(("header", "status"), [("Basic VVMxOnB3", 201), ("basic VVMxOnB3", 201), ("Bearer x", 401)])
def test_only_basic_authentication_is_accepted(header: str, status: int) -> None:
    """Finix's 401 has the code UNKNOWN, which does not mean an unknown error."""

    async def scenario(client: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        response = await client.post("/transfers", json=payment(), headers={"Authorization": header})

        assert response.status == status
        assert status == 201 or (await only_error(response))["code"] == "UNKNOWN"
        assert sandbox.ledger.count == (status == 201)

    drive(scenario)


def test_every_answer_has_a_request_id_and_every_error_a_logref_of_its_own() -> None:
    """Support asks for these two; if they repeated, a log line would point at the wrong call."""

    async def scenario(client: aiohttp.ClientSession, _: Sandbox) -> None:
        answers = [await client.get("/transfers/TRnope") for _ in range(3)] + [await client.get("/transfers")]
        logrefs = {(await only_error(answer))["logref"] for answer in answers[:3]}

        assert len({answer.headers["X-Request-ID"] for answer in answers}) == 4
        assert len(logrefs) == 3
        assert all(len(logref) == 32 and int(logref, 16) >= 0 for logref in logrefs)

    drive(scenario)


def test_the_same_seed_gives_the_same_ids() -> None:
    """Two runs with one seed can be compared line by line."""

    async def scenario(client: aiohttp.ClientSession, _: Sandbox) -> str:
        response = await client.post("/transfers", json=payment())
        return str(json.loads(await response.read())["id"])

    assert drive(scenario, seed=3) == drive(scenario, seed=3) != drive(scenario, seed=4)
