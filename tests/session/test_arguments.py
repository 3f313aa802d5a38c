"""A wrong argument is named before anything is sent, and a right one is left as it was."""

import asyncio
import copy
from typing import Any

import aiohttp
import pytest
from tests.support import Peer, answer, drop, failure, run

from holdfast import Lookup, Policy, ResilientSession
from holdfast.providers import FINIX


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"policy": "x"}, TypeError, "policy= must be a Policy, got str"),
        ({"idempotency_key": 5}, ValueError, "must be a str, got int"),
        ({"idempotency_key": ""}, ValueError, "does not fit"),
        ({"idempotency_key": "a\nb"}, ValueError, "does not fit"),
        ({"idempotency_key": "x" * 256}, ValueError, "256 characters"),
        ({"idempotency_key": "k", "headers": {"Idempotency-Key": "other"}}, ValueError, "differs from the key"),
        ({"operation": 5}, TypeError, "operation= must be a str, got int"),
        ({"reconcile": "x"}, TypeError, "reconcile= must be a Lookup, got str"),
        ({"json": {}, "data": b""}, ValueError, "data and json parameters can not be used at the same time"),
    ],
)
def test_a_wrong_argument_is_named(options: dict[str, Any], kind: type[Exception], words: str) -> None:
    """The user would find an error from the middle of the library, or none and an unkeyed payment."""

    async def scenario() -> tuple[BaseException, int]:
        async with Peer(answer()) as peer, ResilientSession(peer.url) as session:
            return await failure(session.post("/pay", **options)), len(peer.seen)

    error, sends = run(scenario())

    assert type(error) is kind
    assert words in str(error)
    assert sends == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"provider": None}, "provider= must be a Provider, got NoneType"),
        ({"provider": "finix"}, "provider= must be a Provider, got str"),
        ({"policy": None}, "policy= must be a Policy, got NoneType"),
        ({"policy": {"deadline": 5}}, "policy= must be a Policy, got dict"),
        ({"client": "x"}, "client= must be a ClientSession, got str"),
        ({"no_such_option": 1}, "no_such_option"),
    ],
)
def test_a_wrong_option_of_the_session_is_named(options: dict[str, Any], words: str) -> None:
    """The mistake would show up at the first payment instead of at start-up."""

    async def scenario() -> None:
        ResilientSession(**options)

    with pytest.raises(TypeError, match=words):
        run(scenario())


def test_options_beside_a_given_client_are_refused() -> None:
    """Headers given beside a client would be dropped in silence, credentials among them."""

    async def scenario() -> None:
        async with aiohttp.ClientSession() as client:
            for options in ({"headers": {"a": "b"}}, {"base_url": "http://host.test"}):
                with pytest.raises(TypeError, match="client= is a finished session"):
                    ResilientSession(client=client, **options)

    run(scenario())


def test_the_callers_arguments_are_left_as_they_were() -> None:
    """A dict used for two payments would carry the first one's key into the second."""

    async def scenario() -> tuple[Any, Any, list[Any]]:
        document = {"amount": 1, "tags": {"a": ["b"]}}
        headers = {"x": "1"}
        options: dict[str, Any] = {"json": document, "headers": headers, "operation": "pay", "policy": Policy()}
        before = copy.deepcopy(options)
        async with Peer(drop(), answer(201)) as peer, ResilientSession(peer.url, provider=FINIX) as session:
            for _ in range(2):
                await session.post("/transfers", **options, timeout=5)  # type: ignore[arg-type]
            return options, before, [seen.document["idempotency_id"] for seen in peer.seen]

    options, before, keys = run(scenario())

    assert options == before
    assert keys[0] == keys[1] != keys[2]


def test_a_lookup_is_a_plain_value() -> None:
    """A lookup that could be changed under a running call would settle it by two rules."""
    lookup = Lookup(lambda _: None, lambda *_: None)  # type: ignore[arg-type]

    with pytest.raises(AttributeError):
        lookup.read = None  # type: ignore[misc, assignment]


@pytest.mark.skipif(not hasattr(aiohttp, "UploadTracker"), reason="aiohttp has it from 3.14.4 on")
def test_a_tracker_of_an_upload_that_is_refused_ends() -> None:
    """Whoever shows the progress of the upload would wait for ever."""

    async def scenario() -> tuple[str, str]:
        tracker = aiohttp.UploadTracker()
        async with ResilientSession() as session:
            refused = await failure(session.post("http://127.0.0.1:1/", data=b"1", json={}, upload_tracker=tracker))
        ended = await failure(asyncio.wait_for(tracker.upload_complete, 1))
        return type(refused).__name__, type(ended).__name__

    assert run(scenario()) == ("ValueError", "UploadAbortedError")
