"""Faults that the catalogue does not have, in its words: numbers it skips, and neighbours of its rows.

A plus sign stands before each number.
"""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Mapping
from typing import Final

from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, ClientTimeout
from tests.faults.certificates import certificates
from tests.faults.handlers import (
    CUT,
    FIN,
    HANG,
    RST,
    after_head,
    after_part,
    after_request,
    dripping,
    flooding,
    head,
    healthy,
    ok,
    on_first_byte,
    proxy_says,
    proxy_talks,
    redirecting,
    whole,
)
from tests.faults.places import server
from tests.faults.rows import AMOUNT, SHORT, SHORT_S, Ask, Row, Said
from tests.faults.rows_before import PROXY, TLS, TLS_URL
from tests.faults.rows_sent import PART_BYTES, READ_TIMEOUT, upload
from tests.faults.server import Wire

from holdfast import Outcome

_ALL: Final = ("G", "PK", "P", "U")
_UNSAFE: Final = ("PK", "P", "U")


def _same(final: str, first: str, processed: str, *, retry: bool) -> Mapping[str, Said]:
    return dict.fromkeys(_ALL, Said(final, retry, first, processed))


def _doubt(processed: str) -> Mapping[str, Said]:
    again = Said("in_doubt", True, "ok", processed)  # noqa: FBT003 - a row of a table
    never = Said("in_doubt", False, "in_doubt", processed)  # noqa: FBT003
    return {"G": Said("failed", True, "ok", processed), "PK": again, "P": never, "U": again}  # noqa: FBT003


def _of_unsafe(says: Mapping[str, Said]) -> Mapping[str, Said]:
    return {case: says[case] for case in _UNSAFE}


_LOST: Final = Said("applied_unreadable", False, "applied_unreadable", "yes")  # noqa: FBT003

UNREAD: Final[Mapping[str, Said]] = {
    "G": Said("failed", True, "ok", "yes"),  # noqa: FBT003
    "PK": Said("applied_unreadable", True, "ok", "yes"),  # noqa: FBT003
    "P": _LOST,
    "U": _LOST,
}
_TURNED: Final = Said("in_doubt", False, "in_doubt", "maybe")  # noqa: FBT003
FINE: Final = _same("ok", "ok", "yes", retry=False)
REFUSED: Final = _same("rejected", "rejected", "no", retry=False)
UNSENT: Final = _same("failed_not_sent", "ok", "no", retry=True)
UNSENT_FOR_GOOD: Final = _same("failed_not_sent", "failed_not_sent", "no", retry=False)
SHED: Final = _same("failed_not_processed", "ok", "no", retry=True)

BEFORE: Final = (
    Row(
        id="+T01",
        flavour="other_host",
        place=server(healthy, lambda: certificates().other_host),
        ask=TLS,
        seen=0,
        connects=0,
        reason="tls_certificate",
        says=UNSENT_FOR_GOOD,
    ),
    Row(
        id="+T02",
        flavour="unknown_authority",
        place=server(healthy, lambda: certificates().good),
        ask=Ask(url=TLS_URL, client_tls=lambda: certificates().stranger),
        seen=0,
        connects=0,
        reason="tls_certificate",
        says=UNSENT_FOR_GOOD,
    ),
    Row(id="+T05", flavour="reset_in_handshake", place=server(on_first_byte(RST)), ask=TLS, seen=0, says=UNSENT),
    Row(
        id="+T12",
        flavour="plain_answer_to_hello",
        place=server(on_first_byte(lambda wire: wire.send(whole(400)))),
        ask=TLS,
        seen=0,
        reason="tls",
        says=UNSENT,
    ),
    Row(id="+X04", flavour="forbidden", place=server(proxy_says(403)), ask=PROXY, seen=0, says=UNSENT),
    Row(id="+X05", flavour="fin", place=server(proxy_talks(b"", FIN)), ask=PROXY, seen=0, says=UNSENT),
    Row(id="+X05", flavour="reset", place=server(proxy_talks(b"", RST)), ask=PROXY, seen=0, says=UNSENT),
    Row(
        id="+X06",
        flavour="garbage",
        place=server(proxy_talks(b"SSH-2.0-x\r\n\r\n", FIN)),
        ask=PROXY,
        seen=0,
        says=UNSENT,
    ),
    Row(
        id="+X07",
        flavour="silence",
        place=server(proxy_talks(b"", HANG)),
        ask=Ask(url=PROXY.url, proxy=PROXY.proxy, policy=SHORT),
        seen=0,
        reason="connect_timeout",
        says=UNSENT,
    ),
)

_EXPECT: Final = Ask(options={"expect100": True})

