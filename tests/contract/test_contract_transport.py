"""TLS, proxies and the pool are aiohttp's own, with every option that it has for them."""

import asyncio
import ssl
from typing import Any, Final

import aiohttp
import pytest
from tests.contract.kinds import OLD_AUTH, Kind, each_kind
from tests.contract.tls import HOST, behind_tls, in_the_open, proxy, tls
from tests.support import Behaviour, Peer, Seen, Turn, answer, failure, run, towards

WRONG: Final = b"\0" * 32


@each_kind()
@pytest.mark.parametrize("where", ["request", "connector"])
def test_a_context_of_the_callers_is_used(kind: Kind, where: str) -> None:
    """A private authority would not be trusted, or everybody would be."""

    async def scenario() -> bytes:
        async with behind_tls() as port:
            connector = towards(port)
            given: dict[str, Any] = {"ssl": tls().client} if where == "request" else {}
            if where == "connector":
                connector._ssl = tls().client
            async with kind.open(connector=connector) as session, session.get(f"https://{HOST}/", **given) as response:
                return await response.read()

    assert run(scenario()) == b"safe"


@each_kind()
def test_checking_can_be_turned_off(kind: Kind) -> None:
    """A test system with a certificate of its own could not be reached."""

    async def scenario() -> bytes:
        async with (
            behind_tls() as port,
            kind.open() as session,
            session.get(f"https://127.0.0.1:{port}/", ssl=False) as response,
        ):
            return await response.read()

    assert run(scenario()) == b"safe"


@each_kind()
def test_a_certificate_nobody_vouches_for_is_aiohttps_error(kind: Kind) -> None:
    """A man in the middle would be talked to, or the refusal would be taken for an outage."""

    async def scenario() -> BaseException:
        async with behind_tls() as port, kind.open() as session:
            return await failure(session.get(f"https://127.0.0.1:{port}/"))

    error = run(scenario())

    assert type(error) is aiohttp.ClientConnectorCertificateError
    assert isinstance(error.certificate_error, ssl.SSLCertVerificationError)
    assert (error.host, error.ssl) == ("127.0.0.1", True)


@each_kind()
@pytest.mark.parametrize("right", [True, False])
def test_a_fingerprint_is_checked(kind: Kind, *, right: bool) -> None:
    """A pinned certificate would not be looked at."""

    async def scenario() -> Any:
        pinned = aiohttp.Fingerprint(tls().fingerprint if right else WRONG)
        async with behind_tls() as port, kind.open() as session:
            coming = session.get(f"https://127.0.0.1:{port}/", ssl=pinned)
            if right:
                return await (await coming).read()
            error = await failure(coming)
            assert isinstance(error, aiohttp.ServerFingerprintMismatch)
            return error.expected, error.got

    assert run(scenario()) == (b"safe" if right else (WRONG, tls().fingerprint))


@each_kind()
@pytest.mark.parametrize(("name", "error"), [(HOST, None), ("other.test", aiohttp.ClientConnectorCertificateError)])
def test_the_server_name_can_be_given(kind: Kind, name: str, error: type[Exception] | None) -> None:
    """A server that is reached by its number could not be checked by its name."""

    async def scenario() -> Any:
        async with behind_tls() as port, kind.open() as session:
            coming = session.get(f"https://127.0.0.1:{port}/", ssl=tls().client, server_hostname=name)
            return await (await coming).read() if error is None else type(await failure(coming))

    assert run(scenario()) == (b"safe" if error is None else error)


@each_kind()
def test_tls_against_an_open_port_is_aiohttps_error(kind: Kind) -> None:
    """``https`` where ``http`` was meant would be retried as an outage, or be another class of error."""

    async def scenario() -> BaseException:
        async with in_the_open() as port, kind.open() as session:
            return await failure(session.get(f"https://127.0.0.1:{port}/"))

    assert type(run(scenario())) is aiohttp.ClientConnectorSSLError


@OLD_AUTH
@each_kind()
@pytest.mark.parametrize("place", ["request", "session"])
def test_a_request_in_the_open_goes_through_the_proxy(kind: Kind, place: str) -> None:
    """A request would leave a network from which only the proxy may."""

    async def scenario() -> tuple[list[bytes], int, bytes]:
        async with Peer(answer(200, b"through")) as peer, proxy() as via:
            options: dict[str, Any] = {"proxy": via.url, "proxy_auth": aiohttp.BasicAuth("u", "p")}
            at_session, at_request = (options, {}) if place == "session" else ({}, options)
            async with kind.open(**at_session) as session, session.get(f"{peer.url}/x?q=1", **at_request) as response:
                body = await response.read()
            first, *lines = via.heads[0].split(b"\r\n")
            login = [line for line in lines if line.lower().startswith(b"proxy-authorization")]
            return [first.replace(str(peer.port).encode(), b"PORT"), *login], response.status, body

    assert run(scenario()) == (
        [b"GET http://127.0.0.1:PORT/x?q=1 HTTP/1.1", b"Proxy-Authorization: Basic dTpw"],
        200,
        b"through",
    )


