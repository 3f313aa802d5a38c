"""Where the context of a request could make one payment of two, two of one, or keep an answer from its client."""

import asyncio
import time
from typing import Any

import pytest
from tests.inbound.driver import connect
from tests.support import AT_ONCE, Peer, answer, failure, run

from holdfast import ResilientSession
from holdfast.asgi import OutboundMiddleware
from holdfast.engine.inbound import Inbound, InboundSettings, bound, current, read_inbound
from holdfast.providers import FINIX

SETTINGS = InboundSettings(secret=b"0123456789abcdef", scope=lambda source: source["tenant"])


def inbound(place: str = "POST /orders", *, settings: InboundSettings = SETTINGS, source: Any = None) -> Inbound:
    """Read a request with a key."""
    headers = {"idempotency-key": "order-7"}
    tenant = {"tenant": "t"} if source is None else source
    return read_inbound(headers, settings=settings, arrived=time.monotonic(), source=tenant, place=place)


async def charged_keys(*charges: Any) -> list[str]:
    """Run each in turn with one session; give the keys that went out."""
    async with Peer(answer(201)) as peer, ResilientSession(peer.url, provider=FINIX, policy=AT_ONCE) as session:
        for charge in charges:
            await charge(session)
        return [seen.document["idempotency_id"] for seen in peer.seen]


async def charge(session: ResilientSession) -> None:
    """Charge the same amount."""
    await session.post("/transfers", json={"amount": 1})


def test_a_second_middleware_goes_on_counting() -> None:
    """The second charge of one request would go out under the first one's key, and never be made."""

    async def twice(session: ResilientSession) -> None:
        with bound(inbound()):
            await charge(session)
            with bound(inbound()):
                await charge(session)

    first, second = run(charged_keys(twice))

    assert first != second


def test_a_second_middleware_can_only_shorten_the_time() -> None:
    """A mounted application without a limit would undo its gateway's."""
    short = Inbound(request_id="outer", deadline_at=time.monotonic() + 1.0)
    long = Inbound(request_id="inner", deadline_at=time.monotonic() + 300.0)

    with bound(short), bound(long):
        inside = current()

    assert inside is not None
    assert (inside.deadline_at, inside.request_id) == (short.deadline_at, "outer")


def test_one_key_on_two_addresses_is_two_payments() -> None:
    """Order 8 would be told the transfer of order 7, and never be paid."""

    def at(place: str) -> Any:
        async def pay(session: ResilientSession) -> None:
            with bound(inbound(place)):
                await charge(session)

        return pay

    seventh, eighth, again = run(
        charged_keys(at("POST /orders/7/payment"), at("POST /orders/8/payment"), at("POST /orders/7/payment"))
    )

    assert seventh != eighth
    assert seventh == again


def test_a_scope_that_fails_stops_the_call_before_it_is_sent() -> None:
    """A caller's retry would be charged again under a made key, because the tenants' table did not answer."""

    async def scenario() -> tuple[BaseException, int]:
        async with Peer(answer(201)) as peer, ResilientSession(peer.url, provider=FINIX) as session:
            with bound(inbound(source={"no": "tenant"})):
                return await failure(charge(session)), len(peer.seen)

    error, requests = run(scenario())

    assert isinstance(error, RuntimeError)
    assert "nothing was sent" in str(error)
    assert requests == 0


def test_the_applications_own_answer_to_our_error_does_not_wait_for_its_background_work() -> None:
    """A client would hang until a report is written, or for ever."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        del scope, receive
        try:
            async with ResilientSession() as session:
                with bound(Inbound(request_id="r", deadline_at=time.monotonic() - 1)):
                    await session.get("http://127.0.0.1:1/")
        except Exception:  # noqa: BLE001 - the application's own handler
            await send({"type": "http.response.start", "status": 500, "headers": []})
            await send({"type": "http.response.body", "body": b"mine"})
            await asyncio.sleep(0.2)
            sent_by_then.append(len(exchanges[0]) if exchanges else 0)

    exchanges: list[list[Any]] = []
    sent_by_then: list[int] = []

    async def scenario() -> tuple[list[str], int]:
        sent: list[Any] = []
        exchanges.append(sent)

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
        await OutboundMiddleware(app, sessions={})(scope, receive, send)
        return [message["type"] for message in sent], sent_by_then[0]

    assert run(scenario()) == (["http.response.start", "http.response.body"], 2)


@pytest.mark.parametrize("early", ["http.response.early_hint", "http.response.push", "http.response.debug"])
def test_a_hint_before_the_response_is_not_its_beginning(early: str) -> None:
    """Its client would get the server's bare 500 instead of the problem."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        del scope, receive
        await send({"type": early})
        async with ResilientSession() as session:
            with bound(Inbound(request_id="r", deadline_at=time.monotonic() - 1)):
                await session.get("http://127.0.0.1:1/")

    async def scenario() -> tuple[list[str], int]:
        exchange = await connect(OutboundMiddleware(app, sessions={}))
        return exchange.kinds, exchange.sent[1]["status"]

    assert run(scenario()) == ([early, "http.response.start", "http.response.body"], 504)
