"""A request's line and headers reach the server byte for byte as plain aiohttp would have sent them."""

from http.cookies import Morsel
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.contract.asked import AUTH, COOKIES, HEADERS, PARAMS, VERSIONS, Asked
from tests.contract.kinds import OLD_AUTH, PLAIN, Kind, each_case, each_kind
from tests.contract.wire import same, sent_by_both
from tests.support import Peer, answer, failure, run, towards
from yarl import URL


@OLD_AUTH
@each_case((*PARAMS, *HEADERS, *COOKIES, *AUTH, *VERSIONS))
def test_a_request_is_the_same_bytes_as_plain_aiohttps(kind: Kind, case: Asked) -> None:
    """A server would route, authenticate or count the request otherwise than that of plain aiohttp."""

    async def scenario() -> tuple[bytes, bytes]:
        return await sent_by_both(kind, case.method, case.url, case.options, case.session)

    plain, ours = run(scenario())

    first, *lines = ours.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    headers = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines)]
    assert same(kind)(ours) == same(kind)(plain)
    assert first == f"{case.method} {case.target} {case.version}"
    assert [each for each in headers if each[0] in {name for name, _ in case.headers}] == list(case.headers)
    assert {name for name, _ in headers}.isdisjoint(case.absent)


@OLD_AUTH
@each_kind()
@pytest.mark.parametrize("user", ["u:p@", "u@", "%C3%BC:p@"])
def test_a_log_in_within_the_address_is_sent_as_a_header(kind: Kind, user: str) -> None:
    """A log-in that stands in the address would be left out, or sent in the open."""

    async def scenario() -> list[bytes]:
        async with Peer(answer()) as peer:
            for each in (PLAIN, kind):
                async with each.open() as session:
                    response = await session.get(f"http://{user}127.0.0.1:{peer.port}/x")
                    assert response.url == URL(f"{peer.url}/x")
            return [seen.head for seen in peer.seen]

    plain, ours = run(scenario())

    assert ours == plain
    assert b"\r\nAuthorization: Basic " in ours


@each_kind()
@pytest.mark.parametrize(
    ("base", "path", "target"),
    [
        ("/", "/a", "/a"),
        ("/", "a?b=1", "/a?b=1"),
        ("/api/", "a", "/api/a"),
        ("/api/", "a/b/", "/api/a/b/"),
        ("/api/", "/a", "/a"),
        ("/api/", "../a", "/a"),
        ("/api/", "./a", "/api/a"),
        ("/api/", "", "/api/"),
        ("/api/", "?q=1", "/api/?q=1"),
        ("/api/", "a:b", None),
        ("/api/", URL("a"), "/api/a"),
    ],
)
def test_a_base_address_is_joined_as_by_aiohttp(kind: Kind, base: str, path: Any, target: str | None) -> None:
    """A base address with a path would be cut off, or doubled."""

    async def scenario() -> tuple[list[str], str]:
        async with Peer(answer()) as peer, kind.open(peer.url + base) as session:
            if target is None:
                return [], type(await failure(session.get(path))).__name__
            response = await session.get(path)
            return [seen.target for seen in peer.seen], str(response.url.relative())

    assert run(scenario()) == (([target], target) if target else ([], "NonHttpUrlClientError"))


@each_kind()
def test_an_absolute_address_leaves_the_base_aside(kind: Kind) -> None:
    """A link that a server gave would be sent to the wrong host."""

    async def scenario() -> tuple[int, list[str]]:
        async with Peer(answer()) as base, Peer(answer()) as other, kind.open(f"{base.url}/api/") as session:
            await session.get(f"{other.url}/elsewhere")
            return base.connections, other.lines

    assert run(scenario()) == (0, ["GET /elsewhere"])


