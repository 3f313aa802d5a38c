"""The idle-connection race: an unkeyed POST on a kept-alive connection that the server closes at that very moment.

Run it with ``make race``. The server answers the first request of each connection, and closes the connection when the
head of the next one arrives, having read no body: the worst moment there is. Each pair of calls is one trial; what
counts is what the second call ends in. It fails when a charge is made twice, or a verdict is not what the server did.
"""

import asyncio
import logging
from collections import Counter
from time import perf_counter
from typing import Final

import aiohttp
from benchmarks.results import keep, machine, table

from holdfast import CallReport, Policy, ResilientSession, report_of

TRIALS: Final = 400
BODY: Final = b'{"amount": 1}'
POLICIES: Final = {
    "default": Policy(backoff_base=0.0),
    "`expect_continue=True`": Policy(backoff_base=0.0, expect_continue=True),
}


class Closing:
    """Serves one request a connection, and counts the bodies it took in. Confined to one event loop."""

    def __init__(self) -> None:
        """Begin with none."""
        self.bodies = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the first request, and close at the second."""
        head = await reader.readuntil(b"\r\n\r\n")
        if b"expect: 100-continue" in head.lower():
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await reader.readexactly(len(BODY))
        self.bodies += 1
        writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}")
        await reader.read(1)
        writer.close()


async def charge(session: ResilientSession) -> CallReport:
    """Make one charge and give its report."""
    try:
        async with session.post("/charges", json={"amount": 1}) as response:
            await response.read()
            report = report_of(response)
    except aiohttp.ClientError as error:
        report = report_of(error)
    assert report is not None
    return report


async def race(policy: Policy) -> tuple[Counter[str], int, float]:
    """Make the trials; give the effects of the second calls, the bodies taken in, and seconds per second call."""
    peer, effects, seconds = Closing(), Counter[str](), 0.0
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        for _ in range(TRIALS):
            async with ResilientSession(url, policy=policy) as session:
                await charge(session)
                begun = perf_counter()
                effects[(await charge(session)).effect] += 1
                seconds += perf_counter() - begun
    assert peer.bodies == TRIALS + effects["landed"]
    return effects, peer.bodies, seconds / TRIALS


def main() -> None:
    """Run both policies, print the table and keep it."""
    logging.getLogger("holdfast").setLevel(logging.CRITICAL)
    rows: list[list[object]] = [["policy", "second calls", "landed", "in doubt", "bodies taken in", "ms a second call"]]
    for name, policy in POLICIES.items():
        effects, bodies, seconds = asyncio.run(race(policy))
        rows.append([name, TRIALS, effects["landed"], effects["in_doubt"], bodies, f"{seconds * 1000:.2f}"])
    print(table(*rows))
    keep("race", "The idle-connection race", [f"`make race`. {machine('aiohttp')}", table(*rows)])


if __name__ == "__main__":
    main()
