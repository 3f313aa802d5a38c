"""The public API as type checkers see it. mypy and pyright read this file; a wrong type here is an error there.

Each ``type: ignore`` is checked too: it is an error when there is nothing to ignore.
"""

from collections.abc import Awaitable, Callable
from typing import assert_type

import aiohttp
from tests.support import Peer, answer, run

from holdfast import (
    CallReport,
    Effect,
    HoldfastError,
    Outcome,
    PermanentFailureError,
    Policy,
    ResilientSession,
    report_of,
    resilient_middleware,
)
from holdfast.providers import FINIX


async def drop_in(session: aiohttp.ClientSession, path: str) -> int:
    """Be a library that is annotated with aiohttp's own session."""
    async with session.get(path, allow_redirects=False) as response:
        return response.status


async def call_in_every_form(session: ResilientSession) -> None:
    """Use what every call takes, and what only ours do."""
    assert_type(await session.get("/"), aiohttp.ClientResponse)
    async with session.post(
        "/transfers", json={"a": 1}, idempotency_key="k", operation="pay", policy=Policy()
    ) as response:
        assert_type(response, aiohttp.ClientResponse)
        assert_type(report_of(response), CallReport | None)
    for verb in (session.options, session.head, session.put, session.patch, session.delete):
        assert_type(await verb("/", params={"a": "b"}, timeout=aiohttp.ClientTimeout(total=5)), aiohttp.ClientResponse)
    assert_type(await session.request("QUERY", "/", data=b"x", raise_for_status=True), aiohttp.ClientResponse)
    assert_type(session.client, aiohttp.ClientSession)
    assert_type(session.closed, bool)


async def be_refused(session: ResilientSession) -> None:
    """Make the mistakes that a type checker is there to find."""
    await session.get("/", idempotency_key=7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await session.get("/", polcy=Policy())  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await session.get(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ResilientSession(provider="finix")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Policy(deadlin=3.0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def read(report: CallReport, error: PermanentFailureError) -> None:
    """Look at verdicts and errors."""
    assert_type(report.outcome, Outcome)
    assert_type(report.effect, Effect)
    assert_type(error.report, CallReport)
    assert_type(error.status, int)
    as_ours: HoldfastError = error
    as_theirs: aiohttp.ClientResponseError = error
    del as_ours, as_theirs


def test_a_session_goes_where_aiohttps_is_annotated() -> None:
    """Every library with type hints would need a cast, or an ignore, to be given our session."""

    async def scenario() -> tuple[int, int]:
        async with (
            Peer(answer(200, b"")) as peer,
            ResilientSession(peer.url, provider=FINIX) as session,
            aiohttp.ClientSession(peer.url, middlewares=[resilient_middleware()]) as genuine,
        ):
            await call_in_every_form(session)
            return await drop_in(session, "/"), await drop_in(genuine, "/")

    assert run(scenario()) == (200, 200)


def test_a_subclass_for_checkers_is_none_at_run_time() -> None:
    """Aiohttp 3 warns of a real subclass, and aiohttp 4 refuses it."""
    functions: list[Callable[..., Awaitable[object]]] = [drop_in, be_refused]

    assert ResilientSession.__mro__ == (ResilientSession, object)
    assert all(callable(function) for function in functions)
