"""slack_sdk: ``AsyncWebClient(session=...)`` sends every method of Slack's API through the session it is given."""

from io import BytesIO
from typing import Any

import aiohttp
import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient
from tests.consumers.sessions import OURS, PLAIN, Told, a_session, on_the_wire, over_both, told
from tests.support import Peer, answer, drop, failure, run, said

from holdfast.testing import RecordingSink

OK = {"ok": True, "members": [{"id": "U1"}]}


def slack(peer: Peer, session: aiohttp.ClientSession) -> AsyncWebClient:
    """Make a client whose own retries are off: one that tries again beside us multiplies the attempts."""
    return AsyncWebClient("xoxb-made-up", base_url=f"{peer.url}/api/", session=session, retry_handlers=[])


@over_both
def test_a_method_answers_through_the_session_which_stays_open(kind: str) -> None:
    """A bot that shares one session would find it closed after its first message, or get no answer."""

    async def scenario() -> Any:
        async with Peer(said(200, OK)) as peer, a_session(kind) as session:
            answered = await slack(peer, session).users_list(limit=1)
            return answered.data

    assert run(scenario()) == OK


def test_the_same_bytes_go_out_as_with_a_plain_session() -> None:
    """Slack reads form, JSON and token from the request; one that differs is refused as ``not_authed``."""

    async def sent(kind: str) -> object:
        async with Peer(said(200, OK)) as peer, a_session(kind) as session:
            client = slack(peer, session)
            await client.users_list(limit=1)
            await client.chat_postMessage(channel="C1", text="hello")
            await client.api_call("files.upload", files={"file": BytesIO(b"\0content")}, data={"title": "t"})
            return [without_boundary(request) for request in on_the_wire(peer)]

    assert run(sent(OURS)) == run(sent(PLAIN))


def without_boundary(request: tuple[str, bytes]) -> tuple[str, bytes]:
    """Take the drawn boundary of a multipart body out."""
    head, body = request
    _, found, rest = head.partition("boundary=")
    boundary = rest.split("\r\n", 1)[0] if found else "\0none"
    return head.replace(boundary, "B"), body.replace(boundary.encode(), b"B")


@pytest.mark.parametrize("first", [answer(503), drop()], ids=["503", "dropped"])
def test_a_read_that_fails_once_is_seen_only_as_its_good_answer(first: Any) -> None:
    """A deployment at Slack would break every listing of the bot."""
    sink = RecordingSink()

    async def scenario() -> Any:
        async with Peer(first, said(200, OK)) as peer, a_session(OURS, sink) as session:
            answered = await slack(peer, session).users_list()
            return answered.data

    assert run(scenario()) == OK
    assert told(sink) == [Told("GET", 200, 2, "success", "none")]


def test_a_message_that_was_rate_limited_is_sent_again() -> None:
    """Slack allows one message a second in a channel and refuses the rest with 429: each would be lost."""
    sink = RecordingSink()

    async def scenario() -> Any:
        limited = said(429, {"ok": False, "error": "ratelimited"}, retry_after="0")
        async with Peer(limited, said(200, OK)) as peer, a_session(OURS, sink) as session:
            answered = await slack(peer, session).chat_postMessage(channel="C1", text="hello")
            return answered.data

    assert run(scenario()) == OK
    assert told(sink) == [Told("POST", 200, 2, "success", "landed")]


@over_both
def test_a_message_in_doubt_is_never_posted_twice(kind: str) -> None:
    """The connection is lost after the message was taken in: a second POST would say everything twice."""

    async def scenario() -> tuple[type[BaseException], list[str]]:
        async with Peer(drop()) as peer, a_session(kind) as session:
            error = await failure(slack(peer, session).chat_postMessage(channel="C1", text="hello"))
            return type(error), peer.lines

    assert run(scenario()) == (aiohttp.ServerDisconnectedError, ["POST /api/chat.postMessage"])


@over_both
@pytest.mark.parametrize(
    ("status", "document"),
    [
        (200, {"ok": False, "error": "channel_not_found"}),
        (404, {"ok": False, "error": "unknown_method"}),
        (422, {"ok": False, "error": "invalid_arguments"}),
    ],
)
def test_a_refusal_is_the_same_error_as_with_a_plain_session(kind: str, status: int, document: Any) -> None:
    """A bot reads ``error`` and ``status_code`` from ``SlackApiError`` to know what it did wrong."""

    async def scenario() -> tuple[Any, int, list[str]]:
        async with Peer(said(status, document)) as peer, a_session(kind) as session:
            error = await failure(slack(peer, session).chat_postMessage(channel="C1", text="hello"))
            assert isinstance(error, SlackApiError)
            return error.response.data, error.response.status_code, peer.lines

    assert run(scenario()) == (document, status, ["POST /api/chat.postMessage"])


@over_both
def test_a_closed_session_is_replaced_by_one_of_the_clients_own(kind: str) -> None:
    """slack_sdk asks ``session.closed``: one that never says so would fail every call after a reload."""

    async def scenario() -> Any:
        async with Peer(said(200, OK)) as peer, a_session(PLAIN) as other:
            assert not other.closed
            async with a_session(kind) as session:
                client = slack(peer, session)
            answered = await client.users_list()
            return answered.data

    assert run(scenario()) == OK
