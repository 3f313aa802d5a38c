"""A lookup made later, with the caller's own credentials, or in the caller's own way."""

import json
from collections.abc import Callable
from typing import Any

import aiohttp
from tests.session.bank import Bank, pay
from tests.support import (
    AT_ONCE,
    Behaviour,
    Peer,
    Seen,
    drop,
    failure,
    report,
    run,
    said,
)

from holdfast import Effect, Lookup, Outcome, ResilientSession, StopReason
from holdfast.providers import FINIX, GENERIC
from holdfast.providers.provider import Finding, LookupTarget
from holdfast.testing import RecordingSink


def test_credentials_in_the_address_go_with_the_lookup() -> None:
    """The lookup would be refused, and a payment that can be found would stay in doubt."""

    async def scenario() -> tuple[set[str | None], aiohttp.ClientResponse]:
        async with (
            Peer(choose=Bank()) as peer,
            ResilientSession(provider=FINIX, policy=AT_ONCE) as session,
        ):
            url = peer.url.replace("//", "//user:word@") + "/transfers"
            response = await session.post(url, json={"amount": 1})
            return {seen.headers.get("authorization") for seen in peer.seen}, response

    sent, response = run(scenario())

    assert sent == {"Basic dXNlcjp3b3Jk"}
    assert "word" not in repr(report(response))


def test_credentials_in_the_base_address_go_with_a_later_lookup() -> None:
    """The report holds no password, so the lookup of the morning after would be refused."""

    async def scenario() -> set[str | None]:
        async with Peer(choose=Bank(None)) as peer:
            url = peer.url.replace("//", "//user:p%40ss@")
            async with ResilientSession(url, provider=FINIX, policy=AT_ONCE) as session:
                doubted = report(await failure(session.post("/transfers", json={"amount": 1})))
                await session.reconcile(doubted)
            return {seen.headers.get("authorization") for seen in peer.seen}

    assert run(scenario()) == {"Basic dXNlcjpwQHNz"}


def test_a_report_can_be_looked_up_later() -> None:
    """A worker that starts in the morning could not find out about the payment of the night before."""
    sink = RecordingSink()

    async def scenario() -> tuple[Any, Any, Any, bool]:
        banks = [Bank(None), Bank("SUCCEEDED")]

        def bank(seen: Seen) -> Behaviour:
            return banks[0](seen)

        async with (
            Peer(choose=bank) as peer,
            ResilientSession(peer.url, provider=FINIX, policy=AT_ONCE, sinks=[sink]) as session,
        ):
            doubted = report(await failure(session.post("/transfers", json={"amount": 1})))
            still = await session.reconcile(doubted)
            banks.pop(0)
            settled = await session.reconcile(doubted)
            return doubted, still, settled, await session.reconcile(settled) is settled

    doubted, still, settled, unchanged = run(scenario())

    assert still == doubted
    assert (settled.effect, settled.outcome, settled.stop_reason) == (
        Effect.LANDED,
        Outcome.SUCCESS,
        StopReason.RECONCILED,
    )
    assert (settled.call_id, settled.attempts, unchanged) == (doubted.call_id, doubted.attempts, True)
    assert len(sink.named("outbound.reconcile")) == 3


def test_a_report_of_another_provider_is_refused() -> None:
    """The key would be looked up where nobody knows it, and its absence taken for news."""

    async def scenario() -> BaseException:
        async with (
            Peer(drop()) as peer,
            ResilientSession(peer.url, policy=AT_ONCE) as generic,
            ResilientSession(peer.url, provider=FINIX) as finix,
        ):
            return await failure(finix.reconcile(report(await failure(generic.post("/", json={})))))

    assert isinstance(run(scenario()), ValueError)


def own_lookup(read: Callable[[LookupTarget, int, bytes], Finding]) -> Lookup:
    """Make a lookup of an API that we do not know."""
    return Lookup(lambda target: f"/orders/{target.key}", read)


def test_a_request_may_bring_its_own_lookup() -> None:
    """An API that we do not know could not be asked."""
    targets: list[LookupTarget] = []

    def read(target: LookupTarget, status: int, body: bytes) -> Finding:
        targets.append(target)
        done = status == 200 and json.loads(body)["done"]
        return Finding(Effect.LANDED, Outcome.SUCCESS, "reconciled") if done else Finding(Effect.IN_DOUBT)

    async def scenario() -> tuple[Peer, aiohttp.ClientResponse]:
        async with (
            Peer(choose=lambda seen: drop() if seen.method == "POST" else said(200, {"done": True})) as peer,
            ResilientSession(f"{peer.url}/api/", provider=GENERIC, policy=AT_ONCE) as session,
        ):
            options: dict[str, Any] = {"idempotency_key": "k 1", "reconcile": own_lookup(read)}
            return peer, await session.post("pay", json={}, **options)

    peer, response = run(scenario())

    assert peer.lines[-1] in ("GET /api/orders/k%201", "GET /api/orders/k 1")
    assert targets == [LookupTarget("POST", "/pay", "k 1")]
    assert report(response).stop_reason is StopReason.RECONCILED


def broken_reader(target: LookupTarget, status: int, body: bytes) -> Finding:
    """Fail, as a caller's own reader may."""
    raise KeyError(target, status, body)


def test_a_lookup_reader_that_raises_loses_nothing() -> None:
    """A bug in the caller's reader would hide the failure, and with it the key to look up by hand."""
    bank = Bank()

    _, ended, _ = run(pay(bank, RecordingSink(), reconcile=own_lookup(broken_reader)))

    assert isinstance(ended, aiohttp.ServerDisconnectedError)
    assert (report(ended).effect, report(ended).stop_reason) == (Effect.IN_DOUBT, StopReason.ATTEMPTS_EXHAUSTED)


def test_a_lookup_path_that_raises_loses_nothing() -> None:
    """A bug in the caller's path would hide the failure, and with it the key to look up by hand."""

    def path_for(target: LookupTarget) -> str:
        raise KeyError(target)

    lookup = Lookup(path_for, broken_reader)

    _, ended, _ = run(pay(Bank(), RecordingSink(), reconcile=lookup))

    assert isinstance(ended, aiohttp.ServerDisconnectedError)
    assert (report(ended).effect, report(ended).stop_reason) == (Effect.IN_DOUBT, StopReason.ATTEMPTS_EXHAUSTED)
