"""vcrpy: patches ``_request`` on the class ``aiohttp.ClientSession`` to record what was answered, and to replay it.

It works below the verdict: every attempt is recorded, and replayed in its turn.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import vcr
from tests.consumers.sessions import OURS, PLAIN, Told, a_session, over_both, told
from tests.support import Behaviour, Peer, answer, drop, failure, run, said
from vcr.errors import CannotOverwriteExistingCassetteException

from holdfast.testing import RecordingSink

Talk = Callable[[aiohttp.ClientSession, str], Awaitable[Any]]


async def listing(session: aiohttp.ClientSession, url: str) -> Any:
    """Read a list."""
    async with session.get(f"{url}/items", params={"page": "1"}) as response:
        return response.status, dict(response.headers), await response.json()


async def charge(session: aiohttp.ClientSession, url: str) -> Any:
    """Charge once."""
    async with session.post(f"{url}/charges", json={"amount": 1}) as response:
        return response.status, dict(response.headers), await response.json()


def recorded(kind: str, cassette: Path, talk: Talk, *script: Behaviour) -> tuple[str, Any]:
    """Record a talk with a real server; give the address it had, and what was answered."""

    async def scenario() -> tuple[str, Any]:
        async with Peer(*script) as peer, a_session(kind) as session:
            with vcr.use_cassette(str(cassette)):
                return peer.url, await talk(session, peer.url)

    return run(scenario())


def replayed(kind: str, cassette: Path, talk: Talk, url: str, sink: RecordingSink | None = None, **how: Any) -> Any:
    """Have the talk again, with the server gone."""

    async def scenario() -> Any:
        async with a_session(kind, sink) as session:
            with vcr.use_cassette(str(cassette), record_mode="none", **how):
                return await talk(session, url)

    return run(scenario())


@pytest.mark.parametrize("recording", [PLAIN, OURS])
@over_both
@pytest.mark.parametrize("talk", [listing, charge])
def test_what_one_session_recorded_is_replayed_to_the_other(
    tmp_path: Path, kind: str, recording: str, talk: Talk
) -> None:
    """The cassettes of a project were recorded before it took this session, and must go on working."""
    cassette = tmp_path / "talk.yaml"
    url, live = recorded(recording, cassette, talk, said(200, {"items": ["a"]}, x_mark="m"))

    again = replayed(kind, cassette, talk, url)

    assert live[0] == 200
    assert live[2] == {"items": ["a"]}
    assert again == live


def test_both_attempts_are_recorded_and_replayed(tmp_path: Path) -> None:
    """A recorded outage must be survived in the replay as it was when it happened."""
    cassette, sink = tmp_path / "talk.yaml", RecordingSink()
    url, live = recorded(OURS, cassette, listing, answer(503), said(200, {"items": ["a"]}))

    again = replayed(OURS, cassette, listing, url, sink)

    assert cassette.read_text().count("uri:") == 2
    assert live == again
    assert told(sink) == [Told("GET", 200, 2, "success", "none")]


@over_both
def test_an_attempt_without_an_answer_is_not_on_the_cassette(tmp_path: Path, kind: str) -> None:
    """There is nothing to replay of a lost connection: only the attempt that was answered is there."""
    cassette = tmp_path / "talk.yaml"
    url, live = recorded(kind, cassette, listing, drop(), said(200, {"items": ["a"]}))

    again = replayed(kind, cassette, listing, url)

    assert cassette.read_text().count("uri:") == 1
    assert live == again


@over_both
@pytest.mark.parametrize("status", [404, 422])
def test_a_recorded_refusal_is_the_same_error_as_with_a_plain_session(tmp_path: Path, kind: str, status: int) -> None:
    """Tests of a project's error paths are made of such cassettes."""

    async def talk(session: aiohttp.ClientSession, url: str) -> tuple[int, str]:
        error = await failure(session.post(f"{url}/charges", json={}, raise_for_status=True))
        assert isinstance(error, aiohttp.ClientResponseError)
        return error.status, str(error.request_info.real_url)

    cassette = tmp_path / "talk.yaml"
    url, live = recorded(kind, cassette, talk, said(status, {"error": "no"}))

    assert live == (status, f"{url}/charges")
    assert replayed(kind, cassette, talk, url) == live


@over_both
def test_a_request_that_is_not_on_the_cassette_fails_at_once(tmp_path: Path, kind: str) -> None:
    """Tried again, it would hide behind pauses; sent out, a test would charge a real card."""
    cassette, sink = tmp_path / "talk.yaml", RecordingSink()
    url, _ = recorded(kind, cassette, listing, said(200, {}))

    async def talk(session: aiohttp.ClientSession, url: str) -> BaseException:
        return await failure(session.get(f"{url}/other"))

    assert type(replayed(kind, cassette, talk, url, sink)) is CannotOverwriteExistingCassetteException
    assert told(sink) == ([] if kind == PLAIN else [Told("GET", None, 1, "permanent_failure", "none")])


@pytest.mark.parametrize(
    "kind",
    [
        PLAIN,
        pytest.param(
            OURS,
            marks=pytest.mark.xfail(
                strict=True, reason="vcrpy is shown a RequestBody, which is equal to nothing on a cassette"
            ),
        ),
    ],
)
def test_requests_can_be_matched_by_body(tmp_path: Path, kind: str) -> None:
    """``match_on=["body"]``, which is not the default, tells two charges to one address apart."""
    cassette = tmp_path / "talk.yaml"
    url, live = recorded(kind, cassette, charge, said(200, {"id": 1}))

    assert replayed(kind, cassette, charge, url, match_on=["method", "uri", "body"]) == live
