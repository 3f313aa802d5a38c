"""Redirects: one call and one key over all hops, and nothing that is meant for one origin reaches another."""

from typing import Any

import aiohttp
import pytest
from tests.support import AT_ONCE, Peer, answer, drop, failure, report, run
from yarl import URL

from holdfast import Effect, Outcome, PermanentFailureError, Policy, ResilientSession, resilient_middleware


def test_a_redirect_to_another_origin_takes_no_secret_along() -> None:
    """Aiohttp drops Authorization and Cookie only: the API key and the payment's key would go to a stranger."""
    secrets = {"X-Api-Key": "s", "Authorization": "Bearer s", "X-Auth-Token": "s", "Api-Key": "s"}

    async def scenario() -> tuple[set[str], set[str], set[str]]:
        async with (
            Peer(answer(200)) as stranger,
            Peer(answer(307, location="/here"), answer(307, location=f"{stranger.url}/there")) as home,
            ResilientSession(home.url, headers={"X-Plain": "1"}) as session,
        ):
            await session.put("/", json={}, headers=secrets, idempotency_key="k")
            first, second, last = (set(seen.headers) for seen in (*home.seen, *stranger.seen))
            return first, second, last

    first, second, last = run(scenario())

    wanted = {name.lower() for name in secrets} | {"idempotency-key"}
    assert wanted <= first
    assert wanted <= second
    assert not wanted & last
    assert "x-plain" in last


def test_a_redirect_that_comes_back_home_brings_no_secret_from_abroad() -> None:
    """A detour over a stranger must not be a way to have secrets sent to an address of his choice."""

    async def scenario() -> tuple[list[str], set[str]]:
        async with Peer(answer(200)) as home:
            async with (
                Peer(answer(307, location=f"{home.url}/delete-all")) as stranger,
                ResilientSession() as session,
            ):
                await session.put(f"{stranger.url}/", json={}, headers={"X-Api-Key": "of-stranger"})
            return home.lines, set(home.seen[0].headers)

    lines, headers = run(scenario())

    assert lines == ["PUT /delete-all"]
    assert "x-api-key" not in headers


def abroad(status: int, *bodies: Any, **options: Any) -> tuple[Peer, tuple[Outcome, Effect, str]]:
    """POST to a server that redirects to another origin; give the other server, and the verdict."""

    async def scenario() -> tuple[Peer, tuple[Outcome, Effect, str]]:
        async with (
            Peer(*(bodies or (answer(200),))) as stranger,
            Peer(answer(status, location=f"{stranger.url}/there")) as home,
            ResilientSession(home.url, policy=options.pop("policy", AT_ONCE)) as session,
        ):
            response = await session.post("/", **options)
            known = report(response)
            return stranger, (known.outcome, known.effect, known.reason)

    return run(scenario())


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize(
    "options",
    [
        {"json": {"card": "4242"}},
        {"data": b"card=4242", "headers": {"Content-Type": "text/card"}},
        {"data": b"card=4242" * 100, "compress": "gzip"},
        {"data": b"card=4242", "chunked": True},
    ],
    ids=["json", "bytes", "compressed", "chunked"],
)
def test_a_body_does_not_follow_a_redirect_to_another_origin(status: int, options: dict[str, Any]) -> None:
    """A card number would be handed to whomever the answer names."""
    stranger, verdict = abroad(status, **options)

    (seen,) = stranger.seen
    told = {name: value for name, value in seen.headers.items() if name.startswith(("content-", "transfer-"))}
    unsaid = {"content-length": "0", "content-type": "application/octet-stream"}  # what aiohttp sends with no body
    assert (seen.method, seen.body, told) == ("POST", b"", unsaid)
    assert verdict == (Outcome.PERMANENT_FAILURE, Effect.IN_DOUBT, "body_dropped")


def test_a_body_may_follow_a_redirect_where_the_policy_says_so() -> None:
    """A partner that moves house with a 308 could not be called any more."""
    stranger, verdict = abroad(308, json={"a": 1}, policy=Policy(redirect_body=True))

    assert [seen.body for seen in stranger.seen] == [b'{"a": 1}']
    assert verdict == (Outcome.SUCCESS, Effect.LANDED, "ok")


def test_a_refusal_from_another_origin_is_told_as_it_is() -> None:
    """What the other origin says against the request would be hidden behind the dropped body."""
    _, verdict = abroad(307, answer(404), json={"a": 1})

    assert verdict == (Outcome.PERMANENT_FAILURE, Effect.NONE, "not_found")


