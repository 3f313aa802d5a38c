"""What goes wrong is raised as aiohttp's own exception, of the same class and with the same attributes."""

import asyncio
import errno
from typing import Any, Final

import aiohttp
import pytest
from tests.contract.kinds import MIDDLEWARE, OURS, RESILIENT, Kind, each_kind
from tests.support import (
    Behaviour,
    Peer,
    answer,
    cut,
    drip,
    drop,
    failure,
    hang,
    head_of,
    raw,
    refused_port,
    reset,
    run,
    silent_address,
)

from holdfast import DeadlineExceededError

BROKEN: Final[tuple[tuple[str, Behaviour, type[Exception]], ...]] = (
    ("dropped", drop(), aiohttp.ServerDisconnectedError),
    ("reset", reset(), aiohttp.ClientOSError),
    ("cut-in-the-head", raw(b"HTTP/1.1 200 OK\r\nX-", then="close"), aiohttp.ServerDisconnectedError),
    ("no-http", raw(b"SSH-2.0-OpenSSH\r\n\r\n", then="close"), aiohttp.ClientResponseError),
    ("bad-status", raw(b"HTTP/1.1 2OO OK\r\n\r\n", then="close"), aiohttp.ClientResponseError),
    ("bad-header", raw(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", then="close"), aiohttp.ClientResponseError),
    (
        "two-lengths",
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", then="close"),
        aiohttp.ClientResponseError,
    ),
    (
        "long-header",
        raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 9000 + b"\r\n\r\n", then="close"),
        aiohttp.ClientResponseError,
    ),
)


@each_kind()
@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize(("behaviour", "error"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_a_broken_answer_is_aiohttps_error(
    kind: Kind, method: str, behaviour: Behaviour, error: type[Exception]
) -> None:
    """Code that tells one failure from another by its class would do the wrong thing about it."""

    async def scenario() -> tuple[BaseException, int]:
        async with Peer(behaviour) as peer, kind.open(peer.url) as session:
            return await failure(session.request(method, "/", data=b"x")), len(peer.seen)

    found, requests = run(scenario())

    assert (type(found), requests) == (error, 1)


@each_kind()
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_refused_connection_is_aiohttps_error(kind: Kind, method: str) -> None:
    """A server that is down would be another class of error, or lose the host that is named in it."""

    async def scenario() -> BaseException:
        port = refused_port()
        async with kind.open() as session:
            error = await failure(session.request(method, f"http://127.0.0.1:{port}/"))
        assert isinstance(error, aiohttp.ClientConnectorError)
        assert (error.host, error.port, error.os_error.errno) == ("127.0.0.1", port, errno.ECONNREFUSED)
        return error

    assert type(run(scenario())) is aiohttp.ClientConnectorError


@each_kind()
def test_a_name_that_does_not_resolve_is_aiohttps_error(kind: Kind) -> None:
    """A typing error in a host name would be another class of error."""

    class Nowhere(aiohttp.abc.AbstractResolver):
        async def resolve(self, host: str, *_: Any, **__: Any) -> Any:
            raise OSError(None, f"no such host: {host}")

        async def close(self) -> None: ...

    async def scenario() -> BaseException:
        async with kind.open(connector=aiohttp.TCPConnector(resolver=Nowhere())) as session:
            return await failure(session.get("http://nowhere.test/"))

    error = run(scenario())

    assert type(error) is aiohttp.ClientConnectorDNSError
    assert (error.host, str(error.os_error)) == ("nowhere.test", "[Errno None] no such host: nowhere.test")


@each_kind()
@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("", aiohttp.InvalidUrlClientError),
        ("/no-base", aiohttp.InvalidUrlClientError),
        ("ftp://host.test/", aiohttp.NonHttpUrlClientError),
        ("http://", aiohttp.InvalidUrlClientError),
        ("http:///path", aiohttp.InvalidUrlClientError),
        ("http://host.test:port/", aiohttp.InvalidUrlClientError),
        ("http://[::1/", aiohttp.InvalidUrlClientError),
        ("mailto:a@b.test", aiohttp.NonHttpUrlClientError),
        (None, TypeError),
        (5, TypeError),
        (b"http://host.test/", TypeError),
    ],
)
def test_an_address_that_is_none_is_aiohttps_error(kind: Kind, url: Any, error: type[Exception]) -> None:
    """A mistake in the configuration would look like an outage."""

    async def scenario() -> BaseException:
        async with kind.open() as session:
            return await failure(session.get(url))

    assert type(run(scenario())) is error


@each_kind()
@pytest.mark.parametrize("url", ["/no-base", "http:///path"])
def test_the_error_of_an_address_names_it(kind: Kind, url: str) -> None:
    """A mistake in the configuration could not be found."""

    async def scenario() -> tuple[str, str]:
        async with kind.open() as session:
            error = await failure(session.get(url))
            assert isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError)
            return str(error), str(getattr(error, "url", url))

    assert run(scenario()) == (url, url)


