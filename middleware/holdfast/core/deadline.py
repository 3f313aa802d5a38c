"""How long one attempt may take, so that the call ends at its deadline.

Pure arithmetic over moments of the event loop's clock; the caller passes ``now``.

The connect phase gets its own limit just below the attempt's total. A timeout that fires while connecting is then told
from one that fires after a connection existed by its class alone, without trace hooks (17 % of a call).
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from holdfast.policy import DEADLINE_CAP_S

_CONNECT_SHARE: Final = 0.02
_CONNECT_MARGIN_S: Final = 0.25


class AttemptLimits(NamedTuple):
    """Seconds one attempt may take."""

    total_s: float
    connect_s: float
    """For the connect phase: pool wait, DNS, TCP, TLS and proxy together. Below ``total_s``."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """The moment a call ends."""

    at: float
    """On the event loop's clock, in seconds."""

    def left(self, now: float) -> float:
        """Seconds left; 0 when the deadline has passed."""
        return max(0.0, self.at - now)

    def cut(self, limits: "AttemptLimits", now: float) -> bool:
        """Say whether an attempt that has just timed out was cut off by the deadline, and not by a limit of its own."""
        return self.left(now) <= limits.total_s - limits.connect_s

    def allows(self, pause_s: float, now: float) -> bool:
        """Say whether a pause that begins now ends before the deadline."""
        return now + pause_s < self.at

    def limits(self, now: float, attempt_timeout_s: float | None) -> AttemptLimits:
        """Divide what is left for one attempt.

        Args:
            now: The present moment on the same clock.
            attempt_timeout_s: The attempt's own limit, in seconds; ``None`` gives it all that is left.
        """
        left = self.at - now
        total = left if attempt_timeout_s is None or attempt_timeout_s >= left else attempt_timeout_s
        margin = min(_CONNECT_MARGIN_S, total * _CONNECT_SHARE)
        return AttemptLimits(total, total - margin)


def deadline_after(now: float, seconds: float) -> Deadline:
    """Set the deadline of a call that begins now.

    Args:
        now: The present moment on the event loop's clock.
        seconds: How long the call may live; never more than 300, whatever is asked for.
    """
    return Deadline(now + min(seconds, DEADLINE_CAP_S))
