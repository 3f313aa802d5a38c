"""Every kind of request body that aiohttp takes, and what a server must have got of it."""

import asyncio
import gzip
import io
import json
import tempfile
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from aiohttp import payload
from aiohttp.base_protocol import BaseProtocol
from multidict import MultiDict

TEXT: Final = "text/plain; charset=utf-8"
BYTES: Final = "application/octet-stream"
URLENCODED: Final = "application/x-www-form-urlencoded"
JSON: Final = "application/json"
FORM: Final = "multipart/form-data; boundary=BOUNDARY"
LONG: Final = bytes(range(256)) * 1000

FILE_FORM: Final = (
    b"--BOUNDARY\r\nContent-Type: application/octet-stream\r\n"
    b'Content-Disposition: form-data; name="f"; filename="f"\r\n\r\nx\r\n--BOUNDARY--\r\n'
)
MIXED_FORM: Final = (
    b'--BOUNDARY\r\nContent-Type: text/plain\r\nContent-Disposition: form-data; name="name"\r\n\r\n'
    b"J\xc3\xbcrgen & Co\r\n--BOUNDARY\r\nContent-Type: application/octet-stream\r\n"
    b'Content-Disposition: form-data; name="file"; filename="a%20b.bin"\r\n\r\nbytes\r\n--BOUNDARY--\r\n'
)
MIXED: Final = (
    b"---fixed-\r\nContent-Type: text/plain; charset=utf-8\r\nX-Part: 1\r\nContent-Length: 4\r\n\r\ntext\r\n"
    b'---fixed-\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n{"a": 1}\r\n'
    b"---fixed-\r\nContent-Type: multipart/related; boundary=-inner-\r\nContent-Length: 92\r\n\r\n"
    b"---inner-\r\nContent-Type: application/octet-stream\r\nContent-Length: 5\r\n\r\nbytes\r\n---inner---\r\n\r\n"
    b"---fixed---\r\n"
)


@dataclass(frozen=True, slots=True)
class Body:
    """One way to say what is sent."""

    id: str
    options: Callable[[], dict[str, Any]]
    """Called inside the loop, once per request."""

    raw: bytes | None
    """The body as it is on the wire, frames included; ``None`` where zlib's version decides."""

    content_type: str | None = BYTES
    session: Callable[[], dict[str, Any]] = dict
    method: str = "POST"
    inflates_to: bytes = b""
    findings: Mapping[str, str] = field(default_factory=dict)


def _file(mode: str) -> Any:
    file = tempfile.TemporaryFile(mode, suffix=".txt")  # noqa: SIM115 - aiohttp closes what it sends
    file.write(b"from a file" if "b" in mode else "from a fil\u00e9")
    file.seek(0)
    return file


def _partly_read() -> io.BytesIO:
    source = io.BytesIO(b"skipped, kept")
    source.seek(9)
    return source


async def _pieces() -> AsyncIterator[bytes]:
    yield b"one "
    await asyncio.sleep(0)
    yield b"two"


def _form(*, multipart: bool) -> aiohttp.FormData:
    form = aiohttp.FormData()
    form.add_field("name", "J\u00fcrgen & Co", **({"content_type": "text/plain"} if multipart else {}))
    if multipart:
        form.add_field("file", io.BytesIO(b"bytes"), filename="a b.bin", content_type=BYTES)
    return form


def _mixed() -> aiohttp.MultipartWriter:
    writer = aiohttp.MultipartWriter("mixed", boundary="-fixed-")
    writer.append("text", {"X-Part": "1"})
    writer.append_json({"a": 1})
    inner = aiohttp.MultipartWriter("related", boundary="-inner-")
    inner.append(b"bytes")
    writer.append(inner)
    return writer


def _fed_reader() -> aiohttp.StreamReader:
    loop = asyncio.get_running_loop()
    reader = aiohttp.StreamReader(BaseProtocol(loop), 2**16, loop=loop)
    reader.feed_data(b"from a response")
    reader.feed_eof()
    return reader


def _fed_asyncio_reader() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_data(b"line 1\nline 2")
    reader.feed_eof()
    return reader


