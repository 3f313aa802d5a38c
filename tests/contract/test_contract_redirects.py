"""Redirects are followed, counted, refused and recorded as by aiohttp."""

from collections.abc import AsyncIterator
from typing import Any, Final

import aiohttp
import pytest
from tests.contract.kinds import MIDDLEWARE, OLD_AUTH, PLAIN, RESILIENT, Kind, each_kind
from tests.support import Behaviour, Peer, Seen, answer, failure, run, towards
from yarl import URL

KEPT: Final = {301: False, 302: False, 303: False, 307: True, 308: True}
"""Whether a POST stays a POST; RFC 9110 section 15.4, and browsers for 301 and 302."""


def moved(status: int, location: str, **headers: str) -> Behaviour:
    """Send the client elsewhere."""
    return answer(status, b"", location=location, **headers)


@each_kind()
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "HEAD"])
def test_a_redirect_is_followed_with_the_method_that_aiohttp_takes(kind: Kind, status: int, method: str) -> None:
    """A form would be sent twice, or a GET would go where a POST was meant."""

    async def scenario() -> tuple[list[tuple[str, bytes]], int, list[int], str]:
        async with Peer(moved(status, "/to"), answer(200, b"")) as peer, kind.open(peer.url) as session:
            data = b"body" if method in {"POST", "PUT"} else None
            async with session.request(method, "/from", data=data, allow_redirects=True) as response:
                history = [each.status for each in response.history]
                found = [(f"{seen.method} {seen.target}", seen.body) for seen in peer.seen]
                return found, response.status, history, response.url.path

    seen, final, history, path = run(scenario())

    kept = KEPT[status] or method == "HEAD" or (method == "PUT" and status != 303)
    body = b"body" if method in {"POST", "PUT"} else b""
    second = (f"{method} /to", body) if kept else ("GET /to", b"")
    assert seen == [(f"{method} /from", body), second]
    assert (final, history, path) == (200, [status], "/to")


@each_kind()
@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/to", "/to"),
        ("to", "/a/to"),
        ("../to", "/to"),
        ("?q=1", "/a/from?q=1"),
        ("", None),
        ("/a%2Fb%20c", "/a%2Fb%20c"),
        ("/a b", "/a%20b"),
        ("//127.0.0.1:{port}/to", "/to"),
        ("http://127.0.0.1:{port}/to#part", "/to"),
    ],
)
def test_a_relative_location_is_joined_as_by_aiohttp(kind: Kind, location: str, target: str | None) -> None:
    """A redirect would lead to another resource than that of plain aiohttp."""

    def choose(_: Seen) -> Behaviour:
        return moved(302, location.replace("{port}", str(peers[0].port))) if len(peers[0].seen) == 1 else answer()

    peers: list[Peer] = []

    async def scenario() -> tuple[list[str], int]:
        async with Peer(choose=choose) as peer, kind.open(peer.url) as session:
            peers.append(peer)
            response = await session.get("/a/from")
            return [seen.target for seen in peer.seen], response.status

    targets, status = run(scenario())

    assert (targets, status) == ((["/a/from", target], 200) if target else (["/a/from"], 302))


@each_kind()
def test_a_location_can_be_taken_as_it_stands(kind: Kind) -> None:
    """A signed address would be quoted anew, and its signature would not match."""

    async def scenario() -> list[str]:
        async with (
            Peer(moved(302, "/to?sig=%2f%7e"), answer()) as peer,
            kind.open(peer.url, requote_redirect_url=False) as session,
        ):
            await session.get("/")
            return peer.lines

    assert run(scenario()) == ["GET /", "GET /to?sig=%2f%7e"]


@each_kind()
@pytest.mark.parametrize("status", [301, 302, 303, 304, 307, 308])
def test_a_redirect_that_is_not_to_be_followed_is_the_answer(kind: Kind, status: int) -> None:
    """Code that follows redirects itself, as a log-in flow does, would never see one."""

    async def scenario() -> tuple[int, str, tuple[Any, ...], int]:
        async with Peer(moved(status, "/to")) as peer, kind.open(peer.url, raise_for_status=True) as session:
            response = await session.get("/", allow_redirects=False)
            return response.status, response.headers["Location"], response.history, len(peer.seen)

    assert run(scenario()) == (status, "/to", (), 1)


@each_kind()
def test_head_does_not_follow_by_itself(kind: Kind) -> None:
    """``session.head`` would give another address's headers."""

    async def scenario() -> list[int]:
        async with Peer(answer(302, b"", location="/to")) as peer, kind.open(peer.url) as session:
            return [(await session.head("/")).status, len(peer.seen)]

    assert run(scenario()) == [302, 1]


@each_kind()
@pytest.mark.parametrize(("limit", "requests"), [(1, 1), (3, 3), (10, 10)])
def test_too_many_redirects_is_aiohttps_error(kind: Kind, limit: int, requests: int) -> None:
    """A loop of redirects would never end, or end in an error that nobody catches."""

    async def scenario() -> tuple[BaseException, int]:
        async with Peer(moved(302, "/again")) as peer, kind.open(peer.url) as session:
            return await failure(session.get("/", max_redirects=limit)), len(peer.seen)

    error, seen = run(scenario())

    assert type(error) is aiohttp.TooManyRedirects
    assert [each.status for each in error.history] == [302] * limit
    assert error.request_info.url.path == "/"
    assert seen == requests


