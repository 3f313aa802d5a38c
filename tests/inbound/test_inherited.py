"""What an outbound call takes over from the inbound request it is made for, whatever shell has bound it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

import pytest
from tests.support import AT_ONCE, Peer, answer, drop, failure, hang, report, run, run_virtual
from tests.telemetry.test_events import check

from holdfast import DeadlineExceededError, Effect, KeySlot, Policy, ResilientSession, StopReason, detached
from holdfast.engine.inbound import Inbound, InboundSettings, bound, current, read_inbound
from holdfast.providers import FIANT, FINIX, GENERIC
from holdfast.testing import RecordingSink


def inbound(seconds: float = 60.0, **options: Any) -> Inbound:
    """Make an inbound request that is served for so many seconds."""
    usual: dict[str, Any] = {"request_id": "req-1", "deadline_at": time.monotonic() + seconds}
    return Inbound(**usual | options)


def clock() -> float:
    """Read the loop's clock."""
    return asyncio.get_running_loop().time()


async def ending_within(seconds: float, policy: Policy = AT_ONCE, served_s: float = 0.0) -> tuple[BaseException, float]:
    """Call a peer that never answers, this long after the request began; give the failure and when it came."""
    async with Peer(hang()) as peer, ResilientSession(peer.url, policy=policy) as session:
        begun = clock()
        with bound(inbound(seconds)):
            await asyncio.sleep(served_s)
            return await failure(session.post("/", json={})), clock() - begun


@pytest.mark.parametrize(
    ("seconds", "policy", "served_s", "ends"),
    [
        (2.0, AT_ONCE, 0.0, 2.0),
        (2.0, AT_ONCE, 1.5, 2.0),
        (200.0, Policy(deadline=10.0), 0.0, 10.0),
        (200.0, Policy(deadline=10.0), 195.0, 200.0),
        (float("inf"), AT_ONCE, 0.0, 300.0),
    ],
)
def test_a_call_ends_with_the_request_it_is_made_for(
    seconds: float, policy: Policy, served_s: float, ends: float
) -> None:
    """A service would work on, and charge, for a caller that gave up long ago."""
    error, took = run_virtual(ending_within(seconds, policy, served_s))

    assert isinstance(error, DeadlineExceededError)
    assert took == pytest.approx(ends, abs=0.05)
    assert took <= ends + 1e-6


def test_a_call_ends_with_its_request_on_the_walls_clock_too() -> None:
    """The deadline would hold in tests and nowhere else."""
    error, took = run(ending_within(0.3))

    assert isinstance(error, DeadlineExceededError)
    assert 0.25 <= took < 0.6


def test_a_request_bound_in_one_thread_limits_the_calls_of_another() -> None:
    """A WSGI worker's deadline would be lost on the way to the loop that makes its calls."""
    with bound(inbound(2.0)):  # no loop runs here, and the one that will has another clock

        async def scenario() -> tuple[BaseException, float]:
            async with Peer(hang()) as peer, ResilientSession(peer.url) as session:
                begun = clock()
                return await failure(session.get("/")), clock() - begun

        error, took = run_virtual(scenario())

    assert isinstance(error, DeadlineExceededError)
    assert took == pytest.approx(2.0, abs=0.2)


def test_a_call_with_nothing_left_is_refused_before_it_is_sent() -> None:
    """The provider would be charged with work whose answer nobody can get any more."""
    sink = RecordingSink()

    async def scenario() -> tuple[BaseException, int]:
        async with Peer(answer(200)) as peer, ResilientSession(peer.url, sinks=[sink]) as session:
            with bound(inbound(0.0)):
                return await failure(session.post("/charge", json={})), peer.connections

    error, connections = run(scenario())

    known = report(error)
    assert isinstance(error, DeadlineExceededError)
    assert (known.attempts, known.effect, known.stop_reason) == ((), Effect.NONE, StopReason.DEADLINE)
    assert connections == 0
    assert [event.event for event in sink.events] == ["outbound.call"]
    check(sink)


