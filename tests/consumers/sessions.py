"""A plain session or ours, made alike, and what can be compared between the two: what was sent, and what was told.

The packages in this folder are real and unchanged. Each is run over both kinds against servers on 127.0.0.1, with the
same assertion for both wherever the two should not differ.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import aiohttp
import pytest
from tests.support import AT_ONCE, Peer

from holdfast import Policy, ResilientSession
from holdfast.testing import RecordingSink

PLAIN: Final = "plain"
OURS: Final = "ours"

over_both: Final = pytest.mark.parametrize("kind", [PLAIN, OURS])
"""Runs a test over aiohttp's session and over ours."""


def make_session(
    kind: str, sink: RecordingSink | None = None, policy: Policy = AT_ONCE, **options: Any
) -> aiohttp.ClientSession:
    """Open a session of one kind. The caller closes it, or the package does."""
    if kind == PLAIN:
        return aiohttp.ClientSession(**options)
    return ResilientSession(policy=policy, sinks=[sink or RecordingSink()], **options)


@asynccontextmanager
async def a_session(
    kind: str, sink: RecordingSink | None = None, policy: Policy = AT_ONCE, **options: Any
) -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session of one kind for a while, and see that the package left it open."""
    async with make_session(kind, sink, policy, **options) as session:
        yield session
        assert not session.closed, "the package closed a session that is not its own"


class Told(NamedTuple):
    """What one ``outbound.call`` event says, less times and names."""

    method: str
    status: int | None
    attempts: int
    outcome: str
    effect: str


def told(sink: RecordingSink) -> list[Told]:
    """Give the verdict of every call, in order."""
    return [
        Told(event["method"], event.get("status"), event["attempts"], event["outcome"], event["effect"])
        for event in sink.named("outbound.call")
    ]


def on_the_wire(peer: Peer) -> list[tuple[str, bytes]]:
    """Give every request as the peer received it, less its port: head by lines, and body."""
    return [(seen.head.decode("latin-1").replace(f":{peer.port}", ""), seen.body) for seen in peer.seen]
