"""What all calls of one session share: provider, clock, random source, sinks and limits."""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Any, Final

from holdfast.core.redact import allowed
from holdfast.engine.in_flight import InFlight
from holdfast.engine.inbound import current
from holdfast.engine.limits import LoopLimits
from holdfast.protocols import EventSink, Limits
from holdfast.providers.provider import Provider
from holdfast.values import dataclass

_log: Final = logging.getLogger("holdfast")


def loop_time() -> float:
    """Read the clock of the event loop that is running, in seconds."""
    return asyncio.get_running_loop().time()


@dataclass(frozen=True, slots=True)
class Runtime:
    """What all calls of one session share. Confined to one event loop."""

    provider: Provider
    sinks: Sequence[EventSink] = ()
    limits: Limits = field(default_factory=LoopLimits)
    draw: Callable[[], float] = random.random
    sleep: Callable[[float], Any] = asyncio.sleep
    in_flight: InFlight = field(default_factory=InFlight)
    now: Callable[[], float] = loop_time
    """Reads the event loop's clock, in seconds. Who knows the loop beforehand gives its own ``time``, for a third."""

    def listeners(self, level: int) -> Sequence[EventSink]:
        """Give the sinks that want events of a level; asked before an event's fields are gathered."""
        found: Sequence[EventSink] = ()
        for sink in self.sinks:
            try:
                if sink.enabled(level):
                    found = (*found, sink)
            except Exception as error:  # noqa: BLE001 - a sink is foreign code, and the response has already arrived
                _tell_of_failure(sink, error)
        return found

    def is_heard(self, levels: Sequence[int]) -> bool:
        """Say whether any sink wants events of one of these levels."""
        for sink in self.sinks:
            try:
                for level in levels:
                    if sink.enabled(level):
                        return True
            except Exception as error:  # noqa: BLE001 - likewise
                _tell_of_failure(sink, error)
        return False

    def emit(self, listeners: Sequence[EventSink], event: str, level: int, fields: dict[str, Any]) -> None:
        """Send an event to sinks that want its level. A sink that fails never costs a call its answer.

        Args:
            listeners: Those that want it.
            event: Dotted name of the event.
            level: Level of the standard ``logging`` module.
            fields: What it says; what may not leave the process is dropped here.
        """
        inbound = current()
        if inbound is not None:
            fields["inbound_request_id"] = inbound.request_id
        for sink in listeners:
            try:
                sink.emit(event, level, allowed(fields))
            except Exception as error:  # noqa: BLE001 - likewise
                _tell_of_failure(sink, error)


def _tell_of_failure(sink: EventSink, error: Exception) -> None:
    _log.warning("holdfast: event sink %s failed with %s", type(sink).__name__, type(error).__name__)


def check_type(name: str, value: object, wanted: type) -> None:
    """Refuse an argument of a wrong type where it enters.

    Raises:
        TypeError: It is not a ``wanted``.
    """
    if not isinstance(value, wanted):
        raise TypeError(f"{name}= must be a {wanted.__name__}, got {type(value).__name__}")
