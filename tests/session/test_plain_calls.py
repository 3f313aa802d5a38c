"""A plain success has no record until somebody asks for one: nobody who looks on, limits or reports can tell.

Each test makes its call the plain way, which takes an address that was asked for before, with and without a header of
the session's that has to stay at home, and beside them the long way, in a session where somebody looks on.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import aiohttp
import pytest
from tests.support import AT_ONCE, Behaviour, Peer, answer, drop, failure, hang, report, run, run_virtual, until

from holdfast import CircuitOpenError, Effect, Outcome, Policy, ResilientSession, StopReason
from holdfast.engine.limits import LocalLimits
from holdfast.protocols import Answer, Fault, OriginLimits, Refused, Ticket
from holdfast.report import Classification
from holdfast.testing import RecordingSink

WAYS: Final = ("plain", "secret", "long")


def session_of(way: str, url: str, **options: Any) -> ResilientSession:
    """Open a session whose second request to an address goes this way."""
    headers = {"Authorization": "Bearer t"} if way == "secret" else None
    watchers = [aiohttp.TraceConfig()] if way == "long" else None
    return ResilientSession(url, headers=headers, trace_configs=watchers, **options)


async def known(session: ResilientSession, url: str = "/") -> None:
    """Ask once, so that the same goes the plain way from now on."""
    async with session.get(url) as response:
        await response.read()
    assert bool(session.trace_configs) or ("get", url) in session._calls.reader.bare.kept


class Told(LocalLimits):
    """Limits that note what they are asked and told."""

    def __init__(self) -> None:
        """Begin with nothing noted."""
        super().__init__()
        self.log: list[str] = []

    def of(self, origin: str, policy: Policy) -> Any:
        """Give the origin's, with an ear at the door."""
        return Door(super().of(origin, policy), self.log)


class Door:
    """The limits of one origin, noted. Confined to one event loop."""

    def __init__(self, inner: OriginLimits, log: list[str]) -> None:
        """Stand before limits."""
        self._inner, self._log = inner, log

    def __getattr__(self, name: str) -> Any:
        """Pass the rest through."""
        return getattr(self._inner, name)

    def try_enter(self, now: float, deadline_at: float, again: bool, safe: bool) -> Ticket | None:  # noqa: FBT001 - the port
        """Note a turn."""
        self._log.append(f"enter again={again} safe={safe} left={deadline_at - now:.0f}")
        return self._inner.try_enter(now, deadline_at, again, safe)

    async def enter(self, now: float, deadline_at: float, *, again: bool, safe: bool) -> Ticket | Refused:
        """Note a wait."""
        self._log.append("wait")
        return await self._inner.enter(now, deadline_at, again=again, safe=safe)

    def leave(
        self, ticket: Ticket, ended: Answer | Fault, verdict: Classification, *, sent_at: float, now: float
    ) -> str | None:
        """Note an end."""
        self._log.append(f"leave {verdict.reason} {verdict.status}")
        return self._inner.leave(ticket, ended, verdict, sent_at=sent_at, now=now)

    def abandon(self, ticket: Ticket) -> None:
        """Note one that says nothing."""
        self._log.append("abandon")
        self._inner.abandon(ticket)


