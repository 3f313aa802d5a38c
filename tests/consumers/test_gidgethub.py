"""gidgethub: ``gidgethub.aiohttp.GitHubAPI(session, ...)`` sends every call to GitHub through the session."""

from typing import Any

import aiohttp
import pytest
from gidgethub import BadRequest, GitHubBroken, InvalidField
from gidgethub.aiohttp import GitHubAPI
from tests.consumers.sessions import OURS, PLAIN, Told, a_session, on_the_wire, over_both, told
from tests.support import Behaviour, Peer, answer, drop, failure, run, said

from holdfast.testing import RecordingSink

REFUSED = {"message": "Validation Failed", "errors": [{"resource": "Issue", "field": "title", "code": "missing"}]}


def github(peer: Peer, session: aiohttp.ClientSession) -> GitHubAPI:
    """Make a client that takes the peer for GitHub."""
    return GitHubAPI(session, "a-bot", oauth_token="made-up", base_url=peer.url)


@over_both
def test_an_item_and_the_pages_of_a_list_come_through_the_session(kind: str) -> None:
    """A bot would see the first page only, or nothing."""

    async def scenario() -> tuple[Any, list[Any], list[str]]:
        async with Peer() as peer, a_session(kind) as session:
            peer._script = [
                said(200, {"number": 1}),
                said(200, [1, 2], link=f'<{peer.url}/issues?page=2>; rel="next"'),
                said(200, [3]),
            ]
            api = github(peer, session)
            item = await api.getitem("/issues/1")
            return item, [each async for each in api.getiter("/issues")], peer.lines

    assert run(scenario()) == (
        {"number": 1},
        [1, 2, 3],
        ["GET /issues/1", "GET /issues", "GET /issues?page=2"],
    )


def test_the_same_bytes_go_out_as_with_a_plain_session() -> None:
    """A GET too is given ``data=b""``: a body where there was none would be refused by a strict proxy."""

    async def sent(kind: str) -> object:
        async with Peer(said(200, {})) as peer, a_session(kind) as session:
            api = github(peer, session)
            await api.getitem("/issues/1")
            await api.post("/issues", data={"title": "t"})
            await api.patch("/issues/1", data={"title": "u"})
            await api.put("/issues/1/lock", data={})
            await api.delete("/issues/1/lock")
            return on_the_wire(peer)

    assert run(sent(OURS)) == run(sent(PLAIN))


@pytest.mark.parametrize("first", [answer(502), drop()], ids=["502", "dropped"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_what_is_safe_to_repeat_is_seen_only_as_its_good_answer(method: str, first: Behaviour) -> None:
    """GitHub answers 502 in passing: a bot would leave an issue locked, or a label off."""
    sink = RecordingSink()

    async def scenario() -> Any:
        async with Peer(first, said(200, {"number": 1})) as peer, a_session(OURS, sink) as session:
            api = github(peer, session)
            if method == "GET":
                return await api.getitem("/issues/1")
            if method == "PUT":
                return await api.put("/issues/1/lock", data={})
            return await api.delete("/issues/1/lock")

    answered = run(scenario())

    assert answered == (None if method == "DELETE" else {"number": 1})
    assert told(sink) == [Told(method, 200, 2, "success", "none" if method == "GET" else "landed")]


@over_both
def test_a_post_that_github_broke_on_is_not_made_twice(kind: str) -> None:
    """A second POST would open a second issue."""

    async def scenario() -> tuple[type[BaseException], Any, list[str]]:
        async with Peer(answer(502)) as peer, a_session(kind) as session:
            error = await failure(github(peer, session).post("/issues", data={"title": "t"}))
            return type(error), getattr(error, "status_code", None), peer.lines

    assert run(scenario()) == (GitHubBroken, 502, ["POST /issues"])


@over_both
@pytest.mark.parametrize(
    ("status", "document", "error_type", "args"),
    [
        (404, {"message": "Not Found"}, BadRequest, ("Not Found",)),
        (422, REFUSED, InvalidField, ("Validation Failed for 'title'",)),
    ],
)
def test_a_refusal_is_the_same_error_as_with_a_plain_session(
    kind: str, status: int, document: Any, error_type: type[Exception], args: tuple[str, ...]
) -> None:
    """A bot tells a missing issue from a bad title by the class of gidgethub's exception."""

    async def scenario() -> tuple[BaseException, list[str]]:
        async with Peer(said(status, document)) as peer, a_session(kind) as session:
            return await failure(github(peer, session).post("/issues", data={})), peer.lines

    error, lines = run(scenario())

    assert (type(error), error.args) == (error_type, args)
    assert lines == ["POST /issues"]
