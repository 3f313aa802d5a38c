"""What is sent again and what never is, counted at a server that reads every byte."""

from typing import Any

import aiohttp
import pytest
from aiohttp.payload import BytesPayload
from tests.support import (
    AT_ONCE,
    Behaviour,
    Peer,
    answer,
    cut,
    drop,
    failure,
    raw,
    refused_port,
    report,
    reset,
    run,
    towards,
)

from holdfast import Effect, Outcome, Policy, Provider, ResilientSession, StopReason
from holdfast.providers import FIANT, FINIX, GENERIC

KEYED: list[tuple[Provider, str, dict[str, Any]]] = [
    (FINIX, "/transfers", {"json": {"amount": 1}}),
    (FINIX, "/v1/authorizations", {"json": {"amount": 1}}),
    (FINIX, "/transfers/TR1/reversals", {"json": {"refund_amount": 1}}),
    (FINIX, "/transfers", {"data": b'{"amount": 1, "idempotency_id": "mine"}'}),
    (FIANT, "/v1/transactions/deposits", {"json": {"amount": 1}}),
    (FIANT, "/v1/transactions/deposits", {"data": b"raw", "idempotency_key": "mine-1"}),
    (FIANT, "/users/assessments", {"json": {}}),
    (GENERIC, "/pay", {"json": {"amount": 1}, "idempotency_key": "mine"}),
    (GENERIC, "/pay", {"data": b"raw", "headers": {"idempotency-key": "mine"}}),
    (GENERIC, "/pay", {"idempotency_key": "mine"}),
]
UNKEYED: list[tuple[Provider, str, str, dict[str, Any]]] = [
    (FINIX, "POST", "/merchants", {"json": {"a": 1}}),
    (FINIX, "POST", "/transfers", {"data": b"not json"}),
    (FINIX, "PUT", "/authorizations/AU1", {"json": {"capture_amount": 1}}),
    (FINIX, "DELETE", "/webhooks/WH1", {}),
    (FINIX, "PATCH", "/x", {"json": {}}),
    (FIANT, "POST", "/v1/users", {"json": {"a": 1}}),
    (FIANT, "PUT", "/v1/users/1", {"json": {"a": 1}}),
    (GENERIC, "POST", "/pay", {"json": {"a": 1}}),
    (GENERIC, "POST", "/pay", {}),
    (GENERIC, "PATCH", "/pay", {"json": {"a": 1}}),
]
BREAKS = [drop(), reset(), raw(b"HTTP/1.1 2", then="close"), raw(b"garbage\r\n\r\n", then="close")]
BREAK_NAMES = ["dropped", "reset", "cut in the head", "malformed"]


async def send_to(
    behaviours: list[Behaviour], provider: Provider, method: str, path: str, options: dict[str, Any]
) -> tuple[Peer, aiohttp.ClientResponse | BaseException]:
    """Make one call; give the peer and what the call ended in."""
    async with (
        Peer(*behaviours) as peer,
        ResilientSession(peer.url, provider=provider, policy=AT_ONCE) as session,
    ):
        try:
            return peer, await session.request(method, path, **options)
        except Exception as error:  # noqa: BLE001 - the tests look at it
            return peer, error


def writes(peer: Peer) -> list[str]:
    """Requests that could change something; lookups are not among them."""
    return [line for line in peer.lines if not line.startswith("GET ")]


@pytest.mark.parametrize("broken", BREAKS, ids=BREAK_NAMES)
@pytest.mark.parametrize(("provider", "path", "options"), KEYED)
def test_a_keyed_payment_is_sent_again_with_the_same_key_and_body(
    broken: Behaviour, provider: Provider, path: str, options: dict[str, Any]
) -> None:
    """A second send under another key, or with another body, would be a second payment."""
    peer, ended = run(send_to([broken, broken, answer(201)], provider, "POST", path, options))

    key = report(ended).idempotency_key
    assert report(ended).effect is Effect.LANDED
    assert key is not None
    assert len(peer.seen) == 3
    assert all(key in f"{seen.head!r} {seen.body!r}" for seen in peer.seen)
    assert len({(seen.head, seen.body) for seen in peer.seen}) == 1


@pytest.mark.parametrize("broken", BREAKS, ids=BREAK_NAMES)
@pytest.mark.parametrize(("provider", "method", "path", "options"), UNKEYED)
def test_an_unkeyed_write_that_may_have_landed_is_sent_exactly_once(
    broken: Behaviour, provider: Provider, method: str, path: str, options: dict[str, Any]
) -> None:
    """The customer would be charged, or the capture made, twice."""
    peer, ended = run(send_to([broken], provider, method, path, options))

    known = report(ended)
    assert isinstance(ended, aiohttp.ClientError)
    assert writes(peer) == [f"{method} {path}"]
    assert (known.outcome, known.effect, known.stop_reason) == (
        Outcome.RETRYABLE,
        Effect.IN_DOUBT,
        StopReason.UNSAFE_TO_RESEND,
    )


