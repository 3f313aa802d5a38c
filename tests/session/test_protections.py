"""Protecting the other side, as its user meets it: a real session, a real peer, and for minutes a fast clock."""

import asyncio
import pickle
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Final

import aiohttp
import pytest
from tests.support import AT_ONCE, Peer, answer, failure, hang, refused_port, report, run, run_virtual, said, until

from holdfast import (
    CircuitBreaker,
    CircuitOpenError,
    DeadlineExceededError,
    Effect,
    LocalLimits,
    Outcome,
    Policy,
    RateLimitedError,
    ResilientSession,
    RetryBudget,
    StopReason,
)
from holdfast.core.breaker import CircuitState
from holdfast.protocols import Answer, Fault, OriginLimits, Refused
from holdfast.providers import FINIX
from holdfast.report import Classification
from holdfast.testing import RecordingSink

ONCE: Final = Policy(max_attempts=1)


async def fail_ten_times(session: ResilientSession, url: str) -> None:
    """Open the circuit."""
    for _ in range(10):
        async with session.get(url, policy=ONCE):
            pass


def test_an_open_circuit_raises_before_anything_is_sent() -> None:
    """A caller would not know that it is safe to try again, nor when."""

    async def scenario() -> None:
        async with Peer(answer(500)) as peer, ResilientSession(peer.url, sinks=[]) as session:
            await fail_ten_times(session, "/")

            error = await failure(session.post("/pay", json={"amount": 1}, idempotency_key="k"))

            assert isinstance(error, CircuitOpenError)
            assert error.origin == peer.url
            assert error.retry_after is not None
            assert 0.0 < error.retry_after <= 5.0
            known = report(error)
            assert (known.outcome, known.effect, known.stop_reason, known.reason, known.attempts) == (
                Outcome.RETRYABLE,
                Effect.NONE,
                StopReason.CIRCUIT_OPEN,
                "circuit_open",
                (),
            )
            assert known.retry_after_s == error.retry_after
            assert report(pickle.loads(pickle.dumps(error))) == known  # noqa: S301 - our own
            assert len(peer.seen) == 10

    run(scenario())


def test_the_circuit_closes_again_by_one_probe() -> None:
    """A provider that is back would stay cut off, or be tried by everybody at once."""

    async def scenario() -> None:
        script = [answer(500)] * 10 + [answer(200)]
        async with Peer(*script) as peer, ResilientSession(peer.url, sinks=[]) as session:
            await fail_ten_times(session, "/")
            await asyncio.sleep(5.0)
            async with session.get("/") as response:
                assert response.status == 200
            circuit = session.limits.state(peer.url).circuit

            assert circuit is not None
            assert (circuit.state, len(peer.seen)) == (CircuitState.CLOSED, 11)

    run_virtual(scenario())


def test_the_circuit_that_opens_stops_the_retries_with_the_last_answer() -> None:
    """Each call in flight would go on with its attempts against a provider that is down."""

    async def scenario() -> None:
        async with Peer(said(503, {"code": "DOWN"})) as peer, ResilientSession(peer.url, sinks=[]) as session:
            await fail_ten_times(session, "/")
            session.limits.release_circuit(peer.url)
            await asyncio.sleep(5.0)

            async with session.get("/") as response:
                known = report(response)

                assert (response.status, await response.json()) == (503, {"code": "DOWN"})
            assert (known.stop_reason, len(known.attempts), known.effect) == (
                StopReason.CIRCUIT_OPEN,
                1,
                Effect.NONE,
            )

    run_virtual(scenario())


@pytest.mark.parametrize("answers", [True, False])
def test_a_retry_that_is_refused_after_its_pause_ends_in_what_came_before(*, answers: bool) -> None:
    """The caller would lose the answer he had, and with it the provider's reason."""

    async def scenario() -> None:
        policy = Policy(backoff_base=8.0, retry_budget=RetryBudget(burst=1.0, per_second=0.0))
        async with Peer(said(503, {"code": "DOWN"})) as peer, ResilientSession(sinks=[]) as session:
            url = peer.url if answers else f"http://127.0.0.1:{refused_port()}"
            session._calls.runtime = _drawing_high(session)
            making = asyncio.ensure_future(session.get(url, policy=policy))
            await asyncio.sleep(1.0)
            session.limits.open_circuit(url)

            await asyncio.wait([making])

            ended: Any = making.result() if answers else making.exception()
            known = report(ended)
            assert (known.stop_reason, len(known.attempts)) == (StopReason.CIRCUIT_OPEN, 1)
            budget = session.limits.state(url, policy).budget
            assert budget is not None
            assert budget.tokens == 1.0, "the retry was not sent, and what it paid must come back"
            if answers:
                assert (ended.status, await ended.json()) == (503, {"code": "DOWN"})
            else:
                assert isinstance(ended, aiohttp.ClientConnectorError)

    run_virtual(scenario())


