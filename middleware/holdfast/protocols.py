"""What can be plugged in: how one attempt is sent, where events go, and who limits retries.

The engine knows only these shapes, so it runs unchanged over aiohttp, over an in-memory peer on a virtual clock, and
with limits kept in this process or shared between many.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from holdfast.outcome import Effect, Outcome


@dataclass(slots=True)
class Answer:
    """A response whose head arrived. It is an answer whatever its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    """What was read for classification: at most 64 KiB, and only where the status or the provider calls for it."""

    unreadable: bool = False
    """Whether a success's body was lost while it was read."""

    cut: bool = False
    """Whether ``body`` is only the beginning of an error's body."""

    redirects: tuple[int, ...] = ()
    """Statuses of the redirects that were followed to it."""

    key_dropped: bool = False
    """Whether a redirect led to another origin, which the idempotency key did not go along to."""

    body_dropped: bool = False
    """Whether it answers a redirected request whose body stayed behind."""

    earlier: Effect = Effect.NONE
    """What tries that the caller's own middlewares made within the attempt left behind."""

    may_go_on: bool = False
    """Whether it is a redirect that will be followed in a further exchange of the same call, if at all."""

    response: Any = None
    """What the transport gives the caller: an ``aiohttp.ClientResponse``."""


@dataclass(slots=True)
class Fault:
    """An attempt that ended without an answer."""

    outcome: Outcome
    effect: Effect
    """What the failure alone says; a safe method has no effect whatever it says."""

    reason: str
    error: Exception
    bytes_sent: bool | None = None
    """Whether any of the request left this process: ``False`` is proof that none did, ``None`` is not known."""

    timed_out: bool = False
    key_dropped: bool = False
    """As with an answer."""

    final: bool = False
    """Whether no further attempt can be sent: the time of the whole request is over, and not only the attempt's."""


class Exchange(Protocol):
    """Sends the attempts of one call, and its lookups. Confined to one event loop."""

    @property
    def replayable(self) -> bool:
        """Whether the body can be sent once more, byte for byte."""
        ...

    @property
    def bytes_sent(self) -> bool | None:
        """Whether any of the attempt in flight has left this process; asked when the call is cut off."""
        ...

    @property
    def status(self) -> int | None:
        """Status of the attempt in flight, from the moment its head is here; asked when the call is cut off."""
        ...

    async def send(self, total_s: float, connect_s: float) -> Answer | Fault:
        """Make one attempt, within limits in seconds."""
        ...

    async def look_up(self, address: str, total_s: float, connect_s: float) -> Answer | Fault:
        """GET an absolute address and read the whole answer."""
        ...

    def discard(self, ended: Answer | Fault) -> None:
        """Give back the connection of an answer that the caller will not see."""
        ...


class EventSink(Protocol):
    """Receives the events of ``telemetry/events.schema.json``. It may raise: the call goes on."""

    def enabled(self, level: int) -> bool:
        """Say whether an event of this ``logging`` level is wanted; asked before its fields are gathered."""
        ...

    def emit(self, event: str, level: int, fields: dict[str, Any]) -> None:
        """Take one event: its dotted name, its ``logging`` level, and fields that are JSON-plain and hold no secret."""
        ...


class Limits(Protocol):
    """Guards an origin against us: retry budget and circuit breaker. The default allows everything."""

    def circuit_open(self, origin: str) -> bool:
        """Say whether the origin's circuit refuses calls."""
        ...

    def take_retry(self, origin: str) -> bool:
        """Take a token for one retry; ``False`` when the budget is spent."""
        ...
