"""A request that says nothing but method and address goes a shorter way from the second time on, and nobody notices.

Nothing of it has to stay at home and it may be sent again, so it needs no guard; what could change that is looked at
every time. Where the session adds headers to it, it goes nearly as short a way, under a guard.
"""

import asyncio
import time
import warnings
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, Final
from unittest import mock

import aiohttp
import pytest
from tests.support import (
    AT_ONCE,
    Behaviour,
    Peer,
    answer,
    cut,
    drop,
    failure,
    hang,
    head_of,
    raw,
    refused_port,
    report,
    reset,
    run,
    run_virtual,
    towards,
)
from yarl import URL

from holdfast import CallReport, DeadlineExceededError, Effect, Policy, ResilientSession
from holdfast.engine.inbound import Inbound, bound
from holdfast.providers import FIANT, FINIX, GENERIC

ONCE: Final = Policy(max_attempts=1, deadline=10.0)
WAYS: Final = ("watched", "guarded", "bare")
GONE: Final = refused_port()
WITH_HEADERS: Final = partial(ResilientSession, headers={"x-plain": "1"})
MAKERS: Final = (aiohttp.ClientSession, ResilientSession, WITH_HEADERS)


class PatchedError(Exception):
    """What was put in the place of a method."""


async def refuse(*_: object, **__: object) -> Any:
    """Stand where aiohttp's method was."""
    raise PatchedError


async def known(session: Any, name: str = "get", url: Any = "/") -> Any:
    """Ask once, so that the same is known from now on, and give the session."""
    async with getattr(session, name)(url) as response:
        await response.read()
    if type(session) is ResilientSession:
        assert session._calls.reader.bare.kept[name, url].has_secrets is bool(session.headers)
    return session


def session_of(way: str, url: str | None = None, **options: Any) -> ResilientSession:
    """Open a session whose requests go the short way, the long one, or one where somebody looks on."""
    if way == "watched":
        options["trace_configs"] = [aiohttp.TraceConfig()]
    if way == "guarded":
        return WITH_HEADERS(url, **options)
    return ResilientSession(url, **options)


async def ending(coming: Awaitable[Any]) -> Any:
    """Give what a call ended in."""
    try:
        response = await coming
        await response.read()
    except Exception as error:  # noqa: BLE001 - the report is looked at
        return error
    return response


@pytest.mark.parametrize("attempts", [1, 3])
@pytest.mark.parametrize("broken", [drop(), reset()], ids=["drop", "reset"])
@pytest.mark.parametrize("name", ["get", "head", "options"])
def test_a_request_whose_connection_is_lost_arrives_once_an_attempt(
    name: str, broken: Behaviour, attempts: int
) -> None:
    """Aiohttp sends again by itself: a provider that is down would get twice the load that the policy allows."""

    async def scenario() -> tuple[int, int]:
        policy = replace(AT_ONCE, max_attempts=attempts)
        async with Peer(answer(200, b""), broken) as peer, ResilientSession(peer.url, policy=policy) as session:
            await known(session, name)
            error = await failure(getattr(session, name)("/"))
            return len(peer.seen) - 1, len(report(error).attempts)

    assert run(scenario()) == (attempts, attempts)


@pytest.mark.parametrize("header", ["X-Api-Key", "Authorization", "Idempotency-Key"])
def test_a_secret_that_the_session_got_later_does_not_follow_a_redirect_abroad(header: str) -> None:
    """A token that was fetched with the first request would go to a stranger with the second."""

    async def scenario() -> tuple[str | None, str | None]:
        async with (
            Peer(answer(200)) as stranger,
            Peer(answer(200), answer(307, location=f"{stranger.url}/there")) as home,
            ResilientSession(home.url) as session,
        ):
            await known(session)
            session.headers[header] = "s3cret"
            await (await session.get("/")).read()
            return home.seen[-1].headers.get(header.lower()), stranger.seen[-1].headers.get(header.lower())

    assert run(scenario()) == ("s3cret", None)


