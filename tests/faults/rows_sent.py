"""Faults after the first byte of the request left: writing, waiting, a reused connection, the head of the answer."""

import asyncio
from collections.abc import AsyncIterator
from importlib.metadata import version
from io import BytesIO
from typing import Final

from aiohttp import ClientTimeout
from tests.faults.drivers import send_on_reused
from tests.faults.handlers import (
    FIN,
    HANG,
    RST,
    after_head,
    after_part,
    after_request,
    dripping,
    head,
    late,
    ok,
    on_first_byte,
    reused,
    twice,
    whole,
)
from tests.faults.places import server
from tests.faults.rows import SHORT, SHORT_S, Ask, Differs, Row

from holdfast import Outcome

READ_TIMEOUT: Final = Ask(policy={"max_attempts": 2}, timeout=ClientTimeout(sock_read=SHORT_S))
UPLOAD_BYTES: Final = 16 * 2**20
PART_BYTES: Final = 2**16

STRICT_HEADS: Final = tuple(map(int, version("aiohttp").split(".")[:2])) >= (3, 13)
"""aiohttp 3.12 takes some heads for well-formed that later ones refuse; there they are no faults."""


def upload() -> BytesIO:
    """Give a body that no socket buffer holds."""
    return BytesIO(bytes(UPLOAD_BYTES))


async def broken_body() -> AsyncIterator[bytes]:
    """Fail in the middle, as a file on a lost disk does."""
    yield b'{"amount":'
    await asyncio.sleep(0.05)  # or Python 3.12 and later would fail before the first byte has left
    raise OSError("the source of the body failed")


WRITE: Final = (
    Row(id="W01", place=server(on_first_byte(RST)), seen=0),
    Row(id="W02", place=server(on_first_byte(FIN)), seen=0),
    Row(id="W04", place=server(after_head(then=RST))),
    Row(id="W05", place=server(after_head(then=FIN))),
    Row(id="W06", place=server(after_part(PART_BYTES, RST)), ask=Ask(body=upload)),
    Row(id="W07", place=server(after_part(PART_BYTES, HANG)), ask=Ask(body=upload, policy=SHORT)),
    Row(id="W08", place=server(after_request()), ask=Ask(body=broken_body)),
    Row(id="W09", place=server(after_part(PART_BYTES, RST, whole(413))), ask=Ask(body=upload)),
    Row(
        id="W11",
        place=server(after_head(whole(417))),
        ask=Ask(options={"expect100": True}),
        differs=(
            Differs(
                cases="PK P U",
                final="rejected",
                retry=False,
                first="rejected",
                why="the caller asked for Expect; holdfast sends what it was given and changes no header of it "
                "(design section 4, row 9: everything else is a permanent failure)",
            ),
        ),
    ),
)

WAIT: Final = (
    Row(id="N01", place=server(after_request(executes=False))),
    Row(id="N03", place=server(after_request(then=RST))),
    Row(id="N04", place=server(after_request(executes=None))),
    Row(id="N05", place=server(after_request(then=HANG)), ask=READ_TIMEOUT, reason="read_timeout"),
    Row(id="N06", place=server(after_request(then=HANG, executes=None)), ask=Ask(policy=SHORT), reason="timeout"),
    Row(id="N07", place=server(late(0.05)), ask=Ask(policy=SHORT), reason="timeout"),
    Row(id="N08", place=server(twice()), seen=2),
)

REUSED: Final = (
    Row(id="K01", place=server(reused(after_request(ok), then=FIN)), drive=send_on_reused, connects=2),
    Row(id="K03", place=server(reused(after_request(executes=False))), drive=send_on_reused),
    Row(id="K04", place=server(reused(after_request())), drive=send_on_reused),
    Row(
        id="K05",
        place=server(reused(after_request(ok), stray=whole(200, b'{"call": "of another"}', close=False))),
        drive=send_on_reused,
        connects=2,
    ),
)

_PARTIAL_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: applica"
_ANSWERED: Final = b"HTTP/1.1 200 OK\r\n"
_HTTP2_SETTINGS: Final = b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64\x00\x04\x40\x00\x00\x00"

NOT_FINAL: Final = "design section 4, row 9: a number outside the classes is a permanent failure; its effect stays open"

HEAD: Final = (
    Row(id="H01", place=server(after_request(b"HTTP/1.1 20"))),
    Row(id="H02", place=server(after_request(b"HTTP/1.1 20", RST))),
    Row(id="H03", place=server(after_request(_PARTIAL_HEAD))),
    Row(id="H04", place=server(after_request(_PARTIAL_HEAD, RST))),
    Row(id="H05", place=server(dripping(ok, 0.05)), ask=Ask(policy=SHORT), reason="timeout"),
    *(
        Row(id="H07", flavour=flavour, place=server(after_request(line + b"\r\n\r\n", executes=None)))
        for flavour, line in (
            ("word", b"HTTP/1.1 FINE OK"),
            ("short", b"HTTP/1.1 20 OK"),
            ("long", b"HTTP/1.1 2000 OK"),
            ("version", b"HTTP/one 200 OK"),
        )
    ),
    *(
        Row(id="H08", flavour=flavour, place=server(after_request(_ANSWERED + lines + b"\r\n\r\n{}")))
        for flavour, lines in (
            ("no_colon", b"Content-Length 2"),
            *([("control", b"X-Name: a\x00b")] if STRICT_HEADS else []),
            ("negative", b"Content-Length: -2"),
            ("duplicate", b"Content-Length: 2\r\nContent-Length: 3"),
            ("both", b"Content-Length: 2\r\nTransfer-Encoding: chunked"),
        )
    ),
    Row(id="H09", flavour="long", place=server(after_request(head(200, x_long="a" * 9000)))),
    *(
        [Row(id="H09", flavour="many", place=server(after_request(head(200, **{f"x_{n}": "a" for n in range(200)}))))]
        if STRICT_HEADS
        else []
    ),
    *(
        Row(id="H10", flavour=flavour, place=server(after_request(data, executes=False)))
        for flavour, data in (
            ("http09", b"<html>hello</html>\r\n\r\n"),
            ("http2", _HTTP2_SETTINGS),
            ("ssh", b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
        )
    ),
    Row(id="H12", place=server(after_request(lambda body: head(103, link="</a>") + ok(body)))),
    Row(
        id="H13",
        place=server(after_request(head(101, upgrade="other", connection="upgrade"), executes=None)),
        differs=(
            Differs(cases="G", final="rejected", retry=False, first="rejected", why=NOT_FINAL),
            Differs(
                cases="PK P U",
                final="in_doubt",
                retry=False,
                first="in_doubt",
                outcome=Outcome.PERMANENT_FAILURE,
                why=NOT_FINAL,
            ),
        ),
    ),
    *(
        Row(
            id="H14",
            flavour=f"{status:03d}",
            place=server(after_request(whole(status), executes=None)),
            differs=(
                Differs(cases="G", final="rejected", retry=False, first="rejected", why=NOT_FINAL),
                Differs(
                    cases="PK P U",
                    final="in_doubt",
                    retry=False,
                    first="in_doubt",
                    outcome=Outcome.PERMANENT_FAILURE,
                    why=NOT_FINAL,
                ),
            ),
        )
        for status in (0, 999)
    ),
)

ROWS: Final = (*WRITE, *WAIT, *REUSED, *HEAD)
