"""Where sending again makes ours differ on purpose: each difference beside what plain aiohttp does."""

import io
from collections.abc import AsyncIterator
from typing import Any, Final

import aiohttp
import pytest
from tests.contract.kinds import KINDS, OURS, PLAIN, Kind, each_kind
from tests.contract.wire import keeping
from tests.support import AT_ONCE, Peer, Turn, answer, drop, failure, report, run, towards

from holdfast import Policy

TWICE: Final = Policy(max_attempts=2, backoff_base=0.0)


@each_kind()
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_dropped_request_that_may_be_repeated_is_sent_as_often_as_its_owner_says(kind: Kind, method: str) -> None:
    """Aiohttp sends it a second time, unasked; ours as often as the policy has attempts, and no more."""

    async def scenario() -> tuple[list[int], list[type]]:
        sends, errors = [], []
        for policy in (Policy(max_attempts=1), AT_ONCE):
            async with Peer(drop()) as peer, kind.open(peer.url, policy=policy) as session:
                errors.append(type(await failure(session.request(method, "/"))))
                sends.append(len(peer.seen))
        return sends, errors

    sends, errors = run(scenario())

    assert sends == ([2, 2] if kind is PLAIN else [1, 4])
    assert errors == [aiohttp.ServerDisconnectedError] * 2


@each_kind()
def test_a_dropped_post_is_never_sent_again(kind: Kind) -> None:
    """A payment without a key would be made twice."""

    async def scenario() -> tuple[int, type]:
        async with Peer(drop()) as peer, kind.open(peer.url, policy=AT_ONCE) as session:
            error = type(await failure(session.post("/", data=b"x")))
            return len(peer.seen), error

    sends, error = run(scenario())

    assert (sends, error) == (1, aiohttp.ServerDisconnectedError)


@each_kind()
def test_a_passing_outage_is_not_seen_by_the_caller(kind: Kind) -> None:
    """Plain aiohttp gives the 503 out; ours gives the answer that comes after it."""

    async def scenario() -> tuple[int, int]:
        async with Peer(answer(503), answer(200)) as peer, kind.open(peer.url, policy=AT_ONCE) as session:
            return (await session.get("/")).status, len(peer.seen)

    assert run(scenario()) == ((503, 1) if kind is PLAIN else (200, 2))


@each_kind(OURS)
def test_an_outage_that_lasts_gives_the_last_answer_with_its_body(kind: Kind) -> None:
    """The caller would be given an error of ours where he reads the status himself."""

    async def scenario() -> tuple[int, bytes, int, int]:
        async with (
            Peer(answer(503, b"first"), answer(502, b"last")) as peer,
            kind.open(peer.url, policy=TWICE) as session,
            session.get("/") as response,
        ):
            return response.status, await response.read(), len(peer.seen), len(report(response).attempts)

    assert run(scenario()) == (502, b"last", 2, 2)


@each_kind(OURS)
def test_cookies_of_an_answer_that_is_not_given_out_are_kept(kind: Kind) -> None:
    """A load balancer that pins its clients by a cookie would pin the second attempt elsewhere."""

    async def scenario() -> tuple[list[str], dict[str, str]]:
        async with Peer(answer(503, set_cookie="node=7; Path=/"), answer()) as peer:
            options: dict[str, Any] = {"connector": towards(peer.port), "policy": AT_ONCE}
            async with kind.open("http://shop.test/", **options) as session:
                await session.get("/")
                await session.get("/again")
                kept = {cookie.key: cookie.value for cookie in session.cookie_jar}
            return [seen.headers.get("cookie", "") for seen in peer.seen][2:], kept

    assert run(scenario()) == (["node=7"], {"node": "7"})


async def _pieces() -> AsyncIterator[bytes]:
    yield b"once"


def _form() -> aiohttp.FormData:
    form = aiohttp.FormData()
    form.add_field("file", io.BytesIO(b"content"), filename="f")
    return form


@each_kind(OURS)
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: {"data": b"bytes"}, id="bytes"),
        pytest.param(lambda: {"json": {"a": 1}}, id="json"),
        pytest.param(lambda: {"data": io.BytesIO(b"file")}, id="bytes-io"),
        pytest.param(lambda: {"data": io.StringIO("text")}, id="string-io"),
        pytest.param(lambda: {"data": {"a": "1"}}, id="form"),
        pytest.param(lambda: {"data": _form()}, id="multipart"),
        pytest.param(lambda: {"data": b"x" * 50, "compress": "gzip"}, id="compressed"),
        pytest.param(lambda: {"data": b"x", "chunked": True}, id="chunked"),
        pytest.param(lambda: {"data": b"x", "expect100": True}, id="expect100"),
        pytest.param(lambda: {"params": {"a": "1"}, "headers": {"X-A": "1"}, "cookies": {"c": "1"}}, id="no-body"),
    ],
)
def test_every_attempt_is_the_same_bytes(kind: Kind, make: Any) -> None:
    """The second attempt would be an empty body, or another order than the first."""
    seen: list[bytes] = []

    async def scenario() -> int:
        script = (keeping(seen, answer(503)), keeping(seen, answer(200)))
        async with Peer(*script, heads_only=True) as peer, kind.open(peer.url, policy=AT_ONCE) as session:
            return (await session.put("/", **make())).status

    assert run(scenario()) == 200
    assert len(seen) == 2
    assert seen[0] == seen[1]


@each_kind(OURS)
def test_a_stream_is_sent_once_and_its_answer_given(kind: Kind) -> None:
    """A second attempt would send an empty body, and say that it was taken."""

    async def scenario() -> tuple[int, list[bytes]]:
        async with Peer(answer(503), answer(200)) as peer, kind.open(peer.url, policy=AT_ONCE) as session:
            return (await session.put("/", data=_pieces())).status, [seen.body for seen in peer.seen]

    assert run(scenario()) == (503, [b"once"])


@each_kind(OURS)
def test_a_websocket_is_never_sent_again(kind: Kind) -> None:
    """A handshake that was refused would be repeated against a server that is closing down."""

    async def scenario() -> tuple[int, type]:
        async with Peer(answer(503)) as peer, kind.open(peer.url, policy=AT_ONCE) as session:
            error = await failure(session.ws_connect("/"))
            return len(peer.seen), type(error)

    assert run(scenario()) == (1, aiohttp.WSServerHandshakeError)


@each_kind(OURS)
def test_a_discarded_answer_gives_its_connection_back(kind: Kind) -> None:
    """A pool of one would wait for itself, as the first answer holds its place."""

    async def slow_end(turn: Turn) -> None:
        await turn.write(b"HTTP/1.1 503 Said\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100000)

    async def scenario() -> tuple[int, int]:
        async with Peer(slow_end, answer()) as peer:
            options: dict[str, Any] = {"connector": aiohttp.TCPConnector(limit=1), "policy": AT_ONCE}
            async with kind.open(peer.url, **options) as session:
                response = await session.get("/", timeout=aiohttp.ClientTimeout(total=5))
                return response.status, len(peer.seen)

    assert run(scenario()) == (200, 2)


def test_every_kind_is_here() -> None:
    """The suite would pass by looking at plain aiohttp only."""
    assert [kind.name for kind in KINDS] == ["plain", "resilient", "middleware"]