@each_kind()
def test_a_tunnel_is_dug_with_the_proxys_headers(kind: Kind) -> None:
    """A proxy that wants a token would refuse, or the token would be shown to the server behind it."""

    async def scenario() -> tuple[bytes, bytes, bool]:
        async with behind_tls() as port, proxy() as via, kind.open() as session:
            async with session.get(
                f"https://127.0.0.1:{port}/",
                ssl=False,
                proxy=via.url,
                proxy_headers={"X-Proxy-Token": "t"},
                headers={"X-Secret": "s"},
            ) as response:
                body = await response.read()
            head = via.heads[0]
            return body, head.split(b" ")[0], b"\r\nX-Proxy-Token: t\r\n" in head and b"X-Secret" not in head

    assert run(scenario()) == (b"safe", b"CONNECT", True)


@each_kind()
@pytest.mark.parametrize("trusting", [True, False])
def test_the_environments_proxy_is_used_only_when_trusted(
    kind: Kind, monkeypatch: pytest.MonkeyPatch, *, trusting: bool
) -> None:
    """A proxy would be used that nobody asked for, or passed by where it was."""

    async def scenario() -> tuple[int, int]:
        async with Peer(answer()) as peer, proxy() as via:
            monkeypatch.setenv("http_proxy", via.url)
            monkeypatch.delenv("no_proxy", raising=False)
            async with kind.open(trust_env=trusting) as session:
                await session.get(peer.url)
            return len(via.heads), len(peer.seen)

    assert run(scenario()) == (int(trusting), 1)


@each_kind()
@pytest.mark.parametrize("status", [403, 407, 502])
def test_a_proxy_that_refuses_the_tunnel_is_aiohttps_error(kind: Kind, status: int) -> None:
    """A refusal of the proxy's would be taken for the server's answer."""

    async def scenario() -> BaseException:
        refusal = b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status
        async with behind_tls() as port, proxy(refusal) as via, kind.open() as session:
            return await failure(session.get(f"https://127.0.0.1:{port}/", proxy=via.url))

    error = run(scenario())

    assert type(error) is aiohttp.ClientHttpProxyError
    assert (error.status, error.message) == (status, "No")


@each_kind()
def test_a_proxy_that_is_not_there_is_aiohttps_error(kind: Kind) -> None:
    """A dead proxy would be taken for a dead server."""

    async def scenario() -> BaseException:
        async with proxy() as via:
            gone = via.url
        async with kind.open() as session:
            return await failure(session.get("http://127.0.0.1:1/", proxy=gone))

    assert type(run(scenario())) is aiohttp.ClientProxyConnectionError


@each_kind()
def test_a_hundred_requests_at_once_keep_their_answers_apart(kind: Kind) -> None:
    """One caller would be given another's answer."""

    def echo(seen: Seen) -> Behaviour:
        return answer(200, seen.target.encode())

    async def scenario() -> list[bytes]:
        async def fetch(session: aiohttp.ClientSession, number: int) -> bytes:
            async with session.get(f"/{number}") as response:
                return await response.read()

        async with Peer(choose=echo) as peer, kind.open(peer.url) as session:
            return await asyncio.gather(*(fetch(session, number) for number in range(100)))

    assert run(scenario()) == [f"/{number}".encode() for number in range(100)]


@each_kind()
@pytest.mark.parametrize("limit", [1, 2])
def test_a_small_pool_is_never_exceeded_and_never_stalls(kind: Kind, limit: int) -> None:
    """A server that allows few connections would be overrun, or the callers would wait for ever."""
    open_now, most = 0, 0

    async def slowly(turn: Turn) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(0.001)
        open_now -= 1
        await answer(503 if turn.request.target == "/3" else 200, b"x" * 10)(turn)

    async def scenario() -> tuple[list[int], int]:
        async def fetch(session: aiohttp.ClientSession, number: int) -> int:
            async with session.get(f"/{number}") as response:
                return response.status

        connector = aiohttp.TCPConnector(limit=limit)
        async with asyncio.timeout(5), Peer(slowly) as peer, kind.open(peer.url, connector=connector) as session:
            return await asyncio.gather(*(fetch(session, number) for number in range(12))), peer.connections

    statuses, connections = run(scenario())

    assert statuses == [503 if number == 3 else 200 for number in range(12)]
    assert (most, connections) == (limit, limit)


@each_kind()
def test_connections_are_used_again(kind: Kind) -> None:
    """Every request would pay for a handshake."""

    async def scenario() -> int:
        async with Peer(answer(200, b"x" * 2000)) as peer, kind.open(peer.url) as session:
            for _ in range(5):
                async with session.get("/") as response:
                    await response.read()
            return peer.connections

    assert run(scenario()) == 1
