"""The log events of a call: one verdict each, in the shape that is shipped, at the level that is promised."""

import asyncio
import json
import logging
from contextlib import suppress
from importlib.resources import files
from typing import Any, Final

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import AT_ONCE, Behaviour, Peer, answer, cut, drop, hang, run, run_virtual, said

from holdfast import CircuitOpenError, Policy, Provider, ResilientSession
from holdfast.core.redact import EVENT_KEYS
from holdfast.engine.events import lookup_ended
from holdfast.engine.runtime import Runtime
from holdfast.providers import FIANT, FINIX, GENERIC
from holdfast.testing import RecordedEvent, RecordingSink

SCHEMA: Final = json.loads(files("holdfast").joinpath("telemetry/events.schema.json").read_text(encoding="utf-8"))
VALIDATOR: Final = jsonschema.Draft202012Validator(SCHEMA)
ERROR: Final = {"logref": "L1", "code": "SOME_CODE", "message": "in words"}
DECLINE: Final = {"failure_code": "INSUFFICIENT_FUNDS", **ERROR}

INFO, WARNING, LOUD = logging.INFO, logging.WARNING, logging.ERROR


def check(sink: RecordingSink) -> None:
    """Hold every event to the schema, to the allow-list and to plain JSON."""
    assert sink.events
    for recorded in sink.events:
        VALIDATOR.validate({"event": recorded.event, **recorded.fields})
        assert json.loads(json.dumps(recorded.fields, allow_nan=False)) == recorded.fields
        assert recorded.fields.keys() <= EVENT_KEYS
        assert None not in recorded.fields.values()


async def events_of(
    script: list[Behaviour],
    *,
    provider: Provider = GENERIC,
    policy: Policy = AT_ONCE,
    path: str = "/pay",
    **options: Any,
) -> RecordingSink:
    """Make one call, and keep its events."""
    sink = RecordingSink()
    method = options.pop("method", "POST")
    async with (
        Peer(*script) as peer,
        ResilientSession(peer.url, provider=provider, policy=policy, sinks=[sink]) as session,
    ):
        with suppress(Exception):
            await session.request(method, path, **options)
    check(sink)
    return sink


ENDINGS: Final[list[tuple[str, list[Behaviour], dict[str, Any], int, tuple[str, str, str]]]] = [
    ("success", [answer(201)], {}, INFO, ("success", "landed", "succeeded")),
    ("success of a GET", [answer(200)], {"method": "GET"}, INFO, ("success", "none", "succeeded")),
    ("success after a retry", [answer(429), answer(201)], {}, INFO, ("success", "landed", "succeeded")),
    ("permanent", [said(400, ERROR)], {}, WARNING, ("permanent_failure", "none", "permanent")),
    ("declined", [said(402, DECLINE)], {}, WARNING, ("permanent_failure", "none", "permanent")),
    (
        "conflict",
        [said(409, ERROR)],
        {"idempotency_key": "k"},
        WARNING,
        ("idempotency_conflict", "none", "conflict"),
    ),
    (
        "conflict in doubt",
        [drop(), answer(409)],
        {"idempotency_key": "k"},
        LOUD,
        ("idempotency_conflict", "in_doubt", "conflict"),
    ),
    ("exhausted", [said(503, ERROR)], {"method": "GET"}, LOUD, ("retryable", "none", "attempts_exhausted")),
    ("in doubt", [drop()], {}, LOUD, ("retryable", "in_doubt", "unsafe_to_resend")),
    (
        "past the deadline",
        [hang()],
        {"method": "GET", "policy": Policy(deadline=0.05)},
        LOUD,
        ("retryable", "none", "deadline"),
    ),
    (
        "advised to wait too long",
        [answer(429, retry_after="9999")],
        {},
        LOUD,
        ("retryable", "none", "retry_after_too_long"),
    ),
    (
        "landed, body lost",
        [cut(201)],
        {"provider": FIANT, "path": "/v1/transactions/deposits"},
        WARNING,
        ("success", "landed", "succeeded"),
    ),
]


@pytest.mark.parametrize(
    ("script", "options", "level", "words"), [row[1:] for row in ENDINGS], ids=[row[0] for row in ENDINGS]
)
def test_each_call_ends_in_one_event_at_its_level(
    script: list[Behaviour], options: dict[str, Any], level: int, words: tuple[str, str, str]
) -> None:
    """Operations would page somebody for a decline, or sleep through a payment in doubt."""
    sink = run(events_of(script, **options))

    (last,) = [event for event in sink.events if event.event == "outbound.call"]
    assert last is sink.events[-1]
    assert last.level == level
    assert (last.fields["outcome"], last.fields["effect"], last.fields["stop_reason"]) == words


