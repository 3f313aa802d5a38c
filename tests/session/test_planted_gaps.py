"""What the planted bugs of ``tests/planted`` showed that no test saw, or that one saw by chance or by hanging."""

import asyncio
import json
from typing import Any

import pytest
from tests.support import AT_ONCE, Peer, answer, drop, failure, hang, report, run, until

from holdfast import Effect, ResilientSession

ORDER: dict[str, Any] = {
    "to": "Zoë",
    "amount": 1.10,
    "lines": [{"sku": "b", "count": 2}, {"sku": "a", "count": 1}],
    "by": None,
}
"""Keys in no order, at two depths, and values that can be written in more than one way."""


@pytest.mark.parametrize("method", ["POST", "PUT", "GET"])
def test_a_cancelled_call_that_could_be_repeated_is_not(method: str) -> None:
    """A payment that was called off would be made after all, by a retry that its caller never hears of."""

    async def scenario() -> tuple[BaseException, int]:
        async with Peer(hang(), answer(201)) as peer, ResilientSession(peer.url, policy=AT_ONCE) as session:
            keyed: dict[str, Any] = {"json": ORDER, "idempotency_key": "mine"} if method == "POST" else {}
            task = asyncio.ensure_future(session.request(method, "/pay", **keyed))
            await until(lambda: peer.seen)
            task.cancel()
            return await failure(task), len(peer.seen)

    error, sends = run(scenario())

    assert (type(error), sends) == (asyncio.CancelledError, 1)
    assert report(error).effect is (Effect.NONE if method == "GET" else Effect.IN_DOUBT)


@pytest.mark.parametrize("separators", [(", ", ": "), (",", ":")], ids=["spaced", "dense"])
def test_every_attempt_sends_the_callers_own_writing_of_a_document(separators: tuple[str, str]) -> None:
    """A provider that compares bodies under a key would refuse the retry of a payment as another one."""
    written: list[str] = []

    def write(value: Any) -> str:
        written.append(json.dumps(value, separators=separators, ensure_ascii=False))
        return written[-1]

    async def scenario() -> list[bytes]:
        async with (
            Peer(drop(), drop(), answer(201)) as peer,
            ResilientSession(peer.url, policy=AT_ONCE, json_serialize=write) as session,
        ):
            await session.post("/pay", json=ORDER, idempotency_key="mine")
            return [seen.body for seen in peer.seen]

    bodies = run(scenario())

    assert len(written) == 1
    assert bodies == [written[0].encode()] * 3
