"""aiohttp-sse-client2: ``EventSource(url, session=...)`` reads an endless stream of events through the session."""

import asyncio
from datetime import timedelta
from typing import Any, Final

import pytest
from aiohttp_sse_client2.client import EventSource
from tests.consumers.sessions import OURS, PLAIN, Told, a_session, on_the_wire, over_both, told
from tests.support import Behaviour, Peer, answer, drop, failure, hang, raw, run, said

from holdfast.testing import RecordingSink

HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
EVENTS: Final = b"id: 1\nevent: price\ndata: 10\n\nid: 2\ndata: 11\n\n"
SOON: Final = timedelta(milliseconds=1)


async def read(url: str, count: int, **options: Any) -> list[tuple[str | None, str, str]]:
    """Read so many events, within seconds: type, data and id."""
    async with asyncio.timeout(5), EventSource(url, reconnection_time=SOON, **options) as source:
        return [(event.type, event.data, event.last_event_id) for event in [await anext(source) for _ in range(count)]]


@over_both
def test_events_come_while_the_stream_is_open_and_the_session_stays_open(kind: str) -> None:
    """A stream that is read whole first never gives an event."""

    async def scenario() -> list[Any]:
        async with Peer(hang(HEAD + EVENTS)) as peer, a_session(kind) as session:
            return await read(peer.url, 2, session=session)

    assert run(scenario()) == [("price", "10", "1"), (None, "11", "2")]


def test_the_same_bytes_go_out_as_with_a_plain_session() -> None:
    """``Last-Event-Id`` tells the server where to go on: a client that loses it misses events."""

    async def sent(kind: str) -> object:
        streams = raw(HEAD + EVENTS, then="close"), hang(HEAD + b"id: 3\ndata: 12\n\n")
        async with Peer(*streams) as peer, a_session(kind) as session:
            await read(peer.url, 3, session=session)
            return on_the_wire(peer)

    ours = run(sent(OURS))

    assert ours == run(sent(PLAIN))
    assert ["Last-Event-Id: 2" in head for head, _ in ours] == [False, True]  # type: ignore[attr-defined]


@pytest.mark.parametrize("first", [answer(503), drop()], ids=["503", "dropped"])
def test_a_stream_that_cannot_be_opened_at_first_is_opened(first: Behaviour) -> None:
    """``EventSource`` takes a 503 for the end of it, and would never show a price again."""
    sink = RecordingSink()

    async def scenario() -> list[Any]:
        async with Peer(first, hang(HEAD + EVENTS)) as peer, a_session(OURS, sink) as session:
            return await read(peer.url, 1, session=session, max_connect_retry=0)

    assert run(scenario()) == [("price", "10", "1")]
    assert told(sink) == [Told("GET", 200, 2, "success", "none")]


@over_both
@pytest.mark.parametrize(
    ("behaviour", "error_type"),
    [
        (said(401, {"why": "no token"}), ConnectionRefusedError),
        (said(404, {"why": "no such stream"}), ConnectionError),
        (answer(204, b""), ConnectionAbortedError),
        (said(200, {"not": "events"}), ConnectionAbortedError),
    ],
    ids=["401", "404", "204", "JSON"],
)
def test_a_refusal_is_the_same_error_as_with_a_plain_session(
    kind: str, behaviour: Behaviour, error_type: type[Exception]
) -> None:
    """The page tells "log in again" from "gone" by these classes, and shows the body."""

    async def scenario() -> tuple[BaseException, int]:
        async with Peer(behaviour) as peer, a_session(kind) as session:
            error = await failure(read(peer.url, 1, session=session, max_connect_retry=0))
            return error, len(peer.seen)

    error, requests = run(scenario())

    assert (type(error), requests) == (error_type, 1)
    assert error.args[1:] in [(), (b'{"why": "no token"}',), (b'{"why": "no such stream"}',), (b"",)]