def _drawing_high(session: ResilientSession) -> Any:
    return replace(session._calls.runtime, draw=lambda: 0.9)


def test_a_cancelled_pause_gives_its_token_back() -> None:
    """Impatient callers would spend the budget of those who wait."""

    async def scenario() -> None:
        policy = Policy(backoff_base=20.0, retry_budget=RetryBudget(burst=1.0, per_second=0.0))
        async with Peer(answer(503)) as peer, ResilientSession(sinks=[]) as session:
            session._calls.runtime = _drawing_high(session)
            making = asyncio.ensure_future(session.get(peer.url, policy=policy))
            await asyncio.sleep(1.0)
            making.cancel()
            await asyncio.wait([making])

            budget = session.limits.state(peer.url, policy).budget
            assert budget is not None
            assert budget.tokens == 1.0

    run_virtual(scenario())


def test_a_spent_budget_stops_the_retries_of_all_calls() -> None:
    """Retries would multiply an outage by the number of attempts."""

    async def scenario() -> None:
        policy = Policy(backoff_base=0.0, breaker=None)
        async with Peer(answer(503)) as peer, ResilientSession(peer.url, policy=policy, sinks=[]) as session:
            stops = []
            for _ in range(20):
                async with session.get("/") as response:
                    stops.append(report(response).stop_reason)

            assert stops[0] is StopReason.ATTEMPTS_EXHAUSTED
            assert stops[-1] is StopReason.BUDGET_EXHAUSTED
            assert len(peer.seen) <= 20 + 10 + 2

    run(scenario())


def test_a_429_beyond_the_deadline_is_refused_to_the_next_call_at_once() -> None:
    """The next call would be sent only to be told the same, and count against us."""

    async def scenario() -> None:
        async with Peer(answer(429, retry_after="100")) as peer, ResilientSession(peer.url, sinks=[]) as session:
            async with session.get("/", policy=ONCE):
                pass

            error = await failure(session.post("/pay", json={}, policy=Policy(deadline=20.0)))

            assert isinstance(error, RateLimitedError)
            assert error.retry_after is not None
            assert 90.0 < error.retry_after <= 125.0
            known = report(error)
            assert (known.effect, known.stop_reason, known.reason, known.attempts) == (
                Effect.NONE,
                StopReason.RETRY_AFTER_TOO_LONG,
                "rate_limited",
                (),
            )
            assert len(peer.seen) == 1

    run(scenario())


def test_a_429_holds_back_the_next_call_until_its_time() -> None:
    """Each caller would find out for himself that it is too much."""

    async def scenario() -> None:
        script = [answer(429, retry_after="30"), answer(200)]
        async with Peer(*script) as peer, ResilientSession(peer.url, sinks=[]) as session:
            async with session.get("/", policy=ONCE):
                pass
            async with session.get("/") as response:
                known = report(response)

            assert (response.status, len(known.attempts)) == (200, 1)
            assert 30.0 <= known.elapsed_s <= 37.6

    run_virtual(scenario())


def test_a_line_for_a_free_place_ends_at_the_deadline_with_nothing_sent() -> None:
    """A caller would be told that the payment may have happened, or wait for ever."""

    async def scenario() -> None:
        policy = Policy(max_concurrency=1, deadline=5.0)
        async with Peer(hang()) as peer, ResilientSession(peer.url, policy=policy, sinks=[]) as session:
            first = asyncio.ensure_future(session.get("/", policy=Policy(max_concurrency=1)))
            await until(lambda: peer.seen)

            error = await failure(session.post("/pay", json={}))
            first.cancel()
            await asyncio.wait([first])

            assert isinstance(error, DeadlineExceededError)
            assert (error.report.effect, error.report.attempts) == (Effect.NONE, ())
            bulkhead = session.limits.state(peer.url, policy).bulkhead
            assert bulkhead is not None
            assert (bulkhead.in_flight, bulkhead.waiting, len(peer.seen)) == (0, 0, 1)

    run_virtual(scenario())


