"""A lookup must not vouch for a payment that it did not see, nor hand the caller something else than his payment."""

from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from tests.session.bank import Bank, pay
from tests.support import AT_ONCE, Behaviour, Peer, Seen, answer, cut, drop, report, run, said

from holdfast import CallReport, Effect, Outcome, ResilientSession, StopReason
from holdfast.providers import FIANT, FINIX, Provider
from holdfast.testing import RecordingSink

DEPOSIT = "/v1/transactions/deposits"


def test_a_transfer_that_is_listed_is_fetched_until_it_is_had() -> None:
    """The caller reads ``id`` of what he gets: handed the list, he would fail after the money moved."""
    bank = Bank()
    failures = [answer(503), drop()]

    def flaky(seen: Seen) -> Behaviour:
        behaviour = bank(seen)
        return failures.pop() if seen.target == "/transfers/TR1" and failures else behaviour

    peer, ended, document = run(pay(flaky, RecordingSink()))

    assert report(ended).stop_reason is StopReason.RECONCILED
    assert document["id"] == "TR1"
    assert peer.lines.count("GET /transfers/TR1") == 3


def test_a_verdict_stands_though_the_transfer_cannot_be_fetched() -> None:
    """What the list shows is true, and "in doubt" would send a person to look for what is known."""
    bank = Bank()

    _, ended, document = run(
        pay(lambda seen: answer(500) if seen.target == "/transfers/TR1" else bank(seen), RecordingSink())
    )

    known = report(ended)
    assert (known.outcome, known.effect) == (Outcome.SUCCESS, Effect.LANDED)
    assert [row["id"] for row in document["_embedded"]["transfers"]] == ["TR1", "TR1"]


async def conflicted(
    provider: Provider, path: str, record: dict[str, Any], sent: dict[str, Any] | bytes
) -> tuple[CallReport, CallReport, CallReport]:
    """Lose a payment, meet a conflict, and look it up: at once, later, and later with what was sent."""

    def behave(seen: Seen) -> Behaviour:
        if seen.method == "POST":
            return drop() if len(peer.seen) == 1 else said(409, {"error": "conflict", "code": 409})
        known = record | {"idempotency_id": "key-1", "requestId": "key-1"}
        return said(200, {"_embedded": {"transfers": [known]}} if provider is FINIX else known)

    async with (
        Peer(choose=behave) as peer,
        ResilientSession(peer.url, provider=provider, policy=AT_ONCE) as session,
    ):
        body: dict[str, Any] = {"data": sent} if isinstance(sent, bytes) else {"json": sent}
        response = await session.post(path, idempotency_key="key-1" if provider is FIANT else None, **body)
        known = report(response)
        return known, await session.reconcile(known), await session.reconcile(known, sent={"amount": 1})


@pytest.mark.parametrize(
    ("amount", "effect"), [(1, Effect.LANDED), (1000, Effect.IN_DOUBT)], ids=["our own", "another payment"]
)
def test_a_conflict_is_settled_only_by_a_record_of_what_was_sent(amount: int, effect: Effect) -> None:
    """The key may have paid for something else: its record would pass for a payment that was never made."""
    record = {"amount": amount, "status": "SETTLED"}

    at_once, _, _ = run(conflicted(FIANT, DEPOSIT, record, {"amount": 1}))
    opaque, later, compared = run(conflicted(FIANT, DEPOSIT, record, b"amount=1"))

    assert at_once.effect is effect
    assert (opaque.effect, later.effect) == (Effect.IN_DOUBT, Effect.IN_DOUBT)
    assert compared.effect is effect


async def redirected(status: int, then: Behaviour) -> aiohttp.ClientResponse | BaseException:
    """Post to a server that redirects to a page of its own."""

    def behave(seen: Seen) -> Behaviour:
        return answer(status, location="/page") if seen.target == "/charges" else then

    async with Peer(choose=behave) as peer, ResilientSession(peer.url, policy=AT_ONCE) as session:
        try:
            return await session.post("/charges", json={"amount": 1}, policy=replace(AT_ONCE, read_body=True))
        except aiohttp.ClientError as error:
            return error
        finally:
            assert peer.lines.count("POST /charges") == 1


@pytest.mark.parametrize(
    ("status", "then", "effect"),
    [
        (303, answer(200), Effect.LANDED),
        (303, answer(429), Effect.LANDED),
        (303, drop(), Effect.IN_DOUBT),
        (302, answer(200), Effect.IN_DOUBT),
        (302, answer(404), Effect.IN_DOUBT),
        (302, answer(429), Effect.IN_DOUBT),
        (302, drop(), Effect.IN_DOUBT),
        (302, cut(200), Effect.IN_DOUBT),
        (303, cut(200), Effect.LANDED),
    ],
)
def test_a_page_behind_a_redirect_neither_repeats_nor_denies_the_payment(
    status: int, then: Behaviour, effect: Effect
) -> None:
    """The page's 429 would send the payment again, its 404 would call it failed, its log-in form would call it paid."""
    ended = run(redirected(status, then))

    assert report(ended).effect is effect
