"""An error's body is read for its verdict, and is still the caller's to read; its connection is given back."""

import asyncio
import gzip
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from tests.support import (
    AT_ONCE,
    Behaviour,
    Peer,
    Turn,
    answer,
    cut,
    drip,
    head_of,
    raw,
    report,
    run,
    run_virtual,
    said,
)

from holdfast import Policy, ResilientSession
from holdfast.providers import FINIX

ROOT: Final = Path(__file__).resolve().parents[2]
MEGABYTE: Final = 2**20
REFUSAL: Final = {
    "total": 1,
    "_embedded": {"errors": [{"logref": "log-1", "message": "No.", "code": "INVALID_FIELD", "field": "amount"}]},
}


def streamed(status: int, megabytes: int) -> Behaviour:
    """Send a huge body in pieces; none of it is kept here."""

    async def behave(turn: Turn) -> None:
        await turn.write(head_of(status, {"content-length": str(megabytes * MEGABYTE)}))
        piece = b"x" * 65536
        for _ in range(megabytes * 16):
            if turn.writer.is_closing():
                return
            await turn.write(piece)

    return behave


async def huge(status: int) -> tuple[int, int, int]:
    """Receive 100 MB of error: what it cost to judge, what could be read then, and what that cost, in bytes."""
    async with Peer(streamed(status, 100)) as peer, ResilientSession(peer.url, policy=AT_ONCE) as session:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        response = await session.post("/pay", json={})
        judged = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        read = 0
        async for chunk in response.content.iter_chunked(65536):
            read += len(chunk)
        return 1024 * (judged - before), read, 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


@pytest.mark.parametrize("status", [400, 503])
def test_a_huge_error_body_costs_no_memory_and_can_be_streamed_whole(status: int) -> None:
    """A broken gateway that answers with a disk image would kill the worker."""
    code = f"import json; from tests.session.test_error_bodies import huge, run; print(json.dumps(run(huge({status}))))"

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    judged, read, streamed_through = json.loads(done.stdout)
    assert read == 100 * MEGABYTE
    assert judged < 4 * MEGABYTE
    assert streamed_through < 8 * MEGABYTE


READERS: Final[dict[str, Any]] = {
    "read": lambda response: response.read(),
    "text": lambda response: response.text(),
    "json": lambda response: response.json(),
    "content.read": lambda response: response.content.read(),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("status", [400, 402, 422, 429, 503])
def test_a_judged_error_body_is_still_the_callers(reader: str, status: int) -> None:
    """Drop-in code that shows the provider's message would find an empty body."""

    async def scenario() -> Any:
        async with Peer(said(status, REFUSAL)) as peer, ResilientSession(peer.url, provider=FINIX) as session:
            response = await session.post("/merchants", json={}, policy=Policy(max_attempts=1))
            assert report(response).logrefs == ("log-1",)
            return await READERS[reader](response)

    got = run(scenario())

    assert (got if reader == "json" else json.loads(got)) == REFUSAL


def test_a_judged_error_body_can_be_streamed_by_line_and_by_chunk() -> None:
    """A caller who streams would lose the part that was read for the verdict."""
    lines = [b"first\n", b"second\n", b"last"]
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(line), line) for line in lines) + b"0\r\n\r\n"

    async def scenario() -> tuple[list[bytes], bytes, bytes]:
        script = [raw(head_of(400, {"transfer-encoding": "chunked"}) + chunked)]
        async with Peer(*script) as peer, ResilientSession(peer.url) as session:
            by_line = [line async for line in (await session.get("/")).content]
            any_size = b"".join([part async for part in (await session.get("/")).content.iter_any()])
            exactly = await (await session.get("/")).content.readexactly(8)
            return by_line, any_size, exactly

    by_line, any_size, exactly = run(scenario())

    assert by_line == lines
    assert any_size == b"".join(lines)
    assert exactly == b"first\nse"


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 200_000])
def test_a_body_round_the_limit_is_whole(size: int) -> None:
    """An error body of just the wrong size would lose or double a byte."""
    body = bytes(index % 251 for index in range(size))

    async def scenario() -> bytes:
        async with Peer(answer(400, body)) as peer, ResilientSession(peer.url) as session:
            return await (await session.get("/")).read()

    assert run(scenario()) == body


@pytest.mark.parametrize("last", [answer(200), answer(400)])
def test_small_discarded_bodies_give_their_connection_back(last: Behaviour) -> None:
    """A pool of one would wait for its own connection until the deadline; a pool of many would be thrown away."""

    async def scenario() -> tuple[int, int]:
        script = [said(503, REFUSAL), answer(503, b"x" * 60_000), answer(503, b""), last]
        connector = aiohttp.TCPConnector(limit=1)
        async with (
            Peer(*script) as peer,
            ResilientSession(peer.url, connector=connector, policy=AT_ONCE) as session,
            asyncio.timeout(5),
        ):
            async with session.get("/"):
                pass
            async with session.get("/"):
                pass
            return len(peer.seen), peer.connections

    assert run(scenario()) == (5, 1)


