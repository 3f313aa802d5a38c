"""The bank: a process of its own that speaks HTTP byte for byte, and fails as its seed says.

Run as ``python -m tests.ledger.bank SEED FOLDER``; it prints its port, and ends when its standard input does, after the
last late effect. ``FOLDER/entries`` gets each effect before its answer is said, ``FOLDER/asked`` each request, whole or
not. A seed below 0 is a bank in which nothing goes wrong.
"""

import asyncio
import json
import socket
import struct
import sys
from collections import defaultdict
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from tests.ledger.books import BUSY, Asked, Books, Entry, Reply
from tests.ledger.plan import LATE_S
from tests.ledger.troubles import HEALTHY, Cut, Ending, Trouble, When, draw, trouble_of

_IDLE_S: Final = 0.004
"""A connection that is dropped while idle lives at most this long after its answer."""

_HEADERS: Final = b"HTTP/1.1 %d Said\r\nContent-Type: application/json\r\n%s"


class Bank:
    """Books, files and clock of the process. Confined to one event loop."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed = seed
        self.loop = asyncio.get_running_loop()
        self.books = Books(self._enter)
        self.working = 0
        """Effects and answers still to come."""

        self._at_rest = asyncio.Event()
        self._numbers: dict[str, int] = defaultdict(int)
        self._entries = (folder / "entries").open("ab", buffering=0)
        self._asked = (folder / "asked").open("w")

    def number_of(self, call: str) -> int:
        """Count one more request of a call."""
        self._numbers[call] += 1
        return self._numbers[call]

    def trouble_of(self, asked: Asked) -> Trouble:
        """Choose what becomes of a request."""
        if self.seed < 0 or asked.calm:
            return HEALTHY
        return trouble_of(self.seed, asked.call, asked.number)

    def note(self, asked: Asked, trouble: str) -> None:
        """Keep a request."""
        seen = blake2b(asked.body, digest_size=8).hexdigest() if asked.body else ""
        line = [asked.call, asked.number, asked.method, asked.path, asked.key, seen, trouble, asked.calm]
        self._asked.write(json.dumps(line) + "\n")

    def later(self, then: Any, *arguments: Any) -> None:
        """Do something when it is late."""
        self.working += 1
        self.loop.call_later(LATE_S, self._do_late, then, arguments)

    async def close(self) -> None:
        """Wait for everything that is still to come."""
        if self.working:
            self._at_rest.clear()
            await self._at_rest.wait()
        self._entries.close()
        self._asked.close()

    def _do_late(self, then: Any, arguments: tuple[Any, ...]) -> None:
        then(*arguments)
        self.working -= 1
        if not self.working:
            self._at_rest.set()

    def _enter(self, entry: Entry) -> None:
        self._entries.write(json.dumps(entry).encode() + b"\n")


class Connection(asyncio.Protocol):
    """One connection: reads a request, does what the trouble says, and says the answer."""

    def __init__(self, bank: Bank) -> None:
        self.bank = bank
        self.transport: asyncio.Transport = asyncio.Transport()
        self._buffer = b""
        self._pending: tuple[Asked, Trouble, int] | None = None
        self._hung_up = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def eof_received(self) -> bool:
        return False

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._pending is None:
            self._read_head()
        if self._pending is not None and len(self._buffer) >= self._pending[2]:
            asked, trouble, length = self._pending
            self._pending = None
            body, self._buffer = self._buffer[:length], self._buffer[length:]
            self._meet(asked._replace(body=body), trouble)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        if self._pending is not None:
            self.bank.note(self._pending[0], "incomplete")
            self._pending = None

    def _read_head(self) -> None:
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        self._buffer = rest
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        method, target, _ = first.split(" ")
        asked = self._asked(method, target, headers)
        trouble = self.bank.trouble_of(asked)
        if trouble.reads_body:
            self._pending = (asked, trouble, int(headers.get("content-length", "0")))
            return
        self.bank.note(asked, trouble.name)
        self._end(Ending.RST)

    def _asked(self, method: str, target: str, headers: dict[str, str]) -> Asked:
        place = urlsplit(target)
        # A lookup goes out with its call's headers; it has troubles and numbers of its own.
        call = f"{headers['x-call']} lookup" if place.query else headers["x-call"]
        key = parse_qs(place.query)["key"][0] if place.query else headers.get("idempotency-key")
        number = self.bank.number_of(call)
        return Asked(call, number, method, place.path, key, b"", "x-calm" in headers)

    def _meet(self, asked: Asked, trouble: Trouble) -> None:
        if self._hung_up:
            self.bank.note(asked, "came after the end")
            return
        self.bank.note(asked, trouble.name)
        if asked.call.endswith(" lookup"):
            self._answer(self.bank.books.look_up(str(asked.key)), trouble)
            return
        if trouble.effect is When.NEVER:
            self._answer(None, trouble)
            return
        reply = self.bank.books.begin(asked)
        if reply is None and trouble.effect is When.LATE:
            self.bank.later(self._work_late, asked, trouble)
            return
        self._answer(self._work(asked) if reply is None else reply, trouble)

    def _work(self, asked: Asked) -> Reply:
        return self.bank.books.finish(asked, self.bank.loop.time())

    def _work_late(self, asked: Asked, trouble: Trouble) -> None:
        self._say(self._work(asked), trouble)

    def _answer(self, reply: Reply | None, trouble: Trouble) -> None:
        if reply is BUSY:
            self._say(reply, HEALTHY)
        elif trouble.answers_late:
            self.bank.later(self._say, reply, trouble)
        else:
            self._say(reply, trouble)

    def _say(self, reply: Reply | None, trouble: Trouble) -> None:
        if self.transport.is_closing():
            return
        if trouble.status != 200 or reply is None:
            reply = Reply(trouble.status, b'{"error":"trouble"}')
        self.transport.write(words(reply, trouble.cut))
        if trouble.ending is Ending.IDLE_FIN:
            self.bank.loop.call_later(_IDLE_S * draw(reply.body), self._end, Ending.IDLE_FIN)
        elif trouble.ending is not Ending.KEPT:
            self._end(trouble.ending)

    def _end(self, ending: Ending) -> None:
        if self.transport.is_closing():
            return
        if ending is Ending.RST:
            raw = self.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        elif ending is Ending.FIN:
            self.transport.close()
        elif not self._hung_up:
            # Our side only: what is on its way to us is still read, and noted.
            self._hung_up = True
            with suppress(OSError):  # the client has broken the connection itself
                self.transport.write_eof()


def words(reply: Reply, cut: Cut) -> bytes:
    """Write an answer, or as much of it as gets out."""
    status, body = reply
    frame = b"Content-Length: %d\r\n\r\n" % len(body)
    if status == 429:
        frame = b"Retry-After: 0\r\n" + frame
    whole = _HEADERS % (status, frame) + body
    parts = {
        Cut.WHOLE: whole,
        Cut.NOTHING: b"",
        Cut.STATUS_LINE: whole[:10],
        Cut.HEADERS: whole[:40],
        Cut.MALFORMED: b"HTTP/1.1 two hundred\r\n\r\n",
        Cut.SHORT_BODY: whole[:-5],
        Cut.SHORT_CHUNK: _HEADERS % (status, b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body)) + body[:-5],
    }
    return parts[cut]


async def serve(seed: int, folder: Path) -> None:
    """Serve until standard input ends."""
    bank = Bank(seed, folder)
    server = await bank.loop.create_server(lambda: Connection(bank), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - this is how the parent learns the port
    await asyncio.to_thread(sys.stdin.read)
    server.close()
    await bank.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
