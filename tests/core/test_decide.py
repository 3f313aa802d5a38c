from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations
from math import inf, nextafter
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.deadline import Deadline
from holdfast.core.decide import Retry, Situation, Stop, decide
from holdfast.outcome import Effect, Outcome, StopReason
from holdfast.policy import Policy
from holdfast.report import Classification

PASSING: Final = Classification(outcome=Outcome.RETRYABLE, effect=Effect.NONE, reason="unavailable", status=503)
RUNNING: Final = Classification(
    outcome=Outcome.IDEMPOTENCY_CONFLICT, effect=Effect.IN_DOUBT, reason="idempotency_conflict", status=409
)
GOOD: Final = Situation(
    answer=PASSING,
    attempt=1,
    policy=Policy(max_attempts=4, backoff_base=0.5, backoff_max=20.0),
    deadline=Deadline(400.0),
    now=100.0,
    draw=0.5,
    may_repeat=False,
    replayable=True,
)
"""Everything speaks for another attempt."""

Change = Callable[[Situation], Situation]


@dataclass(slots=True)
class CountingBudget:
    """A retry budget that remembers how often it was asked."""

    left: int
    asked: int = 0

    def __call__(self) -> bool:
        self.asked += 1
        self.left -= 1
        return self.left >= 0


def permanent(situation: Situation) -> Situation:
    """Let the answer be final."""
    return situation._replace(answer=replace(situation.answer, outcome=Outcome.PERMANENT_FAILURE))


def unsafe(situation: Situation) -> Situation:
    """Let the attempt leave a doubt that a repetition would double."""
    return situation._replace(answer=replace(situation.answer, effect=Effect.IN_DOUBT), may_repeat=False)


def not_replayable(situation: Situation) -> Situation:
    """Let the body be a stream."""
    return situation._replace(replayable=False)


def exhausted(situation: Situation) -> Situation:
    """Let the attempt be the last one allowed."""
    return situation._replace(attempt=4)


def circuit_open(situation: Situation) -> Situation:
    """Let the origin be held to be down."""
    return situation._replace(circuit_open=True)


def told_to_wait_too_long(situation: Situation) -> Situation:
    """Let the server ask for an hour."""
    return situation._replace(answer=replace(situation.answer, retry_after=3600.0))


def out_of_time(situation: Situation) -> Situation:
    """Let the time left be shorter than any pause."""
    return situation._replace(deadline=Deadline(situation.now))


def out_of_budget(situation: Situation) -> Situation:
    """Let the bucket be empty."""
    return situation._replace(budget=CountingBudget(0))


IN_ORDER: Final[tuple[tuple[Change, StopReason], ...]] = (
    (permanent, StopReason.PERMANENT),
    (unsafe, StopReason.UNSAFE_TO_RESEND),
    (not_replayable, StopReason.BODY_NOT_REPLAYABLE),
    (exhausted, StopReason.ATTEMPTS_EXHAUSTED),
    (circuit_open, StopReason.CIRCUIT_OPEN),
    (told_to_wait_too_long, StopReason.RETRY_AFTER_TOO_LONG),
    (out_of_time, StopReason.DEADLINE),
    (out_of_budget, StopReason.BUDGET_EXHAUSTED),
)
"""Each condition, failed, and the stop it names: the first that fails wins."""


def name_of(value: object) -> str:
    """Name a change by its function and a reason by its word."""
    return str(getattr(value, "__name__", value))


def test_a_passing_fault_with_nothing_against_it_is_sent_again() -> None:
    """Without this the whole library would only ever give up."""
    decision = decide(GOOD)

    assert decision == Retry(0.25)


@pytest.mark.parametrize(("change", "reason"), IN_ORDER, ids=name_of)
def test_each_condition_that_fails_names_its_stop(change: Change, reason: StopReason) -> None:
    """The word stands in the error, the report and the log line: a wrong one sends its reader down the wrong road."""
    decision = decide(change(GOOD))

    assert decision == Stop(reason)


