"""Whether a call is sent again, and if not, why not.

One ordered list of conditions. All must hold, and the first that fails names the stop; the same word stands in the
decision, the error, the report and the log line. Pure: the caller passes the present moment and a random draw, and
asks the retry budget, which is the one condition with a price, only through ``Situation.budget``.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from holdfast.core.deadline import Deadline
from holdfast.core.schedule import pause_after_server_wait, pause_before
from holdfast.outcome import Effect, Outcome, StopReason
from holdfast.policy import Policy
from holdfast.report import Classification

# Looked up once: a member of an enumeration costs more than a call of a function.
_RETRYABLE: Final = Outcome.RETRYABLE
_CONFLICT: Final = Outcome.IDEMPOTENCY_CONFLICT
_NONE: Final = Effect.NONE


class Retry(NamedTuple):
    """Send again after a pause."""

    pause_s: float


class Stop(NamedTuple):
    """Do not send again."""

    reason: StopReason


class Situation(NamedTuple):
    """Everything the decision depends on, after an attempt has ended."""

    answer: Classification
    attempt: int
    """Number of the attempt that has just ended; the first is 1."""

    policy: Policy
    deadline: Deadline
    now: float
    """The present moment on the deadline's clock."""

    draw: float
    """Uniform random number in ``[0, 1]``."""

    may_repeat: bool
    """Whether a repetition is harmless: a method the provider lets us repeat, or a key it honours here."""

    replayable: bool
    """Whether the body can be sent a second time, byte for byte."""

    polls_conflict: bool = False
    circuit_open: bool = False
    budget: Callable[[], bool] = lambda: True
    """Takes a token from the retry budget; asked last, and before the pause."""


class _Row(NamedTuple):
    holds: Callable[[Situation, float], bool]
    otherwise: StopReason


_BY_OUTCOME: Final = {
    Outcome.SUCCESS: Stop(StopReason.SUCCEEDED),
    Outcome.PERMANENT_FAILURE: Stop(StopReason.PERMANENT),
    Outcome.IDEMPOTENCY_CONFLICT: Stop(StopReason.CONFLICT),
}

_ROWS: Final[tuple[_Row, ...]] = (
    _Row(lambda s, _: s.answer.effect is _NONE or s.may_repeat, StopReason.UNSAFE_TO_RESEND),
    _Row(lambda s, _: s.replayable, StopReason.BODY_NOT_REPLAYABLE),
    _Row(lambda s, _: s.attempt < s.policy.max_attempts, StopReason.ATTEMPTS_EXHAUSTED),
    _Row(lambda s, _: not s.circuit_open, StopReason.CIRCUIT_OPEN),
    # Before the budget, which design section 5 lists first: no token is spent on a pause that cannot end in time.
    _Row(
        lambda s, _: not s.answer.retry_after or s.deadline.allows(s.answer.retry_after, s.now),
        StopReason.RETRY_AFTER_TOO_LONG,
    ),
    _Row(lambda s, p: s.deadline.allows(p, s.now), StopReason.DEADLINE),
    _Row(lambda s, _: s.budget(), StopReason.BUDGET_EXHAUSTED),
)


def decide(situation: Situation) -> Retry | Stop:
    """Decide what follows an attempt.

    Returns:
        ``Retry`` with the pause in seconds, never shortened to fit the deadline; or ``Stop`` with the first reason
        that holds.
    """
    final = stop_after(situation.answer, polls_conflict=situation.polls_conflict)
    if final is not None:
        return final
    pause_s = _pause(situation)
    for holds, otherwise in _ROWS:
        if not holds(situation, pause_s):
            return Stop(otherwise)
    return Retry(pause_s)


def stop_after(answer: Classification, *, polls_conflict: bool) -> Stop | None:
    """Give the end that an outcome alone decides; ``None`` where it depends on the situation."""
    outcome = answer.outcome
    if outcome is _RETRYABLE:
        return None
    is_polled = outcome is _CONFLICT and polls_conflict and answer.status == 409  # noqa: PLR2004
    return None if is_polled else _BY_OUTCOME[outcome]


def _pause(situation: Situation) -> float:
    wait = situation.answer.retry_after
    if not wait:
        # "At once" is no reason to come back all together: our own spread satisfies it too.
        return pause_before(situation.attempt + 1, situation.policy, situation.draw)
    return pause_after_server_wait(wait, situation.draw)