def test_attempts_and_pauses_are_told_in_order() -> None:
    """The log of a retried call would not show what was tried, how long each took and what was waited for."""
    sink = run(events_of([said(429, ERROR), answer(425), answer(201)], operation="charge"))

    first, retry = sink.events[0], sink.events[1]
    assert [(event.event, event.level, event.fields.get("attempt")) for event in sink.events] == [
        ("outbound.attempt", WARNING, 1),
        ("outbound.retry", WARNING, 1),
        ("outbound.attempt", WARNING, 2),
        ("outbound.retry", WARNING, 2),
        ("outbound.attempt", logging.DEBUG, 3),
        ("outbound.call", INFO, None),
    ]
    assert {event.fields["operation"] for event in sink.events} == {"charge"}
    assert len({event.fields["call_id"] for event in sink.events}) == 1
    assert (first.fields["status"], first.fields["reason"], first.fields["logref"]) == (429, "rate_limited", "L1")
    assert retry.fields["pause_s"] == 0.0


def test_the_call_event_says_what_support_will_ask_for() -> None:
    """A user on the phone with the provider would have neither logref, request id nor key at hand."""
    body = {"total": 2, "_embedded": {"errors": [DECLINE, {**ERROR, "logref": "L2", "code": "OTHER"}]}}
    behaviour = said(402, body, x_request_id="req-1")

    sink = run(events_of([behaviour], provider=FINIX, path="/transfers?card=4111", json={"idempotency_id": "mine"}))

    (event,) = sink.named("outbound.call")
    elapsed, left = event.pop("elapsed_s"), event.pop("deadline_left_s")
    assert (elapsed >= 0.0, left <= 300.0) == (True, True)
    assert event.pop("call_id")
    assert event.pop("host").startswith("127.0.0.1:")
    assert event == {
        "provider": "finix",
        "method": "POST",
        "path": "/transfers",
        "attempts": 1,
        "status": 402,
        "outcome": "permanent_failure",
        "effect": "none",
        "reason": "declined",
        "stop_reason": "permanent",
        "logref": "L1",
        "logrefs": ["L1", "L2"],
        "error_codes": ["SOME_CODE", "OTHER"],
        "failure_code": "INSUFFICIENT_FUNDS",
        "request_id": "req-1",
        "idempotency_key": "mine",
    }


def test_a_sink_gets_a_copy_of_its_own() -> None:
    """A sink that adds or removes fields would change what the next one writes."""

    class Greedy(RecordingSink):
        def emit(self, event: str, level: int, fields: dict[str, Any]) -> None:
            fields.clear()
            super().emit(event, level, fields)

    first, second = Greedy(), RecordingSink()

    async def scenario() -> None:
        async with Peer(answer()) as peer, ResilientSession(peer.url, sinks=[first, second]) as session:
            await session.get("/")

    run(scenario())

    check(second)


def test_what_is_not_on_the_list_reaches_no_sink() -> None:
    """A field that somebody adds to an event, or to what he was handed, would stand in everybody's log."""

    class Adding(RecordingSink):
        def emit(self, event: str, level: int, fields: dict[str, Any]) -> None:
            super().emit(event, level, dict(fields))
            fields["message"] = "added"

    first, second, third = Adding(), Adding(), RecordingSink()
    runtime = Runtime(GENERIC, (first, second, third))

    for fields in ({"status": 200, "body": "4111", "reason": None}, {"status": 200}):
        runtime.emit(runtime.listeners(INFO), "outbound.call", INFO, fields)

    for sink in (first, second, third):
        assert sink.named("outbound.call") == [{"status": 200}] * 2


@given(st.floats(0.0, 1e9))
def test_seconds_are_told_to_the_millisecond(seconds: float) -> None:
    """A column of numbers as long as a float's would be paid for in every line, and read by nobody."""
    sink = RecordingSink()

    lookup_ended(Runtime(GENERIC, (sink,)), {}, settled=False, elapsed_s=seconds)

    (event,) = sink.named("outbound.reconcile")
    assert event["elapsed_s"] == round(event["elapsed_s"], 3)
    assert abs(event["elapsed_s"] - seconds) < 0.000501


