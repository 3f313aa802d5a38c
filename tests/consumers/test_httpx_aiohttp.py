"""httpx-aiohttp: ``AiohttpTransport(client=...)`` carries httpx, and with it the OpenAI SDK, over a session."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import httpx
import pytest
from httpx_aiohttp import AiohttpTransport
from tests.consumers.sessions import OURS, PLAIN, Told, make_session, on_the_wire, over_both, told
from tests.support import Behaviour, Peer, answer, cut, drop, failure, hang, refused_port, run, run_virtual, said

from holdfast import DeadlineExceededError, Policy
from holdfast.testing import RecordingSink


def over(session: aiohttp.ClientSession) -> AiohttpTransport:
    """Make a transport that does not load the machine's certificates, which takes 20 ms."""
    return AiohttpTransport(client=session, verify=False)


@over_both
def test_the_transport_knows_the_session_by_its_type(kind: str) -> None:
    """It asks ``isinstance(client, ClientSession)``, and quietly makes a session of its own for anything else."""

    async def scenario() -> bool:
        async with make_session(kind) as session:
            return over(session).get_client() is session

    assert run(scenario())


@over_both
def test_httpx_is_answered_and_closes_the_session_with_itself(kind: str) -> None:
    """The transport owns what it is given: sockets would be left open, or the body would be lost."""

    async def scenario() -> tuple[int, Any, dict[str, str], bool]:
        session = make_session(kind)
        async with Peer(said(200, {"id": 1}, x_mark="m")) as peer, httpx.AsyncClient(transport=over(session)) as client:
            response = await client.post(peer.url, json={"k": 1})
        return response.status_code, response.json(), dict(response.headers), session.closed

    headers = {"content-type": "application/json", "x-mark": "m", "content-length": "9"}
    assert run(scenario()) == (200, {"id": 1}, headers, True)


def test_the_same_bytes_go_out_as_with_a_plain_session() -> None:
    """Every header is written by httpx: one more or less than it meant is a bug that nobody can find."""

    async def chunks() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    async def sent(kind: str) -> object:
        transport = over(make_session(kind))
        async with Peer(said(200, {})) as peer, httpx.AsyncClient(transport=transport) as client:
            await client.get(peer.url, params={"q": "a b"})
            await client.post(peer.url, json={"k": 1})
            await client.put(peer.url, content=b"\0raw")
            await client.put(peer.url, content=chunks())
            await client.post(peer.url, data={"f": "1"})
            await client.delete(peer.url)
            return on_the_wire(peer)

    assert run(sent(OURS)) == run(sent(PLAIN))


@pytest.mark.parametrize("first", [answer(503), drop()], ids=["503", "dropped"])
@pytest.mark.parametrize(("method", "effect"), [("GET", "none"), ("PUT", "landed")])
def test_what_is_safe_to_repeat_is_seen_only_as_its_good_answer(method: str, effect: str, first: Behaviour) -> None:
    """The ``retries=`` of httpx knows no statuses, and this transport ignores it."""
    sink = RecordingSink()

    async def scenario() -> tuple[Any, list[bytes]]:
        transport = over(make_session(OURS, sink))
        async with Peer(first, said(200, {"id": 1})) as peer, httpx.AsyncClient(transport=transport) as client:
            response = await client.request(method, peer.url, content=b"body")
            return response.json(), [seen.body for seen in peer.seen]

    assert run(scenario()) == ({"id": 1}, [b"body", b"body"])
    assert told(sink) == [Told(method, 200, 2, "success", effect)]


@over_both
def test_a_streamed_upload_is_sent_once(kind: str) -> None:
    """The stream has run dry: a second PUT would replace the object with an empty one."""

    async def chunks() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    async def scenario() -> tuple[int, list[bytes]]:
        transport = over(make_session(kind))
        async with Peer(answer(503)) as peer, httpx.AsyncClient(transport=transport) as client:
            response = await client.put(peer.url, content=chunks())
            return response.status_code, [seen.body for seen in peer.seen]

    assert run(scenario()) == (503, [b"onetwo"])