@pytest.mark.parametrize("broken", BREAKS, ids=BREAK_NAMES)
@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize(
    ("provider", "method"),
    [
        *((GENERIC, method) for method in ("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE")),
        *((provider, method) for provider in (FINIX, FIANT) for method in ("GET", "HEAD", "OPTIONS")),
    ],
)
def test_a_repeatable_method_arrives_max_attempts_times(
    broken: Behaviour, provider: Provider, method: str, *, warm: bool
) -> None:
    """Aiohttp's hidden re-send would make 8 requests of 4 attempts, on fresh and on kept-alive connections."""

    async def scenario() -> tuple[int, BaseException]:
        script = [answer(), broken] if warm else [broken]
        async with Peer(*script) as peer, ResilientSession(peer.url, provider=provider, policy=AT_ONCE) as session:
            if warm:
                await session.get("/warm")
            error = await failure(session.request(method, "/thing"))
            return sum(line == f"{method} /thing" for line in peer.lines), error

    sends, error = run(scenario())

    assert sends == 4
    assert len(report(error).attempts) == 4
    assert report(error).stop_reason is StopReason.ATTEMPTS_EXHAUSTED


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
def test_a_client_that_was_given_sends_each_attempt_once(method: str) -> None:
    """It still has aiohttp's hidden re-send, which its owner may count on for requests of his own."""

    async def scenario() -> tuple[int, int]:
        async with Peer(drop()) as peer, aiohttp.ClientSession(peer.url) as client:
            session = ResilientSession(client=client, policy=AT_ONCE)
            error = await failure(session.request(method, "/thing"))
            return len(peer.lines), len(report(error).attempts)

    assert run(scenario()) == (4, 4)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
@pytest.mark.parametrize("broken", [drop(), reset()], ids=["closed", "reset"])
def test_trace_callbacks_see_each_attempt_once_and_its_own_failure(broken: Behaviour, method: str) -> None:
    """Tracing would switch aiohttp's hidden re-send on again, or show an error that nobody knows."""
    seen: list[str] = []

    async def note(_: aiohttp.ClientSession, __: object, params: Any) -> None:
        seen.append(type(params.exception).__mro__[1].__name__)

    async def scenario() -> tuple[int, str]:
        traces = aiohttp.TraceConfig()
        traces.on_request_exception.append(note)
        async with Peer(broken) as peer, ResilientSession(peer.url, policy=AT_ONCE, trace_configs=[traces]) as session:
            error = await failure(session.request(method, "/thing"))
            return len(peer.lines), type(error).__mro__[1].__name__

    sends, final = run(scenario())

    assert (sends, seen) == (4, [final] * 4)


@pytest.mark.parametrize("broken", BREAKS[:2], ids=BREAK_NAMES[:2])
@pytest.mark.parametrize(
    ("provider", "method", "path", "sends"),
    [
        (GENERIC, "POST", "/pay", 1),
        (FINIX, "PUT", "/authorizations/AU1", 1),
        (FINIX, "POST", "/merchants", 1),
        (FINIX, "POST", "/transfers", 4),
        (FIANT, "POST", "/v1/transactions/deposits", 4),
    ],
)
def test_a_kept_alive_connection_makes_no_difference(
    broken: Behaviour, provider: Provider, method: str, path: str, sends: int
) -> None:
    """The race with a server that closes an idle connection is where most double payments come from."""

    async def scenario() -> tuple[Peer, BaseException]:
        async with (
            Peer(choose=lambda seen: answer() if seen.target == "/warm" else broken) as peer,
            ResilientSession(peer.url, provider=provider, policy=AT_ONCE) as session,
        ):
            await session.get("/warm")
            return peer, await failure(session.request(method, path, json={"amount": 1}))

    peer, error = run(scenario())

    assert peer.seen[1].connection == 1
    assert peer.lines.count(f"{method} {path}") == sends
    assert report(error).effect is Effect.IN_DOUBT


@pytest.mark.parametrize(
    ("provider", "method", "path"),
    [
        (GENERIC, "GET", "/"),
        (GENERIC, "POST", "/pay"),
        (GENERIC, "PATCH", "/pay"),
        (FINIX, "PUT", "/authorizations/AU1"),
        (FINIX, "POST", "/merchants"),
        (FIANT, "POST", "/v1/users"),
    ],
)
def test_a_refused_connection_is_tried_again_whatever_the_request(provider: Provider, method: str, path: str) -> None:
    """A payment would be given up for in doubt, although nothing ever left the machine."""

    async def scenario() -> tuple[aiohttp.ClientResponse, BaseException, int]:
        dead = refused_port()
        async with (
            Peer(answer(200)) as peer,
            ResilientSession(
                "http://peer.test", provider=provider, policy=AT_ONCE, connector=towards(dead, dead, 0)
            ) as nowhere,
            ResilientSession(
                "http://peer.test", provider=provider, policy=AT_ONCE, connector=towards(dead, dead, peer.port)
            ) as session,
        ):
            response = await session.request(method, path, json={"amount": 1})
            return response, await failure(nowhere.request(method, f"http://127.0.0.1:{dead}/")), len(peer.seen)

    response, error, sends = run(scenario())

    assert (response.status, sends) == (200, 1)
    assert [each.bytes_sent for each in report(response).attempts] == [False, False, True]
    assert [each.effect for each in report(response).attempts[:2]] == [Effect.NONE, Effect.NONE]
    assert isinstance(error, aiohttp.ClientConnectorError)
    assert (report(error).effect, len(report(error).attempts)) == (Effect.NONE, 4)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