def test_large_discarded_bodies_close_their_connection() -> None:
    """Reading 8 MB of refusal before the next attempt would cost more than a connection."""

    async def scenario() -> tuple[int, int]:
        connector = aiohttp.TCPConnector(limit=1)
        async with (
            Peer(streamed(503, 8), streamed(503, 8), answer(200)) as peer,
            ResilientSession(peer.url, connector=connector, policy=AT_ONCE) as session,
            asyncio.timeout(5),
        ):
            response = await session.get("/")
            return response.status, peer.connections

    assert run(scenario()) == (200, 3)


def test_raising_for_status_gives_the_connection_back() -> None:
    """Every refused payment would leave a connection open that nobody can use."""

    async def scenario() -> tuple[int, int]:
        connector = aiohttp.TCPConnector(limit=1)
        async with (
            Peer(said(400, REFUSAL), answer(400, b"x" * 60_000), streamed(400, 8), answer(200)) as peer,
            ResilientSession(peer.url, connector=connector) as session,
            asyncio.timeout(5),
        ):
            for _ in range(3):
                with pytest.raises(aiohttp.ClientResponseError):
                    await session.get("/", raise_for_status=True)
            await session.get("/")
            return len(peer.seen), peer.connections

    assert run(scenario()) == (4, 2)


@pytest.mark.parametrize(
    "behaviour",
    [
        cut(503, b'{"logref": "log-1", "mess', 1000),
        raw(head_of(503, {"content-length": "1000"}) + b'{"logref": "log-1", "mess', then="reset"),
        drip(head_of(503, {"transfer-encoding": "chunked"}) + b"5\r\nhello\r\n", b"nonsense\r\n", 0.05),
        raw(head_of(503, {"content-encoding": "gzip", "content-length": "5"}) + b"hello"),
    ],
    ids=["cut", "reset", "bad chunk", "not gzip"],
)
def test_an_error_body_that_cannot_be_read_leaves_its_status_an_answer(behaviour: Behaviour) -> None:
    """A 503 would turn into a lost connection, and the retry it asks for would not be made."""

    async def scenario() -> aiohttp.ClientResponse:
        async with Peer(behaviour, answer(200)) as peer, ResilientSession(peer.url, policy=AT_ONCE) as session:
            return await session.get("/")

    response = run_virtual(scenario())

    assert response.status == 200
    assert [each.status for each in report(response).attempts] == [503, 200]


def test_an_error_body_that_stalls_is_judged_by_what_came() -> None:
    """The user would wait for the end of a sentence whose beginning says it all."""

    async def scenario() -> tuple[int, tuple[str, ...], BaseException | None]:
        stalling = drip(head_of(400, {"content-length": "1000"}) + json.dumps(REFUSAL).encode(), b"", 1.0)
        async with Peer(stalling) as peer, ResilientSession(peer.url) as session:
            response = await session.get("/", timeout=aiohttp.ClientTimeout(total=0.5))
            try:
                await response.read()
            except TimeoutError as error:
                return response.status, report(response).logrefs, error
            return response.status, report(response).logrefs, None

    status, logrefs, error = run(scenario())

    assert (status, logrefs) == (400, ("log-1",))
    assert error is not None


def test_a_compressed_error_body_is_read_as_text() -> None:
    """The logref to quote to the provider's support would be lost in a gzip."""

    async def scenario() -> tuple[tuple[str, ...], Any]:
        body = gzip.compress(json.dumps(REFUSAL).encode())
        async with Peer(answer(400, body, content_encoding="gzip")) as peer, ResilientSession(peer.url) as session:
            response = await session.get("/")
            return report(response).logrefs, await response.json()

    assert run(scenario()) == (("log-1",), REFUSAL)


@pytest.mark.skipif(tuple(map(int, aiohttp.__version__.split(".")[:2])) < (3, 14), reason="aiohttp's own, since 3.14")
def test_a_compression_bomb_costs_no_memory() -> None:
    """100 kB on the wire would become 100 MB in the worker."""
    code = """
import gzip, resource
from tests.support import *
from holdfast import ResilientSession
bomb = gzip.compress(bytes(100 * 2**20))
async def main():
    async with Peer(answer(400, bomb, content_encoding="gzip")) as peer, ResilientSession(peer.url) as session:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        response = await session.get("/")
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        response.close()
run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 32 * 1024