@pytest.mark.parametrize("status", [301, 302, 307])
def test_a_redirected_call_holds_one_place_and_gives_it_back(status: int) -> None:
    """Each redirect would take a place for ever, until no call gets through."""

    async def scenario() -> None:
        policy = Policy(max_concurrency=1)
        script = [answer(status, location="/b"), answer(200)] * 3
        async with Peer(*script) as peer, ResilientSession(peer.url, policy=policy, sinks=[]) as session:
            for _ in range(3):
                async with session.get("/a") as response:
                    assert response.status == 200

            bulkhead = session.limits.state(peer.url, policy).bulkhead
            assert bulkhead is not None
            assert (bulkhead.in_flight, bulkhead.waiting) == (0, 0)

    run(scenario())


def test_waiting_for_our_own_pool_is_not_the_providers_failure() -> None:
    """A pool that is too small would open the circuit of a provider that is well."""

    async def scenario() -> None:
        policy = Policy(attempt_timeout=0.05, max_attempts=1)
        connector = aiohttp.TCPConnector(limit=1)
        async with (
            Peer(hang()) as peer,
            ResilientSession(peer.url, policy=policy, connector=connector, sinks=[]) as session,
        ):
            first = asyncio.ensure_future(session.get("/", policy=Policy()))
            await until(lambda: peer.seen)

            reasons = [report(await failure(session.get("/"))).reason for _ in range(12)]
            circuit = session.limits.state(peer.url).circuit
            first.cancel()
            await asyncio.wait([first])

            assert set(reasons) == {"pool_wait"}
            assert circuit is not None
            assert (circuit.state, circuit.calls) == (CircuitState.CLOSED, 0)

    run(scenario())


def test_timeouts_of_the_provider_open_its_circuit() -> None:
    """A provider that swallows everything would never be left alone."""

    async def scenario() -> None:
        policy = Policy(attempt_timeout=2.0, max_attempts=1)
        async with Peer(hang()) as peer, ResilientSession(peer.url, policy=policy, sinks=[]) as session:
            await asyncio.gather(*(failure(session.get("/")) for _ in range(10)))

            assert isinstance(await failure(session.get("/")), CircuitOpenError)

    run_virtual(scenario())


def test_an_attempt_that_had_too_little_time_left_is_not_the_providers_failure() -> None:
    """Callers who have no time left would open the circuit for those who have."""

    async def scenario() -> None:
        policy = Policy(
            attempt_timeout=20.0, deadline=21.0, backoff_base=0.0, breaker=CircuitBreaker(minimum_calls=100)
        )
        async with Peer(hang()) as peer, ResilientSession(peer.url, policy=policy, sinks=[]) as session:
            error = await failure(session.get("/"))

            circuit = session.limits.state(peer.url, policy).circuit
            assert len(report(error).attempts) == 2
            assert circuit is not None
            assert (circuit.calls, circuit.failures) == (1, 1)

    run_virtual(scenario())


def test_sessions_share_their_limits_unless_they_have_their_own() -> None:
    """A second session would go on calling a provider that the first has found to be down."""

    async def scenario() -> None:
        async with (
            Peer(answer(500)) as peer,
            ResilientSession(peer.url, sinks=[]) as one,
            ResilientSession(peer.url, sinks=[]) as other,
            ResilientSession(peer.url, sinks=[], limits=LocalLimits()) as alone,
        ):
            await fail_ten_times(one, "/")

            assert isinstance(await failure(other.get("/")), CircuitOpenError)
            async with alone.get("/", policy=ONCE) as response:
                assert response.status == 500
            assert one.limits is other.limits

    run(scenario())


def test_the_wrong_kind_of_limits_is_refused_where_it_is_given() -> None:
    """The mistake would come to light at the first call."""

    async def scenario() -> None:
        for wrong, named in ((10, "int"), (LocalLimits, "the class LocalLimits"), (SimpleNamespace(of=1), "Simple")):
            given: Any = wrong
            said = rf"limits= must be a LocalLimits, or have of\(origin, policy\) as it has, got {named}"
            with pytest.raises(TypeError, match=said):
                ResilientSession(limits=given)

    run(scenario())


