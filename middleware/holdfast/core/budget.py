"""How many retries the calls to one origin may still cause.

A token bucket: each call that is sent puts in a little, each retry takes its price out, and a trickle keeps a quiet
process from being starved. Pure: the caller passes ``now``; nothing here waits, reads a clock or knows what a call is.
Proof: ``tests/core/test_budget.py``.

After Finagle's ``RetryBudget`` (20 % and a trickle) and the retry quota of the AWS SDKs ("Timeouts, retries, and
backoff with jitter", Amazon Builders' Library). In simulation retries without one turned a five-minute brown-out into
a permanent outage in two of four scenarios.
"""

from enum import StrEnum
from typing import Final, NamedTuple

from holdfast.policy import RetryBudget

_ROUNDING: Final = 1e-9
"""Ten deposits of 0.1 add up to 0.9999999999999999, and must pay for one retry."""

_TOO_MANY_REQUESTS: Final = 429


class RetryKind(StrEnum):
    """What a retry answers, which is what it costs."""

    TRANSIENT = "transient"
    """A failure that may have cost the origin work: a timeout, a lost connection, a 5xx."""

    THROTTLED = "throttled"
    """A refusal by a limiter, cheap for the origin; the retry goes through the rate gate, which paces it."""

    UNSENT = "unsent"
    """A failure before anything left this process: no connection, no name, no TLS."""


def retry_kind(status: int | None, *, bytes_sent: bool | None) -> RetryKind:
    """Say what a retry after this attempt answers.

    Args:
        status: Status of the answer; ``None`` when none came.
        bytes_sent: Whether any of the request left this process; ``None`` is not known, and costs the full price.
    """
    if status == _TOO_MANY_REQUESTS:
        return RetryKind.THROTTLED
    return RetryKind.UNSENT if status is None and bytes_sent is False else RetryKind.TRANSIENT


class BudgetState(NamedTuple):
    """What a retry budget held at one moment."""

    tokens: float
    """Tokens left."""

    burst: float
    """Most it can hold."""


class RetryBucket:
    """The retry budget of one origin. Confined to one event loop.

    It starts full: the first calls of a fresh process are those that meet a deployment's hiccup, and a budget that had
    to be earned first would leave just them without a retry. The price is known: each process may cause ``burst``
    retries in an outage above its share, once.

    Attributes:
        is_full: Whether a deposit would change nothing, for callers who save it.
    """

    __slots__ = ("_burst", "_per_call", "_per_second", "_prices", "_tokens", "_trickled_at", "is_full")

    def __init__(self, budget: RetryBudget, now: float) -> None:
        """Make a full bucket.

        Args:
            budget: Its size, what fills it, and the prices.
            now: The present moment, in seconds.
        """
        self._burst = float(budget.burst)
        self._per_call = float(budget.per_call)
        self._per_second = float(budget.per_second)
        self._prices = {
            RetryKind.TRANSIENT: float(budget.cost_transient),
            RetryKind.THROTTLED: float(budget.cost_throttled),
            RetryKind.UNSENT: float(budget.cost_unsent),
        }
        self._tokens = self._burst
        self._trickled_at = now
        self.is_full: bool = True

    def deposit(self) -> None:
        """Put in one call's share. Once per call that is sent: one that a closed door refused has earned nothing."""
        if not self.is_full:
            self._fill(self._per_call)

    def take(self, now: float, kind: RetryKind) -> bool:
        """Pay for one retry, before its pause.

        Returns:
            Whether there was enough; if not, nothing was taken.
        """
        self._trickle(now)
        left = self._tokens - self._prices[kind]
        if left < -_ROUNDING:
            return False
        self._tokens = max(0.0, left)
        self.is_full = self._tokens >= self._burst
        return True

    def give_back(self, kind: RetryKind) -> None:
        """Put back what a retry had paid that was then never sent: its call was cancelled or refused in the pause."""
        self._fill(self._prices[kind])

    def is_at_rest(self, now: float) -> bool:
        """Say whether a new bucket would do as well: full, or as good as full."""
        self._trickle(now)
        return self._tokens > self._burst - 1.0

    def state(self, now: float) -> BudgetState:
        """Say what it holds."""
        self._trickle(now)
        return BudgetState(tokens=self._tokens, burst=self._burst)

    def _trickle(self, now: float) -> None:
        # Late is as good as in time: what comes in between only adds, and the brim cuts the sum either way.
        passed = now - self._trickled_at
        if passed > 0.0:
            self._fill(passed * self._per_second)
            self._trickled_at = now

    def _fill(self, tokens: float) -> None:
        self._tokens = min(self._burst, self._tokens + tokens)
        self.is_full = self._tokens >= self._burst
