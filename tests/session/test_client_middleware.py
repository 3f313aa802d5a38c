"""``resilient_middleware`` in a genuine session: one call over hops, hidden re-sends and attempts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from tests.support import AT_ONCE, Behaviour, Peer, answer, cut, drop, failure, hang, report, reset, run, said, until

from holdfast import (
    DeadlineExceededError,
    Effect,
    Outcome,
    PermanentFailureError,
    Policy,
    Provider,
    ResilientSession,
    StopReason,
    report_of,
    resilient_middleware,
)
from holdfast.providers import FIANT, FINIX, GENERIC
from holdfast.sandbox import Sandbox
from holdfast.testing import RecordingSink

TRANSFER = {"amount": 1000, "currency": "USD", "merchant": "MU1", "source": "PI1"}


@asynccontextmanager
async def genuine(
    *script: Behaviour, provider: Provider = GENERIC, policy: Policy = AT_ONCE, **options: Any
) -> AsyncIterator[tuple[aiohttp.ClientSession, Peer, RecordingSink]]:
    """Open a genuine session with the middleware last in its list, towards a scripted server."""
    sink = RecordingSink()
    chain = [*options.pop("middlewares", ()), resilient_middleware(provider=provider, policy=policy, sinks=[sink])]
    async with Peer(*script) as peer, aiohttp.ClientSession(peer.url, middlewares=chain, **options) as session:
        yield session, peer, sink


def calls(sink: RecordingSink) -> list[Any]:
    """Give what was said of each call that ended."""
    return [event.fields for event in sink.events if event.event == "outbound.call"]


def test_it_sends_again_what_failed_and_may_be_repeated() -> None:
    """A library that makes its own session would fail at each hiccup."""

    async def scenario() -> tuple[bytes, list[str], Any]:
        async with genuine(drop(), answer(503), answer(200, b"fine")) as (session, peer, sink):
            response = await session.get("/a", params={"b": "c"})
            known = report(response)
            verdict = known.outcome, known.stop_reason, [each.status for each in known.attempts], len(calls(sink))
            return await response.read(), peer.lines, verdict

    body, lines, verdict = run(scenario())

    assert (body, lines) == (b"fine", ["GET /a?b=c"] * 3)
    assert verdict == (Outcome.SUCCESS, StopReason.SUCCEEDED, [None, 503, 200], 1)


@pytest.mark.parametrize("fault", [drop(), reset()], ids=["closed", "reset"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_aiohttps_hidden_resend_is_no_second_round(method: str, fault: Behaviour) -> None:
    """Three attempts would be six requests, told as two calls."""

    async def scenario() -> tuple[BaseException, int, list[int]]:
        async with genuine(fault, policy=Policy(max_attempts=3, backoff_base=0)) as (session, peer, sink):
            error = await failure(session.request(method, "/"))
            return error, len(peer.lines), [each["attempts"] for each in calls(sink)]

    error, requests, attempts = run(scenario())

    assert isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError)
    assert report(error).stop_reason is StopReason.ATTEMPTS_EXHAUSTED
    assert (requests, attempts) == (3, [3])


def test_the_next_call_of_the_same_task_is_a_call_of_its_own() -> None:
    """Code that tries again by itself after an error would get the old error, and nothing would be sent."""

    async def scenario() -> tuple[int, int]:
        async with genuine(drop(), answer(200), policy=Policy(max_attempts=1)) as (session, peer, _):
            await failure(session.get("/"))
            response = await session.get("/")
            return response.status, len(peer.lines)

    assert run(scenario()) == (200, 2)


def test_an_unkeyed_payment_that_may_have_landed_is_sent_once() -> None:
    """It would be made twice."""

    async def scenario() -> tuple[int, Effect, StopReason]:
        async with genuine(drop()) as (session, peer, _):
            error = await failure(session.post("/pay", json={"amount": 1}))
            return len(peer.lines), report(error).effect, report(error).stop_reason

    assert run(scenario()) == (1, Effect.IN_DOUBT, StopReason.UNSAFE_TO_RESEND)


def test_a_redirect_is_a_hop_and_not_a_call() -> None:
    """Budgets, deadlines and log lines would count every hop as a call."""

    async def scenario() -> tuple[list[str], list[Any], int]:
        script = answer(307, location="/b"), drop(), answer(302, location="/c"), answer(200)
        async with genuine(*script) as (session, peer, sink):
            response = await session.get("/a")
            return peer.lines, calls(sink), len(response.history)

    lines, told, hops = run(scenario())

    assert (lines, hops) == (["GET /a", "GET /b", "GET /b", "GET /c"], 2)
    assert [(each["path"], each["attempts"], each["outcome"]) for each in told] == [("/a", 2, "success")]


@pytest.mark.parametrize("looks_at_once", [True, False])
def test_a_redirect_that_is_not_followed_ends_its_call(*, looks_at_once: bool) -> None:
    """Its call would never be logged, or would swallow the next one."""

    async def scenario() -> tuple[str, list[str], list[str]]:
        async with genuine(answer(307, location="/b"), answer(200)) as (session, peer, sink):
            response = await session.get("/a", allow_redirects=False)
            if not looks_at_once:
                await asyncio.sleep(0)
            reason = report(response).reason
            await session.get("/b")
            return reason, peer.lines, [each["reason"] for each in calls(sink)]

    assert run(scenario()) == ("redirect", ["GET /a", "GET /b"], ["redirect", "ok"])


def test_a_redirect_followed_by_hand_is_a_new_call() -> None:
    """The caller's own request would be taken for aiohttp's next hop, and run on the old deadline."""

    async def scenario() -> list[str]:
        async with genuine(answer(307, location="/b"), answer(200)) as (session, _, sink):
            response = await session.get("/a", allow_redirects=False)
            again = await session.get(response.headers["Location"])
            assert report(again).call_id != report(response).call_id
            return [each["path"] for each in calls(sink)]

    assert run(scenario()) == ["/a", "/b"]


def test_too_many_redirects_end_in_aiohttps_error_and_one_call() -> None:
    """A loop would be logged ten times, or never."""

    async def scenario() -> tuple[int, list[str]]:
        async with genuine(answer(307, location="/again")) as (session, peer, sink):
            with pytest.raises(aiohttp.TooManyRedirects):
                await session.get("/", max_redirects=5)
            await asyncio.sleep(0)
            return len(peer.lines), [each["reason"] for each in calls(sink)]

    assert run(scenario()) == (5, ["redirect"])


def test_a_redirect_to_another_origin_takes_no_secret_along_and_none_home() -> None:
    """The payment's key and the card number would go to a stranger."""

    async def scenario() -> list[tuple[set[str], bytes]]:
        addresses: dict[str, str] = {}
        chain = [resilient_middleware(sinks=[])]
        async with (
            Peer(choose=lambda seen: answer(307, location=addresses["/"]) if seen.target == "/" else drop()) as home,
            Peer(choose=lambda _: answer(307, location=f"{home.url}/home")) as stranger,
            aiohttp.ClientSession(middlewares=chain) as session,
        ):
            addresses["/"] = stranger.url
            headers = {"Idempotency-Key": "k", "X-Api-Key": "s"}
            error = await failure(session.post(home.url, json={"card": "4242"}, headers=headers))
            assert report(error).effect is Effect.IN_DOUBT
            wanted = {"idempotency-key", "x-api-key"}
            return [
                (wanted & set(seen.headers), seen.body) for seen in (*home.seen[:1], *stranger.seen, *home.seen[1:])
            ]

    first, *later = run(scenario())

    assert first == ({"idempotency-key", "x-api-key"}, b'{"card": "4242"}')
    assert later == [(set(), b"")] * len(later)
    assert later


