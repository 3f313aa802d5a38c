"""``Policy(expect_continue=True)``: an unkeyed call that meets a closing connection is proven unsent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from tests.support import report, run

from holdfast import Effect, Policy, ResilientSession, StopReason

CAREFUL = Policy(expect_continue=True, backoff_base=0.0)
HASTY = Policy(backoff_base=0.0)


class Closing:
    """Answers the first request of each connection, and closes the connection when the head of a second one comes."""

    def __init__(self) -> None:
        self.url = ""
        self.bodies = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        head = await reader.readuntil(b"\r\n\r\n")
        if b"expect: 100-continue" in head.lower():
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await reader.readexactly(len(b'{"amount": 1}'))
        self.bodies += 1
        writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}")
        await reader.read(1)
        writer.close()


@asynccontextmanager
async def closing() -> AsyncIterator[Closing]:
    """Run such a server."""
    peer = Closing()
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    peer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield peer


async def charge_twice(policy: Policy) -> tuple[int, object]:
    """Make two charges on one kept-alive connection."""
    async with closing() as peer, ResilientSession(peer.url, policy=policy) as session:
        ended: object = None
        for _ in range(2):
            try:
                ended = response = await session.post("/charges", json={"amount": 1})
                await response.read()
            except aiohttp.ClientError as error:
                ended = error
        return peer.bodies, ended


def test_without_it_the_race_leaves_the_second_charge_in_doubt() -> None:
    """This is what the option is for: the caller cannot tell whether the card was charged."""
    bodies, ended = run(charge_twice(HASTY))

    known = report(ended)
    assert (bodies, known.effect, known.stop_reason) == (1, Effect.IN_DOUBT, StopReason.UNSAFE_TO_RESEND)


def test_with_it_the_second_charge_is_made_once_on_a_fresh_connection() -> None:
    """The body never left, so sending again cannot charge twice, and the caller gets his charge."""
    bodies, ended = run(charge_twice(CAREFUL))

    known = report(ended)
    assert (bodies, known.effect, known.stop_reason) == (2, Effect.LANDED, StopReason.SUCCEEDED)
    assert [attempt.effect for attempt in known.attempts] == [Effect.NONE, Effect.LANDED]


@pytest.mark.parametrize("value", [None, 1, "yes"])
def test_only_true_and_false_are_taken(value: object) -> None:
    """A setting that is misspelt must not silently leave the race open."""
    with pytest.raises(ValueError, match="expect_continue must be True or False"):
        Policy(expect_continue=value)  # type: ignore[arg-type]