UPLOAD: Final = (
    Row(id="+W10", flavour="fin_before_100", place=server(after_head(then=FIN)), ask=_EXPECT, says=_of_unsafe(SHED)),
    Row(id="+W10", flavour="reset_before_100", place=server(after_head(then=RST)), ask=_EXPECT, says=_of_unsafe(SHED)),
    Row(
        id="+W12",
        flavour="no_100",
        place=server(after_head(then=HANG)),
        ask=Ask(options={"expect100": True}, policy=SHORT),
        says=_of_unsafe(SHED),
    ),
    Row(
        id="+W13",
        flavour="early_503",
        place=server(after_part(PART_BYTES, RST, whole(503))),
        ask=Ask(body=upload),
        says=_of_unsafe(_doubt("no")),
    ),
    Row(
        id="+W13",
        flavour="early_429",
        place=server(after_part(PART_BYTES, FIN, whole(429))),
        ask=Ask(body=upload),
        says=_of_unsafe(SHED),
    ),
)

_200: Final = b"HTTP/1.1 200 OK\r\n"
_CHUNKED: Final = head(200, transfer_encoding="chunked", content_type="application/json")
_UNFRAMED: Final = head(200, content_type="application/json", connection="close")
_OLD: Final = head(200, version="1.0", content_type="text/plain")

ANSWER: Final = (
    Row(
        id="+H06",
        flavour="fin_in_402",
        place=server(after_request(b"HTTP/1.1 402 No\r\nX", executes=False)),
        says=_doubt("no"),
    ),
    Row(
        id="+H11",
        flavour="flood_of_102",
        place=server(flooding(head(102), 0.01)),
        ask=Ask(policy=SHORT),
        reason="timeout",
        says=_doubt("yes"),
    ),
    Row(id="+H11", flavour="102_then_fin", place=server(after_request(head(102) * 100)), says=_doubt("yes")),
    Row(
        id="+H15",
        flavour="100s_then_200",
        place=server(after_request(lambda body: head(100) * 9 + ok(body))),
        says=FINE,
    ),
    Row(id="+B04", flavour="reset_in_chunks", place=server(after_request(_CHUNKED + b"40\r\n{", RST)), says=UNREAD),
    Row(
        id="+B04",
        flavour="bad_chunk_later",
        place=server(dripping(_CHUNKED + b"3\r\n{}\n\r\nnonsense\r\n", 0.0005, at_once=len(_CHUNKED))),
        ask=Ask(policy=SHORT),  # aiohttp closes the connection and leaves the reader waiting for its total timeout
        says=UNREAD,
    ),
    Row(
        id="+B04",
        flavour="bad_chunk_at_once",
        place=server(after_request(_CHUNKED + b"nonsense\r\n")),
        reason="malformed_response",
        says=_doubt("yes"),
    ),
    Row(
        id="+B18",
        flavour="drip",
        place=server(dripping(whole(200, b" " * 99 + b"{}"), 0.02, at_once=120)),
        ask=Ask(policy=SHORT),
        says=UNREAD,
    ),
    Row(
        id="+B07",
        flavour="deflate_truncated",
        place=server(after_request(lambda body: whole(200, zlib.compress(body * 9)[:-9], content_encoding="deflate"))),
        reason="malformed_response",  # aiohttp raises before it gives the head out
        says=_doubt("yes"),
    ),
    Row(
        id="+B07",
        flavour="gzip_empty",
        place=server(after_request(whole(200, gzip.compress(b"{}")[:9], content_encoding="gzip"))),
        says=UNREAD,
    ),
    Row(id="+B08", flavour="http10_reset", place=server(after_request(_OLD + b"part", RST)), says=UNREAD),
    Row(
        id="+B09",
        flavour="framed",
        place=server(after_request(head(200, content_length="9") + b"{", CUT), lambda: certificates().good),
        ask=TLS,
        says=UNREAD,
    ),
    Row(
        id="+B05",
        flavour="unframed_stall",
        place=server(after_request(_UNFRAMED + b"{", HANG)),
        ask=Ask(policy={"max_attempts": 2}, timeout=ClientTimeout(sock_read=SHORT_S)),
        says=UNREAD,
    ),
)

WELL: Final = (
    Row(id="+B20", flavour="unframed", place=server(after_request(lambda body: _UNFRAMED + body)), says=FINE),
    Row(id="+B20", flavour="unframed_empty", place=server(after_request(_UNFRAMED)), says=FINE),
    Row(id="+B20", flavour="http10", place=server(after_request(lambda body: _OLD + body)), says=FINE),
    Row(
        id="+B20",
        flavour="unframed_tls",
        place=server(after_request(lambda body: _UNFRAMED + body), lambda: certificates().good),
        ask=TLS,
        says=FINE,
    ),
    Row(
        id="+B20",
        flavour="gzip",
        place=server(after_request(lambda body: whole(200, gzip.compress(body), content_encoding="gzip"))),
        says=FINE,
    ),
    Row(
        id="+B20",
        flavour="gzip_left_alone",
        place=server(after_request(lambda body: whole(200, gzip.compress(body), content_encoding="gzip"))),
        ask=Ask(session={"auto_decompress": False}),
        says=FINE,
    ),
    Row(id="+B20", flavour="no_content", place=server(after_request(head(204, connection="close"))), says=FINE),
)
"""Whole bodies that must not be taken for cut ones."""