async def heads_of(
    make: Callable[[ResilientSession], Awaitable[object]], *script: Any, bind: Inbound | None = None, **options: Any
) -> list[dict[str, str]]:
    """Make calls for an inbound request; give the headers that arrived."""
    async with Peer(*(script or (answer(200),))) as peer:
        async with ResilientSession(peer.url, **{"policy": AT_ONCE} | options) as session:
            with bound(bind or inbound()):
                await make(session)
        return [seen.headers for seen in peer.seen]


def test_every_attempt_says_what_is_left_then() -> None:
    """The peer would work on an attempt for longer than anybody waits for it."""
    heads = run_virtual(
        heads_of(
            lambda session: session.get("/", policy=Policy(backoff_base=0.0)), drop(), answer(200, retry_after="9")
        )
    )
    paused = run_virtual(heads_of(lambda session: session.get("/"), answer(503, retry_after="9"), answer(200)))

    left = [float(head["x-request-timeout"]) for head in (*heads, *paused)]
    assert len(left) == 4
    assert all(58.0 < seconds <= 60.0 for seconds in left[:3])
    assert 45.0 < left[3] <= 51.0


def test_an_attempt_with_a_limit_of_its_own_says_that() -> None:
    """The peer would go on after the attempt was given up and sent again elsewhere."""
    heads = run_virtual(heads_of(lambda session: session.get("/", policy=Policy(attempt_timeout=5.0))))

    assert [head["x-request-timeout"] for head in heads] == ["5.000"]


def test_every_attempt_carries_the_requests_id() -> None:
    """The other service's log could not be joined with ours."""
    heads = run(heads_of(lambda session: session.get("/"), drop(), answer(200)))

    assert [head["x-request-id"] for head in heads] == ["req-1", "req-1"]


def test_headers_have_the_names_that_the_application_gave_them() -> None:
    """A user whose services speak of X-Time-Left would send a header that nobody reads."""
    named = inbound(deadline_header="X-Time-Left", request_id_header="X-Correlation-ID")

    (head,) = run(heads_of(lambda session: session.get("/"), bind=named))

    assert {"x-time-left", "x-correlation-id"} <= head.keys()
    assert not {"x-request-timeout", "x-request-id"} & head.keys()


def test_headers_can_be_left_out() -> None:
    """A user whose partner rejects unknown headers could not call it."""
    named = inbound(deadline_header=None, request_id_header=None)

    (head,) = run(heads_of(lambda session: session.get("/"), bind=named))

    assert not {"x-request-timeout", "x-request-id"} & head.keys()


@pytest.mark.parametrize(
    ("session_options", "options"),
    [
        ({}, {"headers": {"x-request-id": "mine", "X-REQUEST-TIMEOUT": "7"}}),
        ({"headers": {"x-request-id": "mine", "X-REQUEST-TIMEOUT": "7"}}, {}),
    ],
    ids=["of the request", "of the session"],
)
def test_the_callers_own_headers_stay(session_options: dict[str, Any], options: dict[str, Any]) -> None:
    """A user who names his requests himself would find them renamed."""
    (head,) = run(heads_of(lambda session: session.get("/", **options), **session_options))

    assert (head["x-request-id"], head["x-request-timeout"]) == ("mine", "7")


def test_the_callers_own_mapping_is_left_as_it_was() -> None:
    """One request's id would go out with the next request that uses the same headers."""
    headers = {"X-Mine": "1"}

    run(heads_of(lambda session: session.get("/", headers=headers)))

    assert headers == {"X-Mine": "1"}


def test_a_header_that_takes_the_providers_key_never_takes_the_requests_id() -> None:
    """All calls of a request would carry one key, and all but the first would be dropped as duplicates."""
    slot = KeySlot("POST", "/pay", header="X-Request-ID")
    provider = replace(GENERIC, name="acme", key_slots=(slot,))

    unkeyed, keyed = run(
        heads_of(
            lambda session: asyncio.gather(session.post("/pay"), session.post("/pay", idempotency_key="k-1")),
            provider=provider,
        )
    )

    assert {unkeyed.get("x-request-id"), keyed.get("x-request-id")} == {None, "k-1"}