def test_the_keys_of_an_event_stand_in_one_order() -> None:
    """Who reads many lines below each other would look for the same word in another place of each."""
    decline = said(402, DECLINE, x_request_id="req-1")
    script = [answer(503, retry_after="0"), decline]
    options: dict[str, Any] = {"operation": "pay", "path": "/transfers", "json": {"idempotency_id": "mine"}}

    sink = run(events_of(script, provider=FINIX, **options))

    attempt = "call_id provider operation method host path attempt elapsed_s status outcome effect reason"
    call = "call_id provider operation method host path attempts status outcome effect reason stop_reason"
    assert [(event.event, " ".join(event.fields)) for event in sink.events] == [
        ("outbound.attempt", f"{attempt} retry_after_s"),
        ("outbound.retry", f"{attempt} retry_after_s pause_s deadline_left_s"),
        ("outbound.attempt", f"{attempt} logref logrefs"),
        (
            "outbound.call",
            f"{call} logref logrefs error_codes failure_code request_id idempotency_key elapsed_s deadline_left_s",
        ),
    ]


def test_the_errors_of_a_call_are_those_of_its_last_answer_and_its_logrefs_all() -> None:
    """Support would be quoted a code that the provider has since taken back, or not the first of its error ids."""
    first = said(503, [{"logref": "L1", "code": "BUSY", "failure_code": "LATER"}, {"logref": "L2", "message": "m"}])
    second = said(400, [{"logref": "L2", "code": "BAD"}, {"logref": "L3", "code": "BAD", "failure_code": "NEVER"}])

    sink = run(events_of([first, second], method="GET"))

    (event,) = sink.named("outbound.call")
    told = {key: event[key] for key in ("logref", "logrefs", "error_codes", "failure_code")}
    assert told == {
        "logref": "L1",
        "logrefs": ["L1", "L2", "L3"],
        "error_codes": ["BAD"],
        "failure_code": "NEVER",
    }


class Broken(RecordingSink):
    def __init__(self, *, asks: bool) -> None:
        super().__init__()
        self._asks = asks

    def enabled(self, level: int) -> bool:
        if self._asks:
            raise LookupError(level)
        return True

    def emit(self, event: str, level: int, fields: dict[str, Any]) -> None:
        raise LookupError(event, level, fields)


@pytest.mark.parametrize("asks", [False, True])
def test_a_sink_that_raises_costs_nothing(caplog: pytest.LogCaptureFixture, *, asks: bool) -> None:
    """A full disk under the log would turn payments made into payments failed."""
    second = RecordingSink()

    async def scenario() -> int:
        sinks = [Broken(asks=asks), second]
        async with (
            Peer(answer(429), answer()) as peer,
            ResilientSession(peer.url, policy=AT_ONCE, sinks=sinks) as session,
        ):
            return (await session.get("/")).status

    with caplog.at_level(logging.WARNING, "holdfast"):
        status = run(scenario())

    assert status == 200
    assert len(second.named("outbound.call")) == 1
    assert "sink Broken failed with LookupError" in caplog.text


def test_fields_are_not_gathered_for_a_level_nobody_wants() -> None:
    """Debug lines that nobody reads would be paid for by every call."""
    sink = RecordingSink(level=logging.INFO)

    run_events = run(_quiet(sink))

    assert [event.event for event in run_events] == ["outbound.call"]


async def _quiet(sink: RecordingSink) -> list[RecordedEvent]:
    async with Peer(answer()) as peer, ResilientSession(peer.url, sinks=[sink]) as session:
        await session.get("/")
    return sink.events


def test_each_change_of_a_circuit_is_told_once_by_the_call_that_saw_it() -> None:
    """Operations would learn of an outage from their customers, and of its end from nobody."""

    async def scenario() -> RecordingSink:
        sink = RecordingSink()
        script = [answer(500)] * 10 + [answer(200)]
        policy = Policy(max_attempts=1)
        async with Peer(*script) as peer, ResilientSession(peer.url, policy=policy, sinks=[sink]) as session:
            for _ in range(10):
                await session.get("/pay")
            with suppress(CircuitOpenError):
                await session.get("/pay")
            await asyncio.sleep(6.0)
            await session.get("/pay", operation="probe")
            await asyncio.sleep(2.0)
            await session.get("/pay")
        return sink

    sink = run_virtual(scenario())

    check(sink)
    told = [event for event in sink.events if event.event == "outbound.circuit"]
    assert [event.fields["reason"] for event in told] == ["circuit_open", "circuit_half_open", "circuit_closed"]
    assert [event.fields.get("operation") for event in told] == [None, "probe", "probe"]
    assert {event.level for event in told} == {WARNING}
    assert told[0].fields.keys() == {"call_id", "provider", "method", "host", "path", "reason"}
    refused = [fields for fields in sink.named("outbound.call") if fields["stop_reason"] == "circuit_open"]
    assert [(fields["reason"], fields["attempts"], fields["effect"]) for fields in refused] == [
        ("circuit_open", 0, "none")
    ]