@OLD_AUTH
@each_kind()
@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"params": {"a": True}}, TypeError, "Invalid variable type"),
        ({"params": {"a": None}}, TypeError, "Invalid variable type"),
        ({"params": 5}, TypeError, "Invalid query type"),
        ({"headers": {"X-A": "1\r\nX-B: 2"}}, ValueError, ""),
        ({"headers": {"X-A": 1}}, TypeError, ""),
        ({"headers": 5}, TypeError, ""),
        ({"cookies": 5}, TypeError, ""),
        ({"auth": "u:p"}, TypeError, "BasicAuth() tuple is required"),
        ({"ssl": "yes"}, TypeError, "ssl should be"),
        ({"trace_request_ctx": {"any": "thing"}, "no_such": 1}, TypeError, "no_such"),
    ],
)
def test_a_wrong_argument_is_the_same_error(
    kind: Kind, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    """Code that tells a mistake of its own from a fault of the network by the class would take one for the other."""

    async def scenario() -> tuple[BaseException, BaseException, int]:
        async with Peer(answer()) as peer, kind.open(peer.url) as session, aiohttp.ClientSession(peer.url) as plain:
            found = []
            for each in (session, plain):

                async def called(each: aiohttp.ClientSession = each) -> None:
                    await each.post("/", **options)

                found.append(await failure(called()))
            return found[0], found[1], len(peer.seen)

    ours, theirs, requests = run(scenario())

    assert (type(ours), str(ours), requests) == (type(theirs), str(theirs), 0)
    assert isinstance(theirs, error)
    assert words in str(theirs)


@each_kind()
def test_cookies_are_kept_and_sent_back(kind: Kind) -> None:
    """A log-in would be forgotten from one request to the next."""

    async def scenario() -> tuple[list[str], dict[str, str]]:
        async with Peer(answer(set_cookie="sid=1; Path=/"), answer()) as peer:
            async with kind.open("http://shop.test/", connector=towards(peer.port)) as session:
                response = await session.get("/login")
                morsel: Morsel[str] = response.cookies["sid"]
                assert morsel.value == "1"
                await session.get("/next")
                await session.get("http://other.test/")
                kept = {cookie.key: cookie.value for cookie in session.cookie_jar}
            return [seen.headers.get("cookie", "") for seen in peer.seen], kept

    assert run(scenario()) == (["", "sid=1", ""], {"sid": "1"})


@each_kind()
def test_cookies_of_an_address_in_numbers_are_kept_only_where_asked(kind: Kind) -> None:
    """A jar that the caller made less strict would be replaced by a strict one, or the other way round."""

    async def scenario() -> list[list[str]]:
        found = []
        for jar in (aiohttp.CookieJar(), aiohttp.CookieJar(unsafe=True), aiohttp.DummyCookieJar()):
            async with Peer(answer(set_cookie="sid=1"), answer()) as peer, kind.open(cookie_jar=jar) as session:
                await session.get(peer.url)
                await session.get(peer.url)
                found.append([seen.headers.get("cookie", "") for seen in peer.seen])
        return found

    assert run(scenario()) == [["", ""], ["", "sid=1"], ["", ""]]


@each_kind()
def test_a_request_leaves_the_callers_values_as_they_were(kind: Kind) -> None:
    """Headers that are kept and used again would fill up with those of earlier requests."""

    async def scenario() -> tuple[Any, ...]:
        headers, params, cookies, json = {"X-A": "1"}, {"a": "1"}, {"c": "1"}, {"j": 1}
        async with Peer(answer()) as peer, kind.open(peer.url) as session:
            for _ in range(2):
                await session.post("/", headers=headers, params=params, cookies=cookies, json=json)
            assert peer.seen[0].head == peer.seen[1].head
        return headers, params, cookies, json

    assert run(scenario()) == ({"X-A": "1"}, {"a": "1"}, {"c": "1"}, {"j": 1})


@OLD_AUTH
@each_kind()
@pytest.mark.parametrize("trusting", [True, False])
def test_the_environments_log_in_is_used_only_when_trusted(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, trusting: bool
) -> None:
    """A log-in from ``~/.netrc`` would be sent unasked, or left out where it was asked for."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login u password p\n")
    monkeypatch.setenv("NETRC", str(netrc))

    async def scenario() -> str:
        async with Peer(answer()) as peer, kind.open(peer.url, trust_env=trusting) as session:
            await session.get("/")
            return peer.seen[0].headers.get("authorization", "")

    assert run(scenario()) == ("Basic dTpw" if trusting else "")