def test_a_request_made_between_two_hops_does_not_hide_where_the_call_came_from() -> None:
    """A middleware that fetches a token before each hop would have the key sent to a stranger, and two calls told."""
    sink = RecordingSink()

    async def log_in(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        if not request.url.path.startswith("/token"):
            await request.session.get(request.url.with_path("/token"))
            await failure(request.session.get(request.url.with_path("/token/lost")))
        return await handler(request)

    def home_or_token(seen: Any) -> Behaviour:
        if seen.target == "/token/lost":
            return drop()
        return answer(200) if seen.target.startswith("/token") else answer(307, location=f"{addresses[0]}/there")

    addresses: list[str] = []

    async def scenario() -> tuple[bool, list[str]]:
        chain = [log_in, resilient_middleware(policy=Policy(max_attempts=1), sinks=[sink])]
        async with (
            Peer(choose=home_or_token) as home,
            Peer(choose=home_or_token) as stranger,
            aiohttp.ClientSession(middlewares=chain) as session,
        ):
            addresses.append(stranger.url)
            await failure(session.get(home.url, headers={"X-Api-Key": "s"}, max_redirects=3))
            leaked = any("x-api-key" in seen.headers for seen in stranger.seen)
            return leaked, [seen.target for seen in stranger.seen if seen.target == "/there"]

    leaked, asked = run(scenario())

    assert not leaked
    assert asked


@pytest.mark.parametrize("provider", [FINIX, FIANT])
def test_a_redirect_that_must_not_be_followed_is_refused(provider: Provider) -> None:
    """The payment would be sent to wherever a proxy points."""

    async def scenario() -> tuple[BaseException, list[str], int]:
        async with genuine(answer(307, location="/elsewhere"), provider=provider) as (session, peer, sink):
            error = await failure(session.post("/transactions/deposits", json={}))
            unfollowed = await session.get("/x", allow_redirects=False)
            assert unfollowed.status == 307
            return error, peer.lines, len(calls(sink))

    error, lines, told = run(scenario())

    assert isinstance(error, PermanentFailureError)
    assert (error.status, error.report.reason, error.report.effect) == (307, "redirect", Effect.NONE)
    assert (lines, told) == (["POST /transactions/deposits", "GET /x"], 2)


def test_a_made_key_goes_into_the_json_body_and_stays_the_same() -> None:
    """Finix would see two payments; and an amount that is written anew may change."""

    async def scenario() -> tuple[list[bytes], str | None]:
        async with genuine(drop(), answer(201, b"{}"), provider=FINIX) as (session, peer, _):
            response = await session.post("/transfers", data=b'{"amount":1.10}', headers={"Content-Type": "text/x"})
            assert [seen.headers["content-type"] for seen in peer.seen] == ["text/x"] * 2
            return [seen.body for seen in peer.seen], report(response).idempotency_key

    bodies, key = run(scenario())

    assert key
    assert bodies == [b'{"idempotency_id": "%s", "amount":1.10}' % key.encode()] * 2


@pytest.mark.parametrize(
    ("provider", "path", "options", "key"),
    [
        (FINIX, "/transfers", {"json": {"idempotency_id": "mine"}}, "mine"),
        (FINIX, "/merchants", {"json": {}}, None),
        (FIANT, "/transactions/deposits", {"json": {}, "headers": {"x-pti-request-id": "mine"}}, "mine"),
        (GENERIC, "/pay", {"json": {}, "headers": {"Idempotency-Key": "mine"}}, "mine"),
        (GENERIC, "/pay", {"json": {}}, None),
    ],
)
def test_the_callers_own_key_is_found_where_he_put_it(
    provider: Provider, path: str, options: dict[str, Any], key: str | None
) -> None:
    """A second key beside it would be refused, or make a second payment."""

    async def scenario() -> tuple[str | None, bytes, str | None]:
        async with genuine(answer(201, b"{}"), provider=provider) as (session, peer, _):
            response = await session.post(path, **options)
            (seen,) = peer.seen
            header = seen.headers.get("x-pti-request-id") or seen.headers.get("idempotency-key")
            return report(response).idempotency_key, seen.body, header

    reported, body, header = run(scenario())

    sent: dict[str, str] = options["json"]
    assert reported == key
    assert key in (header, sent.get("idempotency_id"))
    assert len(body) == len(str(sent))


def test_a_malformed_key_is_refused_before_anything_is_sent() -> None:
    """The provider would refuse the payment, or not see the key at all."""

    async def scenario() -> tuple[BaseException, list[str]]:
        async with genuine(answer(201), provider=FIANT) as (session, peer, _):
            error = await failure(session.post("/transactions/x", json={}, headers={"x-pti-request-id": "NO SECRET"}))
            return error, peer.lines

    error, lines = run(scenario())

    assert isinstance(error, ValueError)
    assert "SECRET" not in str(error)
    assert lines == []


def test_a_doubt_is_settled_by_a_lookup_through_the_same_session() -> None:
    """The charge was made and its answer lost: told as a failure it would be made again."""

    async def scenario() -> tuple[int, Any, StopReason, int, str | None]:
        async with Sandbox() as sandbox:
            chain = [resilient_middleware(provider=FINIX, policy=Policy(max_attempts=1), sinks=[])]
            headers = {"X-Sandbox-Fault": "reset-after*1", "Authorization": "Basic c2VjcmV0"}
            async with aiohttp.ClientSession(sandbox.url, middlewares=chain) as session:
                response = await session.post("/transfers", json=TRANSFER, headers=headers)
                known = report(response)
                return response.status, known.effect, known.stop_reason, sandbox.ledger.count, known.idempotency_key

    status, effect, stop, charges, key = run(scenario())

    assert (status, effect, stop, charges) == (200, Effect.LANDED, StopReason.RECONCILED, 1)
    assert key


def test_signing_behind_it_is_done_afresh_for_each_attempt() -> None:
    """A signature with a date of before the pause is refused."""
    signed: list[str] = []

    async def sign(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        signed.append(request.headers["x-pti-request-id"])
        request.headers["x-signature"] = str(len(signed))
        return await handler(request)

    async def scenario() -> list[str]:
        sink = RecordingSink()
        chain = [resilient_middleware(provider=FIANT, policy=AT_ONCE, sinks=[sink]), sign]
        async with (
            Peer(drop(), answer(201, b"{}")) as peer,
            aiohttp.ClientSession(peer.url, middlewares=chain) as client,
        ):
            await client.post("/transactions/deposits", json={})
            return [seen.headers["x-signature"] for seen in peer.seen]

    assert run(scenario()) == ["1", "2"]
    assert len(set(signed)) == 1


def test_a_middleware_before_it_may_ask_again() -> None:
    """Digest authentication answers a 401 with a second request, which is not aiohttp's hidden one."""

    async def digest(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        try:
            response = await handler(request)
        except aiohttp.ServerDisconnectedError:
            return await handler(request)
        if response.status != 401:
            return response
        request.headers["Authorization"] = "Digest x"
        return await handler(request)

    async def scenario() -> tuple[list[int], list[int]]:
        script = answer(401), answer(200), drop(), answer(200)
        options: Any = {"middlewares": [digest], "policy": Policy(max_attempts=1)}
        async with genuine(*script, **options) as (session, _, sink):
            statuses = [(await session.get("/")).status for _ in range(2)]
            return statuses, [each["attempts"] for each in calls(sink)]

    assert run(scenario()) == ([200, 200], [1, 1, 1, 1])


@pytest.mark.parametrize("inner", ["session", "middleware"])
def test_two_engines_do_not_multiply_their_attempts(inner: str) -> None:
    """Four attempts of four attempts are sixteen payments, or sixteen times the load on a partner that is down."""

    async def scenario() -> tuple[int, int]:
        sink = RecordingSink()
        again = resilient_middleware(policy=AT_ONCE, sinks=[sink])
        first = [] if inner == "session" else [resilient_middleware(policy=AT_ONCE, sinks=[sink])]
        async with Peer(drop()) as peer, aiohttp.ClientSession(peer.url, middlewares=[*first, again]) as client:
            outer = ResilientSession(client=client, policy=AT_ONCE, sinks=[sink]) if inner == "session" else client
            await failure(outer.get("/"))
            return len(peer.lines), len(calls(sink))

    assert run(scenario()) == (AT_ONCE.max_attempts, 1)


def test_the_deadline_ends_the_call_before_aiohttps_own_timer() -> None:
    """The timer's bare TimeoutError has no verdict, and a payment that was sent would be told as nothing."""

    async def scenario() -> list[tuple[type, StopReason, Effect, int]]:
        found = []
        for limits in ({"policy": Policy(deadline=0.2)}, {"timeout": aiohttp.ClientTimeout(total=0.2)}):
            async with genuine(hang(), **limits) as (session, peer, _):
                error = await failure(session.post("/", json={}))
                found.append((type(error), report(error).stop_reason, report(error).effect, len(peer.lines)))
        return found

    assert run(scenario()) == [(DeadlineExceededError, StopReason.DEADLINE, Effect.IN_DOUBT, 1)] * 2


@pytest.mark.parametrize("heads", [b"", b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\n{}"], ids=["silence", "busy"])
def test_aiohttps_timer_of_one_request_ends_the_call_too(heads: bytes) -> None:
    """Once it has fired aiohttp still delivers a body, and then fails: every further attempt is a payment."""

    async def scenario() -> tuple[BaseException, int, int]:
        policy = Policy(backoff_base=30, max_attempts=4)
        async with genuine(hang(heads), policy=policy) as (session, peer, sink):
            coming = session.put("/", json={}, timeout=aiohttp.ClientTimeout(total=0.2))
            error = await failure(coming)
            await asyncio.sleep(0.05)
            return error, len(peer.lines), len(calls(sink))

    error, requests, told = run(scenario())

    assert isinstance(error, TimeoutError)
    assert report(error).stop_reason in (StopReason.DEADLINE, StopReason.CANCELLED)
    assert report(error).effect is Effect.IN_DOUBT
    assert (requests, told) == (1, 1)


def test_a_landed_payment_whose_body_is_lost_stays_landed() -> None:
    """The body is read inside the attempt for FINIX; its loss does not undo the charge."""

    async def scenario() -> list[tuple[int, Effect, str]]:
        found = []
        for behaviour in (cut(201), hang(b"HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\n{")):
            policy = Policy(max_attempts=1, deadline=0.3)
            async with genuine(behaviour, answer(404), provider=FINIX, policy=policy) as (session, _, __):
                response = await session.post("/transfers", json={})
                found.append((response.status, report(response).effect, report(response).reason))
        return found

    assert run(scenario()) == [(201, Effect.LANDED, "body_unreadable")] * 2


def test_cookies_of_discarded_answers_are_sent_with_the_next_attempt() -> None:
    """A load balancer that pins a session by cookie would send each attempt to another machine."""

    async def scenario() -> list[str | None]:
        jar = aiohttp.CookieJar(unsafe=True)
        script = answer(503, set_cookie="node=7"), answer(200), answer(200)
        async with genuine(*script, cookie_jar=jar) as (session, peer, _):
            await session.get("/", cookies={"mine": "1"})
            await session.get("/")
            return [seen.headers.get("cookie") for seen in peer.seen]

    assert run(scenario()) == ["mine=1", "mine=1; node=7", "node=7"]


def test_an_async_generator_is_never_sent_twice() -> None:
    """The second request would have an empty body, and no error."""

    async def scenario() -> tuple[int, StopReason, bytes]:
        async def stream() -> AsyncIterator[bytes]:
            yield b"card"

        async with genuine(answer(503)) as (session, peer, _):
            response = await session.put("/", data=stream())
            return len(peer.lines), report(response).stop_reason, peer.seen[0].body

    assert run(scenario()) == (1, StopReason.BODY_NOT_REPLAYABLE, b"card")


def test_a_file_is_sent_whole_each_time() -> None:
    """The second attempt would carry an empty file."""

    async def scenario() -> list[bytes]:
        with open(__file__, "rb") as file:  # noqa: ASYNC230, PTH123 - as a caller would
            async with genuine(answer(503), answer(200)) as (session, peer, _):
                await session.put("/", data=file)
                return [seen.body for seen in peer.seen]

    first, second = run(scenario())

    assert first == second != b""


def test_an_error_can_be_read_whole_and_reported() -> None:
    """The caller's own error handling would find an empty body."""

    async def scenario() -> tuple[bytes, tuple[str, ...]]:
        async with genuine(said(422, {"logref": "L1"})) as (session, _, __):
            response = await session.post("/", json={})
            return await response.read(), report(response).logrefs

    body, logrefs = run(scenario())

    assert (body, logrefs) == (b'{"logref": "L1"}', ("L1",))


def test_a_cancelled_call_is_reported() -> None:
    """A payment that was cancelled on its way would leave no trace."""

    async def scenario() -> tuple[StopReason, Effect, list[str]]:
        async with genuine(hang()) as (session, peer, sink):
            task = asyncio.create_task(session.post("/", json={}))
            await until(lambda: peer.seen)
            task.cancel()
            known = report(await failure(task))
            return known.stop_reason, known.effect, [each["effect"] for each in calls(sink)]

    assert run(scenario()) == (StopReason.CANCELLED, Effect.IN_DOUBT, ["in_doubt"])


def test_calls_made_side_by_side_keep_their_hops_apart() -> None:
    """One call's redirect would be continued as another's."""

    async def scenario() -> list[bool]:
        def choose(seen: Any) -> Behaviour:
            number = seen.target.partition("?")[2]
            return answer(307, location=f"/end?{number}") if seen.target.startswith("/begin") else answer(200)

        chain = [resilient_middleware(sinks=[])]
        async with Peer(choose=choose) as peer, aiohttp.ClientSession(peer.url, middlewares=chain) as session:
            responses = await asyncio.gather(*(session.get(f"/begin?{number}") for number in range(100)))
            return [
                response.url.query_string == str(number) and len(report(response).attempts) == 1
                for number, response in enumerate(responses)
            ]

    assert run(scenario()) == [True] * 100


def test_a_websocket_is_not_a_call() -> None:
    """A stream of prices would be judged by its handshake, and tried again."""

    async def scenario() -> tuple[BaseException, int, list[Any]]:
        async with genuine(answer(503)) as (session, peer, sink):
            error = await failure(session.ws_connect("/"))
            return error, len(peer.lines), sink.events

    error, requests, events = run(scenario())

    assert isinstance(error, aiohttp.WSServerHandshakeError)
    assert (requests, events) == (1, [])


@pytest.mark.parametrize("arguments", [{"provider": "finix"}, {"policy": 3}])
def test_wrong_arguments_are_refused_where_they_enter(arguments: dict[str, Any]) -> None:
    """The mistake would show at the first payment."""
    with pytest.raises(TypeError, match=r"must be a (Provider|Policy), got"):
        resilient_middleware(**arguments)


def test_an_endless_session_is_told_of_its_deadline_once() -> None:
    """A caller who wanted no limit would wonder who cut his call off."""

    async def scenario() -> list[str]:
        async with genuine(answer(200), timeout=aiohttp.ClientTimeout(total=None)) as (session, _, sink):
            for _ in range(2):
                await session.get("/")
            return [event.event for event in sink.events if event.event == "outbound.deadline.clamped"]

    assert run(scenario()) == ["outbound.deadline.clamped"]


def test_an_answer_without_a_report_has_none() -> None:
    """``report_of`` must not make one up for a response that never passed the engine."""

    async def scenario() -> object:
        async with Peer(answer(200)) as peer, aiohttp.ClientSession(peer.url) as session:
            return report_of(await session.get("/"))

    assert run(scenario()) is None
