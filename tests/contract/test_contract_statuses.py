"""``raise_for_status`` as a flag and as the caller's own check, on the session, on the request, and on both."""

import asyncio
from typing import Any

import aiohttp
import pytest
from tests.contract.kinds import RESILIENT, Kind, each_kind
from tests.support import Peer, answer, failure, run


class RefusedError(Exception):
    """What a caller's own check raises."""


async def refuse_all(response: aiohttp.ClientResponse) -> None:
    """Refuse any response."""
    raise RefusedError(response.status)


async def refuse_none(_: aiohttp.ClientResponse) -> None:
    """Refuse no response."""


@each_kind()
@pytest.mark.parametrize(
    ("session_says", "request_says", "raised"),
    [
        (False, None, None),
        (True, None, aiohttp.ClientResponseError),
        (True, False, None),
        (False, True, aiohttp.ClientResponseError),
        (refuse_all, None, RefusedError),
        (refuse_all, False, None),
        (refuse_all, True, aiohttp.ClientResponseError),
        (refuse_all, refuse_none, None),
        (True, refuse_none, None),
        (True, refuse_all, RefusedError),
        (False, refuse_all, RefusedError),
    ],
)
@pytest.mark.parametrize("status", [404, 500])
def test_raise_for_status_is_what_the_nearest_place_says(
    kind: Kind, session_says: Any, request_says: Any, raised: type[Exception] | None, status: int
) -> None:
    """An error status would be taken for success, or an expected one would raise."""

    async def scenario() -> BaseException | int:
        async with Peer(answer(status)) as peer, kind.open(peer.url, raise_for_status=session_says) as session:
            coming = session.get("/", raise_for_status=request_says)
            return (await coming).status if raised is None else await failure(coming)

    found = run(scenario())

    assert found == status if raised is None else isinstance(found, raised)
    assert not isinstance(found, aiohttp.ClientResponseError) or found.status == status


@each_kind()
@pytest.mark.parametrize("status", [200, 204, 302, 304])
def test_raise_for_status_lets_pass_what_is_no_error(kind: Kind, status: int) -> None:
    """An answer that is no error would raise."""

    async def scenario() -> int:
        async with Peer(answer(status, b"")) as peer, kind.open(peer.url, raise_for_status=True) as session:
            return (await session.get("/", allow_redirects=False)).status

    assert run(scenario()) == status


@each_kind()
def test_an_error_status_gives_its_connection_back(kind: Kind) -> None:
    """A pool of one would be blocked by the first error that is raised."""

    async def scenario() -> tuple[list[BaseException], int]:
        connector = aiohttp.TCPConnector(limit=1)
        async with (
            asyncio.timeout(5),
            Peer(answer(404, b"x" * 10)) as peer,
            kind.open(peer.url, connector=connector, raise_for_status=True) as session,
        ):
            return [await failure(session.get("/")) for _ in range(3)], len(peer.seen)

    errors, requests = run(scenario())

    assert all(isinstance(error, aiohttp.ClientResponseError) for error in errors)
    assert requests == 3


@each_kind()
def test_the_error_of_a_status_tells_what_was_asked_and_answered(kind: Kind) -> None:
    """A handler that reads the error would find less than aiohttp says."""
    error = run(_not_found(kind))

    assert (error.status, error.message, error.headers and error.headers["x-why"]) == (404, "Said", "gone")
    assert (error.request_info.method, error.request_info.url.path, error.history) == ("GET", "/x", ())


@each_kind([RESILIENT])
def test_the_error_of_a_status_tells_no_secret(kind: Kind) -> None:
    """By design not as in aiohttp (README, "Errors"): a token in the query or a header would go into the log."""
    info = run(_not_found(kind)).request_info

    assert (info.url.query_string, dict(info.headers)) == ("", {})


async def _not_found(kind: Kind) -> aiohttp.ClientResponseError:
    async with Peer(answer(404, b"", x_why="gone")) as peer, kind.open(peer.url, raise_for_status=True) as session:
        error = await failure(session.get("/x?q=1", headers={"X-Own": "1"}))
        assert isinstance(error, aiohttp.ClientResponseError)
        return error


@each_kind()
def test_a_status_can_be_raised_later(kind: Kind) -> None:
    """``response.raise_for_status()`` is the form most code has."""

    async def scenario() -> tuple[type, int, bool]:
        async with Peer(answer(404)) as peer, kind.open(peer.url) as session:
            response = await session.get("/")
            with pytest.raises(aiohttp.ClientResponseError) as raised:
                response.raise_for_status()
            return type(raised.value), raised.value.status, response.ok

    assert run(scenario()) == (aiohttp.ClientResponseError, 404, False)