@pytest.mark.parametrize(("first", "second"), list(combinations(IN_ORDER, 2)), ids=lambda pair: name_of(pair[0]))
def test_of_two_conditions_that_fail_the_earlier_names_the_stop(
    first: tuple[Change, StopReason], second: tuple[Change, StopReason]
) -> None:
    """The word "unsafe to resend" must not hide behind "attempts exhausted", which invites the caller to try again."""
    earlier, reason = first
    later, _ = second

    decisions = decide(later(earlier(GOOD))), decide(earlier(later(GOOD)))

    assert decisions == (Stop(reason), Stop(reason))


def test_when_everything_speaks_against_it_the_first_row_wins() -> None:
    """A permanent failure is the answer, whatever else is wrong."""
    situation = GOOD
    for change, _ in IN_ORDER:
        situation = change(situation)

    decision = decide(situation)

    assert decision == Stop(StopReason.PERMANENT)


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (Outcome.SUCCESS, StopReason.SUCCEEDED),
        (Outcome.PERMANENT_FAILURE, StopReason.PERMANENT),
        (Outcome.IDEMPOTENCY_CONFLICT, StopReason.CONFLICT),
    ],
)
@pytest.mark.parametrize("may_repeat", [True, False])
def test_an_outcome_that_is_not_retryable_stops_with_its_own_word(
    outcome: Outcome,
    reason: StopReason,
    may_repeat: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """A success sent again is a second payment."""
    answer = replace(PASSING, outcome=outcome, status=409, retry_after=1.0)

    decision = decide(GOOD._replace(answer=answer, may_repeat=may_repeat))

    assert decision == Stop(reason)


@pytest.mark.parametrize(
    ("value", "field"),
    [(Retry(1.0), "pause_s"), (Stop(StopReason.DEADLINE), "reason"), (GOOD, "attempt"), (Deadline(1.0), "real")],
    ids=lambda value: type(value).__name__,
)
def test_a_decision_and_its_grounds_cannot_be_changed(value: Any, field: str) -> None:
    """The log line is written from them after the fact: they must still be what was decided."""
    before = getattr(value, field)

    with pytest.raises(AttributeError):
        setattr(value, field, 99)

    assert getattr(value, field) == before


# Safe to resend


@pytest.mark.parametrize(
    ("effect", "may_repeat", "expected"),
    [
        (Effect.NONE, False, Retry(0.25)),
        (Effect.NONE, True, Retry(0.25)),
        (Effect.IN_DOUBT, True, Retry(0.25)),
        (Effect.LANDED, True, Retry(0.25)),
        (Effect.IN_DOUBT, False, Stop(StopReason.UNSAFE_TO_RESEND)),
        (Effect.LANDED, False, Stop(StopReason.UNSAFE_TO_RESEND)),
    ],
)
def test_what_may_have_happened_is_repeated_only_where_that_is_harmless(
    effect: Effect,
    may_repeat: bool,  # noqa: FBT001 - a column of the table
    expected: Retry | Stop,
) -> None:
    """This row is what keeps a customer from being charged twice."""
    decision = decide(GOOD._replace(answer=replace(PASSING, effect=effect), may_repeat=may_repeat))

    assert decision == expected


# A conflict that only means "still running"


@pytest.mark.parametrize(
    ("polls", "status", "outcome", "expected"),
    [
        (True, 409, Outcome.IDEMPOTENCY_CONFLICT, Retry(0.25)),
        (False, 409, Outcome.IDEMPOTENCY_CONFLICT, Stop(StopReason.CONFLICT)),
        (True, 422, Outcome.IDEMPOTENCY_CONFLICT, Stop(StopReason.CONFLICT)),
        (True, 400, Outcome.IDEMPOTENCY_CONFLICT, Stop(StopReason.CONFLICT)),
        (True, 409, Outcome.PERMANENT_FAILURE, Stop(StopReason.PERMANENT)),
    ],
)
def test_a_409_is_asked_again_only_where_the_provider_polls(
    polls: bool,  # noqa: FBT001 - a column of the table
    status: int,
    outcome: Outcome,
    expected: Retry | Stop,
) -> None:
    """At Stripe a 409 is a request still running; at Fiant it is a duplicate, and sending it again an error more."""
    answer = replace(RUNNING, status=status, outcome=outcome)

    decision = decide(GOOD._replace(answer=answer, may_repeat=True, polls_conflict=polls))

    assert decision == expected


@pytest.mark.parametrize(("change", "reason"), IN_ORDER[1:], ids=name_of)
def test_polling_is_held_to_every_other_condition(change: Change, reason: StopReason) -> None:
    """A conflict that is polled for ever would outlive its deadline and drain the budget."""
    running = GOOD._replace(answer=RUNNING, may_repeat=True, polls_conflict=True)

    decision = decide(change(running))

    assert decision == Stop(reason)


# The pause


@pytest.mark.parametrize(
    ("attempt", "draw", "retry_after", "pause_s"),
    [
        (1, 0.0, None, 0.0),
        (1, 1.0, None, 0.5),
        (2, 1.0, None, 1.0),
        (3, 0.5, None, 1.0),
        (1, 0.0, 10.0, 10.0),
        (1, 1.0, 10.0, 12.5),
        (3, 0.5, 10.0, 11.25),
        (1, 1.0, 0.0, 0.5),
    ],
)
def test_the_pause_is_ours_unless_the_server_gave_one(
    attempt: int, draw: float, retry_after: float | None, pause_s: float
) -> None:
    """A wait the server asked for is a floor: to come back sooner breaks its limit again."""
    answer = replace(PASSING, retry_after=retry_after)

    decision = decide(GOOD._replace(answer=answer, attempt=attempt, draw=draw))

    assert decision == Retry(pause_s)


@pytest.mark.parametrize(
    ("left_s", "expected"),
    [
        (nextafter(8.0, inf), Retry(8.0)),
        (8.0, Stop(StopReason.DEADLINE)),
        (7.9, Stop(StopReason.DEADLINE)),
        (0.0, Stop(StopReason.DEADLINE)),
        (-5.0, Stop(StopReason.DEADLINE)),
    ],
)
def test_a_pause_that_does_not_fit_stops_and_is_never_shortened(left_s: float, expected: Retry | Stop) -> None:
    """A shortened pause would send every client at the same instant, when the server can bear it least."""
    policy = Policy(backoff_base=8.0)

    decision = decide(GOOD._replace(policy=policy, draw=1.0, now=0.0, deadline=Deadline(left_s)))

    assert decision == expected


@pytest.mark.parametrize(
    ("retry_after", "draw", "expected"),
    [
        (299.0, 0.0, Retry(299.0)),
        (300.0, 0.0, Stop(StopReason.RETRY_AFTER_TOO_LONG)),
        (3600.0, 0.0, Stop(StopReason.RETRY_AFTER_TOO_LONG)),
        (3600.0, 1.0, Stop(StopReason.RETRY_AFTER_TOO_LONG)),
        (280.0, 1.0, Stop(StopReason.DEADLINE)),
        (None, 1.0, Retry(0.5)),
    ],
)
def test_a_wait_that_ends_after_the_deadline_stops_at_once(
    retry_after: float | None, draw: float, expected: Retry | Stop
) -> None:
    """The caller hears of the advised hour now and not after five minutes of waiting in vain."""
    answer = replace(PASSING, retry_after=retry_after)

    decision = decide(GOOD._replace(answer=answer, draw=draw))

    assert decision == expected


@pytest.mark.parametrize("retry_after", [None, 0.0])
def test_a_deadline_that_has_passed_is_not_blamed_on_the_server(retry_after: float | None) -> None:
    """A server that asked for no wait must not be reported to have asked for one that is too long."""
    answer = replace(PASSING, retry_after=retry_after)

    decision = decide(GOOD._replace(answer=answer, now=401.0))

    assert decision == Stop(StopReason.DEADLINE)


# The budget


@pytest.mark.parametrize(("change", "reason"), IN_ORDER[:-1], ids=name_of)
def test_the_budget_is_not_asked_when_anything_else_fails(change: Change, reason: StopReason) -> None:
    """A token spent on an attempt that is never made is taken from a call that needs it."""
    budget = CountingBudget(1)

    decision = decide(change(GOOD._replace(budget=budget)))

    assert (decision, budget) == (Stop(reason), CountingBudget(1))


@pytest.mark.parametrize(
    ("tokens", "expected"), [(1, Retry(0.25)), (0, Stop(StopReason.BUDGET_EXHAUSTED))], ids=["full", "empty"]
)
def test_the_budget_is_asked_exactly_once(tokens: int, expected: Retry | Stop) -> None:
    """Asked twice, each retry costs two and half of them are refused."""
    budget = CountingBudget(tokens)

    decision = decide(GOOD._replace(budget=budget))

    assert (decision, budget.asked) == (expected, 1)


# Properties

ANSWERS: Final = st.builds(
    Classification,
    outcome=st.sampled_from(Outcome),
    effect=st.sampled_from(Effect),
    reason=st.just("any"),
    status=st.sampled_from([None, 400, 402, 409, 422, 429, 500, 503]),
    retry_after=st.none() | st.floats(0.0, 1e9),
)
SITUATIONS: Final = st.builds(
    Situation,
    answer=ANSWERS,
    attempt=st.integers(1, 12),
    policy=st.builds(
        Policy,
        max_attempts=st.integers(1, 10),
        backoff_base=st.floats(0.0, 100.0),
        backoff_max=st.floats(0.0, 1e4),
    ),
    deadline=st.builds(Deadline, st.floats(0.0, 1e6)),
    now=st.floats(0.0, 1e6),
    draw=st.floats(0.0, 1.0),
    may_repeat=st.booleans(),
    replayable=st.booleans(),
    polls_conflict=st.booleans(),
    circuit_open=st.booleans(),
    budget=st.sampled_from([lambda: True, lambda: False]),
)
HOPEFUL: Final = st.builds(
    lambda situation, left: situation._replace(
        answer=replace(situation.answer, outcome=Outcome.RETRYABLE),
        attempt=1,
        deadline=Deadline(situation.now + left),
        may_repeat=True,
        replayable=True,
        circuit_open=False,
        budget=lambda: True,
    ),
    SITUATIONS,
    st.floats(0.0, 300.0),
)
"""Situations in which only attempts and time can stand against a retry, so that the properties see many."""


@given(SITUATIONS | HOPEFUL)
def test_a_retry_keeps_every_promise(situation: Situation) -> None:
    """Each clause is a promise of the README: one exception is a second charge or a call that outlives its deadline."""
    decision = decide(situation)

    if isinstance(decision, Retry):
        answer = situation.answer
        polled = situation.polls_conflict and answer.status == 409 and answer.outcome is Outcome.IDEMPOTENCY_CONFLICT
        assert answer.outcome is Outcome.RETRYABLE or polled
        assert situation.attempt < situation.policy.max_attempts
        assert answer.effect is Effect.NONE or situation.may_repeat
        assert situation.replayable
        assert not situation.circuit_open
        assert situation.budget()
        assert situation.now + decision.pause_s < situation.deadline
        assert decision.pause_s >= (answer.retry_after or 0.0)


@given(SITUATIONS | HOPEFUL)
def test_a_stop_always_has_a_reason_that_holds(situation: Situation) -> None:
    """A stop without its true reason cannot be explained to the customer who waited."""
    decision = decide(situation)

    if isinstance(decision, Stop):
        answer, left = situation.answer, situation.deadline - situation.now
        longest = max(situation.policy.backoff_max, 1.25 * (answer.retry_after or 0.0))
        holds = {
            StopReason.SUCCEEDED: answer.outcome is Outcome.SUCCESS,
            StopReason.PERMANENT: answer.outcome is Outcome.PERMANENT_FAILURE,
            StopReason.CONFLICT: answer.outcome is Outcome.IDEMPOTENCY_CONFLICT,
            StopReason.UNSAFE_TO_RESEND: answer.effect is not Effect.NONE and not situation.may_repeat,
            StopReason.BODY_NOT_REPLAYABLE: not situation.replayable,
            StopReason.ATTEMPTS_EXHAUSTED: situation.attempt >= situation.policy.max_attempts,
            StopReason.CIRCUIT_OPEN: situation.circuit_open,
            StopReason.RETRY_AFTER_TOO_LONG: (answer.retry_after or 0.0) > left - 1e-6,
            StopReason.DEADLINE: longest > left - 1e-6,
            StopReason.BUDGET_EXHAUSTED: not situation.budget(),
        }
        assert holds[decision.reason]
