"""The bank's books: what was asked, what was done, and which answer belongs to which key.

A key that is done replays its answer byte for byte, and one that is being worked on refuses the second request. A PUT
to an account sets a state, so doing it twice is doing it once. Everything else is done as often as it is asked for.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tests.ledger.plan import is_refused


class Asked(NamedTuple):
    """One request as it reached the bank."""

    call: str
    number: int
    """Among the requests of its call; the first is 1."""

    method: str
    path: str
    key: str | None
    body: bytes
    calm: bool = False
    """Sent after the run, when nothing goes wrong any more."""


class Entry(NamedTuple):
    """One effect."""

    call: str
    key: str | None
    amount: int
    number: int
    at: float
    calm: bool


class Reply(NamedTuple):
    """Status and body of an answer."""

    status: int
    body: bytes


BUSY: Final = Reply(409, b'{"error":"a request with this key is being worked on"}')


@dataclass(slots=True)
class Books:
    """Does each thing as often as it must be done. Confined to one event loop."""

    enter: Callable[[Entry], None]
    """Takes each effect as it happens."""

    _done: dict[str, bytes] = field(default_factory=dict)
    _running: set[str] = field(default_factory=set)

    def begin(self, asked: Asked) -> Reply | None:
        """Take a request in: the answer that is due at once, or ``None`` when there is work to do."""
        name = _identity(asked)
        if name in self._done:
            return Reply(200, self._done[name])
        if asked.key is None:
            return None
        if name in self._running:
            return BUSY
        self._running.add(name)
        return None

    def finish(self, asked: Asked, now: float) -> Reply:
        """Do what a request asks for."""
        name = _identity(asked)
        self._running.discard(name)
        if asked.method == "GET":
            return Reply(200, _page(asked.call, 0, None))
        if is_refused(asked.call):
            return Reply(402, b'{"code":"DECLINED","failure_code":"INSUFFICIENT_FUNDS"}')
        if name not in self._done:
            amount = json.loads(asked.body)["amount"]
            self.enter(Entry(asked.call, asked.key, amount, asked.number, now, asked.calm))
            self._done[name] = _page(asked.call, amount, asked.key)
        return Reply(200, self._done[name])

    def look_up(self, key: str) -> Reply:
        """List the charges made under a key."""
        page = self._done.get(key)
        return Reply(200, b'{"charges":[' + (page or b"") + b"]}")


def _identity(asked: Asked) -> str:
    if asked.key is not None:
        return asked.key
    return asked.path if asked.path.startswith("/accounts/") else f"{asked.call} {asked.number}"


def _page(call: str, amount: int, key: str | None) -> bytes:
    return json.dumps({"call": call, "amount": amount, "key": key}).encode()
