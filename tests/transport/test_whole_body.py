"""A success's body that has no length, or that is compressed, is believed only when it arrived whole."""

import gzip
import json
from typing import Any, Final

import aiohttp
import brotli
import pytest
from tests.support import AT_ONCE, Behaviour, Peer, Turn, failure, head_of, raw, report, run, said

from holdfast import Effect, Outcome, Policy, ResilientSession
from holdfast.providers import FIANT, FINIX

DEPOSIT: Final = "/v1/transactions/deposits"
DOCUMENT: Final = json.dumps({"id": "TR1", "note": "x" * 2000}).encode()
PACKED: Final = gzip.compress(DOCUMENT)
JSON: Final = {"content-type": "application/json"}
GZIP: Final = {**JSON, "content-encoding": "gzip"}
BROTLI: Final = {**JSON, "content-encoding": "br"}
DENSE: Final = brotli.compress(DOCUMENT)


def framed(body: bytes) -> bytes:
    """Write a compressed answer with a length."""
    return head_of(201, {**GZIP, "content-length": str(len(body))}) + body


WHOLE: Final = {
    "closed in good order": raw(head_of(201, JSON) + DOCUMENT, then="close"),
    "compressed": raw(framed(PACKED)),
    "compressed, without a length": raw(head_of(201, GZIP) + PACKED, then="close"),
    "compressed with Brotli": raw(head_of(201, {**BROTLI, "content-length": str(len(DENSE))}) + DENSE),
    "of no kind": raw(head_of(201) + b"done", then="close"),
    "empty": raw(head_of(201), then="close"),
}
BROKEN: Final = {
    "reset": raw(head_of(201, JSON) + DOCUMENT[:50], then="reset"),
    "compressed and short": raw(framed(PACKED[: len(PACKED) // 2])),
    "compressed, short, without a length": raw(head_of(201, GZIP) + PACKED[: len(PACKED) // 2], then="close"),
    "compressed with Brotli, short": raw(head_of(201, BROTLI) + DENSE[: len(DENSE) // 2], then="close"),
    "compressed, of another kind": raw(framed(b"not gzip at all")),
}


@pytest.mark.parametrize("behaviour", WHOLE.values(), ids=WHOLE)
def test_a_whole_body_is_believed(behaviour: Behaviour) -> None:
    """A provider behind an old proxy would have every payment reported as unreadable."""

    async def scenario() -> tuple[bytes, Any, int]:
        async with Peer(behaviour) as peer, ResilientSession(peer.url, provider=FINIX, policy=AT_ONCE) as session:
            response = await session.post("/transfers", json={"amount": 1})
            return await response.read(), report(response), len(peer.seen)

    body, known, sends = run(scenario())

    assert body in (DOCUMENT, b"done", b"")
    assert (known.outcome, known.effect, known.reason, sends) == (Outcome.SUCCESS, Effect.LANDED, "ok", 1)


@pytest.mark.parametrize("behaviour", BROKEN.values(), ids=BROKEN)
def test_a_broken_body_is_fetched_again_under_the_key(behaviour: Behaviour) -> None:
    """Aiohttp gives half a document out as a whole one, and the id of the transfer is in the other half."""

    async def scenario() -> tuple[Any, Any, int]:
        script = behaviour, said(201, {"id": "TR1"})
        async with Peer(*script) as peer, ResilientSession(peer.url, provider=FINIX, policy=AT_ONCE) as session:
            response = await session.post("/transfers", json={"amount": 1})
            return await response.json(), report(response), len(peer.seen)

    document, known, sends = run(scenario())

    assert (document, sends) == ({"id": "TR1"}, 2)
    assert (known.attempts[0].reason, known.effect) == ("body_unreadable", Effect.LANDED)


@pytest.mark.parametrize("behaviour", BROKEN.values(), ids=BROKEN)
def test_a_broken_body_that_cannot_be_fetched_again_raises_when_it_is_read(behaviour: Behaviour) -> None:
    """The caller would store half an answer as the receipt of a payment."""

    async def scenario() -> tuple[BaseException, Any]:
        async with Peer(behaviour) as peer, ResilientSession(peer.url, provider=FIANT, policy=AT_ONCE) as session:
            response = await session.post(DEPOSIT, json={"amount": 1})
            return await failure(response.read()), report(response)

    error, known = run(scenario())

    assert isinstance(error, aiohttp.ClientError)
    assert (known.outcome, known.effect, known.reason) == (Outcome.SUCCESS, Effect.LANDED, "body_unreadable")


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_status_or_method_without_a_body_is_whole(method: str) -> None:
    """Every 204 would be retried."""

    async def scenario() -> int:
        async with (
            Peer(raw(head_of(204))) as peer,
            ResilientSession(peer.url, policy=Policy(read_body=True)) as session,
        ):
            return len(report(await session.request(method, "/")).attempts)

    assert run(scenario()) == 1


def test_the_connection_of_a_whole_body_is_used_again() -> None:
    """Each compressed answer would cost a connection."""

    async def scenario() -> int:
        async with (
            Peer(raw(framed(PACKED))) as peer,
            ResilientSession(peer.url, provider=FINIX) as session,
        ):
            for _ in range(3):
                await session.get("/transfers/TR1")
            return peer.connections

    assert run(scenario()) == 1


def test_a_body_that_is_not_read_inside_the_attempt_streams() -> None:
    """A download of a gigabyte would be held in memory."""

    async def slow(turn: Turn) -> None:
        await turn.write(head_of(200, {"content-length": "6"}) + b"abc")
        await turn.reader.read(1)

    async def scenario() -> bytes:
        async with (
            Peer(slow) as peer,
            ResilientSession(peer.url, provider=FINIX) as session,
            session.get("/big", policy=Policy(read_body=False)) as response,
        ):
            return await response.content.read(3)

    assert run(scenario()) == b"abc"
