"""Verdicts that a middleware, a redirect or a half-read answer could turn into lies."""

import asyncio
import pickle
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from tests.support import (
    AT_ONCE,
    Behaviour,
    Peer,
    Seen,
    answer,
    cut,
    drop,
    failure,
    hang,
    raw,
    refused_port,
    report,
    run,
    said,
)

from holdfast import CallReport, Effect, Outcome, PermanentFailureError, ResilientSession, StopReason, report_of
from holdfast.providers import FIANT, FINIX, GENERIC, Finding, KeySlot, Lookup
from holdfast.testing import RecordingSink

DEPOSIT = "/v1/transactions/deposits"


def in_turn(*behaviours: Behaviour) -> Any:
    """Behave once each way, and then the last way for ever."""
    left = list(behaviours)

    def choose(_: Seen) -> Behaviour:
        return left.pop(0) if len(left) > 1 else left[0]

    return choose


def test_a_key_that_a_redirect_dropped_protects_nothing() -> None:
    """The other origin gets the charge without its key: sent again, it would charge again."""

    async def scenario() -> tuple[Peer, BaseException]:
        async with Peer(drop()) as abroad, Peer(answer(308, location=f"{abroad.url}/charges")) as home:
            async with ResilientSession(home.url, policy=AT_ONCE) as session:
                error = await failure(session.post("/charges", json={"amount": 1}, idempotency_key="order-7"))
            return abroad, error

    abroad, error = run(scenario())

    known = report(error)
    assert abroad.lines == ["POST /charges"]
    assert (known.effect, known.stop_reason) == (Effect.IN_DOUBT, StopReason.UNSAFE_TO_RESEND)


