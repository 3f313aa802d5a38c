"""How long one attempt may take, so that the call ends at its deadline.

Pure arithmetic over moments of the event loop's clock; the caller passes ``now``.

The connect phase gets its own limit just below the attempt's total. A timeout that fires while connecting is then told
from one that fires after a connection existed by its class alone, without trace hooks (17 % of a call).
"""

from functools import lru_cache
from typing import Final, NamedTuple

from holdfast.policy import DEADLINE_CAP_S

_CONNECT_SHARE: Final = 0.02
_CONNECT_MARGIN_S: Final = 0.25
_ROUNDING_S: Final = 1e-6
"""An attempt that may take just what is left has its own time, and not what adding and subtracting made of it."""


class AttemptLimits(NamedTuple):
    """Seconds one attempt may take."""

    total_s: float
    connect_s: float
    """For the connect phase: pool wait, DNS, TCP, TLS and proxy together. Below ``total_s``."""


class Deadline(float):
    """The moment a call ends, on the event loop's clock, in seconds."""

    __slots__ = ()

    def left(self, now: float) -> float:
        """Seconds left; 0 when the deadline has passed."""
        return self - now if self > now else 0.0

    def cut(self, limits: "AttemptLimits", now: float) -> bool:
        """Say whether an attempt that has just timed out was cut off by the deadline, and not by a limit of its own."""
        return self.left(now) <= limits.total_s - limits.connect_s

    def allows(self, pause_s: float, now: float) -> bool:
        """Say whether a pause that begins now ends before the deadline."""
        return now + pause_s < self

    def limits(self, now: float, attempt_timeout_s: float | None) -> AttemptLimits:
        """Divide what is left for one attempt.

        Args:
            now: The present moment on the same clock.
            attempt_timeout_s: The attempt's own limit, in seconds; ``None`` gives it all that is left.
        """
        left = self - now
        whole = attempt_timeout_s is None or attempt_timeout_s > left + _ROUNDING_S
        return _divided(left if attempt_timeout_s is None or whole else attempt_timeout_s)


@lru_cache(maxsize=64)
def _divided(total_s: float) -> AttemptLimits:
    return AttemptLimits(total_s, total_s - min(_CONNECT_MARGIN_S, total_s * _CONNECT_SHARE))


def deadline_after(now: float, seconds: float) -> Deadline:
    """Set the deadline of a call that begins now.

    Args:
        now: The present moment on the event loop's clock.
        seconds: How long the call may live; never more than 300, whatever is asked for.
    """
    # min() would cost more than all the rest of it.
    return Deadline(now + (seconds if seconds < DEADLINE_CAP_S else DEADLINE_CAP_S))  # noqa: FURB136
