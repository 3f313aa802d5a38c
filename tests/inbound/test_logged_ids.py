"""The inbound request's id in the log: in the application's own lines, and beside the provider's in ours."""

import io
import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from tests.support import AT_ONCE, Peer, answer, drop, run

from holdfast import LogSink, ResilientSession, detached
from holdfast.engine.inbound import Inbound, bound


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """Configure structlog as applications do, context variables included."""
    out = io.StringIO()
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    yield out
    structlog.reset_defaults()


def served() -> Inbound:
    """Make an inbound request."""
    return Inbound(request_id="req-1", deadline_at=time.monotonic() + 60)


def ids_of(out: io.StringIO) -> list[tuple[str, str | None, str | None]]:
    """Give event, ``request_id`` and ``inbound_request_id`` of each line."""
    found: list[dict[str, Any]] = [json.loads(line) for line in out.getvalue().splitlines()]
    return [(line["event"], line.get("request_id"), line.get("inbound_request_id")) for line in found]


def test_the_applications_lines_show_the_requests_id_while_it_is_served(lines: io.StringIO) -> None:
    """Nobody could tell which lines belong to one request."""
    log = structlog.get_logger()

    log.info("before")
    with bound(served()):
        log.info("within")
        with detached():
            log.info("detached")
        log.info("within again")
    log.info("after")

    assert ids_of(lines) == [
        ("before", None, None),
        ("within", "req-1", None),
        ("detached", None, None),
        ("within again", "req-1", None),
        ("after", None, None),
    ]


def test_an_id_that_the_application_had_bound_comes_back(lines: io.StringIO) -> None:
    """A worker's own id would be lost after the first request it serves."""
    with structlog.contextvars.bound_contextvars(request_id="own"):
        with bound(served()):
            pass
        structlog.get_logger().info("after")

    assert ids_of(lines) == [("after", "own", None)]


def test_an_event_never_shows_one_id_for_the_other(lines: io.StringIO) -> None:
    """Operations would quote an id to the provider's support that the provider has never seen."""

    async def scenario() -> None:
        script = (drop(), answer(200, x_request_id="theirs"), answer(200))
        async with Peer(*script) as peer, ResilientSession(peer.url, policy=AT_ONCE) as session:
            with bound(served()):
                await session.get("/")
                await session.get("/")
                structlog.get_logger().info("mine")

    run(scenario())

    calls = [line for line in ids_of(lines) if line[0] in {"outbound.call", "mine"}]
    others = {line[1:] for line in ids_of(lines) if line not in calls}
    assert calls == [
        ("outbound.call", "theirs", "req-1"),
        ("outbound.call", None, "req-1"),
        ("mine", "req-1", None),
    ]
    assert others == {(None, "req-1")}


def test_a_structlog_that_nobody_configured_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    """The inbound id would be missing from the standard log."""
    caplog.set_level(logging.INFO, "holdfast")

    async def scenario() -> None:
        async with Peer(answer(200)) as peer, ResilientSession(peer.url, sinks=[LogSink()]) as session:
            with bound(served()):
                await session.get("/")

    run(scenario())

    (record,) = caplog.records
    assert 'inbound_request_id="req-1"' in record.getMessage()
    assert vars(record)["inbound_request_id"] == "req-1"