def test_nothing_inherited_follows_a_redirect_to_another_origin() -> None:
    """A stranger would learn the ids and the deadlines of our callers."""

    async def scenario() -> tuple[dict[str, str], dict[str, str]]:
        async with (
            Peer(answer(200)) as stranger,
            Peer(answer(307, location="/here"), answer(307, location=f"{stranger.url}/there")) as home,
            ResilientSession(home.url) as session,
        ):
            with bound(inbound()):
                await session.get("/")
            return home.seen[1].headers, stranger.seen[0].headers

    here, there = run(scenario())

    assert {"x-request-id", "x-request-timeout"} <= here.keys()
    assert not {"x-request-id", "x-request-timeout"} & there.keys()


def test_lookups_carry_id_and_time_left_and_no_lookup_outlives_the_request() -> None:
    """The look after a doubt would go on when its caller has left, under nobody's name."""
    payment = {"amount": 1, "currency": "USD", "merchant": "MU1", "source": "PI1"}

    async def scenario() -> tuple[float, list[dict[str, str]]]:
        async with Peer(hang(), answer(404)) as peer, ResilientSession(peer.url, provider=FINIX) as session:
            late = await failure(session.post("/transfers", json=payment, policy=Policy(deadline=1.0)))
            begun = clock()
            with bound(inbound(2.0)):
                await session.reconcile(report(late))
            return clock() - begun, [seen.headers for seen in peer.seen[1:]]

    took, heads = run_virtual(scenario())

    assert took <= 2.0
    assert heads
    assert {head["x-request-id"] for head in heads} == {"req-1"}
    assert all(float(head["x-request-timeout"]) <= 2.0 for head in heads)


def test_a_call_outside_of_any_request_inherits_nothing() -> None:
    """A job's calls would carry headers that stand for nothing."""

    async def scenario() -> tuple[dict[str, str], Inbound | None]:
        async with Peer(answer(200)) as peer, ResilientSession(peer.url) as session:
            with bound(inbound()):
                pass
            await session.get("/")
            return peer.seen[0].headers, current()

    head, found = run(scenario())

    assert not {"x-request-id", "x-request-timeout"} & head.keys()
    assert found is None


def test_a_detached_call_outlives_its_request() -> None:
    """A background task, such as the mail of a receipt, would be cut off with the request that caused it."""

    async def scenario() -> tuple[dict[str, str], list[Inbound | None]]:
        async with Peer(answer(200)) as peer, ResilientSession(peer.url) as session:
            with bound(inbound(0.0)) as _:
                with detached():
                    inside = current()
                    await session.get("/")
                return peer.seen[0].headers, [inside, current()]

    head, (inside, after) = run(scenario())

    assert not {"x-request-id", "x-request-timeout"} & head.keys()
    assert inside is None
    assert after is not None


def test_tasks_of_a_request_inherit_from_it_and_others_do_not() -> None:
    """Calls that a handler makes in parallel would be without a deadline, or have a stranger's."""

    async def serve(name: str) -> list[str]:
        async def found() -> str:
            await asyncio.sleep(0)
            here = current()
            return "" if here is None else here.request_id

        with bound(inbound(request_id=name)):
            return list(await asyncio.gather(found(), found(), asyncio.create_task(found())))

    async def scenario() -> list[list[str]]:
        return await asyncio.gather(*(serve(f"r-{number}") for number in range(100)))

    found = run(scenario())

    assert found == [[f"r-{number}"] * 3 for number in range(100)]


BAD_INBOUNDS: Final[list[dict[str, Any]]] = [
    {"request_id": "a\nb"},
    {"request_id": ""},
    {"deadline_at": float("nan")},
    {"deadline_header": "X Time"},
    {"request_id_header": "Idempotency-Key"},
]