async def dawdling(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Be a caller's middleware that hands the answer on only after the connection under it has gone."""
    response = await handler(request)
    await asyncio.sleep(0.05)
    return response


_MISSED: Final = Ask(session={"middlewares": (dawdling,)})

MISSED: Final = (
    Row(
        id="+B21",
        flavour="json_whole",
        place=server(after_request(lambda body: _UNFRAMED + body)),
        ask=_MISSED,
        says=FINE,
    ),
    Row(id="+B21", flavour="json_cut", place=server(after_request(_UNFRAMED + b"{", RST)), ask=_MISSED, says=UNREAD),
    Row(
        id="+B21",
        flavour="text",
        place=server(after_request(lambda body: _OLD + body)),
        ask=_MISSED,
        says={**UNREAD, "G": FINE["G"]},
    ),
)
"""Unframed bodies whose connection ended before anybody watched: only what parses is believed, and any safe call."""


def _status(status: int, says: Mapping[str, Said], *, executes: bool | None = False, **more: Outcome) -> Row:
    place = server(after_request(whole(status, b"{}"), executes=executes))
    return Row(id=f"+S{status}", place=place, says=says, **more)  # type: ignore[arg-type]


STATUS: Final = (
    *(_status(status, REFUSED) for status in (400, 406, 416, 417, 421, 451)),
    *(_status(status, FINE, executes=True) for status in (201, 203, 299)),
    *(_status(status, _doubt("maybe"), executes=None) for status in (507, 527, 529, 530)),
    _status(510, REFUSED),
    _status(521, SHED),
    *(Row(id=f"+S{status}", place=server(redirecting(status, "/there")), seen=2, says=FINE) for status in (307, 308)),
    *(
        Row(
            id=f"+S{status}",
            # A POST is turned into a GET, whose page does not speak for the payment.
            place=server(redirecting(status, "/there", executes=None)),
            seen=2,
            outcome=Outcome.SUCCESS,
            says={"G": FINE["G"], "PK": _TURNED, "P": _TURNED, "U": FINE["U"]},
        )
        for status in (301, 302)
    ),
)


async def body_failing_late() -> AsyncIterator[bytes]:
    """Fail when all was given, as a file that does not close does."""
    yield AMOUNT
    await asyncio.sleep(0.05)  # as there
    raise OSError("the source of the body failed")


async def hasty(wire: Wire) -> None:
    """Act as soon as the document is whole, and do not wait for the end of the body."""
    request = await wire.head()
    await wire.reader.readuntil(AMOUNT)
    wire.ledger.execute(request)
    await wire.gone()


def _cut(number: str, flavour: str, said: bytes, *, executes: bool) -> Row:
    says = _doubt("yes" if executes else "no")
    return Row(id=number, flavour=flavour, place=server(after_request(said, executes=executes)), says=says)


TWINS: Final = (
    Row(
        id="+W08",
        flavour="executed",
        place=server(hasty),
        ask=Ask(body=body_failing_late),
        says=dict.fromkeys(_UNSAFE, _doubt("yes")["P"]),
    ),
    Row(
        id="+N05",
        flavour="not_executed",
        place=server(after_request(then=HANG, executes=False)),
        ask=READ_TIMEOUT,
        reason="read_timeout",
        says=_doubt("no"),
    ),
    _cut("+H01", "not_executed", b"HTTP/1.1 20", executes=False),
    _cut("+H03", "not_executed", b"HTTP/1.1 200 OK\r\nContent-Type: applica", executes=False),
    _cut("+H06", "executed", b"HTTP/1.1 402 No\r\nX", executes=True),  # half a head binds nobody
    *(_status(status, _doubt("yes"), executes=True) for status in (408, 508)),
    *(_status(status, _doubt("no")) for status in (504, 524)),
    Row(
        id="+S503R",
        flavour="executed",
        place=server(after_request(whole(503, b"{}", retry_after="1"))),
        ask=Ask(virtual=True),
        reason="unavailable",
        says=_doubt("yes"),
    ),
)
"""Faults that look like one in doubt and did the opposite; ``test_twins.py`` says what they are for."""

ROWS: Final = (*BEFORE, *UPLOAD, *ANSWER, *WELL, *MISSED, *STATUS, *TWINS)
