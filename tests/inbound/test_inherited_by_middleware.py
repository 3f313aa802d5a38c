"""A genuine session under ``resilient_middleware`` inherits what a session of ours does."""

import asyncio
import time
from typing import Any

import aiohttp
from tests.support import AT_ONCE, Peer, answer, drop, failure, hang, run, run_virtual, said

from holdfast import DeadlineExceededError, Policy, resilient_middleware
from holdfast.engine.inbound import Inbound, InboundSettings, bound, read_inbound
from holdfast.providers import FINIX


def inbound(seconds: float = 60.0) -> Inbound:
    """Make an inbound request that is served for so many seconds."""
    return Inbound(request_id="req-1", deadline_at=time.monotonic() + seconds)


def test_its_calls_end_with_the_request() -> None:
    """A vendor's library would work on for a caller that gave up long ago."""

    async def scenario() -> tuple[BaseException, float]:
        chain = [resilient_middleware(policy=AT_ONCE)]
        async with Peer(hang()) as peer, aiohttp.ClientSession(peer.url, middlewares=chain) as session:
            begun = asyncio.get_running_loop().time()
            with bound(inbound(2.0)):
                error = await failure(session.post("/", json={}))
            return error, asyncio.get_running_loop().time() - begun

    error, took = run_virtual(scenario())

    assert isinstance(error, DeadlineExceededError)
    assert 1.9 < took <= 2.0


def test_its_attempts_carry_id_and_time_left_and_take_them_to_no_other_origin() -> None:
    """The chain of ids would end at each library that brings its own session, or go on to strangers."""

    async def scenario() -> tuple[list[dict[str, str]], dict[str, str]]:
        chain = [resilient_middleware(policy=AT_ONCE)]
        async with Peer(answer(200)) as stranger, aiohttp.ClientSession(middlewares=chain) as session:
            script = (drop(), answer(307, location="/here"), answer(307, location=f"{stranger.url}/there"))
            async with Peer(*script) as home:
                with bound(inbound()):
                    await session.get(home.url)
                return [seen.headers for seen in home.seen], stranger.seen[0].headers

    heads, abroad = run(scenario())

    assert [head["x-request-id"] for head in heads] == ["req-1"] * 3
    assert all(59.0 < float(head["x-request-timeout"]) <= 60.0 for head in heads)
    assert not {"x-request-id", "x-request-timeout"} & abroad.keys()


def test_its_lookups_carry_id_and_what_is_left_by_then() -> None:
    """A lookup would tell the peer of time that the attempt before it has used up."""

    async def scenario() -> list[dict[str, str]]:
        chain = [resilient_middleware(provider=FINIX, policy=Policy(attempt_timeout=20.0, max_attempts=1))]
        async with (
            Peer(hang(), said(404, {})) as peer,
            aiohttp.ClientSession(peer.url, middlewares=chain) as session,
        ):
            with bound(inbound(30.0)):
                await failure(session.post("/transfers", json={"amount": 1}))
            return [seen.headers for seen in peer.seen]

    post, *lookups = run_virtual(scenario())

    assert post["x-request-timeout"] == "20.000"
    assert lookups
    assert {head["x-request-id"] for head in lookups} == {"req-1"}
    assert all(0.0 < float(head["x-request-timeout"]) < 11.0 for head in lookups)


def test_its_keys_are_derived() -> None:
    """A caller's retry would charge again wherever a vendor's library makes the call."""

    async def served() -> list[Any]:
        settings = InboundSettings(secret=b"0123456789abcdef", scope=lambda _: "t-1")
        request = read_inbound({"idempotency-key": "order-7"}, settings=settings, arrived=time.monotonic())
        chain = [resilient_middleware(provider=FINIX, policy=AT_ONCE)]
        async with Peer(answer(201)) as peer, aiohttp.ClientSession(peer.url, middlewares=chain) as session:
            with bound(request):
                await session.post("/transfers", json={"amount": 1})
                await session.post("/transfers", json={"amount": 1})
            return [seen.document["idempotency_id"] for seen in peer.seen]

    first, retry = run(served()), run(served())

    assert first == retry
    assert len(set(first)) == 2
