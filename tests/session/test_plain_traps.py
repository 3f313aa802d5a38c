"""What could befall a call that goes the plain way, or whose guard steps aside, and how it must end all the same."""

import asyncio
from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import Any, Final
from unittest import mock

import aiohttp
import pytest
from multidict import CIMultiDict
from tests.support import AT_ONCE, Peer, answer, drop, failure, hang, report, run, run_virtual, until

from holdfast import CallReport, Effect, Outcome, Policy, ResilientSession, StopReason
from holdfast.core.deadline import deadline_after
from holdfast.engine.call import Call
from holdfast.engine.limits import LocalLimits
from holdfast.engine.plain import PlainCall
from holdfast.engine.runtime import Runtime
from holdfast.protocols import Answer
from holdfast.providers import GENERIC
from holdfast.testing import RecordingSink

WAYS: Final = ("plain", "secret", "long")
ONE_PLACE: Final = Policy(max_concurrency=1, attempt_timeout=5.0, max_attempts=1)


def session_of(way: str, url: str | None = None, **options: Any) -> ResilientSession:
    """Open a session whose second request to an address goes this way."""
    headers = {"X-Plain": "1"} if way == "secret" else None
    watchers = [aiohttp.TraceConfig()] if way == "long" else None
    return ResilientSession(url, headers=headers, trace_configs=watchers, **options)


async def known(session: ResilientSession, url: str = "/") -> None:
    """Ask once, so that the same goes the plain way from now on."""
    async with session.get(url) as response:
        await response.read()


class Trapped(aiohttp.ClientResponse):
    """A response class of an application's, which fails at being looked at."""

    trap: str | None = None

    @property
    def history(self) -> tuple[aiohttp.ClientResponse, ...]:
        """Give it, or fail."""
        self._spring("history")
        return super().history

    @property
    def connection(self) -> Any:
        """Give it, or fail."""
        self._spring("connection")
        return super().connection

    def _spring(self, name: str) -> None:
        if Trapped.trap == name:
            raise LookupError(name)


@pytest.mark.parametrize("way", ["plain", "secret"])
@pytest.mark.parametrize("trap", ["history", "connection"])
def test_a_response_that_fails_at_being_looked_at_takes_no_place_and_cancels_nobody_later(way: str, trap: str) -> None:
    """Its place of the pool would be gone, and its timer would cancel whatever the task does five seconds later."""

    async def scenario() -> tuple[BaseException, CallReport, list[str], int]:
        sink = RecordingSink()
        async with (
            Peer(answer()) as peer,
            session_of(way, peer.url, policy=ONE_PLACE, sinks=[sink], response_class=Trapped) as session,
        ):
            await known(session)
            with mock.patch.object(Trapped, "trap", trap):
                error = await failure(session.get("/"))
            await asyncio.sleep(10.0)
            again = await session.get("/")
            return error, report(error), [each["reason"] for each in sink.named("outbound.call")], again.status

    error, told, reasons, status = run_virtual(scenario())

    assert isinstance(error, LookupError)
    assert told.stop_reason is StopReason.CANCELLED
    assert reasons == ["ok", "cancelled", "ok"]
    assert status == 200


class Refusing(LocalLimits):
    """Limits of an application's, which fail at being asked for a turn once they are told to."""

    fails = False

    def of(self, origin: str, policy: Policy) -> Any:
        """Give the origin's, or some that fail."""
        return mock.Mock(try_enter=mock.Mock(side_effect=LookupError)) if self.fails else super().of(origin, policy)


@pytest.mark.parametrize("way", WAYS)
def test_a_call_whose_limits_fail_is_told_all_the_same(way: str) -> None:
    """A call would vanish without a line, on the day when the store that the limits are kept in is gone."""

    async def scenario() -> tuple[BaseException, CallReport, list[str]]:
        limits, sink = Refusing(), RecordingSink()
        async with Peer(answer()) as peer, session_of(way, peer.url, limits=limits, sinks=[sink]) as session:
            await known(session)
            limits.fails = True
            error = await failure(session.get("/"))
            return error, report(error), [each["reason"] for each in sink.named("outbound.call")]

    error, told, reasons = run(scenario())

    assert isinstance(error, LookupError)
    assert told.attempts == ()
    assert reasons == ["ok", "cancelled"]