def _chunks(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


DATA: Final = (
    Body("none", dict, b""),
    Body("bytes", lambda: {"data": b"\x00raw"}, b"\x00raw"),
    Body("empty-bytes", lambda: {"data": b""}, b""),
    Body("long-bytes", lambda: {"data": LONG}, LONG),
    Body("bytearray", lambda: {"data": bytearray(b"array")}, b"array"),
    Body("memoryview", lambda: {"data": memoryview(b"view")}, b"view"),
    Body("str", lambda: {"data": "caf\u00e9"}, "caf\u00e9".encode(), TEXT),
    Body("empty-str", lambda: {"data": ""}, b"", TEXT),
    Body("bytes-io", lambda: {"data": io.BytesIO(b"in memory")}, b"in memory"),
    Body("bytes-io-partly-read", lambda: {"data": _partly_read()}, b"kept"),
    Body("string-io", lambda: {"data": io.StringIO("caf\u00e9")}, "caf\u00e9".encode(), TEXT),
    Body("binary-file", lambda: {"data": _file("w+b")}, b"from a file"),
    Body("text-file", lambda: {"data": _file("w+")}, "from a fil\u00e9".encode(), TEXT),
    Body("async-generator", lambda: {"data": _pieces()}, _chunks(b"one ", b"two")),
    Body("dict", lambda: {"data": {"a": "1", "b": "x y&z"}}, b"a=1&b=x+y%26z", URLENCODED),
    Body("dict-with-int", lambda: {"data": {"a": 1}}, b"a=1", URLENCODED),
    Body("empty-dict", lambda: {"data": {}}, b"", URLENCODED),
    Body("pairs", lambda: {"data": [("a", "1"), ("a", "2")]}, b"a=1&a=2", URLENCODED),
    Body("multidict", lambda: {"data": MultiDict([("a", "1"), ("a", "2")])}, b"a=1&a=2", URLENCODED),
    Body("dict-with-file", lambda: {"data": {"f": io.BytesIO(b"x")}}, FILE_FORM, FORM),
    Body("form-urlencoded", lambda: {"data": _form(multipart=False)}, b"name=J%C3%BCrgen+%26+Co", URLENCODED),
    Body("form-multipart", lambda: {"data": _form(multipart=True)}, MIXED_FORM, FORM),
    Body("multipart-writer", lambda: {"data": _mixed()}, MIXED, "multipart/mixed; boundary=-fixed-"),
    Body("bytes-payload", lambda: {"data": payload.BytesPayload(b"p", content_type="a/b")}, b"p", "a/b"),
    Body(
        "string-payload",
        lambda: {"data": payload.StringPayload("\u00e9", encoding="latin-1")},
        b"\xe9",
        "text/plain; charset=latin-1",
    ),
    Body("json-payload", lambda: {"data": payload.JsonPayload([1])}, b"[1]", JSON),
    Body("async-payload", lambda: {"data": payload.AsyncIterablePayload(_pieces())}, _chunks(b"one ", b"two")),
    Body("stream-reader", lambda: {"data": _fed_reader()}, _chunks(b"from a response")),
    Body("asyncio-stream-reader", lambda: {"data": _fed_asyncio_reader()}, _chunks(b"line 1\n", b"line 2")),
    Body("get-with-bytes", lambda: {"data": b"asked"}, b"asked", method="GET"),
    Body("get-without", dict, b"", None, method="GET"),
    Body("head-without", dict, b"", None, method="HEAD"),
    Body("put-bytes", lambda: {"data": b"put"}, b"put", method="PUT"),
    Body("patch-json", lambda: {"json": [1]}, b"[1]", JSON, method="PATCH"),
    Body("delete-with-json", lambda: {"json": [1]}, b"[1]", JSON, method="DELETE"),
    Body("delete-without", dict, b"", None, method="DELETE"),
    Body("own-method", lambda: {"data": b"p"}, b"p", method="PROPFIND"),
    Body("lower-case-method", lambda: {"data": b"p"}, b"p", method="post"),
)

JSON_BODIES: Final = (
    Body("json", lambda: {"json": {"a": "\u00e9", "b": [1.5, None]}}, b'{"a": "\\u00e9", "b": [1.5, null]}', JSON),
    Body("json-zero", lambda: {"json": 0}, b"0", JSON),
    Body("json-false", lambda: {"json": False}, b"false", JSON),
    Body("json-empty", lambda: {"json": {}}, b"{}", JSON),
    Body("json-empty-str", lambda: {"json": ""}, b'""', JSON),
    Body(
        "json-under-another-type",
        lambda: {"json": [1], "headers": {"Content-Type": "application/vnd.api+json"}},
        b"[1]",
        "application/vnd.api+json",
    ),
    Body("json-serialize", lambda: {"json": {"a": 1}}, b'{"a":1}', JSON, lambda: {"json_serialize": _compact}),
)

BYTES_SERIALIZED: Final = (
    Body(
        "json-serialize-bytes",
        lambda: {"json": {"a": 1}},
        b'{"a":1}',
        JSON,
        lambda: {"json_serialize_bytes": lambda value: _compact(value).encode()},
    ),
)

FRAMED: Final = (
    Body("chunked-bytes", lambda: {"data": b"chunked", "chunked": True}, _chunks(b"chunked")),
    Body("chunked-json", lambda: {"json": [1], "chunked": True}, _chunks(b"[1]"), JSON),
    Body("chunked-none", lambda: {"chunked": True}, _chunks()),
    Body("compress-deflate", lambda: {"data": b"x" * 99, "compress": True}, None, inflates_to=b"x" * 99),
    Body("compress-gzip", lambda: {"data": b"x" * 99, "compress": "gzip"}, None, inflates_to=b"x" * 99),
    Body(
        "compress-chunked-file",
        lambda: {"data": io.BytesIO(b"x" * 99), "compress": "gzip", "chunked": True},
        None,
        inflates_to=b"x" * 99,
    ),
    Body(
        "encoded-already",
        lambda: {"data": gzip.compress(b"x", mtime=0), "headers": {"Content-Encoding": "gzip"}},
        gzip.compress(b"x", mtime=0),
    ),
    Body("expect100", lambda: {"data": b"patient", "expect100": True}, b"patient"),
    Body("expect100-header", lambda: {"data": b"patient", "headers": {"Expect": "100-continue"}}, b"patient"),
    Body(
        "length-given-for-a-stream",
        lambda: {"data": _pieces(), "headers": {"Content-Length": "7"}},
        b"one two",
    ),
    Body("type-given", lambda: {"data": b"x", "headers": {"Content-Type": "a/b"}}, b"x", "a/b"),
    Body("type-skipped", lambda: {"data": b"x", "skip_auto_headers": ["Content-Type"]}, b"x", None),
)


def inflated(raw: bytes) -> bytes:
    """Undo the frames and the compression of a body."""
    whole = b""
    while raw:
        size, _, rest = raw.partition(b"\r\n")
        whole, raw = whole + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return gzip.decompress(whole) if whole.startswith(b"\x1f\x8b") else zlib.decompress(whole)