def test_raise_for_status_raises_a_success_that_answers_no_body() -> None:
    """Code that trusts ``raise_for_status`` would book a payment that was never asked for."""

    async def scenario() -> BaseException:
        async with (
            Peer(answer(200)) as stranger,
            Peer(answer(307, location=stranger.url)) as home,
            ResilientSession(home.url, raise_for_status=True) as session,
        ):
            return await failure(session.post("/", json={"a": 1}))

    error = run(scenario())

    assert isinstance(error, PermanentFailureError)
    assert (error.status, error.report.reason) == (200, "body_dropped")


def test_a_search_without_a_body_follows_as_ever() -> None:
    """A GET has nothing to leave behind: a moved page would be called a failure."""

    async def scenario() -> tuple[int, Outcome]:
        async with (
            Peer(answer(200)) as other,
            Peer(answer(308, location=other.url)) as home,
            ResilientSession(home.url) as session,
        ):
            response = await session.get("/")
            return response.status, report(response).outcome

    assert run(scenario()) == (200, Outcome.SUCCESS)


def test_cookies_given_for_one_request_stay_at_their_origin() -> None:
    """A log-in cookie passed with the request would be shown to a stranger; the stranger's own is another matter."""

    async def scenario() -> list[str | None]:
        jar = aiohttp.CookieJar(unsafe=True)
        async with (
            Peer(answer(200)) as stranger,
            Peer(answer(302, location=f"http://localhost:{stranger.port}/")) as home,
            ResilientSession(cookie_jar=jar) as session,
        ):
            jar.update_cookies({"theirs": "1"}, URL(f"http://localhost:{stranger.port}/"))
            await session.get(home.url, cookies={"login": "secret"}, headers={"X-A": "1"})
            return [seen.headers.get("cookie") for seen in (*home.seen, *stranger.seen)]

    assert run(scenario()) == ["login=secret", "theirs=1"]


def test_what_went_abroad_does_not_come_home() -> None:
    """A stranger could have the caller's API key and body sent to an address of his choice at the provider."""

    async def scenario() -> tuple[list[str], set[str], bytes]:
        addresses: dict[str, str] = {}
        async with (
            Peer(choose=lambda seen: answer(307, location=addresses[seen.target])) as home,
            Peer(choose=lambda _: answer(307, location=f"{home.url}/delete-all")) as stranger,
            ResilientSession(home.url) as session,
        ):
            addresses |= {"/": stranger.url, "/delete-all": "/done", "/done": "gopher://end.test"}
            await failure(session.put("/", json={"a": 1}, headers={"X-Api-Key": "s"}, idempotency_key="k"))
            last = home.seen[-1]
            return home.lines, set(last.headers) & {"x-api-key", "idempotency-key"}, last.body

    assert run(scenario()) == (["PUT /", "PUT /delete-all", "PUT /done"], set(), b"")


def test_one_key_over_all_hops_and_attempts() -> None:
    """A second key on the second hop would be a second payment."""

    async def scenario() -> tuple[list[tuple[str, str | None, bytes]], int]:
        async with (
            Peer(
                answer(307, location="/a"), answer(308, location="/b"), drop(), answer(307, location="/b"), answer(201)
            ) as peer,
            ResilientSession(peer.url, policy=AT_ONCE) as session,
        ):
            response = await session.post("/", json={"a": 1}, idempotency_key="k")
            seen = [(each.target, each.headers.get("idempotency-key"), each.body) for each in peer.seen]
            return seen, len(report(response).attempts)

    body = b'{"a": 1}'
    assert run(scenario()) == ([(path, "k", body) for path in ("/", "/a", "/b", "/", "/b")], 2)


@pytest.mark.parametrize("form", ["session", "middleware"])
def test_the_sessions_own_log_in_does_not_go_abroad(form: str) -> None:
    """Aiohttp puts a session's ``auth=`` on every hop, also to a stranger."""

    async def scenario() -> list[str | None]:
        auth = aiohttp.encode_basic_auth("user", "secret") if hasattr(aiohttp, "encode_basic_auth") else None
        options: Any = {"headers": {"Authorization": auth}} if auth else {"auth": aiohttp.BasicAuth("user", "secret")}
        chain = [resilient_middleware()] if form == "middleware" else []
        make = aiohttp.ClientSession if form == "middleware" else ResilientSession
        async with (
            Peer(answer(200)) as stranger,
            Peer(answer(307, location=stranger.url)) as home,
            make(middlewares=chain, **options) as session,
        ):
            await session.get(home.url)
            return [seen.headers.get("authorization") for seen in (*home.seen, *stranger.seen)]

    first, second = run(scenario())

    assert first is not None
    assert second is None