@pytest.mark.parametrize("wrong", BAD_INBOUNDS)
def test_a_request_that_could_not_be_passed_on_is_refused(wrong: dict[str, Any]) -> None:
    """A hand-made id with a newline in it would become a header of its own."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        inbound(**wrong)


BAD_SETTINGS: Final[list[tuple[dict[str, Any], type[Exception], str]]] = [
    ({"max_deadline": 0}, ValueError, "max_deadline must be a finite number of seconds above 0, got 0"),
    ({"max_deadline": float("nan")}, ValueError, "max_deadline"),
    ({"max_deadline": float("inf")}, ValueError, "max_deadline"),
    ({"max_deadline": True}, ValueError, "max_deadline"),
    ({"max_deadline": "5"}, ValueError, "max_deadline"),
    ({"deadline_header": ""}, ValueError, "deadline_header"),
    ({"deadline_header": "X-Request-Timeout: 5"}, ValueError, "deadline_header"),
    ({"deadline_header": "idempotency-key"}, ValueError, "choose another header"),
    ({"deadline_header": b"X-Request-Timeout"}, ValueError, "deadline_header"),
    ({"request_id_header": "x-request-timeout"}, ValueError, "choose another header"),
    ({"request_id_header": "traceparent"}, ValueError, "choose another header"),
    ({"secret": "text" * 8}, TypeError, "secret must be bytes, got str"),
    ({"secret": b"short-s3cret"}, ValueError, "secret must have at least 16 bytes, got 12"),
    ({"scope": "user"}, TypeError, "scope must be a function that names the caller, got str"),
]


@pytest.mark.parametrize(("wrong", "kind", "says"), BAD_SETTINGS, ids=[str(row[0]) for row in BAD_SETTINGS])
def test_settings_that_cannot_work_are_refused_at_birth(
    wrong: dict[str, Any], kind: type[Exception], says: str
) -> None:
    """A slip in the settings would show in production, one request at a time, or not at all."""
    with pytest.raises(kind, match=says) as caught:
        InboundSettings(**wrong)

    assert "s3cret" not in str(caught.value)


def test_settings_do_not_print_the_secret() -> None:
    """The key of all keys would stand in a traceback."""
    settings = InboundSettings(secret=b"s3cret-s3cret-s3cret", scope=lambda _: "t")
    request = read_inbound({"idempotency-key": "k-1"}, settings=settings, arrived=0.0, source={"x": "s3cret"})

    assert "s3cret" not in repr(settings) + repr(request)
    assert "k-1" not in repr(request)


def test_a_request_without_headers_has_an_id_and_the_applications_time() -> None:
    """A plain request would be served without limit, and its log lines could not be told apart."""
    first, second = (read_inbound({}, settings=InboundSettings(max_deadline=20.0), arrived=100.0) for _ in range(2))

    assert first.deadline_at == 120.0
    assert len(first.request_id) == 32
    assert first.request_id != second.request_id
    assert replace(first, request_id="x") == Inbound(request_id="x", deadline_at=120.0)


@pytest.mark.parametrize(
    ("value", "ignored"),
    [
        ("-1", "x-request-timeout, x-request-id, traceparent"),
        ("NaN", "x-request-timeout"),  # a strange id, and a harmless one
        ("1e309", "x-request-timeout"),
        ("9" * 10_000, "x-request-timeout, x-request-id, traceparent, idempotency-key"),
        ("5\nX-Evil: 1", "x-request-timeout, x-request-id, traceparent, idempotency-key"),
        ("\xff", "x-request-timeout, x-request-id, traceparent, idempotency-key"),
        ("", "x-request-timeout, x-request-id, traceparent, idempotency-key"),
    ],
)
def test_absurd_headers_are_ignored_with_one_warning(
    value: str, ignored: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A stranger could fill the log, write into it, or stop the service."""
    names = ("x-request-timeout", "x-request-id", "traceparent", "idempotency-key")

    request = read_inbound(dict.fromkeys(names, value), settings=InboundSettings(), arrived=100.0)

    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert [(record.name, record.getMessage()) for record in warnings] == [
        ("holdfast", f"holdfast: inbound request {request.request_id}: ignored malformed {ignored}")
    ]
    assert request.deadline_at == 400.0


@pytest.mark.parametrize("provider", [FINIX, FIANT, GENERIC], ids=lambda provider: str(provider.name))
def test_events_name_the_inbound_request(provider: Any) -> None:
    """The log lines of one request could not be found by its id."""
    sink = RecordingSink()

    run(heads_of(lambda session: session.post("/transfers", json={}), provider=provider, sinks=[sink]))

    check(sink)
    assert [event.event for event in sink.events] == ["outbound.attempt", "outbound.call"]
    assert {event.fields["inbound_request_id"] for event in sink.events} == {"req-1"}
