"""Faults of an answer whose head arrived whole: its body is cut, stalls, does not decode or does not parse."""

import gzip
from typing import Final

from aiohttp import ClientTimeout
from tests.faults.certificates import certificates
from tests.faults.handlers import (
    CUT,
    FIN,
    HANG,
    RST,
    End,
    Words,
    after_request,
    head,
    whole,
)
from tests.faults.places import server
from tests.faults.rows import SHORT, SHORT_S, Ask, Differs, Row

READ_TIMEOUT: Final = Ask(policy={"max_attempts": 2}, timeout=ClientTimeout(sock_read=SHORT_S))
PLAIN: Final = Ask()
TLS: Final = Ask(url="https://pay.test/payments")

_JSON: Final = {"content_type": "application/json", "connection": "close"}
_ANNOUNCED: Final = head(200, content_length="100", **_JSON) + b'{"i'
_CHUNKED: Final = head(200, transfer_encoding="chunked", **_JSON)
_UNFRAMED: Final = head(200, **_JSON)
_UNFRAMED_TEXT: Final = head(200, content_type="text/plain", connection="close")
_OLD: Final = head(200, version="1.0", content_type="application/json")

THE_CALLERS: Final = (
    "design section 4: the status line of a real response suffices, so a 2xx has landed and is never sent again; "
    "the body arrived whole, and whether it is what the caller wants is his to say"
)


def _row(number: str, flavour: str, said: Words, then: End = FIN, *, ask: Ask = PLAIN) -> Row:
    place = server(after_request(said, then), None if ask is not TLS else lambda: certificates().good)
    return Row(id=number, flavour=flavour, place=place, ask=ask, put="P", reason="body_unreadable")


def _gzipped(body: bytes) -> bytes:
    return whole(200, body, content_encoding="gzip")


def _success(number: str, flavour: str, said: bytes, *, executes: bool | None = True) -> Row:
    why = THE_CALLERS
    return Row(
        id=number,
        flavour=flavour,
        place=server(after_request(said, executes=executes)),
        put="P",
        reason="ok",
        differs=(Differs(cases="G PK P U", final="ok", retry=False, first="ok", why=why),),
    )


LOST: Final = (
    _row("B01", "", _ANNOUNCED),
    _row("B02", "", _ANNOUNCED, RST),
    _row("B03", "inside_a_chunk", _CHUNKED + b"40\r\n{"),
    _row("B03", "between_chunks", _CHUNKED + b"3\r\n{}\n\r\n"),
    _row("B05", "", _ANNOUNCED, HANG, ask=READ_TIMEOUT),
    _row("B06", "", _ANNOUNCED, HANG, ask=Ask(policy=SHORT)),
    _row("B07", "corrupt", _gzipped(b"\x1f\x8b\x08\x00" + b"\xff" * 40)),
    _row("B07", "truncated", lambda body: _gzipped(gzip.compress(body * 20)[:-20])),
    _row("B07", "not_gzip", _gzipped),
    _row("B08", "json", _UNFRAMED + b'{"i', RST),
    _row("B08", "text", _UNFRAMED_TEXT + b"par", RST),
    _row("B08", "looks_whole", _UNFRAMED + b"{}", RST),
    _row("B09", "json", _UNFRAMED + b'{"i', CUT, ask=TLS),
    _row("B09", "text", _UNFRAMED_TEXT + b"par", CUT, ask=TLS),
    _row("B09", "http10", _OLD + b'{"i', CUT, ask=TLS),
)

UNWELCOME: Final = (
    _success("B10", "", whole(200, b'{"id": ')),
    _success("B11", "", whole(200, b"<html>log in</html>", content_type="text/html"), executes=None),
    _success("B12", "", whole(200, b"")),
    _success("B13", "", whole(200, b'{"id": "\xff\xfe"}')),
    _success("B16", "", whole(200, b'{"idempotency_key": "of another", "amount": 1}'), executes=None),
)

REFUSED: Final = (
    Row(
        id="B14",
        place=server(after_request(head(500, content_length="100", **_JSON) + b'{"m', executes=None)),
    ),
    Row(
        id="B15",
        place=server(after_request(head(402, content_length="100", **_JSON) + b'{"m', executes=False)),
        reason="payment_failed",
    ),
)

ROWS: Final = (*LOST, *UNWELCOME, *REFUSED)
