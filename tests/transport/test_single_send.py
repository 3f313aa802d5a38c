"""The guard inside a genuine aiohttp session: one send per hop, and what it knows of it."""

from typing import Any

import aiohttp
import pytest
from tests.support import Behaviour, Peer, answer, drop, failure, refused_port, reset, run

from holdfast.transport.body import RequestBody, body_from
from holdfast.transport.home import Home
from holdfast.transport.single_send import HeldBackError, SingleSend, unwrapped


@pytest.mark.parametrize("broken", [drop(), reset()], ids=["drop", "reset"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "POST"])
def test_aiohttps_hidden_resend_is_held_back(broken: Behaviour, method: str) -> None:
    """One capture would become two, with nothing in any log."""

    async def scenario() -> tuple[BaseException, int]:
        async with Peer(broken) as peer, aiohttp.ClientSession(peer.url) as client:
            error = await failure(client.request(method, "/", middlewares=(SingleSend(Home()),)))
            return error, len(peer.seen)

    error, sends = run(scenario())

    assert isinstance(error, HeldBackError)
    assert isinstance(unwrapped(error), aiohttp.ServerDisconnectedError | aiohttp.ClientOSError)
    assert sends == 1


def test_aiohttp_still_resends_without_the_guard() -> None:
    """The guard could be left in after the reason for it has gone."""

    async def scenario() -> int:
        async with Peer(drop()) as peer, aiohttp.ClientSession(peer.url) as client:
            await failure(client.put("/", data=b"x"))
            return len(peer.seen)

    assert run(scenario()) == 2


def test_other_failures_pass_as_they_are() -> None:
    """The caller's own middleware could not catch the error it waits for."""
    error = LookupError("of a middleware below")

    assert unwrapped(error) is error


async def evidence(body: RequestBody | None, *script: Behaviour, port: int = 0) -> tuple[bool, bool | None]:
    """Send one PUT through the guard; give what it knows."""
    guard = SingleSend(Home(), body)
    async with Peer(*script or (answer(),)) as peer, aiohttp.ClientSession() as client:
        try:
            url = f"http://127.0.0.1:{port or peer.port}/"
            await client.put(url, data=body, middlewares=(guard,))
        except aiohttp.ClientError:
            pass
        return guard.reached, guard.bytes_sent


def test_a_body_that_was_begun_is_known() -> None:
    """A payment that may have landed would be called unsent."""
    assert run(evidence(body_from(b"x"), drop())) == (True, True)


def test_a_body_that_was_never_begun_is_proof() -> None:
    """A payment that never left would be looked up by hand."""
    assert run(evidence(body_from(b"x"), port=refused_port())) == (True, False)


@pytest.mark.parametrize("body", [None, body_from(b"")])
def test_without_a_body_there_is_no_proof(body: RequestBody | None) -> None:
    """A bodiless POST that was sent would be called unsent."""
    assert run(evidence(body, drop())) == (True, None)


class Signing(aiohttp.ClientRequest):
    """Puts a body of its own in the place of the one that it was given, at the last moment."""

    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        await self.update_body(b"signed")
        return await super().send(conn)


@pytest.mark.parametrize(("request_class", "begun"), [(aiohttp.ClientRequest, True), (Signing, None)])
def test_a_guard_with_nothing_to_hold_back_knows_whether_its_body_was_begun(
    request_class: type[aiohttp.ClientRequest], *, begun: bool | None
) -> None:
    """A payment that was sent with another body than ours would be called unsent."""
    body = body_from(b"x")
    guard = SingleSend(Home(), body)
    guard.holds_back = False

    async def scenario() -> bool | None:
        async with Peer(drop()) as peer, aiohttp.ClientSession(request_class=request_class) as client:
            await failure(client.post(peer.url, data=body, middlewares=guard.around(())))
            return guard.bytes_sent

    assert run(scenario()) is begun


def test_after_a_redirect_something_was_sent() -> None:
    """The first hop was answered: it cannot be called unsent because the second was refused."""
    there = f"http://127.0.0.1:{refused_port()}/"

    assert run(evidence(body_from(b"x"), answer(307, location=there))) == (True, True)


def test_a_request_that_never_got_to_the_wire_is_known() -> None:
    """A mistake in an argument would be reported as a payment in doubt."""
    guard = SingleSend(Home())

    assert (guard.reached, guard.bytes_sent) == (False, False)
