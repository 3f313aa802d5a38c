"""What the server saw and did: every request, whole or cut short, and every effect. The ground truth of each row."""

import json
import random
from dataclasses import dataclass, field
from typing import Final

SAFE: Final = frozenset({"GET", "HEAD"})


@dataclass(slots=True)
class Request:
    """One request as the server received it."""

    head: bytes
    body: bytes = field(default=b"", repr=False)
    complete: bool = False
    """Whether the whole of it was read; the handlers of some rows never read on."""

    @property
    def method(self) -> str:
        return self.head.split(b" ", 2)[0].decode("latin-1")

    @property
    def target(self) -> str:
        return self.head.split(b" ", 2)[1].decode("latin-1")

    @property
    def headers(self) -> dict[str, str]:
        """Header values by lower-case name."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}

    @property
    def key(self) -> str | None:
        return self.headers.get("idempotency-key")


@dataclass(slots=True)
class Ledger:
    """The provider's books. Confined to one event loop.

    A repeated key replays the first answer, and a repeated PUT leaves the same state: neither adds an effect.
    """

    seed: str = ""
    requests: list[Request] = field(default_factory=list)
    effects: list[Request] = field(default_factory=list)
    connections: int = 0
    """Connections that reached a handler: TCP, or TLS after its handshake."""

    _answers: dict[str, bytes] = field(default_factory=dict)

    def begin(self, head: bytes) -> Request:
        """Note a request whose head has arrived."""
        request = Request(head)
        self.requests.append(request)
        return request

    def execute(self, request: Request) -> bytes:
        """Do what a request asks for, and give the body of its answer."""
        identity = request.key or (f"PUT {request.target}" if request.method == "PUT" else f"#{len(self.effects)}")
        if identity not in self._answers or request.method in SAFE:
            self._answers[identity] = _answer_to(request)
            self.effects.extend([] if request.method in SAFE else [request])
        return self._answers[identity]

    def coin(self) -> bool:
        """Decide what the catalogue leaves open; the same for the same row."""
        return random.Random(f"{self.seed} {len(self.requests)}").random() < 0.5  # noqa: S311 - a test's dice

    @property
    def keys(self) -> set[str | None]:
        """The idempotency keys of all requests."""
        return {request.key for request in self.requests}

    @property
    def bodies(self) -> set[bytes]:
        """The bodies of all requests that were read whole, but for what followed a redirect."""
        first = [request for request in self.requests if request.method == self.requests[0].method]
        return {request.body for request in first if request.complete}


def _answer_to(request: Request) -> bytes:
    return json.dumps({"state": "SUCCEEDED", "call": request.headers.get("x-call")}).encode()
