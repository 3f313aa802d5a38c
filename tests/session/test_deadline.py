"""A call ends at its deadline, on the event loop's clock; five minutes take milliseconds here."""

import asyncio
import logging
from typing import Any

import aiohttp
import pytest
from tests.support import (
    AT_ONCE,
    Behaviour,
    Peer,
    answer,
    cut,
    drip,
    failure,
    hang,
    head_of,
    report,
    run_virtual,
    silent_address,
)

from holdfast import DeadlineExceededError, Effect, Outcome, Policy, ResilientSession, StopReason
from holdfast.providers import FIANT, FINIX
from holdfast.testing import RecordingSink


def clock() -> float:
    """Read the loop's clock."""
    return asyncio.get_running_loop().time()


async def ending(behaviour: Behaviour, method: str, **options: Any) -> tuple[BaseException, float]:
    """Make a call that fails; give the failure and the seconds it took."""
    session_options = {name: options.pop(name) for name in ("provider", "policy") if name in options}
    async with Peer(behaviour) as peer, ResilientSession(peer.url, **session_options) as session:
        begun = clock()
        error = await failure(session.request(method, "/transfers", **options))
        return error, clock() - begun


@pytest.mark.parametrize(
    ("policy", "seconds"),
    [(Policy(), 300.0), (Policy(deadline=10.0), 10.0), (Policy(deadline=7.25), 7.25), (Policy(deadline=0.01), 0.01)],
)
@pytest.mark.parametrize(("method", "effect"), [("POST", Effect.IN_DOUBT), ("GET", Effect.NONE)])
def test_a_call_that_is_never_answered_ends_at_its_deadline(
    policy: Policy, seconds: float, method: str, effect: Effect
) -> None:
    """A worker would hang for hours on a provider that accepts connections and answers nothing."""
    error, took = run_virtual(ending(hang(), method, policy=policy))

    known = report(error)
    assert isinstance(error, DeadlineExceededError)
    assert isinstance(error, TimeoutError)
    assert took == pytest.approx(seconds, abs=1e-6)
    assert (known.effect, known.stop_reason, len(known.attempts)) == (effect, StopReason.DEADLINE, 1)
    assert known.elapsed_s == pytest.approx(seconds, abs=1e-6)


def test_a_connection_that_is_never_made_ends_at_the_deadline_without_effect() -> None:
    """The user would look up a payment that cannot exist: nothing ever left the machine."""

    async def scenario() -> tuple[BaseException, float]:
        async with (
            silent_address() as port,
            ResilientSession(policy=Policy(deadline=10.0, backoff_base=0.0)) as session,
        ):
            begun = clock()
            return await failure(session.post(f"http://127.0.0.1:{port}/", json={})), clock() - begun

    error, took = run_virtual(scenario())

    known = report(error)
    assert isinstance(error, DeadlineExceededError)
    assert took <= 10.0
    assert (known.effect, known.attempts[0].reason, known.attempts[0].bytes_sent) == (
        Effect.NONE,
        "connect_timeout",
        False,
    )


def test_an_attempt_has_its_own_limit_and_is_tried_again() -> None:
    """One attempt that hangs would eat the time of the three that could succeed."""

    async def scenario() -> tuple[int, list[float], float]:
        policy = Policy(attempt_timeout=5.0, backoff_base=0.0)
        async with Peer(hang(), hang(), answer(200)) as peer, ResilientSession(peer.url, policy=policy) as session:
            begun = clock()
            response = await session.get("/")
            return response.status, [each.elapsed_s for each in report(response).attempts], clock() - begun

    status, elapsed, took = run_virtual(scenario())

    assert status == 200
    assert elapsed == pytest.approx([5.0, 5.0, 0.0], abs=1e-3)
    assert took == pytest.approx(10.0, abs=1e-3)


def test_the_last_attempt_is_cut_to_what_is_left() -> None:
    """Four attempts of 4 s would outlive a deadline of 10 s."""
    policy = Policy(deadline=10.0, attempt_timeout=4.0, backoff_base=0.0)

    error, took = run_virtual(ending(hang(), "GET", policy=policy))

    assert isinstance(error, DeadlineExceededError)
    assert took == pytest.approx(10.0, abs=1e-3)
    assert [each.elapsed_s for each in report(error).attempts] == pytest.approx([4.0, 4.0, 2.0], abs=1e-3)