SCRIPTS: Final[dict[str, Sequence[Behaviour]]] = {
    "success": [answer()],
    "error": [answer(404)],
    "redirect": [answer(302, location="/there"), answer()],
    "again": [answer(503), drop(), answer()],
    "lost": [drop(), drop(), drop(), drop()],
    "silent": [hang()],
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_limits_are_asked_and_told_the_same(script: str) -> None:
    """A place that is never left keeps every later call waiting, and a circuit would count what it was not told."""

    async def scenario(way: str) -> tuple[list[str], list[tuple[str, dict[str, Any]]]]:
        limits, sink = Told(), RecordingSink()
        policy = Policy(backoff_base=0.0, attempt_timeout=5.0, deadline=9.0)
        async with (
            Peer(answer(), *SCRIPTS[script]) as peer,
            session_of(way, peer.url, policy=policy, limits=limits, sinks=[sink]) as session,
        ):
            await known(session)
            limits.log.clear()
            sink.events.clear()
            with suppress(aiohttp.ClientError, TimeoutError):
                await (await session.get("/")).read()
            unlike = {"call_id": "", "elapsed_s": 0.0, "host": "", "deadline_left_s": 0.0, "pause_s": 0.0}
            return limits.log, [(each.event, each.fields | unlike) for each in sink.events]

    plain, secret, long = (run_virtual(scenario(way)) for way in WAYS)

    assert plain == secret == long
    assert len([each for each in plain[0] if each.startswith("enter")]) == len(
        [each for each in plain[0] if not each.startswith("enter")]
    )


@pytest.mark.parametrize("way", WAYS)
def test_a_cancelled_call_gives_its_turn_back_and_tells(way: str) -> None:
    """Each caller who loses patience would take a place of the pool with him."""

    async def scenario() -> tuple[list[str], list[dict[str, Any]], Any]:
        limits, sink = Told(), RecordingSink()
        async with (
            Peer(answer(), hang()) as peer,
            session_of(way, peer.url, limits=limits, sinks=[sink]) as session,
        ):
            await known(session)
            limits.log.clear()
            making = asyncio.ensure_future(session.get("/"))
            await until(lambda: len(peer.lines) == 2)
            making.cancel()
            error = await failure(making)
            return limits.log, sink.named("outbound.call")[1:], report(error)

    log, told, found = run(scenario())

    assert log == ["enter again=False safe=True left=300", "abandon"]
    assert [(each["outcome"], each["reason"], each["stop_reason"]) for each in told] == [
        ("retryable", "cancelled", "cancelled")
    ]
    assert (found.outcome, found.effect, found.stop_reason) == (Outcome.RETRYABLE, Effect.NONE, StopReason.CANCELLED)


@pytest.mark.parametrize("way", WAYS)
def test_a_call_that_is_dropped_half_way_is_told_and_leaves_nothing(way: str) -> None:
    """A loop that is torn down closes its coroutines: calls would vanish without a line."""

    async def scenario() -> tuple[list[str], list[str]]:
        limits, sink = Told(), RecordingSink()
        async with (
            Peer(answer(), hang()) as peer,
            session_of(way, peer.url, limits=limits, sinks=[sink]) as session,
        ):
            await known(session)
            limits.log.clear()
            coming = session.get("/")
            coming.send(None)
            coming.close()
            await session.drain(0.0)
            return limits.log, [each["reason"] for each in sink.named("outbound.call")]

    log, reasons = run(scenario())

    assert log == ["enter again=False safe=True left=300", "abandon"]
    assert reasons == ["ok", "cancelled"]


def test_a_log_that_is_opened_while_a_call_is_made_has_its_events() -> None:
    """Who turns the log on to see what hangs would not see how it ends."""

    async def scenario() -> list[str]:
        sink = RecordingSink(level=logging.ERROR)
        released = asyncio.Event()

        async def late(turn: Any) -> None:
            await released.wait()
            await answer()(turn)

        async with Peer(answer(), late) as peer, session_of("plain", peer.url, sinks=[sink]) as session:
            await known(session)
            making = asyncio.ensure_future(session.get("/"))
            await until(lambda: len(peer.lines) == 2)
            sink.level = logging.DEBUG
            released.set()
            await (await making).read()
            return [f"{each.event} {each.fields['reason']}" for each in sink.events]

    assert run(scenario()) == ["outbound.attempt ok", "outbound.call ok"]


@pytest.mark.parametrize("way", WAYS)
def test_limits_that_fail_at_a_success_are_told_of(way: str) -> None:
    """A fault in the limits of one's own would make calls vanish without a line."""

    class Failing(Door):
        def leave(self, *_: object, **__: object) -> str | None:
            raise LookupError

    class Limits(Told):
        fails = False

        def of(self, origin: str, policy: Policy) -> Any:
            door = super().of(origin, policy)
            return Failing(door, self.log) if self.fails else door

    async def scenario() -> tuple[BaseException, list[str]]:
        limits, sink = Limits(), RecordingSink()
        async with Peer(answer(), answer()) as peer, session_of(way, peer.url, limits=limits, sinks=[sink]) as session:
            await known(session)
            limits.fails = True
            return await failure(session.get("/")), [each["stop_reason"] for each in sink.named("outbound.call")]

    error, told = run(scenario())

    assert isinstance(error, LookupError)
    assert report(error).attempts[0].status == 200
    assert told == ["succeeded", "cancelled"]


def test_a_report_is_made_once_and_stays_the_same() -> None:
    """Two questions after one call would be answered with two calls."""

    async def scenario() -> tuple[Any, Any, Any]:
        async with Peer(answer(), answer(finix_request_id="r1")) as peer, session_of("plain", peer.url) as session:
            await known(session)
            response = await session.get("/")
            first = report(response)
            await session.close()
            return first, report(response), response.status

    first, second, status = run(scenario())

    assert first is second
    assert status == 200
    assert (first.outcome, first.effect, first.stop_reason) == (Outcome.SUCCESS, Effect.NONE, StopReason.SUCCEEDED)
    assert [(each.number, each.status, each.bytes_sent) for each in first.attempts] == [(1, 200, True)]
    assert first.elapsed_s >= first.attempts[0].elapsed_s > 0


def test_a_circuit_that_is_held_open_keeps_plain_calls_back_too() -> None:
    """An operator who takes a bank off the line would see it called on."""

    async def scenario() -> tuple[BaseException, list[str], int]:
        async with Peer(answer(), answer()) as peer, session_of("plain", peer.url) as session:
            await known(session)
            session.limits.open_circuit(peer.url)
            refused = await failure(session.get("/"))
            lines = list(peer.lines)
            session.limits.release_circuit(peer.url)
            session.limits.close_circuit(peer.url)
            return refused, lines, (await session.get("/")).status

    refused, lines, status = run(scenario())

    assert isinstance(refused, CircuitOpenError)
    assert lines == ["GET /"]
    assert status == 200


def test_plain_calls_wait_for_a_free_place_one_after_the_other() -> None:
    """A limit of one would let two through, or the second would wait for ever."""

    async def scenario() -> tuple[list[int], int]:
        most = under_way = 0

        async def one(turn: Any) -> None:
            nonlocal most, under_way
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.01)
            under_way -= 1
            await answer()(turn)

        policy = Policy(max_concurrency=1)
        async with Peer(*[one] * 9) as peer, session_of("plain", peer.url, policy=policy) as session:
            await known(session)

            async def ask() -> int:
                async with session.get("/") as response:
                    return response.status

            return await asyncio.gather(*[ask() for _ in range(8)]), most

    assert run(scenario()) == ([200] * 8, 1)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("check", [True, "callable"])
def test_what_the_session_says_of_statuses_holds(way: str, check: Any) -> None:
    """A session that is to raise would give an error's page for an answer."""
    asked: list[int] = []

    async def refuse(response: aiohttp.ClientResponse) -> None:
        asked.append(response.status)
        if response.status == 404:
            raise LookupError

    async def scenario() -> tuple[int, BaseException]:
        given = refuse if check == "callable" else True
        async with (
            Peer(answer(), answer(), answer(404)) as peer,
            session_of(way, peer.url, policy=AT_ONCE, raise_for_status=given) as session,
        ):
            await known(session)
            return (await session.get("/")).status, await failure(session.get("/"))

    status, error = run(scenario())

    assert status == 200
    assert isinstance(error, LookupError if check == "callable" else aiohttp.ClientResponseError)
    assert asked == ([200, 200, 404] if check == "callable" else [])
    assert report(error).attempts[0].status == 404
