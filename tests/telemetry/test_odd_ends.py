"""A call that goes wrong in a way nobody foresaw still ends in its one event."""

import asyncio
from typing import Any, Final

import aiohttp
import pytest
from tests.support import AT_ONCE, Peer, failure, hang, refused_port, run
from tests.telemetry.test_events import check

from holdfast import ResilientSession
from holdfast.testing import RecordingSink


async def refused(session: ResilientSession) -> BaseException:
    """Connect where nobody listens."""
    return await failure(session.post(f"http://127.0.0.1:{refused_port()}/pay", json={}))


async def closed(session: ResilientSession) -> BaseException:
    """Use a session after its end."""
    await session.close()
    return await failure(session.post("/pay", json={}))


async def cancelled(session: ResilientSession) -> BaseException:
    """Cancel a call in flight."""
    task = asyncio.ensure_future(session.post("/pay", json={}))
    await asyncio.sleep(0.05)
    task.cancel()
    return await failure(task)


async def failing_middleware(session: ResilientSession) -> BaseException:
    """Fail in the caller's own middleware."""

    async def fail(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        raise LookupError(request, handler)

    return await failure(session.post("/pay", middlewares=[fail]))


async def failing_body(session: ResilientSession) -> BaseException:
    """Fail in the caller's own body."""

    async def chunks() -> Any:
        yield b"x"
        raise LookupError("in the caller's own generator")

    return await failure(session.post("/pay", data=chunks()))


async def bad_url(session: ResilientSession) -> BaseException:
    """Ask for what is no address."""
    return await failure(session.post("http://[", json={}))


async def no_url(session: ResilientSession) -> BaseException:
    """Ask for what is not HTTP."""
    return await failure(session.post("ftp://nowhere.test/x", json={}))


async def not_a_url(session: ResilientSession) -> BaseException:
    """Ask for a number."""
    return await failure(session.post(5, json={}))  # type: ignore[arg-type]


async def bad_header(session: ResilientSession) -> BaseException:
    """Forge a header line."""
    return await failure(session.post("/pay", headers={"x": "a\r\nb"}))


async def bad_json(session: ResilientSession) -> BaseException:
    """Send what JSON cannot say."""
    return await failure(session.post("/pay", json={"amount": object()}))


async def bad_data(session: ResilientSession) -> BaseException:
    """Send what is no body."""
    return await failure(session.post("/pay", data=object()))


async def json_and_data(session: ResilientSession) -> BaseException:
    """Send two bodies."""
    return await failure(session.post("/pay", data=b"1", json={"a": 1}))


async def bad_policy(session: ResilientSession) -> BaseException:
    """Pass a policy that is none."""
    return await failure(session.post("/pay", policy="x"))  # type: ignore[arg-type]


async def bad_key(session: ResilientSession) -> BaseException:
    """Pass a key that is none."""
    return await failure(session.post("/pay", idempotency_key=5))  # type: ignore[arg-type]


ODD_ENDS: Final = [
    (refused, aiohttp.ClientConnectorError, "attempts_exhausted"),
    (closed, RuntimeError, "permanent"),
    (cancelled, asyncio.CancelledError, "cancelled"),
    (failing_middleware, LookupError, "permanent"),
    (failing_body, Exception, None),
    (bad_url, aiohttp.InvalidURL, "permanent"),
    (no_url, aiohttp.NonHttpUrlClientError, "permanent"),
    (not_a_url, (TypeError, aiohttp.InvalidURL), "permanent"),
    (bad_header, ValueError, "permanent"),
]
NO_CALL: Final = [
    (bad_json, TypeError),
    (bad_data, TypeError),
    (json_and_data, ValueError),
    (bad_policy, TypeError),
    (bad_key, ValueError),
]


@pytest.mark.parametrize(("make", "kind", "stop"), ODD_ENDS, ids=[row[0].__name__ for row in ODD_ENDS])
def test_a_call_that_fails_oddly_ends_in_one_event_too(make: Any, kind: Any, stop: str | None) -> None:
    """The one call that went wrong in an unforeseen way would be the one missing from the log."""
    sink = RecordingSink()

    async def scenario() -> BaseException:
        async with Peer(hang()) as peer, ResilientSession(peer.url, policy=AT_ONCE, sinks=[sink]) as session:
            found: BaseException = await make(session)
            return found

    error = run(scenario())

    assert isinstance(error, kind)
    check(sink)
    (event,) = sink.named("outbound.call")
    assert stop is None or event["stop_reason"] == stop


@pytest.mark.parametrize(("make", "kind"), NO_CALL, ids=[row[0].__name__ for row in NO_CALL])
def test_arguments_that_make_no_call_leave_no_event(make: Any, kind: Any) -> None:
    """A payment that could never be asked for would stand in the log among those that were made."""
    sink = RecordingSink()

    async def scenario() -> tuple[BaseException, int]:
        async with Peer(hang()) as peer, ResilientSession(peer.url, policy=AT_ONCE, sinks=[sink]) as session:
            return await make(session), len(peer.seen)

    error, sends = run(scenario())

    assert isinstance(error, kind)
    assert (sends, sink.events) == (0, [])
