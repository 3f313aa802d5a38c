"""What each fault looks like to a client, what it leaves in the ledger, and when it strikes."""

import logging
from typing import Any

import aiohttp
import pytest
from tests.sandbox.driving import drive, lost, payment

from holdfast.sandbox import Fault, Sandbox, SeenRequest
from holdfast.sandbox.faults import HARMS, FaultPlan, Injection, Script

NO_ANSWER: dict[Fault, type[aiohttp.ClientError]] = {
    Fault.REFUSE: aiohttp.ClientConnectionError,
    Fault.RESET_BEFORE: aiohttp.ClientOSError,
    Fault.RESET_AFTER: aiohttp.ClientOSError,
    Fault.TRUNCATED: aiohttp.ClientPayloadError,
    Fault.MALFORMED: aiohttp.ClientResponseError,
}
MAKES_EFFECT = (Fault.RESET_AFTER, Fault.SLOW, Fault.ERROR_500_AFTER, Fault.TRUNCATED, Fault.MALFORMED)


def transfer(key: str = "key-1", **headers: str) -> dict[str, Any]:
    """Make the keywords of one keyed Finix POST."""
    return {"json": payment(key=key), "headers": {name.replace("_", "-"): value for name, value in headers.items()}}


@pytest.mark.parametrize("fault", Fault)
def test_a_fault_leaves_exactly_the_effect_its_name_says(fault: Fault) -> None:
    """The ledger is the truth that a verdict is measured against: it must be right under every fault."""

    async def scenario(client: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        await lost(client.post("/transfers", **transfer(X_Sandbox_Fault=fault.value, X_Call="order-7")))
        effect = fault in MAKES_EFFECT
        key = None if fault is Fault.REFUSE else "key-1"  # closed before the body, which holds the key, was read

        assert sandbox.ledger.count == effect
        assert sandbox.requests == (
            SeenRequest(method="POST", path="/transfers", key=key, fault=fault, effect=effect, reference="order-7"),
        )

    drive(scenario, slow_s=0.01)


@pytest.mark.parametrize("fault", NO_ANSWER)
@pytest.mark.parametrize("path", ["/transfers", "/v1/transactions/deposits"])
def test_a_fault_without_an_answer_is_a_client_error_of_its_own_kind(path: str, fault: Fault) -> None:
    """If aiohttp saw an ordinary response instead, the fault would test nothing."""

    async def scenario(client: aiohttp.ClientSession, _: Sandbox) -> BaseException | None:
        return await lost(client.post(path, **transfer(X_Sandbox_Fault=fault.value, x_pti_request_id="req-1")))

    assert isinstance(drive(scenario), NO_ANSWER[fault])


@pytest.mark.parametrize("amount", [202, 402, 500])
def test_a_truncated_answer_has_its_true_status_and_a_body_that_ends_too_soon(amount: int) -> None:
    """The status line of a real response suffices to know that a payment landed, even with an empty body."""

    async def scenario(client: aiohttp.ClientSession, _: Sandbox) -> int:
        headers = {"X-Sandbox-Fault": "truncated", "x-pti-request-id": "req-1"}
        async with client.post("/v1/transactions/deposits", json={"amount": amount}, headers=headers) as response:
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
            return response.status

    assert drive(scenario) == {202: 202, 402: 402, 500: 201}[amount]


@pytest.mark.parametrize("fault", MAKES_EFFECT)
def test_after_an_effect_was_made_a_retry_with_the_key_gets_the_answer_and_no_second_effect(fault: Fault) -> None:
    """This is the sequence that charges a customer twice when the key is lost on the way."""

    async def scenario(client: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        call = transfer(X_Sandbox_Fault=f"{fault}*1", X_Call="order-7")
        await lost(client.post("/transfers", **call))
        response = await client.post("/transfers", **call)

        assert response.status == 201
        assert [seen.effect for seen in sandbox.requests] == [True, False]
        assert (sandbox.ledger.count, sandbox.ledger.charged_twice()) == (1, ())

    drive(scenario, slow_s=0.01)


def test_a_slow_answer_comes_after_its_delay_and_its_effect_before() -> None:
    """A client whose timeout fires in between is in doubt about a payment that was taken."""

    async def scenario(client: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        call = transfer(X_Sandbox_Fault="slow")
        with pytest.raises(TimeoutError):
            await client.post("/transfers", **call, timeout=aiohttp.ClientTimeout(total=0.05))

        assert sandbox.ledger.count == 1

    drive(scenario, slow_s=30.0)


@pytest.mark.parametrize(
    ("fault", "path", "status", "content_type", "retry_after", "says"),
    [
        ("500-before", "/transfers", 500, "application/json", None, b'"SERVER_ERROR"'),
        ("500-after", "/transfers", 500, "application/json", None, b'"SERVER_ERROR"'),
        ("503-before", "/transfers", 503, "text/html", None, b"<h1>503 Service Temporarily Unavailable</h1>"),
        ("429", "/transfers", 429, "application/json", "0", b'"TOO_MANY_REQUESTS"'),
        ("500-before", "/v1/users", 500, "application/json", None, b'{"error":"unexpected error","code":500}'),
        ("503-before", "/v1/users", 503, "application/json", None, b'{"error":"unexpected error","code":503}'),
        ("429", "/v1/users", 429, "application/octet-stream", "0", b""),
    ],
)
def test_a_fault_with_an_answer_speaks_in_the_providers_shape(
    fault: str, path: str, status: int, content_type: str, retry_after: str | None, says: bytes
) -> None:
    """Error bodies differ per provider, and a gateway's are not even JSON: the decoder must meet them all."""

    async def scenario(client: aiohttp.ClientSession, _: Sandbox) -> None:
        response = await client.post(path, **transfer(X_Sandbox_Fault=fault))
        body = await response.read()

        assert (response.status, response.content_type) == (status, content_type)
        assert response.headers.get("Retry-After") == retry_after
        assert says in body
        assert bool(body) == bool(says)
        assert path != "/transfers" or "X-Request-ID" in response.headers

    drive(scenario)


def test_a_refused_request_sends_no_continue_and_never_sees_the_body() -> None:
    """With ``Expect: 100-continue`` a refusal proves that the payment never left the client."""

    async def scenario(client: aiohttp.ClientSession, _: Sandbox) -> tuple[BaseException | None, int]:
        refused = client.post("/transfers", **transfer(X_Sandbox_Fault="refuse"), expect100=True)
        error = await lost(refused)
        served = await client.post("/transfers", **transfer(), expect100=True)
        return error, served.status

    error, status = drive(scenario)
    assert isinstance(error, aiohttp.ClientConnectionError)
    assert status == 201


@pytest.mark.parametrize(
    ("header", "statuses"),
    [
        ("500-before", [500, 500, 500, 500]),
        ("500-before*1", [500, 201, 201, 201]),
        ("500-before*2", [500, 500, 201, 201]),
        ("500-before,429", [500, 429, 201, 201]),
        ("500-before, none , 503-before*2", [500, 201, 503, 503]),
        ("none", [201, 201, 201, 201]),
        ("none,none", [201, 201, 201, 201]),
    ],
)
def test_the_header_says_which_request_of_a_call_fails(header: str, statuses: list[int]) -> None:
    """A retry that is to succeed at the third attempt needs a server that fails exactly twice."""

    async def scenario(client: aiohttp.ClientSession, _: Sandbox) -> list[int]:
        return [(await client.post("/transfers", **transfer(X_Sandbox_Fault=header))).status for _ in range(4)]

    assert drive(scenario) == statuses


def test_requests_are_counted_per_key_then_per_call_then_per_method_and_path() -> None:
    """Calls that run side by side must not use up each other's faults."""

    async def scenario(client: aiohttp.ClientSession, _: Sandbox) -> dict[str, list[int]]:
        fault = {"X-Sandbox-Fault": "500-before*1"}
        subjects: dict[str, tuple[str, str, dict[str, Any]]] = {
            "key": ("POST", "/transfers", {"json": payment(key="a"), "headers": {**fault, "X-Call": "one"}}),
            "other key": ("POST", "/transfers", {"json": payment(key="b"), "headers": {**fault, "X-Call": "one"}}),
            "call": ("POST", "/merchants", {"json": {}, "headers": {**fault, "X-Call": "one"}}),
            "other call": ("POST", "/merchants", {"json": {}, "headers": {**fault, "X-Call": "two"}}),
            "path": ("POST", "/merchants", {"json": {}, "headers": fault}),
            "other method": ("GET", "/merchants", {"headers": fault}),
        }
        seen: dict[str, list[int]] = {name: [] for name in subjects}
        for _attempt in range(2):
            for name, (method, path, options) in subjects.items():
                seen[name].append((await client.request(method, path, **options)).status)
        return seen

    assert drive(scenario) == {
        "key": [500, 201],
        "other key": [500, 201],
        "call": [500, 201],
        "other call": [500, 201],
        "path": [500, 201],
        "other method": [500, 200],
    }


@pytest.mark.parametrize("header", ["", "typo", "500", "slow*0", "slow*", "slow*1000", "slow,,429", "SLOW", "slow*-1"])
def test_a_misspelt_fault_is_refused_and_does_nothing(header: str) -> None:
    """A typing error that passed for a calm server would make every test green."""

    async def scenario(client: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        response = await client.post("/transfers", **transfer(X_Sandbox_Fault=header))

        assert response.status == 400
        assert "X-Sandbox-Fault must be made of NAME or NAME*N" in await response.text()
        assert (sandbox.ledger.count, sandbox.requests) == (0, ())

    drive(scenario)


def test_the_same_seed_gives_the_same_faults_in_order_of_arrival() -> None:
    """A failure found by chance must be found again."""

    async def scenario(client: aiohttp.ClientSession, sandbox: Sandbox) -> list[Fault | None]:
        for number in range(40):
            await lost(client.post("/transfers", json=payment(key=f"key-{number}")))
        return [seen.fault for seen in sandbox.requests]

    first = drive(scenario, faults=0.5, seed=7, slow_s=0.0)

    assert first == drive(scenario, faults=0.5, seed=7, slow_s=0.0)
    assert first != drive(scenario, faults=0.5, seed=8, slow_s=0.0)
    assert len(first) == 40
    assert None in first
    assert len(set(first)) > 4


@pytest.mark.parametrize(("probability", "least", "most"), [(0.0, 0, 0), (0.3, 800, 1000), (1.0, 3000, 3000)])
def test_the_plan_keeps_its_probability_and_leaves_no_fault_out(probability: float, least: int, most: int) -> None:
    """A share of faults that is not the one asked for makes every measured rate wrong."""
    plan = FaultPlan(probability, seed=1)

    dealt = [plan.on_arrival(None) for _ in range(3000)]

    faults = [injection.fault for injection in dealt if injection is not None and injection.fault is not None]
    assert least <= len(faults) <= most
    assert set(faults) == (set(Fault) if most else set())
    assert {injection.retry_after for injection in dealt if injection is not None} <= {0, 1}


def test_a_lower_probability_only_leaves_faults_out() -> None:
    """Turning the trouble down must not deal other faults, or a failing run could not be narrowed."""
    often, seldom = FaultPlan(0.8, seed=5), FaultPlan(0.2, seed=5)

    pairs = [(often.on_arrival(None), seldom.on_arrival(None)) for _ in range(500)]

    assert all(few in (many, Injection()) for many, few in pairs)


def test_a_header_takes_nothing_from_the_seeded_plan() -> None:
    """One scripted request in the middle must not shift the faults of all that follow."""
    plain, mixed = FaultPlan(0.5, seed=2), FaultPlan(0.5, seed=2)

    expected = [plain.on_arrival(None) for _ in range(20)]
    dealt = []
    for _ in range(20):
        mixed.on_arrival(Script.parse("slow"))
        mixed.next_step(Script.parse("slow*2"), "key")
        dealt.append(mixed.on_arrival(None))

    assert dealt == expected


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_a_probability_outside_zero_to_one_is_refused(probability: float) -> None:
    """30 for 30 % would break every request."""
    with pytest.raises(ValueError, match="faults must be between 0 and 1"):
        Sandbox(faults=probability)


def test_every_fault_has_a_row_in_the_table_of_harms() -> None:
    """A fault without a row would end in a 500 of the sandbox itself."""
    assert set(HARMS) == {None, *Fault}


def test_no_fault_logs_anything(caplog: pytest.LogCaptureFixture) -> None:
    """Tracebacks of faults made on purpose would bury the one that matters."""

    async def scenario(client: aiohttp.ClientSession, _: Sandbox) -> None:
        for fault in Fault:
            for method in ("POST", "GET", "PUT", "DELETE"):
                headers = {"X-Sandbox-Fault": fault.value}
                await lost(client.request(method, "/authorizations/AU1", json={}, headers=headers))

    with caplog.at_level(logging.INFO):
        drive(scenario, slow_s=0.0)

    assert [record for record in caplog.records if record.name != "asyncio"] == []  # asyncio's debug mode is chatty