@pytest.mark.parametrize("header", ["X-Api-Key", "Authorization", "Idempotency-Key"])
def test_a_secret_of_the_session_stays_at_home_every_time_and_is_that_of_the_moment(header: str) -> None:
    """A token would go to a stranger from the second request on, or be used after it had been changed."""

    async def scenario() -> list[list[str | None]]:
        async with (
            Peer(answer(200)) as stranger,
            Peer(answer(307, location=f"{stranger.url}/there")) as home,
            ResilientSession(home.url, headers={header: "one"}) as session,
        ):
            for token in ("one", "two", "three"):
                session.headers[header] = token
                await known(session)
            return [[seen.headers.get(header.lower()) for seen in peer.seen] for peer in (home, stranger)]

    assert run(scenario()) == [["one", "two", "three"], [None] * 3]


def test_an_attempt_that_was_led_abroad_does_not_strip_the_next_one_at_home() -> None:
    """The second attempt would arrive without a token, and its refusal would pass for the provider's verdict."""

    async def scenario() -> tuple[list[str | None], list[str | None], int]:
        async with (
            Peer(answer(503)) as stranger,
            Peer(answer(200), answer(307, location=f"{stranger.url}/there"), answer(200)) as home,
            ResilientSession(home.url, headers={"X-Api-Key": "s3cret"}, policy=AT_ONCE) as session,
        ):
            await known(session)
            response = await session.get("/")
            seen = [[each.headers.get("x-api-key") for each in peer.seen] for peer in (home, stranger)]
            return seen[0], seen[1], response.status

    assert run(scenario()) == (["s3cret"] * 3, [None], 200)


async def seen_by(session: Any, url: Any, *peers: Peer, times: int = 3, **options: Any) -> list[str | None]:
    """Ask so often, and give what each peer saw of ``Authorization`` at last."""
    for _ in range(times):
        await (await session.get(url, **options)).read()
    return [peer.seen[-1].headers.get("authorization") for peer in peers]


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("place", ["base_url", "url", "session", "request"])
def test_a_user_is_named_at_home_every_time_and_abroad_never(place: str, times: int) -> None:
    """A request would be refused from the second time on, or tell a stranger the password."""

    async def scenario() -> list[str | None]:
        async with Peer(answer(200)) as stranger, Peer(answer(302, location=f"{stranger.url}/there")) as home:
            named = str(URL(home.url).with_user("user").with_password("pass"))
            base = {"base_url": named, "url": None}.get(place, home.url)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of all that has to do with auth=, in aiohttp 3.14
                user = aiohttp.BasicAuth("user", "pass")
                async with ResilientSession(base, auth=user if place == "session" else None) as session:
                    address = f"{named}/" if place == "url" else "/"
                    options = {"auth": user} if place == "request" else {}
                    return await seen_by(session, address, home, stranger, times=times, **options)

    assert run(scenario()) == ["Basic dXNlcjpwYXNz", None]


def test_a_user_given_with_one_request_is_forgotten_by_the_next() -> None:
    """The next caller's request would go out under the name of the one before."""

    async def scenario() -> list[str | None]:
        async with Peer(answer(200)) as peer, ResilientSession(peer.url) as session:
            await known(session)
            headers = {"Authorization": "Bearer one"}
            found = [await seen_by(session, "/", peer, times=1, **options) for options in ({"headers": headers}, {})]
            return [one for each in found for one in each]

    assert run(scenario()) == ["Bearer one", None]