@pytest.mark.parametrize("way", WAYS)
def test_middlewares_that_are_put_in_the_place_of_the_sessions_are_run(way: str) -> None:
    """Requests to an address that was asked for before would go out unsigned."""
    ran: list[str] = []

    async def sign(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        ran.append(request.method)
        return await handler(request)

    async def scenario() -> int:
        async with Peer(answer()) as peer, session_of(way, peer.url) as session:
            await known(session)
            session._middlewares = (sign,)
            return (await session.get("/")).status

    assert run(scenario()) == 200
    assert ran == ["GET"]


@pytest.mark.parametrize("way", WAYS)
def test_a_timeout_that_is_put_in_the_place_of_the_sessions_holds(way: str) -> None:
    """A request to an address that was asked for before would hang for five minutes."""

    async def scenario() -> tuple[BaseException, float]:
        policy = Policy(max_attempts=1)
        async with Peer(answer(), hang()) as peer, session_of(way, peer.url, policy=policy) as session:
            await known(session)
            session._timeout = aiohttp.ClientTimeout(total=2.0)
            error = await failure(session.get("/"))
            return error, report(error).elapsed_s

    error, elapsed_s = run_virtual(scenario())

    assert isinstance(error, TimeoutError)
    assert elapsed_s == pytest.approx(2.0, abs=0.1)


@pytest.mark.filterwarnings("ignore:BasicAuth is deprecated:DeprecationWarning")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("header", ["X-Api-Key", "Authorization"])
def test_credentials_that_are_put_in_the_place_of_the_sessions_stay_at_home(way: str, header: str) -> None:
    """A token that another library sets would go to a stranger, where the first request was made without it."""

    async def scenario() -> tuple[bool, bool]:
        async with (
            Peer(answer()) as stranger,
            Peer(answer(), answer(307, location=f"{stranger.url}/there")) as home,
            session_of(way) as session,
        ):
            await known(session, f"{home.url}/")
            if header == "Authorization":
                session._default_auth = aiohttp.BasicAuth("user", "s3cret")
            else:
                session._default_headers = CIMultiDict({header: "s3cret"})
            await (await session.get(f"{home.url}/")).read()
            return header.lower() in home.seen[-1].headers, header.lower() in stranger.seen[-1].headers

    assert run(scenario()) == (True, False)


@pytest.mark.parametrize("read_body", [True, False])
@pytest.mark.parametrize("header", ["X-Api-Key", "Authorization"])
def test_a_secret_that_the_session_gets_in_a_pause_does_not_follow_a_redirect_abroad(
    header: str, *, read_body: bool
) -> None:
    """A token that was fetched between two attempts would go to a stranger with the second."""

    async def scenario() -> list[list[str | None]]:
        policy = Policy(backoff_base=0.2, read_body=read_body)
        async with (
            Peer(answer()) as stranger,
            Peer(answer(), answer(503), answer(307, location=f"{stranger.url}/there")) as home,
            ResilientSession(home.url, policy=policy) as session,
        ):
            await known(session)
            making = asyncio.ensure_future(session.get("/"))
            await until(lambda: len(home.seen) == 2)
            session.headers[header] = "s3cret"
            await (await making).read()
            return [[seen.headers.get(header.lower()) for seen in peer.seen] for peer in (home, stranger)]

    assert run(scenario()) == [[None, None, "s3cret"], [None]]


class Asking(Answer):
    """An answer at which another thread asks for the report of its call while that is made."""

    ask: Callable[[], None]

    @property
    def key_dropped(self) -> bool:
        """Have it asked, once."""
        ask, self.ask = self.ask, lambda: None
        thread = Thread(target=ask)
        thread.start()
        thread.join()
        return False

    @key_dropped.setter
    def key_dropped(self, value: bool) -> None: ...


def test_a_report_that_two_threads_ask_for_at_once_is_whole_and_one() -> None:
    """A success would be reported as a failure for ever, to the thread that asked first and to all later ones."""
    told: list[CallReport] = []
    heard = Runtime(GENERIC)
    limits = mock.Mock(leave=mock.Mock(return_value=None))
    made = partial(Call, "GET", "http://h/", GENERIC, Policy(), deadline_after(1.0, 9.0))
    call = PlainCall("GET", 1.0, limits, 1, made)
    response = Asking(200, {})
    response.ask = lambda: told.append(call.report())

    call.succeed(response, 2.0, heard)
    told.append(call.report())

    assert [each.outcome for each in told] == [Outcome.SUCCESS] * 2
    assert told[0] is told[1]


SEND: Final = aiohttp.ClientRequest.send


async def send_another(request: aiohttp.ClientRequest, connection: Any) -> aiohttp.ClientResponse:
    """Stand where aiohttp's method was, and send a body of its own."""
    await request.update_body(b"another")
    return await SEND(request, connection)


async def send_another_meanwhile(request: aiohttp.ClientRequest, connection: Any) -> aiohttp.ClientResponse:
    """Likewise, and put the first one back."""
    given = request.body
    await request.update_body(b"another")
    try:
        response = await SEND(request, connection)
        await response.start(connection)
    finally:
        await request.update_body(given)
    return response


class Wrapping(aiohttp.TCPConnector):
    """A connector of an application's, which puts another body into what it connects for."""

    async def connect(self, req: aiohttp.ClientRequest, *limits: Any, **known: Any) -> Any:
        """Connect for a request that is another then."""
        await req.update_body(b"another")
        return await super().connect(req, *limits, **known)


@pytest.mark.parametrize("send", [send_another, send_another_meanwhile, None], ids=["sends", "meanwhile", "connects"])
def test_a_charge_whose_body_was_replaced_on_its_way_is_not_taken_for_unsent(send: Any) -> None:
    """It would be made four times: the body that was never begun is not the one that has arrived."""

    async def scenario() -> tuple[list[bytes], CallReport]:
        connector = Wrapping() if send is None else None
        async with Peer(drop()) as peer, ResilientSession(peer.url, policy=AT_ONCE, connector=connector) as session:
            with mock.patch.object(aiohttp.ClientRequest, "send", send or SEND):
                error = await failure(session.post("/charges", data=b"charge"))
            return [seen.body for seen in peer.seen], report(error)

    bodies, told = run(scenario())

    assert bodies == [b"another"]
    assert (told.effect, told.stop_reason) == (Effect.IN_DOUBT, StopReason.UNSAFE_TO_RESEND)
    assert [each.bytes_sent for each in told.attempts] == [None]
