"""What can be plugged in: how one attempt is sent, where events go, and who limits retries.

The engine knows only these shapes, so it runs unchanged over aiohttp, over an in-memory peer on a virtual clock, and
with limits kept in this process or shared between many.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from holdfast.outcome import Effect, Outcome, StopReason
from holdfast.policy import Policy
from holdfast.report import Classification
from holdfast.values import dataclass


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


Ticket = int
"""Lets one attempt through; comes back once, with what became of it."""


class Refused(NamedTuple):
    """An attempt is not let through, now or before the deadline."""

    reason: StopReason
    """``CIRCUIT_OPEN``; ``RETRY_AFTER_TOO_LONG`` at the rate gate; ``DEADLINE`` in the line for a free place."""

    retry_after_s: float | None
    """Seconds after which to ask again; ``None`` when that is not known."""


class OriginLimits(Protocol):
    """Guards one origin against us: circuit, rate gate, concurrency limit and retry budget.

    Before each attempt the engine asks ``try_enter``, and ``enter`` where that gives nothing. It brings the ticket back
    through ``leave`` or ``abandon``. It asks ``take_retry`` before the pause, and gives a token back that was not used.
    What is shared between processes leases its tokens ahead, so that only ``enter`` ever waits.
    """

    def try_enter(self, now: float, deadline_at: float, again: bool, safe: bool) -> Ticket | None:  # noqa: FBT001 - cheaper
        """Take a turn to send an attempt at once, where nothing is to be waited for, refused or told.

        Args:
            now: The present moment of the event loop's clock.
            deadline_at: When the call ends; later than now.
            again: As for ``enter``.
            safe: Likewise.

        Returns:
            The attempt's ticket; or ``None``, and nothing was taken: ``enter`` is to be asked. It may always be.
        """
        ...

    async def enter(self, now: float, deadline_at: float, *, again: bool, safe: bool) -> Ticket | Refused:
        """Wait for a turn to send an attempt.

        Args:
            now: The present moment of the event loop's clock.
            deadline_at: Moment of the event loop's clock until which to wait at most.
            again: Whether it is a retry; a call's first attempt earns its share of the retry budget.
            safe: Whether its method is, because some providers count reads and writes apart.
        """
        ...

    def leave(
        self, ticket: Ticket, ended: "Answer | Fault", verdict: Classification, *, sent_at: float, now: float
    ) -> str | None:
        """Tell what became of an attempt that began at ``sent_at`` and ended now.

        Returns:
            The circuit's state, as ``take_news`` gives it.
        """
        ...

    def abandon(self, ticket: Ticket) -> None:
        """Tell that an attempt was cut off: it says nothing of the origin."""
        ...

    def refuses(self) -> bool:
        """Say whether the circuit refuses calls just now."""
        ...

    def take_retry(self, ended: "Answer | Fault") -> bool:
        """Take a token for a retry after this; ``False`` when the budget is spent."""
        ...

    def give_back_retry(self, ended: "Answer | Fault") -> None:
        """Put back the token of a retry that was not sent."""
        ...

    def take_news(self) -> str | None:
        """Give the circuit's state once, after it has changed; asked after ``enter``.

        Returns:
            ``open``, ``half_open`` or ``closed``; ``None`` where it has not changed since it was told.
        """
        ...


class Limits(Protocol):
    """Gives the guard of each origin."""

    def of(self, origin: str, policy: Policy) -> OriginLimits:
        """Give the guard of calls to one origin under one policy.

        Args:
            origin: Scheme, host and port, e.g. ``https://api.test``.
            policy: Says how much to allow; equal values share their state.
        """
        ...