@pytest.mark.parametrize("make", MAKERS)
def test_cookies_are_those_of_the_moment(make: Callable[..., Any]) -> None:
    """A session would go on with the cookies, or the lack of them, of its first request."""

    async def scenario() -> list[str | None]:
        script = answer(200), answer(200, set_cookie="sid=1"), answer(200)
        async with Peer(*script) as peer, make(peer.url, cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
            for number in range(5):
                await known(session)
                if number == 2:
                    session.cookie_jar.update_cookies({"sid": "2"}, URL(peer.url))
                if number == 3:
                    session.cookie_jar.clear()
            return [seen.headers.get("cookie") for seen in peer.seen]

    assert run(scenario()) == [None, None, "sid=1", "sid=2", None]


@pytest.mark.parametrize("make", MAKERS)
def test_a_middleware_that_joins_a_list_later_is_asked_from_then_on(make: Callable[..., Any]) -> None:
    """Requests would go out without the signature that the middleware adds."""
    shown: list[object] = []

    async def sign(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        shown.append(request.session)
        request.headers["x-signed"] = "yes"
        return await handler(request)

    async def scenario() -> tuple[list[str | None], bool]:
        middlewares: list[aiohttp.ClientMiddlewareType] = []
        async with Peer(answer()) as peer, make(peer.url, middlewares=middlewares) as session:
            await known(session)
            middlewares.append(sign)
            await (await session.get("/")).read()
            middlewares.clear()
            await (await session.get("/")).read()
            return [seen.headers.get("x-signed") for seen in peer.seen], shown == [session]

    assert run(scenario()) == ([None, "yes", None], True)


@pytest.mark.parametrize("make", MAKERS)
def test_a_tracer_that_joins_later_sees_every_request_from_then_on(make: Callable[..., Any]) -> None:
    """Instrumentation that is switched on in a running service would stay blind, or be shown the inner session."""
    shown: list[object] = []

    async def note(session: aiohttp.ClientSession, *_: object) -> None:
        shown.append(session)

    async def scenario() -> list[bool]:
        async with Peer(answer()) as peer, make(peer.url) as session:
            await known(session)
            tracing = aiohttp.TraceConfig()
            tracing.on_request_start.append(note)
            tracing.freeze()
            session.trace_configs.append(tracing)
            for _ in range(2):
                await (await session.get("/")).read()
            return [each is session for each in shown]

    assert run(scenario()) == [True, True]


@pytest.mark.parametrize("make", MAKERS[1:])
def test_an_inbound_request_is_inherited_from_by_what_is_known(make: Callable[..., Any]) -> None:
    """A service would answer for a caller who is gone, and its logs could not be joined."""

    async def scenario() -> tuple[BaseException, float, list[str | None]]:
        async with Peer(answer(), answer(), hang()) as peer, make(peer.url, policy=AT_ONCE) as session:
            await known(session)
            begun = asyncio.get_running_loop().time()
            with bound(Inbound(request_id="req-1", deadline_at=time.monotonic() + 2.0)):
                await (await session.get("/")).read()
                error = await failure(session.get("/"))
            took = asyncio.get_running_loop().time() - begun
            return error, took, [seen.headers.get("x-request-id") for seen in peer.seen]

    error, took, ids = run_virtual(scenario())

    assert isinstance(error, DeadlineExceededError)
    assert took == pytest.approx(2.0, abs=0.05)
    assert ids == [None, "req-1", "req-1"]


def patched(place: str, name: str, session: Any) -> AbstractContextManager[Any]:
    """Put something else in the place of a method, as a test of the user's would."""
    owner = {"class": aiohttp.ClientSession, "client": session.client, "session": session}[place]
    return mock.patch.object(owner, name, refuse)


@pytest.mark.parametrize("make", MAKERS[1:])
@pytest.mark.parametrize("place", ["class", "client", "session"])
@pytest.mark.parametrize(
    ("call", "name"), [("get", "get"), ("get", "_request"), ("head", "head"), ("head", "_request")]
)
def test_a_method_that_is_replaced_later_is_called_and_only_while_it_is(
    call: str, name: str, place: str, make: Callable[..., Any]
) -> None:
    """A user's test would send a real request to the bank."""

    async def scenario() -> tuple[type, int, int]:
        async with Peer(answer(200, b"")) as peer, make(peer.url, policy=ONCE) as session:
            await known(session, call)
            with patched(place, name, session):
                error = await failure(getattr(session, call)("/"))
            during = len(peer.seen)
            await known(session, call)
            return type(error), during, len(peer.seen)

    assert run(scenario()) == (PatchedError, 1, 2)


@pytest.mark.parametrize("place", ["class", "client"])
def test_what_stands_for_aiohttps_method_is_told_how_much_time_there_is(place: str) -> None:
    """A recording library that goes on to the real method would wait without a limit, and with no guard."""
    told: list[float | None] = []

    async def note(*_: object, **options: Any) -> Any:
        told.append(options["timeout"].total)
        raise PatchedError

    async def scenario() -> None:
        async with Peer(answer()) as peer, ResilientSession(peer.url, policy=ONCE) as session:
            await known(session)
            with mock.patch.object(aiohttp.ClientSession if place == "class" else session.client, "_request", note):
                await failure(session.get("/"))

    run(scenario())

    assert told == [pytest.approx(10.0)]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("call", "lines"),
    [
        (lambda session: session.head("/"), ["HEAD /"]),
        (lambda session: session.request("head", "/"), ["HEAD /", "HEAD /there"]),
        (lambda session: session.get("/"), ["GET /", "GET /there"]),
        (lambda session: session.options("/"), ["OPTIONS /", "OPTIONS /there"]),
        (lambda session: session.head("/", allow_redirects=True), ["HEAD /", "HEAD /there"]),
        (lambda session: session.get("/", allow_redirects=False), ["GET /"]),
    ],
    ids=["head", "request_head", "get", "options", "head_told_to", "get_told_not_to"],
)
def test_each_method_follows_redirects_as_aiohttps_does(
    make: Callable[..., Any], call: Callable[[Any], Awaitable[Any]], lines: Sequence[str]
) -> None:
    """A check whether something is there would say yes of another place."""

    def choose(seen: Any) -> Behaviour:
        return answer(302, b"", location="/there") if seen.target == "/" else answer(200, b"")

    async def scenario() -> list[str]:
        async with Peer(choose=choose) as peer, make(peer.url) as session:
            for _ in range(3):
                (await call(session)).release()
            return peer.lines

    assert run(scenario()) == [*lines] * 3


def test_each_method_of_one_address_is_a_request_of_its_own() -> None:
    """A question what is allowed would be answered with the thing itself."""
    methods = ["GET", "OPTIONS", "HEAD", "GET", "DELETE"]

    async def scenario() -> list[str]:
        async with Peer(answer(200, b"")) as peer, ResilientSession(peer.url, policy=ONCE) as session:
            for method in methods:
                (await session.request(method, "/")).release()
                await known(session)
            return [seen.method for seen in peer.seen][::2]

    assert run(scenario()) == methods


@pytest.mark.parametrize("way", WAYS)
def test_what_is_known_is_read_inside_the_attempt_where_the_session_asks_for_it(way: str) -> None:
    """A body that breaks off would be found out by the caller, after the call had been called a success."""

    async def scenario() -> tuple[list[str], bytes]:
        policy = replace(AT_ONCE, read_body=True)
        async with (
            Peer(answer(), cut(), answer(200, b"whole")) as peer,
            session_of(way, peer.url, policy=policy) as session,
        ):
            await (await session.get("/")).read()
            response = await session.get("/")
            return [each.reason for each in report(response).attempts], await response.read()

    assert run(scenario()) == (["body_unreadable", "ok"], b"whole")


def test_a_provider_that_never_redirects_is_not_followed_by_what_is_known() -> None:
    """A page of a stranger would pass for an answer of the bank."""

    async def scenario() -> list[str]:
        async with (
            Peer(answer(200), answer(302, location="/there")) as peer,
            ResilientSession(peer.url, provider=FINIX, policy=ONCE) as session,
        ):
            await known(session)
            (await session.get("/")).release()
            return peer.lines

    assert run(scenario()) == ["GET /", "GET /"]


Case = tuple[Callable[[int], aiohttp.BaseConnector | None], tuple[Behaviour, ...]]


def pooled(_: int) -> None:
    """Connect as usual."""


class Forgetful(aiohttp.ThreadedResolver):
    """Finds a name once."""

    found = False

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> Any:
        if self.found:
            raise OSError(None, f"{host} is not known")
        self.found = True
        return await super().resolve("127.0.0.1", port, family)


CASES: Final[dict[str, tuple[Case, tuple[str, bool | None]]]] = {
    "never_resolved": ((lambda port: towards(port, None), ()), ("connect_timeout", False)),
    "refused": ((lambda port: towards(port, GONE), ()), ("connect", False)),
    "not_found": (
        (lambda _: aiohttp.TCPConnector(resolver=Forgetful(), force_close=True, use_dns_cache=False), ()),
        ("dns", False),
    ),
    "dropped": ((pooled, (drop(),)), ("disconnected", None)),
    "reset": ((pooled, (reset(),)), ("connection_lost", None)),
    "garbled": ((pooled, (raw(b"garbage\r\n\r\n", then="close"),)), ("malformed_response", None)),
    "silent": ((pooled, (hang(),)), ("timeout", None)),
    "half_a_head": ((pooled, (hang(b"HTTP/1.1 200 OK\r\n"),)), ("timeout", None)),
    "redirected_and_refused": ((pooled, (answer(302, location=f"http://127.0.0.1:{GONE}/"),)), ("connect", True)),
    "redirected_and_dropped": ((pooled, (answer(302, location="/there"), drop())), ("disconnected", True)),
    "redirected_and_silent": ((pooled, (answer(302, location="/there"), hang())), ("timeout", True)),
    "redirected_in_circles": ((pooled, (answer(302, location="/"),)), ("too_many_redirects", True)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES)
def test_a_failure_is_known_by_the_same_word_whatever_way_it_went(case: str, way: str) -> None:
    """A report would say of the second request something else than of the first."""
    (connect, script), expected = CASES[case]

    async def scenario() -> CallReport:
        async with Peer(answer(), *script) as peer:
            connector = connect(peer.port)
            url = f"{peer.url}/" if connector is None else f"http://bank.test:{peer.port}/"
            async with session_of(way, policy=ONCE, connector=connector) as session:
                await (await session.get(url)).read()
                return report(await failure(session.get(url)))

    known_of = run_virtual(scenario())

    attempt = known_of.attempts[0]
    assert (attempt.reason, attempt.bytes_sent) == expected
    assert known_of.effect is Effect.NONE


@pytest.mark.parametrize("way", WAYS)
def test_waiting_in_line_for_a_connection_is_told_from_connecting(way: str) -> None:
    """An operator would look for the fault at the bank, and it is the size of his own pool."""

    async def scenario() -> tuple[str, bool | None]:
        half = head_of(200, {"content-length": "100"}) + b"half"
        connector = aiohttp.TCPConnector(limit=1)
        async with Peer(answer(), hang(half)) as peer:
            async with session_of(way, peer.url, policy=ONCE, connector=connector) as session:
                await (await session.get("/")).read()
                async with session.get("/"):
                    attempt = report(await failure(session.get("/"))).attempts[0]
            return attempt.reason, attempt.bytes_sent

    assert run_virtual(scenario()) == ("pool_wait", False)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_loop_that_lags_past_both_limits_still_knows_that_it_was_connecting(way: str, method: str) -> None:
    """A payment that cannot have left the machine would have to be looked up."""

    async def scenario() -> tuple[str, bool | None, Effect]:
        async with session_of(way, policy=Policy(deadline=0.2, max_attempts=1), connector=towards(None)) as session:
            asyncio.get_running_loop().call_later(0.05, time.sleep, 0.3)
            found = report(await failure(session.request(method, "http://bank.test/")))
            return found.attempts[0].reason, found.attempts[0].bytes_sent, found.effect

    assert run(scenario()) == ("connect_timeout", False, Effect.NONE)


def without_times(found: CallReport) -> CallReport:
    """Give a report less what differs between two runs."""
    attempts = tuple(replace(each, started_s=0.0, elapsed_s=0.0, pause_s=None) for each in found.attempts)
    return replace(found, call_id="", url="", elapsed_s=0.0, attempts=attempts)


ERROR: Final = answer(500, b'{"total":1,"_embedded":{"errors":[{"code":"X","message":"m","logref":"L1"}]}}')


@pytest.mark.parametrize("provider", [GENERIC, FINIX, FIANT], ids=lambda provider: provider.name)
@pytest.mark.parametrize(
    "script",
    [
        (answer(200, finix_request_id="r1"),),
        (answer(204, b""),),
        (answer(404),),
        (answer(429, retry_after="0"), answer(200)),
        (ERROR, ERROR, answer(200)),
        (answer(302, location="/there"), answer(200)),
        (drop(), answer(200)),
    ],
    ids=["ok", "empty", "missing", "limited", "failing", "redirected", "dropped"],
)
def test_a_report_is_the_same_whatever_way_the_call_went(script: Sequence[Behaviour], provider: Any) -> None:
    """What a report says would depend on whether the address was asked for before."""

    async def scenario(way: str) -> CallReport:
        async with (
            Peer(answer(), *script) as peer,
            session_of(way, peer.url, policy=AT_ONCE, provider=provider) as session,
        ):
            await (await session.get("/")).read()
            return without_times(report(await ending(session.get("/"))))

    reports = [run(scenario(way)) for way in WAYS]

    assert reports[1:] == reports[:-1]


@pytest.mark.parametrize("make", MAKERS)
def test_a_closed_session_refuses_what_it_knows(make: Callable[..., Any]) -> None:
    """A service that is stopping would be told of a fault of the bank's."""

    async def scenario() -> str:
        async with Peer(answer()) as peer, make(peer.url) as session:
            await known(session)
            await session.close()
            return repr(await failure(session.get("/")))

    assert run(scenario()) == "RuntimeError('Session is closed')"


@pytest.mark.parametrize("url", [[], None, 1, "ftp://x/", "http://", "//"], ids=repr)
def test_an_address_that_aiohttp_refuses_is_refused_every_time(url: Any) -> None:
    """A wrong address would pass from the second time on, or fail in our own code."""

    async def scenario(make: Callable[..., Any]) -> list[str]:
        async with make() as session:
            return [f"{type(error).__name__} {error}" for error in [await failure(session.get(url)) for _ in range(3)]]

    assert run(scenario(ResilientSession)) == run(scenario(aiohttp.ClientSession))


@pytest.mark.parametrize("make", MAKERS[1:])
def test_no_more_addresses_are_kept_than_there_is_room_for(make: Callable[..., Any]) -> None:
    """A service that asks for a million customers by number would keep each of them for ever."""

    async def scenario() -> tuple[int, bool]:
        async with make() as session:
            reader = session._calls.reader
            for number in range(3000):
                reader.read(session, "get", "GET", f"http://bank.test/{number}", {}, 0.0)
            return len(reader.bare.kept), ("get", "http://bank.test/2999") in reader.bare.kept

    kept, has_last = run(scenario())

    assert kept <= 1024
    assert has_last


@pytest.mark.parametrize(
    "reason_to_guard", ["client", "headers", "tracer", "middleware", "user", "patched"], ids=lambda reason: reason
)
def test_a_request_that_needs_its_guard_is_never_known_as_one_without(reason_to_guard: str) -> None:
    """It would be sent twice by a client that sends again, or take its secrets along."""
    cases: dict[str, dict[str, Any]] = {
        "headers": {"headers": {"x-api-key": "k"}},
        "tracer": {"trace_configs": [aiohttp.TraceConfig()]},
        "middleware": {"middlewares": (lambda request, handler: handler(request),)},
    }
    options = cases.get(reason_to_guard, {})

    async def scenario() -> list[bool]:
        async with Peer(answer()) as peer, aiohttp.ClientSession(peer.url) as client:
            base = f"http://user:pass@127.0.0.1:{peer.port}/" if reason_to_guard == "user" else peer.url
            given = {"client": client} if reason_to_guard == "client" else {"base_url": base} | options
            async with ResilientSession(**given) as session:
                own = session.client
                replaced = mock.patch.object(own, "_request", partial(own._request))
                with replaced if reason_to_guard == "patched" else nullcontext():
                    for _ in range(2):
                        await (await session.get("/")).read()
                return [bare.has_secrets for bare in session._calls.reader.bare.kept.values()]

    assert run(scenario()) == ([True] if reason_to_guard in {"headers", "user"} else [])