def test_attempts_that_time_out_before_the_deadline_end_in_aiohttps_own_error() -> None:
    """Code that tells a slow provider from a spent deadline would be told the wrong one."""
    policy = Policy(deadline=100.0, attempt_timeout=4.0, backoff_base=0.0, max_attempts=2)

    error, took = run_virtual(ending(hang(), "GET", policy=policy))

    assert type(error) is TimeoutError
    assert took == pytest.approx(8.0, abs=1e-3)
    assert report(error).stop_reason is StopReason.ATTEMPTS_EXHAUSTED


def test_a_wait_beyond_the_deadline_stops_the_call_at_once() -> None:
    """The caller would sleep for minutes to be told then what was known at the start."""

    async def scenario() -> tuple[aiohttp.ClientResponse, float, int]:
        policy = Policy(deadline=60.0)
        async with Peer(answer(429, retry_after="120")) as peer, ResilientSession(peer.url, policy=policy) as session:
            begun = clock()
            response = await session.get("/")
            return response, clock() - begun, len(peer.seen)

    response, took, sends = run_virtual(scenario())

    known = report(response)
    assert (response.status, took, sends) == (429, 0.0, 1)
    assert (known.stop_reason, known.retry_after_s) == (StopReason.RETRY_AFTER_TOO_LONG, 120.0)


@pytest.mark.parametrize("wait", ["7", "59"])
def test_a_wait_the_server_asks_for_is_never_shortened(wait: str) -> None:
    """Coming back early is what a rate limit punishes; and a pause cut by the deadline is no pause."""

    async def scenario() -> tuple[aiohttp.ClientResponse, float]:
        policy = Policy(deadline=60.0)
        script = answer(503, retry_after=wait), answer(200)
        async with Peer(*script) as peer, ResilientSession(peer.url, policy=policy) as session:
            begun = clock()
            return await session.get("/"), clock() - begun

    response, took = run_virtual(scenario())

    first = report(response).attempts[0]
    if response.status == 200:
        assert first.pause_s is not None
        assert float(wait) <= first.pause_s <= 1.25 * float(wait)
        assert took == pytest.approx(first.pause_s, abs=1e-3)
    else:  # the jitter on top of it would have passed the deadline
        assert (wait, took, first.pause_s) == ("59", 0.0, None)


def test_retries_stop_before_a_pause_that_would_outlive_the_deadline() -> None:
    """The call would end late, or with a pause too short to help."""

    async def scenario() -> tuple[aiohttp.ClientResponse, float]:
        policy = Policy(deadline=30.0, max_attempts=1000, backoff_base=8.0, backoff_max=20.0)
        async with Peer(answer(503)) as peer, ResilientSession(peer.url, policy=policy) as session:
            begun = clock()
            return await session.get("/"), clock() - begun

    response, took = run_virtual(scenario())

    assert response.status == 503
    assert took < 30.0
    assert report(response).stop_reason is StopReason.DEADLINE


@pytest.mark.parametrize(
    ("timeout", "clamped"),
    [
        (600, True),
        (None, True),
        (aiohttp.ClientTimeout(sock_read=400), True),
        (aiohttp.ClientTimeout(total=300.5), True),
        (0, True),
        (-1, True),
        (aiohttp.ClientTimeout(total=0, connect=0, sock_connect=0), True),
        (aiohttp.ClientTimeout(total=5), False),
        (300, False),
    ],
)
def test_a_timeout_above_the_cap_is_clamped_with_one_warning(timeout: Any, *, clamped: bool) -> None:
    """Drop-in code that asks for ten minutes must keep working, and somebody must be told that it gets five."""
    sink = RecordingSink()

    async def scenario() -> float:
        async with Peer(hang()) as peer, ResilientSession(peer.url, sinks=[sink]) as session:
            begun = clock()
            await failure(session.post("/", json={}, timeout=timeout))
            return clock() - begun

    took = run_virtual(scenario())

    warnings = [event for event in sink.events if event.event == "outbound.deadline.clamped"]
    assert len(warnings) == clamped
    assert all(event.level == logging.WARNING and event.fields["method"] == "POST" for event in warnings)
    assert took <= 300.0 + 1e-6
    assert (took == pytest.approx(300.0, abs=1e-6)) is (clamped or timeout == 300)


def test_a_session_timeout_above_the_cap_is_warned_of_once() -> None:
    """One line per session tells the owner; one line per call would drown the log."""
    sink = RecordingSink()

    async def scenario() -> None:
        timeout = aiohttp.ClientTimeout(total=900)
        async with Peer(answer()) as peer, ResilientSession(peer.url, timeout=timeout, sinks=[sink]) as session:
            for _ in range(3):
                await session.get("/")

    run_virtual(scenario())

    assert [event.fields for event in sink.events if event.event == "outbound.deadline.clamped"] == [
        {"provider": "generic"}
    ]