@pytest.mark.parametrize("signed", [False, True])
def test_a_hook_that_fails_after_the_send_failed_does_not_unsend_it(*, signed: bool) -> None:
    """An alert that cannot be delivered would turn a capture that may have been made into one never sent."""
    nowhere = refused_port()

    async def alerting(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        if signed:
            await request.update_body(b"signed")
        try:
            return await handler(request)
        except aiohttp.ClientError:
            async with aiohttp.ClientSession() as other, other.get(f"http://127.0.0.1:{nowhere}/"):
                raise

    async def scenario() -> tuple[Peer, BaseException]:
        async with Peer(drop()) as peer, ResilientSession(peer.url, policy=AT_ONCE) as session:
            return peer, await failure(session.post("/capture", middlewares=[alerting]))

    peer, error = run(scenario())

    assert peer.lines == ["POST /capture"]
    assert report(error).effect is Effect.IN_DOUBT


def test_a_failover_that_is_refused_does_not_unsend_the_first_server() -> None:
    """The charge may have been made at the first address, whatever became of the second."""

    async def failing_over(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> Any:
        try:
            return await handler(request)
        except aiohttp.ClientError:
            request.url = request.url.with_port(refused_port())
            return await handler(request)

    async def scenario() -> tuple[Peer, BaseException]:
        async with Peer(drop()) as peer, ResilientSession(peer.url, policy=AT_ONCE) as session:
            return peer, await failure(session.post("/charges", middlewares=[failing_over]))

    peer, error = run(scenario())

    assert peer.lines == ["POST /charges"]
    assert report(error).effect is Effect.IN_DOUBT


def test_a_send_that_a_middleware_gave_up_is_not_unsent_by_the_next_one() -> None:
    """The slow server had the charge: a second address that refuses would make it one that was never sent."""

    async def impatient(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> Any:
        try:
            return await asyncio.wait_for(handler(request), 0.2)
        except TimeoutError:
            request.url = request.url.with_port(refused_port())
            return await handler(request)

    async def scenario() -> tuple[Peer, BaseException]:
        async with Peer(hang()) as peer, ResilientSession(peer.url, policy=AT_ONCE) as session:
            return peer, await failure(session.post("/charges", middlewares=[impatient]))

    peer, error = run(scenario())

    assert peer.lines == ["POST /charges"]
    assert report(error).effect is Effect.IN_DOUBT


def test_a_second_send_of_a_middleware_that_times_out_is_a_timeout() -> None:
    """A log-in that answers 401 first is no reason to call a slow provider a fault of the caller's."""
    patient = replace(AT_ONCE, attempt_timeout=0.3, max_attempts=2)

    async def log_in(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        response = await handler(request)
        response.release()
        return await handler(request)

    async def scenario() -> BaseException:
        behaviours = in_turn(answer(401), hang(), answer(401), hang())
        async with Peer(choose=behaviours) as peer, ResilientSession(peer.url, policy=patient) as session:
            return await failure(session.post("/charges", json={}, idempotency_key="k", middlewares=[log_in]))

    known = report(run(scenario()))

    assert [attempt.reason for attempt in known.attempts] == ["timeout", "timeout"]
    assert (known.effect, known.stop_reason) == (Effect.IN_DOUBT, StopReason.ATTEMPTS_EXHAUSTED)


def test_a_middleware_that_raises_for_status_does_not_repeat_a_decline() -> None:
    """Networks fine each repeated decline, and the answer that says so had come."""

    async def strict(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        response = await handler(request)
        response.raise_for_status()
        return response

    async def scenario() -> tuple[Peer, BaseException]:
        async with (
            Peer(answer(402)) as peer,
            ResilientSession(peer.url, policy=AT_ONCE) as session,
        ):
            error = await failure(session.post("/charges", json={}, middlewares=[strict], idempotency_key="k"))
            return peer, error

    peer, error = run(scenario())

    assert peer.lines == ["POST /charges"]
    assert (report(error).stop_reason, report(error).reason) == (StopReason.PERMANENT, "local_error")


def test_what_the_caller_changes_during_a_pause_is_not_sent() -> None:
    """Two tasks that share a headers dict would send one charge under the key of the other."""
    headers = {"Idempotency-Key": "order-1"}
    data = bytearray(b"amount=1")

    behaviours = in_turn(answer(503), answer(201))

    def behave(seen: Seen) -> Behaviour:
        headers["Idempotency-Key"], data[-1:] = "order-2", b"9"
        behaviour: Behaviour = behaviours(seen)
        return behaviour

    async def scenario() -> Peer:
        async with Peer(choose=behave) as peer, ResilientSession(peer.url, policy=AT_ONCE) as session:
            await session.post("/charges", data=data, headers=headers)
            return peer

    peer = run(scenario())

    assert [(seen.headers["idempotency-key"], seen.body) for seen in peer.seen] == [("order-1", b"amount=1")] * 2


def test_headers_that_can_be_read_once_are_sent_each_time() -> None:
    """A retry without Authorization is refused, and one without the key charges again."""

    def pairs() -> Iterator[tuple[str, str]]:
        yield "Idempotency-Key", "order-1"
        yield "Authorization", "Bearer token"

    async def scenario() -> Peer:
        async with (
            Peer(choose=in_turn(answer(503), answer(201))) as peer,
            ResilientSession(peer.url, policy=AT_ONCE) as session,
        ):
            await session.post("/charges", json={}, headers=pairs())
            return peer

    peer = run(scenario())

    assert [(seen.headers["idempotency-key"], seen.headers["authorization"]) for seen in peer.seen] == [
        ("order-1", "Bearer token")
    ] * 2


@pytest.mark.parametrize(
    ("provider", "path", "refusal"),
    [
        (GENERIC, "/charges", cut(422, b'{"error": "idempot')),
        (FIANT, DEPOSIT, said(400, {"error": "Transaction already exists", "code": "DUPLICATE"})),
    ],
    ids=["half an answer", "an unknown error"],
)
def test_a_refusal_that_nobody_understands_settles_no_doubt(provider: Any, path: str, refusal: Behaviour) -> None:
    """It may say that the first charge was made; read as "nothing happened", the caller pays again."""

    async def scenario() -> CallReport:
        async with (
            Peer(choose=in_turn(drop(), refusal)) as peer,
            ResilientSession(peer.url, provider=replace(provider, lookup=None), policy=AT_ONCE) as session,
            session.post(path, json={"amount": 1}, idempotency_key="order-7") as response,
        ):
            return report(response)

    assert run(scenario()).effect is Effect.IN_DOUBT


def test_a_refusal_that_fiant_documents_settles_the_doubt() -> None:
    """The user has to give his address: told "maybe", he would wait for money that never moves."""

    async def scenario() -> Any:
        refusal = said(422, {"type": "MIN_INFO_MISSING", "code": 1001, "fields": ["FULL_NAME"]})
        async with (
            Peer(choose=in_turn(drop(), refusal)) as peer,
            ResilientSession(peer.url, provider=FIANT, policy=AT_ONCE) as session,
        ):
            return await session.post(DEPOSIT, json={"amount": 1})

    assert report(run(scenario())).effect is Effect.NONE


@pytest.mark.parametrize(("status", "effect"), [(402, Effect.IN_DOUBT), (404, Effect.NONE), (201, Effect.LANDED)])
def test_a_call_that_is_cancelled_over_its_answer_keeps_what_the_head_said(status: int, effect: Effect) -> None:
    """The status line had come: the caller who gives up over the body must not lose it."""
    sink = RecordingSink()

    async def scenario() -> BaseException:
        slow = hang(b"HTTP/1.1 %d X\r\nContent-Length: 100\r\n\r\n{" % status)
        async with (
            Peer(slow) as peer,
            ResilientSession(peer.url, provider=FINIX, policy=AT_ONCE, sinks=[sink]) as session,
        ):
            task = asyncio.create_task(session.post("/merchants", json={}))
            await asyncio.sleep(0.2)
            task.cancel()
            return await failure(task)

    error = run(scenario())

    assert report(error).effect is effect
    assert [event["status"] for event in sink.named("outbound.call")] == [status]
    assert [event["status"] for event in sink.named("outbound.attempt")] == [status]


def test_a_lookup_that_finds_a_decline_raises_where_errors_are_asked_for() -> None:
    """The caller who asked for exceptions would take a declined payment for a made one: its lookup answers 200."""
    declined = Lookup(lambda _: "/state", lambda *_: Finding(Effect.NONE, Outcome.PERMANENT_FAILURE, "declined"))

    async def scenario() -> BaseException:
        async with (
            Peer(choose=lambda seen: answer(200) if seen.method == "GET" else drop()) as peer,
            ResilientSession(peer.url, policy=AT_ONCE, raise_for_status=True) as session,
        ):
            return await failure(session.post("/charges", json={}, reconcile=declined))

    error = run(scenario())

    assert isinstance(error, PermanentFailureError)
    assert (error.report.reason, error.report.stop_reason) == ("declined", StopReason.RECONCILED)


def test_a_stream_is_not_sent_empty_by_a_middleware_that_tries_again() -> None:
    """Aiohttp would send the second request with an empty body, and the provider would take it."""

    async def stream() -> Any:
        yield b"amount=1"

    async def again(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        response = await handler(request)
        response.release()
        return await handler(request)

    async def scenario() -> tuple[Peer, BaseException]:
        async with Peer(answer(401)) as peer, ResilientSession(peer.url, policy=AT_ONCE) as session:
            return peer, await failure(session.post("/charges", data=stream(), middlewares=[again]))

    peer, _ = run(scenario())

    assert [seen.body for seen in peer.seen if seen.body] == [b"amount=1"]


def test_a_timeout_around_the_call_still_leads_to_its_report() -> None:
    """``asyncio.timeout`` is how calls are bounded, and its error is where the caller asks what became of his."""

    async def scenario() -> BaseException:
        async with Peer(hang()) as peer, ResilientSession(peer.url) as session:
            return await failure(asyncio.wait_for(session.post("/charges", json={}), 0.2))

    error = run(scenario())

    known = report_of(error)
    assert isinstance(error, TimeoutError)
    assert known is not None
    assert (known.stop_reason, known.effect) == (StopReason.CANCELLED, Effect.IN_DOUBT)


def test_a_check_of_the_callers_that_raises_keeps_the_report() -> None:
    """The status was read and the charge made: without the report the caller would not know its key."""

    async def check(response: aiohttp.ClientResponse) -> None:
        raise ValueError(f"not as I like it: {response.status}")

    async def scenario() -> BaseException:
        async with Peer(answer(201)) as peer, ResilientSession(peer.url) as session:
            return await failure(session.post("/charges", json={}, raise_for_status=check))

    assert report(run(scenario())).effect is Effect.LANDED


def test_a_decoder_of_the_callers_that_raises_loses_no_answer() -> None:
    """A provider that somebody described in a hurry would turn each of its 500s into a crash."""

    def broken(body: bytes) -> Any:
        raise KeyError(len(body))

    async def scenario() -> aiohttp.ClientResponse:
        provider = replace(GENERIC, decode_errors=broken)
        async with Peer(answer(404)) as peer, ResilientSession(peer.url, provider=provider) as session:
            return await session.get("/charges")

    response = run(scenario())

    assert (response.status, report(response).stop_reason) == (404, StopReason.PERMANENT)


def test_every_key_header_of_a_provider_stays_at_home() -> None:
    """A second endpoint's key would follow a redirect to a stranger."""
    slots = (KeySlot("POST", "/a", header="A-Key"), KeySlot("POST", "/b", header="B-Key"))

    async def scenario() -> Peer:
        async with Peer(answer(200)) as abroad, Peer(answer(307, location=f"{abroad.url}/x")) as home:
            provider = replace(GENERIC, key_slots=slots)
            async with ResilientSession(home.url, provider=provider, policy=AT_ONCE) as session:
                await session.post("/b", json={}, idempotency_key="order-7")
            return abroad

    (seen,) = run(scenario()).seen

    assert not {"a-key", "b-key"} & set(seen.headers)


def test_a_malformed_answer_leaves_no_secret_in_what_is_raised() -> None:
    """Aiohttp's error holds the request's headers and address, and error trackers keep all of it."""

    async def scenario() -> BaseException:
        async with Peer(raw(b"nonsense\r\n\r\n", then="close")) as peer, ResilientSession(peer.url) as session:
            return await failure(
                session.post("/charges?card=secret", json={}, headers={"Authorization": "Bearer secret"})
            )

    error = run(scenario())

    assert isinstance(error, aiohttp.ClientResponseError)
    assert "secret" not in f"{error} {error!r} {error.args!r} {error.request_info!r}"
    assert b"secret" not in pickle.dumps(report(error))