def test_an_answer_that_leaves_doubt_is_not_followed_by_a_second_unkeyed_post(status: int) -> None:
    """A gateway's 504 says nothing about the payment behind it."""
    peer, ended = run(send_to([answer(status), answer(201)], GENERIC, "POST", "/pay", {"json": {}}))

    known = report(ended)
    assert len(peer.seen) == 1
    assert (known.effect, known.stop_reason) == (Effect.IN_DOUBT, StopReason.UNSAFE_TO_RESEND)


def test_an_answer_that_proves_nothing_was_done_is_followed_by_a_second_post() -> None:
    """A rate-limited payment was refused at the door: giving it up helps nobody."""
    peer, ended = run(send_to([answer(429), answer(425), answer(201)], GENERIC, "POST", "/pay", {"json": {}}))

    assert len(peer.seen) == 3
    assert report(ended).effect is Effect.LANDED


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_post_that_was_redirected_is_not_sent_again_because_its_target_is_down(status: int) -> None:
    """The first hop may have taken the payment in: "connection refused" is said of the second."""

    async def scenario() -> tuple[int, BaseException]:
        there = f"http://127.0.0.1:{refused_port()}/"
        async with Peer(answer(status, location=there)) as peer, ResilientSession(peer.url, policy=AT_ONCE) as session:
            error = await failure(session.post("/pay", json={}))
            return len(peer.seen), error

    sends, error = run(scenario())

    assert sends == 1
    assert (report(error).effect, report(error).stop_reason) == (Effect.IN_DOUBT, StopReason.UNSAFE_TO_RESEND)


def test_a_body_that_waits_for_100_continue_has_not_left() -> None:
    """A payment whose body never left would be given up in doubt."""

    async def scenario() -> tuple[int, BaseException]:
        async with Peer(drop(), heads_only=True) as peer, ResilientSession(peer.url, policy=AT_ONCE) as session:
            error = await failure(session.post("/pay", json={}, expect100=True))
            return len(peer.seen), error

    sends, error = run(scenario())

    assert sends == 4
    assert (report(error).effect, report(error).attempts[0].bytes_sent) == (Effect.NONE, False)


def test_one_attempt_means_one_request() -> None:
    """A user who turned retries off would still be retried for."""

    async def scenario() -> int:
        async with Peer(drop()) as peer, ResilientSession(peer.url, policy=Policy(max_attempts=1)) as session:
            await failure(session.put("/", json={}))
            return len(peer.seen)

    assert run(scenario()) == 1


def test_a_lost_body_of_an_unkeyed_write_is_never_fetched_by_writing_again() -> None:
    """The 201 had arrived: sending again to see its body would pay twice."""
    peer, ended = run(send_to([cut(201)], FINIX, "PUT", "/authorizations/AU1", {"json": {"capture_amount": 1}}))

    known = report(ended)
    assert len(peer.seen) == 1
    assert isinstance(ended, aiohttp.ClientResponse)
    assert (known.outcome, known.effect, known.reason) == (Outcome.SUCCESS, Effect.LANDED, "body_unreadable")


def test_two_calls_never_share_a_key() -> None:
    """The second of two equal payments would be swallowed as a duplicate of the first."""

    async def scenario() -> list[Any]:
        async with Peer(answer(201)) as peer, ResilientSession(peer.url, provider=FINIX) as session:
            for _ in range(3):
                await session.post("/transfers", json={"amount": 1})
            return [seen.document["idempotency_id"] for seen in peer.seen]

    assert len(set(run(scenario()))) == 3


def test_an_empty_body_is_not_compressed() -> None:
    """A server would be told of a body that is not there, as it is not by aiohttp."""

    async def scenario() -> tuple[bytes, bytes]:
        async with Peer(answer()) as peer, ResilientSession() as session, aiohttp.ClientSession() as plain:
            for each in (session, plain):
                await each.post(peer.url, data=b"", compress="deflate")
            ours, theirs = peer.seen
            return ours.head, theirs.head

    ours, theirs = run(scenario())

    assert ours == theirs


def test_the_callers_payload_is_closed_once_when_the_call_has_ended() -> None:
    """A payload that holds a resource would leak it, or be closed under the next attempt."""
    closed: list[int] = []

    class Held(BytesPayload):
        async def close(self) -> None:
            closed.append(len(peers[0].seen))

    peers: list[Peer] = []

    async def scenario() -> None:
        async with Peer(answer(503), answer(200)) as peer, ResilientSession(peer.url, policy=AT_ONCE) as session:
            peers.append(peer)
            await session.put("/", data=Held(b"x"))

    run(scenario())

    assert closed == [2]