@each_kind()
def test_the_history_holds_every_hop(kind: Kind) -> None:
    """Whoever looks for the cookie or the address of a hop in between would not find it."""

    async def scenario() -> tuple[list[tuple[int, str, str]], str, str, bytes]:
        script = (moved(301, "/b", x_hop="1"), moved(307, "/c", x_hop="2"), answer(200, b"end"))
        async with Peer(*script) as peer, kind.open(peer.url) as session, session.get("/a") as response:
            hops = [(each.status, each.url.path, each.headers["x-hop"]) for each in response.history]
            return hops, response.request_info.url.path, response.real_url.path, await response.read()

    assert run(scenario()) == ([(301, "/a", "1"), (307, "/b", "2")], "/c", "/c", b"end")


@each_kind()
def test_cookies_of_a_hop_go_to_the_next(kind: Kind) -> None:
    """A log-in that sets its cookie on the redirect would fail."""

    async def scenario() -> tuple[list[str], dict[str, str]]:
        first = answer(302, b"", location="/home", set_cookie="sid=1; Path=/")
        async with Peer(first, answer(set_cookie="seen=2; Path=/")) as peer:
            async with kind.open(connector=towards(peer.port)) as session:
                await session.post("http://shop.test/login", data=b"x")
                kept = {cookie.key: cookie.value for cookie in session.cookie_jar}
            return [seen.headers.get("cookie", "") for seen in peer.seen], kept

    assert run(scenario()) == (["", "sid=1"], {"sid": "1", "seen": "2"})


@OLD_AUTH
@each_kind()
@pytest.mark.parametrize("same_origin", [True, False])
def test_a_log_in_goes_no_further_than_its_origin(kind: Kind, *, same_origin: bool) -> None:
    """A password would be handed to whoever a redirect names."""

    async def scenario() -> list[dict[str, str]]:
        async with Peer(answer()) as other:
            target = "/to" if same_origin else f"{other.url}/to"
            async with Peer(moved(307, target), answer()) as peer, kind.open() as session:
                await session.get(peer.url, headers={"Authorization": "Bearer t", "X-Own": "1"})
                last = peer.seen[-1] if same_origin else other.seen[0]
        return [{name: last.headers[name] for name in ("authorization", "x-own") if name in last.headers}]

    secret = {"authorization": "Bearer t"} if same_origin else {}
    assert run(scenario()) == [{**secret, "x-own": "1"}]


@each_kind()
@pytest.mark.parametrize(
    ("location", "error"),
    [
        ("ftp://host.test/", aiohttp.NonHttpUrlRedirectClientError),
        ("http://", aiohttp.InvalidUrlRedirectClientError),
        ("http://[::1/", aiohttp.InvalidUrlRedirectClientError),
        ("mailto:a@b.test", aiohttp.NonHttpUrlRedirectClientError),
    ],
)
def test_a_location_that_leads_nowhere_is_aiohttps_error(kind: Kind, location: str, error: type[Exception]) -> None:
    """A bad redirect would be sent again and again, or be taken for a mistake of the caller's."""

    async def scenario() -> tuple[BaseException, int]:
        async with Peer(moved(302, location)) as peer, kind.open(peer.url) as session:
            return await failure(session.get("/")), len(peer.seen)

    found, seen = run(scenario())

    assert (type(found), seen) == (error, 1)


@each_kind()
def test_params_and_fragment_are_not_carried_on(kind: Kind) -> None:
    """The query of the first address would be added to the second."""

    async def scenario() -> tuple[list[str], URL]:
        async with Peer(moved(302, "/to?b=2"), answer()) as peer, kind.open(peer.url) as session:
            response = await session.get("/from", params={"a": "1"})
            return peer.lines, response.url.relative()

    assert run(scenario()) == (["GET /from?a=1", "GET /to?b=2"], URL("/to?b=2"))


@each_kind()
def test_a_streamed_body_cannot_follow_a_redirect(kind: Kind) -> None:
    """A generator that is used up would be sent on as an empty body."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"

    async def scenario(each: Kind) -> tuple[type | None, list[bytes]]:
        async with Peer(moved(307, "/to"), answer()) as peer, each.open(peer.url) as session:
            try:
                await session.post("/", data=pieces())
            except aiohttp.ClientError as error:
                return type(error), [seen.body for seen in peer.seen]
            return None, [seen.body for seen in peer.seen]

    if run(scenario(PLAIN))[0] is None:
        pytest.skip("this aiohttp sends a used up body on as an empty one")
    assert run(scenario(kind)) == (aiohttp.ClientPayloadError, [b"one"])


@each_kind([RESILIENT, MIDDLEWARE])
def test_a_streamed_body_is_never_sent_on_empty(kind: Kind) -> None:
    """The target of a redirect would take nothing for the order, and the verdict would say that it has landed."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"

    async def scenario() -> tuple[bool, list[bytes]]:
        async with Peer(moved(307, "/to"), answer()) as peer, kind.open(peer.url) as session:
            error = await failure(session.post("/", data=pieces()))
            return isinstance(error, aiohttp.ClientError), [seen.body for seen in peer.seen]

    assert run(scenario()) == (True, [b"one"])


@each_kind()
def test_every_hop_uses_the_pool(kind: Kind) -> None:
    """With one connection a redirect would wait for itself, and with many it would leak them."""

    async def scenario() -> tuple[int, int]:
        script = (moved(302, "/b"), moved(302, "/c"), answer())
        async with Peer(*script) as peer, kind.open(peer.url, connector=aiohttp.TCPConnector(limit=1)) as session:
            response = await session.get("/")
            await response.read()
            return peer.connections, len(response.history)

    assert run(scenario()) == (1, 2)