@over_both
def test_a_download_streams(kind: str) -> None:
    """The tokens of a model's answer would come all at once, at its end."""

    async def scenario() -> list[bytes]:
        events = b"data: 1\n\n", b"data: 2\n\n"
        transport = over(make_session(kind))
        async with (
            asyncio.timeout(5),
            Peer(hang(_head_of_a_stream() + events[0])) as peer,
            httpx.AsyncClient(transport=transport) as client,
            client.stream("GET", peer.url) as response,
        ):
            return [await anext(response.aiter_bytes())]

    assert run(scenario()) == [b"data: 1\n\n"]


def _head_of_a_stream() -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


@over_both
@pytest.mark.parametrize("status", [301, 404, 422])
def test_a_refusal_is_the_same_error_as_with_a_plain_session(kind: str, status: int) -> None:
    """``raise_for_status`` of httpx, its history and the error's body are what SDKs are written against."""

    async def scenario() -> tuple[int, Any, list[str]]:
        refusal = said(status, {"error": "no"}, location="/elsewhere")
        transport = over(make_session(kind))
        async with Peer(refusal) as peer, httpx.AsyncClient(transport=transport) as client:
            response = await client.post(peer.url, json={})
            with pytest.raises(httpx.HTTPStatusError) as caught:
                response.raise_for_status()
            return caught.value.response.status_code, response.json(), peer.lines

    assert run(scenario()) == (status, {"error": "no"}, ["POST /"])


@pytest.mark.parametrize("how", ["refused", "dropped", "cut"])
def test_a_failure_of_the_network_is_the_same_error_as_with_a_plain_session(how: str) -> None:
    """SDKs catch httpx's exceptions, which the transport tells, oddly at times, from aiohttp's classes."""

    async def raised(kind: str) -> BaseException:
        transport = over(make_session(kind))
        async with (
            Peer(drop() if how == "dropped" else cut()) as peer,
            httpx.AsyncClient(transport=transport) as client,
        ):
            url = f"http://127.0.0.1:{refused_port()}" if how == "refused" else peer.url
            return await failure(client.post(url, json={}))

    ours, theirs = run(raised(OURS)), run(raised(PLAIN))

    assert (type(ours), type(ours.__cause__)) == (type(theirs), type(theirs.__cause__))
    assert isinstance(ours, httpx.TransportError)


@over_both
def test_a_silent_server_is_httpxs_read_timeout(kind: str) -> None:
    """The read timeout of httpx is the time of one attempt, and what is raised is what httpx raises."""

    async def scenario() -> type[BaseException]:
        transport = over(make_session(kind))
        async with Peer(hang()) as peer, httpx.AsyncClient(transport=transport, timeout=5.0) as client:
            return type(await failure(client.post(peer.url, json={})))

    assert run_virtual(scenario()) is httpx.ReadTimeout


def test_a_call_past_its_deadline_is_not_httpxs_timeout() -> None:
    """Code that catches ``httpx.TimeoutException`` alone does not catch it; ``TimeoutError`` catches it.

    The transport maps aiohttp's own timeouts by class, and lets a bare ``TimeoutError`` through: that is also what it
    does with a plain session's total timeout. ``DeadlineExceededError`` is a ``TimeoutError`` and goes the same way.
    """

    async def scenario(kind: str, **options: Any) -> BaseException:
        transport = over(make_session(kind, **options))
        async with (
            asyncio.timeout(1000),  # a transport that did not take our session would wait for ever
            Peer(hang()) as peer,
            httpx.AsyncClient(transport=transport, timeout=None) as client,  # noqa: S113
        ):
            return await failure(client.post(peer.url, json={}))

    error = run_virtual(scenario(OURS, policy=Policy(deadline=20.0)))

    assert type(error) is DeadlineExceededError
    assert isinstance(error, TimeoutError)
    assert not isinstance(error, httpx.HTTPError)
