"""Keys, addresses, protections, reports and log lines."""

import asyncio
import io

from benchmarks.micro.conftest import Timed
from benchmarks.micro.examples import FIELDS, REPORT, a_report, json_lines

from holdfast import CircuitBreaker, CircuitOpenError, LocalLimits, LogSink, Policy, RetryBudget
from holdfast.core.breaker import Circuit, Health
from holdfast.core.budget import RetryBucket, RetryKind
from holdfast.core.bulkhead import Bulkhead
from holdfast.core.idempotency import KeyPlan
from holdfast.core.rate_gate import RateGate
from holdfast.providers import GENERIC

URL = "https://api.example.test/v1/transfers/TR1?expand=all"
ORIGIN = "https://api.example.test"
POLICY = Policy()


def test_a_policy_is_made(timed: Timed) -> None:
    """Where a call has one of its own."""
    assert timed("Policy: made", max_attempts=2).max_attempts == 2


def test_a_slot_is_found(timed: Timed) -> None:
    """Once per call."""
    assert timed("Provider.slot_for", GENERIC, "POST", "/transfers") is GENERIC.key_slots[-1]


def test_no_key_is_planned(timed: Timed) -> None:
    """A GET."""
    plan = timed("plan_key: no key", None, given=None, headers={}, document=None, editable=False)

    assert plan == KeyPlan()


def test_the_callers_key_is_planned(timed: Timed) -> None:
    """A keyed POST."""
    slot = GENERIC.slot_for("POST", "/transfers")
    plan = timed("plan_key: the caller's", slot, given="order-7", headers={}, document=None, editable=False)

    assert plan == KeyPlan("order-7", "Idempotency-Key")


def test_a_key_is_made(timed: Timed) -> None:
    """A POST to Finix without a key of the caller's."""
    assert len(timed("a new key of Finix's")) >= 32


def test_a_body_is_identified(timed: Timed) -> None:
    """SHA-256."""
    assert len(timed("fingerprint: 1 KB", b"x" * 1024)) == 64


def test_an_origin(timed: Timed) -> None:
    """Once per attempt."""
    assert timed("origin_of", URL) == ORIGIN


def test_an_address_that_may_be_told(timed: Timed) -> None:
    """For reports and log lines."""
    assert timed("safe_url", URL) == f"{ORIGIN}/v1/transfers/TR1"


def test_a_text_is_cleaned(timed: Timed) -> None:
    """A request id, a logref."""
    assert timed("clean: 40 characters", "x" * 40) == "x" * 40


def test_limits_are_found(timed: Timed) -> None:
    """Once per attempt."""
    limits = LocalLimits()

    async def first() -> object:  # it puts them together, at the loop's time
        return limits.of(ORIGIN, POLICY)

    guard = asyncio.run(first())

    assert timed("LocalLimits.of", limits, ORIGIN, POLICY) is guard


def test_a_circuit_is_asked(timed: Timed) -> None:
    """Before each attempt."""
    assert timed("Circuit.refuses", Circuit(CircuitBreaker(), 0.0), 1.0) is False


def test_a_circuit_admits(timed: Timed) -> None:
    """Each attempt."""
    assert timed("Circuit.admit", Circuit(CircuitBreaker(), 0.0), 1.0, 0.5) >= 0


def test_a_circuit_counts_a_success(timed: Timed) -> None:
    """After each attempt that succeeded."""
    circuit = Circuit(CircuitBreaker(), 0.0)

    timed("Circuit.succeeded", circuit, circuit.admit(0.5, 0.5), 0.5)

    assert circuit.snapshot(0.5).calls > 0


def test_a_circuit_counts_a_failure(timed: Timed) -> None:
    """After each attempt that failed."""
    circuit = Circuit(CircuitBreaker(minimum_calls=10**9), 0.0)

    timed("Circuit.failed", circuit, circuit.admit(0.5, 0.5), 0.5, 0.5)

    assert circuit.snapshot(0.5).failures > 0


def test_health(timed: Timed) -> None:
    """After each attempt."""
    assert timed("health_of", 200, "ok") is Health.WORKING


def test_a_turn_at_the_gate(timed: Timed) -> None:
    """Before each attempt."""
    assert timed("RateGate.reserve", RateGate(None, 0.0), 1.0, 300.0) == 0.0


def test_a_gate_hears_of_a_success(timed: Timed) -> None:
    """After each attempt that succeeded."""
    gate = RateGate(None, 0.0)

    timed("RateGate.succeeded", gate, 1.0)

    assert gate.state(1.0).pace is None


def test_a_call_earns(timed: Timed) -> None:
    """Each call's share of a retry."""
    bucket = RetryBucket(RetryBudget(burst=1e6), 0.0)
    for _ in range(1000):
        bucket.take(0.0, RetryKind.TRANSIENT)

    timed("RetryBucket.deposit", bucket)

    assert bucket.state(0.0).tokens > 1e6 - 1000


def test_a_retry_pays(timed: Timed) -> None:
    """Each retry."""
    assert timed("RetryBucket.take", RetryBucket(RetryBudget(burst=1e9), 0.0), 1.0, RetryKind.TRANSIENT) is True


def test_a_place(timed: Timed) -> None:
    """Each attempt, where ``max_concurrency`` is set."""
    bulkhead: Bulkhead[int] = Bulkhead(10)

    def enter_and_leave() -> bool:
        entered = bulkhead.enter()
        bulkhead.leave()
        return entered

    assert timed("Bulkhead: enter and leave", run=enter_and_leave) is True


def test_the_log_is_asked(timed: Timed) -> None:
    """All that a call costs whose events nobody wants, each time."""
    assert timed("LogSink.enabled", LogSink(json_lines(io.StringIO())), 10) is False


def test_a_line_is_logged(timed: Timed) -> None:
    """One JSON event, by the standard library's json."""
    file = io.StringIO()

    timed("LogSink.emit: JSON", LogSink(json_lines(file)), "outbound.call", 20, FIELDS)

    assert file.getvalue().startswith('{"call_id": "3fe8e6ab1e8cf44f"')


def test_fields_are_let_through(timed: Timed) -> None:
    """What may leave, of one event."""
    assert timed("allowed: 15 fields", FIELDS) == FIELDS


def test_a_report_is_made(timed: Timed) -> None:
    """Where somebody asks, or an event is logged."""
    assert timed("CallReport: made", **REPORT) == a_report()


def test_a_report_is_written(timed: Timed) -> None:
    """Where somebody wants it as JSON."""
    assert timed("CallReport.to_dict", a_report())["errors"][0]["field"] == "amount"


def test_a_problem_is_answered(timed: Timed) -> None:
    """Where an error is left to the service."""
    assert timed("problem_of", CircuitOpenError(ORIGIN, 3.0, a_report()), "3fe8e6ab").status == 503


def test_an_inbound_request_is_read(timed: Timed) -> None:
    """Once per inbound request, behind the middleware."""
    headers = {"x-request-timeout": "10", "x-request-id": "3fe8e6ab", "idempotency-key": "order-7"}

    reading = timed("read_headers", headers, deadline_header="X-Request-Timeout", request_id_header="X-Request-ID")

    assert (reading.timeout_s, reading.idempotency_key) == (10.0, "order-7")


def test_a_key_is_derived(timed: Timed) -> None:
    """Once per outbound call that takes a key, behind the middleware."""
    assert len(timed("derive_key", b"secret", "acme", "order-7", "charge", "1")) == 36