class Counting:
    """Limits of somebody else's making: it asks ours, and keeps what it was asked."""

    def __init__(self) -> None:
        self.local = LocalLimits()
        self.asked: list[str] = []

    def of(self, origin: str, policy: Policy) -> OriginLimits:
        self.asked.append(f"of {origin}")
        return CountingOrigin(self.local.of(origin, policy), self.asked)


class CountingOrigin:
    """One origin of them, which has to be waited for, as one that asks another machine has."""

    def __init__(self, local: OriginLimits, asked: list[str]) -> None:
        self._local = local
        self._asked = asked

    def try_enter(self, now: float, deadline_at: float, again: bool, safe: bool) -> int | None:  # noqa: FBT001 - the port
        del now, deadline_at, again, safe
        return None

    async def enter(self, now: float, deadline_at: float, *, again: bool, safe: bool) -> int | Refused:
        await asyncio.sleep(0.25)
        entered = await self._local.enter(now + 0.25, deadline_at, again=again, safe=safe)
        self._asked.append(type(entered).__name__)
        return entered

    def leave(
        self, ticket: int, ended: Answer | Fault, verdict: Classification, *, sent_at: float, now: float
    ) -> str | None:
        self._asked.append(f"leave {verdict.status}")
        return self._local.leave(ticket, ended, verdict, sent_at=sent_at, now=now)

    def abandon(self, ticket: int) -> None:
        self._asked.append("abandon")
        self._local.abandon(ticket)

    def refuses(self) -> bool:
        return self._local.refuses()

    def take_retry(self, ended: Answer | Fault) -> bool:
        self._asked.append("take")
        return self._local.take_retry(ended)

    def give_back_retry(self, ended: Answer | Fault) -> None:
        self._asked.append("give back")
        self._local.give_back_retry(ended)

    def take_news(self) -> str | None:
        return self._local.take_news()


def test_limits_of_another_make_are_asked_at_every_step() -> None:
    """Limits that several processes share could not be had, or would be passed over."""

    async def scenario() -> None:
        limits, sink = Counting(), RecordingSink()
        script = [answer(503), answer(200), hang()]
        async with Peer(*script) as peer, ResilientSession(peer.url, limits=limits, sinks=[sink]) as session:
            session._calls.runtime = _drawing_high(session)
            async with session.get("/") as response:
                known = report(response)
            hanging = asyncio.ensure_future(session.get("/"))
            await until(lambda: len(peer.seen) == 3)
            hanging.cancel()
            await asyncio.wait([hanging])
            limits.local.open_circuit(peer.url)
            refused = await failure(session.get("/"))

            assert session.limits is limits
            assert (response.status, known.elapsed_s >= 0.5) == (200, True)
            assert isinstance(refused, CircuitOpenError)
            assert [each for each in limits.asked if not each.startswith("of ")] == [
                *("int", "leave 503", "take", "int", "leave 200"),
                *("int", "abandon"),
                "Refused",
            ]
            assert {each for each in limits.asked if each.startswith("of ")} == {f"of {peer.url}"}
            assert [each["reason"] for each in sink.named("outbound.circuit")] == ["circuit_open"]

    run_virtual(scenario())


def test_a_circuit_that_was_opened_by_hand_is_told_with_the_next_call() -> None:
    """Whoever is on call would see every call fail, and nothing that says why."""

    async def scenario() -> None:
        sink = RecordingSink()
        async with Peer(answer(200)) as peer, ResilientSession(peer.url, sinks=[sink]) as session:
            session.limits.open_circuit(peer.url)
            for _ in range(2):
                await failure(session.get("/"))
            session.limits.close_circuit(peer.url)
            for _ in range(2):
                async with session.get("/"):
                    pass
            session.limits.release_circuit(peer.url)

            assert [each["reason"] for each in sink.named("outbound.circuit")] == ["circuit_open", "circuit_closed"]

    run(scenario())


def test_no_lookup_is_made_while_the_circuit_refuses() -> None:
    """Each doubt would be asked after at a provider that is down, and wait for it."""

    async def scenario() -> None:
        async with Peer(answer(500)) as peer, ResilientSession(peer.url, provider=FINIX, sinks=[]) as session:
            for _ in range(9):
                async with session.get("/", policy=ONCE):
                    pass

            async with session.post("/transfers", json={"amount": 1}, policy=AT_ONCE) as response:
                known = report(response)

            assert (known.effect, known.stop_reason) == (Effect.IN_DOUBT, StopReason.CIRCUIT_OPEN)
            assert len(peer.seen) == 10

    run(scenario())
