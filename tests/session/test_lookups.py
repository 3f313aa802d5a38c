"""A call in doubt is looked up at the provider, and never paid again to find out."""

import asyncio
from typing import Any

import aiohttp
import pytest
from tests.session.bank import Bank, pay
from tests.support import (
    AT_ONCE,
    Behaviour,
    Peer,
    Seen,
    Turn,
    answer,
    drop,
    failure,
    hang,
    head_of,
    report,
    run,
    run_virtual,
    said,
)

from holdfast import Effect, Outcome, Policy, ResilientSession, StopReason
from holdfast.providers import FIANT
from holdfast.testing import RecordingSink

DEPOSIT = "/v1/transactions/deposits"


@pytest.mark.parametrize(
    ("state", "outcome", "effect", "reason"),
    [
        ("SUCCEEDED", Outcome.SUCCESS, Effect.LANDED, "reconciled"),
        ("PENDING", Outcome.SUCCESS, Effect.LANDED, "accepted"),
        ("FAILED", Outcome.PERMANENT_FAILURE, Effect.NONE, "declined"),
        ("CANCELED", Outcome.PERMANENT_FAILURE, Effect.NONE, "canceled"),
    ],
)
def test_a_transfer_in_doubt_is_found_by_its_key(state: str, outcome: Outcome, effect: Effect, reason: str) -> None:
    """The caller would hear "maybe" of a payment that the provider can tell him about."""
    sink = RecordingSink()

    peer, ended, document = run(pay(Bank(state), sink))

    known = report(ended)
    key = known.idempotency_key
    assert isinstance(ended, aiohttp.ClientResponse)
    assert peer.lines == [
        *["POST /transfers"] * 4,
        f"GET /transfers?idempotency_id={key}",
        "GET /transfers/TR1",
    ]
    assert (known.outcome, known.effect, known.reason, known.stop_reason) == (
        outcome,
        effect,
        reason,
        StopReason.RECONCILED,
    )
    assert (ended.status, document["id"], document["state"]) == (200, "TR1", state)
    assert [event["effect"] for event in sink.named("outbound.reconcile")] == [effect.value]
    assert len(known.attempts) == 4


def test_an_absent_record_is_no_proof() -> None:
    """The request may still be on its way: "not found" taken for "not made" pays twice."""
    sink = RecordingSink()

    peer, ended, _ = run(pay(Bank(None), sink))

    known = report(ended)
    assert isinstance(ended, aiohttp.ServerDisconnectedError)
    assert sum(line.startswith("GET") for line in peer.lines) == 3
    assert (known.effect, known.stop_reason) == (Effect.IN_DOUBT, StopReason.ATTEMPTS_EXHAUSTED)
    assert len(sink.named("outbound.reconcile")) == 1


def test_a_record_that_appears_late_is_found() -> None:
    """A provider that books within a second would be asked once, too early."""
    peer, ended, _ = run(pay(Bank(finds_after=2), RecordingSink()))

    assert report(ended).stop_reason is StopReason.RECONCILED
    assert sum("idempotency_id" in line for line in peer.lines) == 3


@pytest.mark.parametrize("last", [answer(500), answer(503), answer(504)])
def test_doubt_after_an_answer_is_looked_up_too(last: Behaviour) -> None:
    """Finix's 500 says nothing about the transfer: the caller would get it although the money moved."""
    _, ended, document = run(pay(Bank(loses=last), RecordingSink()))

    assert report(ended).effect is Effect.LANDED
    assert document["id"] == "TR1"


@pytest.mark.parametrize(
    "lookup_answer",
    [
        answer(500),
        answer(401),
        answer(200, b"not json"),
        answer(200, b"[]"),
        answer(200, b'{"_embedded": {"transfers": 5}}'),
        answer(200, b'{"state": ["SUCCEEDED"]}'),
        answer(200, b'{"_embedded": {"transfers": [{"idempotency_id": "not ours", "state": "SUCCEEDED", "id": "x"}]}}'),
        answer(302, location="http://127.0.0.1:1/"),
        drop(),
    ],
)
def test_a_lookup_that_tells_nothing_settles_nothing(lookup_answer: Behaviour) -> None:
    """Another customer's transfer, or a broken page, would decide about this one."""
    _, ended, _ = run(pay(lambda seen: drop() if seen.method == "POST" else lookup_answer, RecordingSink()))

    assert report(ended).effect is Effect.IN_DOUBT
    assert isinstance(ended, aiohttp.ServerDisconnectedError)


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
def test_a_huge_lookup_answer_is_not_taken_in(*, announced: bool) -> None:
    """A lookup that answers with every payment of the year would kill the worker that asks about one."""
    written = 0

    async def flood(turn: Turn) -> None:
        nonlocal written
        piece = b"x" * 65536
        headers = {"content-length": str(2**26)} if announced else {"transfer-encoding": "chunked"}
        await turn.write(head_of(200, headers))
        for _ in range(2**10):
            if turn.writer.is_closing():
                return
            await turn.write(piece if announced else b"10000\r\n" + piece + b"\r\n")
            written += len(piece)

    _, ended, _ = run(pay(lambda seen: drop() if seen.method == "POST" else flood, RecordingSink()))

    assert report(ended).effect is Effect.IN_DOUBT
    assert written < 2**26