def test_a_plain_session_warns_of_nothing() -> None:
    """A warning that everybody gets is one that nobody reads."""
    sink = RecordingSink()

    async def scenario() -> None:
        async with Peer(answer()) as peer, aiohttp.ClientSession(peer.url) as client:
            for session in (ResilientSession(peer.url, sinks=[sink]), ResilientSession(client=client, sinks=[sink])):
                async with session:
                    await session.get("/")

    run_virtual(scenario())

    assert not sink.named("outbound.deadline.clamped")


def test_a_socket_read_limit_of_the_callers_is_kept() -> None:
    """A caller who asked for 10 s of silence at most would wait five minutes."""
    policy = Policy(max_attempts=2, backoff_base=0.0)

    error, took = run_virtual(ending(hang(), "GET", policy=policy, timeout=aiohttp.ClientTimeout(sock_read=10)))

    assert isinstance(error, aiohttp.SocketTimeoutError)
    assert took == pytest.approx(20.0, abs=1e-3)
    assert [each.reason for each in report(error).attempts] == ["read_timeout", "read_timeout"]


@pytest.mark.parametrize("provider", [FINIX, FIANT])
def test_a_dripping_body_read_inside_the_attempt_ends_by_the_deadline(provider: Any) -> None:
    """A provider that sends a byte a minute would hold the call for hours; the payment did land."""

    async def scenario() -> tuple[aiohttp.ClientResponse, float, BaseException]:
        dripping = drip(head_of(201, {"content-length": "100000"}), b" ", 1.0)
        async with (
            Peer(dripping) as peer,
            ResilientSession(peer.url, provider=provider, policy=Policy(deadline=10.0)) as session,
        ):
            begun = clock()
            path = "/transfers" if provider is FINIX else "/v1/transactions/deposits"
            response = await session.post(path, json={"amount": 1})
            took = clock() - begun
            return response, took, await failure(response.read())

    response, took, lost = run_virtual(scenario())

    known = report(response)
    assert took == pytest.approx(10.0, abs=1e-3)
    assert (known.outcome, known.effect, known.reason) == (Outcome.SUCCESS, Effect.LANDED, "body_unreadable")
    assert isinstance(lost, aiohttp.ClientError)


def test_a_dripping_error_body_does_not_hold_the_verdict() -> None:
    """A 503 whose body never ends would use up the time of the retries that could succeed."""

    async def scenario() -> tuple[aiohttp.ClientResponse, float]:
        dripping = drip(head_of(503, {"content-length": "100000"}), b" ", 1.0)
        async with Peer(dripping, answer(200)) as peer, ResilientSession(peer.url, policy=AT_ONCE) as session:
            begun = clock()
            return await session.get("/"), clock() - begun

    response, took = run_virtual(scenario())

    assert response.status == 200
    assert took <= 6.0


def test_streaming_a_success_is_still_bounded_by_the_deadline() -> None:
    """A streamed body is the caller's to read, but the five minutes are for the whole call."""

    async def scenario() -> tuple[BaseException, float]:
        dripping = drip(head_of(200, {"content-length": "100000"}), b" ", 1.0)
        async with Peer(dripping) as peer, ResilientSession(peer.url, policy=Policy(deadline=20.0)) as session:
            begun = clock()
            response = await session.get("/")
            return await failure(response.read()), clock() - begun

    error, took = run_virtual(scenario())

    assert isinstance(error, TimeoutError)
    assert took == pytest.approx(20.0, abs=1e-3)


def test_a_lost_body_that_cannot_be_fetched_in_time_is_still_a_landed_payment() -> None:
    """The caller would pay again for a payment whose 201 had arrived."""

    async def scenario() -> aiohttp.ClientResponse:
        policy = Policy(deadline=20.0, backoff_base=0.0)
        script = cut(201), hang()
        async with Peer(*script) as peer, ResilientSession(peer.url, provider=FINIX, policy=policy) as session:
            return await session.post("/transfers", json={"amount": 1})

    response = run_virtual(scenario())

    known = report(response)
    assert response.status == 201
    assert (known.outcome, known.effect, known.stop_reason) == (Outcome.SUCCESS, Effect.LANDED, StopReason.DEADLINE)
