"""``resilient_middleware`` between other middlewares: what they do to a request must not turn a verdict into a lie."""

import asyncio
import gc
from typing import Any

import aiohttp
import pytest
from tests.support import AT_ONCE, Behaviour, Peer, answer, drop, failure, refused_port, report, run

from holdfast import Effect, Outcome, PermanentFailureError, Policy, Provider, StopReason, resilient_middleware
from holdfast.providers import FINIX, GENERIC
from holdfast.sandbox import Sandbox
from holdfast.testing import RecordingSink

TRANSFER = {"amount": 1000, "currency": "USD", "merchant": "MU1", "source": "PI1"}


def chain_of(
    *, provider: Provider = GENERIC, policy: Policy = AT_ONCE, before: Any = (), after: Any = ()
) -> tuple[list[aiohttp.ClientMiddlewareType], RecordingSink]:
    """Put the middleware between others."""
    sink = RecordingSink()
    return [*before, resilient_middleware(provider=provider, policy=policy, sinks=[sink]), *after], sink


async def in_a_task(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Run the rest of the chain in a task, as ``asyncio.wait_for`` does on Python 3.11."""
    return await asyncio.create_task(handler(request))  # type: ignore[arg-type]


async def dawdles(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Take a turn of the loop, and look at the report, after each hop."""
    response = await handler(request)
    report(response)
    await asyncio.sleep(0.01)
    return response


async def stubborn(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Ask again after any error, and after a 401."""
    try:
        response = await handler(request)
    except aiohttp.ClientError:
        return await handler(request)
    return await handler(request) if response.status == 401 else response


@pytest.mark.parametrize(
    ("path", "options"), [("/transfers/TR1/reversals", {}), ("/transfers", {"json": {"idempotency_id": None, "a": 1}})]
)
def test_a_call_is_keyed_only_where_the_key_was_placed(path: str, options: dict[str, Any]) -> None:
    """A refund without a key on the wire would be sent four times, as if it had one."""

    async def scenario() -> tuple[int, str | None, Effect]:
        chain, _ = chain_of(provider=FINIX)
        async with Peer(drop()) as peer, aiohttp.ClientSession(peer.url, middlewares=chain) as session:
            error = await failure(session.post(path, **options))
            return len(peer.seen), report(error).idempotency_key, report(error).effect

    assert run(scenario()) == (1, None, Effect.IN_DOUBT)


@pytest.mark.parametrize("outer", [in_a_task, dawdles], ids=["task", "dawdles"])
def test_a_hop_belongs_to_its_call_whatever_stands_before(outer: Any) -> None:
    """The key and the card number would go to a stranger, and a payment that landed be told as a GET."""

    async def scenario() -> tuple[list[str | None], Effect, str]:
        chain, _ = chain_of(before=[outer])
        async with (
            Peer(answer(200)) as stranger,
            Peer(answer(303, location=stranger.url)) as home,
            aiohttp.ClientSession(middlewares=chain) as session,
        ):
            response = await session.post(home.url, json={"a": 1}, headers={"X-Api-Key": "s"})
            seen = [each.headers.get("x-api-key") for each in (*home.seen, *stranger.seen)]
            return seen, report(response).effect, report(response).method

    assert run(scenario()) == (["s", None], Effect.LANDED, "POST")


def test_what_aiohttp_does_between_two_hops_does_not_end_the_call() -> None:
    """With ``trust_env`` aiohttp asks a thread for the proxy between hops: each hop would be told as a call."""

    async def scenario() -> tuple[list[tuple[str, int]], float]:
        chain, sink = chain_of()
        script = answer(307, location="/b"), answer(307, location="/c"), answer(200)
        async with Peer(*script) as peer, aiohttp.ClientSession(peer.url, middlewares=chain, trust_env=True) as session:
            response = await session.get("/a")
            told = [(each["path"], each["status"]) for each in sink.named("outbound.call")]
            return told, len(report(response).attempts)

    assert run(scenario()) == ([("/a", 200)], 1)


def test_a_refused_redirect_stays_refused_for_one_who_asks_again() -> None:
    """A naive retry in front would take the refusal for a passing fault, and send the payment to the stranger."""

    async def scenario() -> tuple[bool, int]:
        chain, _ = chain_of(provider=FINIX, before=[stubborn])
        async with (
            Peer(answer(200)) as stranger,
            Peer(answer(307, location=stranger.url)) as home,
            aiohttp.ClientSession(middlewares=chain) as session,
        ):
            error = await failure(session.post(f"{home.url}/transfers", json={"a": 1}))
            return isinstance(error, PermanentFailureError), len(stranger.seen)

    assert run(scenario()) == (True, 0)


def test_one_who_asks_again_abroad_does_not_become_at_home_there() -> None:
    """The stranger would be taken for the origin, and the API key sent to his next hop."""

    async def scenario() -> tuple[set[str], Outcome]:
        addresses: list[str] = []

        def choose(seen: Any) -> Behaviour:
            if seen.target == "/next":
                return answer(200)
            again = sum(each.target == seen.target for each in strangers[0].seen) > 1
            return answer(307, location="/next") if again else answer(401)

        strangers: list[Peer] = []
        chain, _ = chain_of(before=[stubborn])
        async with (
            Peer(choose=choose) as stranger,
            Peer(answer(307, location=f"{stranger.url}/there")) as home,
            aiohttp.ClientSession(middlewares=chain) as session,
        ):
            strangers.append(stranger)
            addresses.append(stranger.url)
            response = await session.post(home.url, json={"a": 1}, headers={"X-Api-Key": "s"})
            leaked = {name for seen in stranger.seen for name in seen.headers if name == "x-api-key"}
            return leaked, report(response).outcome

    assert run(scenario()) == (set(), Outcome.PERMANENT_FAILURE)


def test_a_doubt_is_carried_over_to_the_call_that_a_middleware_makes_anew() -> None:
    """The first send may have charged the card; the 401 after it says nothing of that."""

    async def scenario() -> tuple[int, Effect]:
        chain, _ = chain_of(before=[stubborn])
        async with Peer(drop(), answer(404)) as peer, aiohttp.ClientSession(peer.url, middlewares=chain) as session:
            response = await session.post("/pay", json={"a": 1})
            return len(peer.seen), report(response).effect

    assert run(scenario()) == (2, Effect.IN_DOUBT)


@pytest.mark.parametrize("options", [{}, {"data": {"form": "1"}}, {"json": {"a": 1}}], ids=["none", "form", "json"])
def test_another_requests_failure_does_not_prove_that_this_one_was_not_sent(options: dict[str, Any]) -> None:
    """A token endpoint that is down, asked after the charge, would have the charge made again."""
    port = refused_port()

    async def reports_it(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        response = await handler(request)
        async with aiohttp.ClientSession() as elsewhere:
            await elsewhere.get(f"http://127.0.0.1:{port}/")
        return response

    async def scenario() -> tuple[int, Effect]:
        chain, _ = chain_of(after=[reports_it])
        async with Peer(answer(201)) as peer, aiohttp.ClientSession(peer.url, middlewares=chain) as session:
            error = await failure(session.post("/pay", **options))
            return len(peer.seen), report(error).effect

    assert run(scenario()) == (1, Effect.IN_DOUBT)


def test_what_a_middleware_inside_did_to_the_request_is_undone() -> None:
    """The second attempt would be encrypted twice and signed twice, under the same key."""

    async def encrypts(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        body: Any = request.body
        await request.update_body(b"enc:" + await body.as_bytes())
        request.headers.add("X-Sig", "1")
        return await handler(request)

    async def scenario() -> list[tuple[bytes, int]]:
        chain, _ = chain_of(after=[encrypts])
        async with (
            Peer(answer(503), answer(200)) as peer,
            aiohttp.ClientSession(peer.url, middlewares=chain) as session,
        ):
            await session.put("/", data=b"card")
            return [(seen.body, seen.head.count(b"X-Sig")) for seen in peer.seen]

    assert run(scenario()) == [(b"enc:card", 1)] * 2


def test_a_timeout_of_a_middleware_inside_is_not_aiohttps() -> None:
    """A GET that could be asked again would be given up after a tenth of a second of its five minutes."""
    tries: list[int] = []

    async def impatient(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        tries.append(1)
        if len(tries) == 1:
            raise TimeoutError
        return await handler(request)

    async def scenario() -> tuple[int, StopReason]:
        chain, _ = chain_of(after=[impatient])
        async with Peer(answer(200)) as peer, aiohttp.ClientSession(peer.url, middlewares=chain) as session:
            response = await session.get("/")
            return response.status, report(response).stop_reason

    assert run(scenario()) == (200, StopReason.SUCCEEDED)


def test_a_lookup_is_made_with_the_sessions_log_in_and_disturbs_nobody() -> None:
    """Finix takes basic auth: a lookup that aiohttp refuses to send leaves every charge in doubt."""
    audits: list[bytes] = []

    async def audit(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        if request.url.path != "/audit" and request.method == "GET":
            sent = await request.session.post(request.url.with_path("/audit"), data=b"seen")
            audits.append(await sent.read())
        return await handler(request)

    async def scenario() -> tuple[Effect, StopReason, int]:
        chain, _ = chain_of(provider=FINIX, policy=Policy(max_attempts=1), before=[audit])
        headers = {"Authorization": "Basic c2VjcmV0OnNlY3JldA=="}
        async with (
            Sandbox() as sandbox,
            aiohttp.ClientSession(sandbox.url, middlewares=chain, headers=headers) as session,
        ):
            response = await session.post("/transfers", json=TRANSFER, headers={"X-Sandbox-Fault": "reset-after*1"})
            return report(response).effect, report(response).stop_reason, sandbox.ledger.count

    assert run(scenario()) == (Effect.LANDED, StopReason.RECONCILED, 1)
    assert audits


def test_calls_that_failed_are_forgotten() -> None:
    """Each would keep its request and its body for as long as the session lives."""

    async def scenario() -> int:
        middleware: Any = resilient_middleware(policy=Policy(max_attempts=1), sinks=[])
        async with Peer(drop()) as peer, aiohttp.ClientSession(peer.url, middlewares=[middleware]) as session:
            for _ in range(50):
                await failure(session.post("/", data=b"x" * 1000))
            gc.collect()  # older releases of aiohttp leave the request in a cycle
            return len(middleware._journeys._known)

    assert run(scenario()) < 10
