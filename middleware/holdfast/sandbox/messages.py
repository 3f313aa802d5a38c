"""Requests and answers as plain values, so that both providers are values in, values out.

Nothing here knows a socket; ``server.py`` turns aiohttp's requests into `Incoming` and `wire.py` sends an `Answer`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

Document = dict[str, object]
"""A JSON object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """One request as a provider sees it."""

    method: str
    """Upper case."""

    path: str
    """Decoded, without query."""

    query: Mapping[str, str]
    """Query parameters; of a repeated name the first counts."""

    headers: Mapping[str, str]
    """Request headers; the names match in any case."""

    document: Document | None
    """The parsed body; None when the body is not one JSON object."""

    origin: str
    """Scheme, host and port of the sandbox, for links."""

    @property
    def reference(self) -> str | None:
        """The client's own name for the call, from ``X-Call``."""
        return self.headers.get("X-Call")

    @property
    def here(self) -> str:
        """The address asked for, without query."""
        return self.origin + self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One response before any fault touches it."""

    status: int
    """HTTP status."""

    body: bytes = b""
    """The exact bytes of the body."""

    content_type: str = "application/json"
    """Sent only when there is a body."""

    headers: Mapping[str, str] = field(default_factory=dict)
    """Further headers."""


class PretendProvider(Protocol):
    """What the server needs of a provider."""

    def key_of(self, incoming: Incoming) -> str | None:
        """Find the idempotency key, where this endpoint honours one."""
        ...

    def answer(self, incoming: Incoming) -> Answer:
        """Do what the request asks and say so."""
        ...

    def unwell(self, incoming: Incoming, status: int, headers: Mapping[str, str]) -> Answer:
        """Answer 429, 500 or 503 in this provider's shape, having done nothing."""
        ...


def document_of(body: bytes) -> Document | None:
    """Parse a request body.

    Returns:
        The JSON object, or None for anything else: no JSON (NaN is none either), nested too deeply, or another type.
    """
    try:
        document = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError):  # ValueError: bad JSON, bad UTF-8, integers beyond Python's digit limit
        return None
    return document if isinstance(document, dict) else None


def text_of(value: object) -> str | None:
    """Read a JSON value as a string that says something; None for anything else."""
    return value if isinstance(value, str) and value else None


def _no_number(name: str) -> float:
    raise ValueError(name)