@each_kind()
def test_a_malformed_answers_error_tells_what_was_asked(kind: Kind) -> None:
    """A handler that logs what was asked would find nothing in the error."""
    info = run(_malformed(kind))

    assert (info.method, info.url.path) == ("POST", "/x")


@each_kind(OURS)
def test_a_malformed_answers_error_tells_no_secret(kind: Kind) -> None:
    """By design not as in aiohttp (README, "Errors"): a token in the query or a header would go into the log."""
    info = run(_malformed(kind))

    assert (info.url.query_string, dict(info.headers)) == ("", {})


async def _malformed(kind: Kind) -> aiohttp.RequestInfo:
    async with Peer(raw(b"nonsense\r\n\r\n", then="close")) as peer, kind.open(peer.url) as session:
        error = await failure(session.post("/x?q=1", headers={"X-Own": "1"}))
        assert isinstance(error, aiohttp.ClientResponseError)
        assert error.status == 400
        return error.request_info


@each_kind()
@pytest.mark.parametrize("method", ["read", "text", "json"])
def test_a_body_that_stops_short_fails_when_it_is_read(kind: Kind, method: str) -> None:
    """Half an answer would be taken for a whole one."""

    async def scenario() -> tuple[int, BaseException]:
        async with Peer(cut()) as peer, kind.open(peer.url) as session, session.get("/") as response:
            return response.status, await failure(getattr(response, method)())

    status, error = run(scenario())

    assert (status, type(error)) == (200, aiohttp.ClientPayloadError)


LIMITS: Final[tuple[tuple[dict[str, Any], dict[str, Any], type[Exception]], ...]] = (
    ({"timeout": aiohttp.ClientTimeout(total=0.05)}, {}, TimeoutError),
    ({"timeout": aiohttp.ClientTimeout(sock_read=0.05)}, {}, aiohttp.SocketTimeoutError),
    ({}, {"timeout": aiohttp.ClientTimeout(total=0.05)}, TimeoutError),
    ({}, {"timeout": aiohttp.ClientTimeout(sock_read=0.05)}, aiohttp.SocketTimeoutError),
    ({}, {"timeout": 0.05}, TimeoutError),
    ({"timeout": aiohttp.ClientTimeout(total=60)}, {"timeout": 0.05}, TimeoutError),
)


@each_kind()
@pytest.mark.parametrize(("at_session", "at_request", "error"), LIMITS)
def test_a_server_that_says_nothing_is_aiohttps_timeout(
    kind: Kind, at_session: dict[str, Any], at_request: dict[str, Any], error: type[Exception]
) -> None:
    """A timeout would be of another class, or would not come."""

    async def scenario() -> BaseException:
        async with Peer(hang()) as peer, kind.open(peer.url, **at_session) as session:
            return await failure(session.post("/", **at_request))

    found = run(scenario())

    # The middleware's deadline lies before aiohttp's timer, and its error is a TimeoutError that has a report.
    assert type(found) in ({error, DeadlineExceededError} if kind is MIDDLEWARE else {error})
    assert isinstance(found, error)