def test_a_lookup_ends_with_the_deadline() -> None:
    """The call would outlive its five minutes to find out what a lookup later tells as well."""

    async def scenario() -> tuple[float, aiohttp.ClientResponse | BaseException]:
        policy = Policy(deadline=10.0, backoff_base=0.0)
        begun = asyncio.get_running_loop().time()
        _, ended, _ = await pay(
            lambda seen: drop() if seen.method == "POST" else hang(), RecordingSink(), policy=policy
        )
        return asyncio.get_running_loop().time() - begun, ended

    took, ended = run_virtual(scenario())

    assert took <= 10.0 + 1e-6
    assert report(ended).effect is Effect.IN_DOUBT


def test_a_lookup_that_is_redirected_is_not_followed() -> None:
    """A hijacked answer would send the credentials elsewhere, and decide about the payment from there."""

    async def scenario() -> tuple[int, aiohttp.ClientResponse | BaseException]:
        async with Peer(choose=Bank()) as stranger:

            def lure(seen: Seen) -> Behaviour:
                return drop() if seen.method == "POST" else answer(307, location=f"{stranger.url}{seen.target}")

            _, ended, _ = await pay(lure, RecordingSink())
            return len(stranger.seen), ended

    strangers, ended = run(scenario())

    assert strangers == 0
    assert report(ended).effect is Effect.IN_DOUBT


def test_a_lookup_is_authenticated_but_carries_neither_key_nor_body() -> None:
    """The lookup would be refused, or taken for the payment itself."""

    async def scenario() -> list[Seen]:
        async with (
            Peer(choose=lambda seen: drop() if seen.method == "POST" else answer(404)) as peer,
            ResilientSession(peer.url, provider=FIANT, policy=AT_ONCE, headers={"x-pti-token": "t"}) as session,
        ):
            headers = {"Authorization": "Bearer secret", "Content-Type": "application/json", "X-Mine": "1"}
            await failure(session.post(DEPOSIT, data=b"{}", headers=headers))
            return [seen for seen in peer.seen if seen.method == "GET"]

    lookups = run(scenario())

    assert len(lookups) == 3
    for seen in lookups:
        assert (seen.headers["authorization"], seen.headers["x-mine"], seen.headers["x-pti-token"]) == (
            "Bearer secret",
            "1",
            "t",
        )
        assert not seen.headers.keys() & {"x-pti-request-id", "content-type", "content-length", "transfer-encoding"}


def test_a_conflict_after_doubt_is_looked_up_at_fiant() -> None:
    """Fiant refuses the re-used id: the caller would take a payment made for one refused."""

    def bank(seen: Seen, sent: list[Seen]) -> Behaviour:
        if seen.method == "GET":
            return said(200, {"requestId": sent[0].headers["x-pti-request-id"], "status": "SETTLED"})
        sent.append(seen)
        return drop() if len(sent) == 1 else said(409, {"error": "conflict", "code": 409})

    async def scenario() -> tuple[Peer, aiohttp.ClientResponse, Any]:
        sent: list[Seen] = []
        async with (
            Peer(choose=lambda seen: bank(seen, sent)) as peer,
            ResilientSession(peer.url, provider=FIANT, policy=AT_ONCE) as session,
        ):
            response = await session.post(DEPOSIT, json={"amount": 1})
            return peer, response, await response.json()

    peer, response, document = run(scenario())

    known = report(response)
    assert peer.lines == [f"POST {DEPOSIT}"] * 2 + [f"GET /v1/transactions/{known.idempotency_key}"]
    assert (response.status, document["status"]) == (200, "SETTLED")
    assert (known.outcome, known.effect, known.stop_reason) == (Outcome.SUCCESS, Effect.LANDED, StopReason.RECONCILED)


def test_a_call_that_is_not_in_doubt_is_not_looked_up() -> None:
    """Every declined payment would cost three requests more."""
    peer, ended, _ = run(pay(Bank(loses=answer(402)), RecordingSink()))

    assert peer.lines == ["POST /transfers"]
    assert report(ended).effect is Effect.NONE