@each_kind()
@pytest.mark.parametrize("option", ["connect", "sock_connect"])
def test_a_connection_that_does_not_come_about_is_aiohttps_timeout(kind: Kind, option: str) -> None:
    """A server that cannot be reached would be taken for one that is slow."""

    async def scenario() -> BaseException:
        timeout = aiohttp.ClientTimeout(**{option: 0.05})
        async with silent_address() as port, kind.open() as session:
            return await failure(session.get(f"http://127.0.0.1:{port}/", timeout=timeout))

    assert type(run(scenario())) is aiohttp.ConnectionTimeoutError


@each_kind()
def test_a_pool_without_a_free_place_is_aiohttps_timeout(kind: Kind) -> None:
    """A pool that is too small would be taken for a server that is slow."""

    async def scenario() -> BaseException:
        connector = aiohttp.TCPConnector(limit=1)
        async with (
            Peer(answer(200, b"kept open")) as peer,
            kind.open(peer.url, connector=connector) as session,
            Peer(raw(head_of(200, {"Content-Length": "9"}))) as slow,
            session.get(slow.url),
        ):
            return await failure(session.get("/", timeout=aiohttp.ClientTimeout(connect=0.05)))

    assert type(run(scenario())) is aiohttp.ConnectionTimeoutError


@each_kind()
def test_the_total_covers_the_connecting_too(kind: Kind) -> None:
    """The caller's one limit would not hold where nobody answers the call."""

    async def scenario() -> BaseException:
        timeout = aiohttp.ClientTimeout(total=0.05)
        async with silent_address() as port, kind.open() as session, asyncio.timeout(5):
            return await failure(session.get(f"http://127.0.0.1:{port}/", timeout=timeout))

    assert isinstance(run(scenario()), TimeoutError)


@each_kind()
def test_the_total_while_connecting_is_a_timeout(kind: Kind) -> None:
    """Code that waits for a ``TimeoutError`` would be met by something else.

    The session's own limit for connecting lies just below the total, so as a rule its error is aiohttp's subclass, by
    which it knows that nothing was sent; on a loop that lags the total may come first.
    """

    async def scenario() -> BaseException:
        timeout = aiohttp.ClientTimeout(total=0.5)
        async with silent_address() as port, kind.open() as session:
            return await failure(session.get(f"http://127.0.0.1:{port}/", timeout=timeout))

    allowed = {TimeoutError, aiohttp.ConnectionTimeoutError} if kind is RESILIENT else {TimeoutError}
    assert type(run(scenario())) in allowed


@each_kind()
@pytest.mark.parametrize(
    ("timeout", "error"),
    [
        (aiohttp.ClientTimeout(total=0.1), TimeoutError),
        (aiohttp.ClientTimeout(sock_read=0.1), aiohttp.SocketTimeoutError),
    ],
)
def test_a_body_that_stalls_is_aiohttps_timeout(
    kind: Kind, timeout: aiohttp.ClientTimeout, error: type[Exception]
) -> None:
    """A download that stops in the middle would hold the caller for ever."""

    async def scenario() -> BaseException:
        stalls = hang(head_of(200, {"Content-Length": "10"}) + b"half")
        async with Peer(stalls) as peer, kind.open(peer.url, timeout=timeout) as session, session.get("/") as response:
            return await failure(response.read())

    found = run(scenario())

    assert isinstance(found, error)
    assert type(found).__module__.partition(".")[0] != "holdfast"


@each_kind()
def test_a_body_that_comes_slowly_is_no_timeout_between_reads(kind: Kind) -> None:
    """A long download would be cut off although it never stood still."""

    async def scenario() -> int:
        dripping = drip(head_of(200, {"Content-Length": "5"}), b"x", 0.03)
        timeout = aiohttp.ClientTimeout(total=None, sock_read=1)
        async with (
            Peer(dripping) as peer,
            kind.open(peer.url, timeout=timeout) as session,
            session.get("/") as response,
        ):
            return len(await response.read())

    assert run(scenario()) == 5
