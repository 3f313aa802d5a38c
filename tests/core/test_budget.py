from fractions import Fraction
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from holdfast.core.budget import BudgetState, RetryBucket, RetryKind, retry_kind
from holdfast.policy import RetryBudget

TRANSIENT: Final = RetryKind.TRANSIENT
DRY: Final = RetryBudget(per_call=0.1, burst=10.0, per_second=0.0)
"""No trickle: only calls fill it."""


def emptied(budget: RetryBudget, now: float = 0.0) -> RetryBucket:
    """Give a bucket that retries have just emptied."""
    bucket = RetryBucket(budget, now)
    while bucket.take(now, TRANSIENT):
        pass
    return bucket


def test_a_fresh_process_may_retry_at_once() -> None:
    """A budget that had to be earned first would leave the first calls after a deployment without any retry."""
    bucket = RetryBucket(DRY, 100.0)

    granted = [bucket.take(100.0, TRANSIENT) for _ in range(11)]

    assert granted == [True] * 10 + [False]


def test_ten_calls_pay_for_one_retry() -> None:
    """Ten times 0.1 is less than 1 in floating point: the tenth call of every ten would pay for nothing."""
    bucket = emptied(DRY)

    granted = []
    for _ in range(30):
        bucket.deposit()
        granted.append(bucket.take(0.0, TRANSIENT))

    assert [number for number, given in enumerate(granted, 1) if given] == [10, 20, 30]
    assert bucket.state(0.0) == BudgetState(tokens=0.0, burst=10.0)


def test_in_an_outage_retries_stay_a_tenth_of_the_calls() -> None:
    """This is what keeps a thousand processes from turning a brown-out into an outage."""
    bucket = RetryBucket(DRY, 0.0)

    retries = 0
    for _ in range(1000):
        bucket.deposit()
        retries += sum(bucket.take(0.0, TRANSIENT) for _ in range(3))

    assert retries == 10 + 100 - 1  # the first deposit meets a full bucket and is lost


def test_a_quiet_process_is_not_starved() -> None:
    """Calls that are minutes apart would earn a retry once in ten calls, and the one that matters would have none."""
    bucket = emptied(RetryBudget(per_call=0.1, burst=10.0, per_second=0.1))

    granted = [bucket.take(now, TRANSIENT) for now in (5.0, 9.9, 10.0, 10.1, 1000.0)]

    assert granted == [False, False, True, False, True]


def test_the_same_second_is_earned_once() -> None:
    """A moment noted before a wait and used after it must not let the time between count twice."""
    bucket = emptied(RetryBudget(per_second=0.1), 100.0)

    tokens = [bucket.state(now).tokens for now in (105.0, 100.0, 105.0)]

    assert tokens == [0.5, 0.5, 0.5]


def test_a_long_silence_earns_no_more_than_the_burst() -> None:
    """A night without calls must not turn into ten thousand retries in the morning."""
    bucket = RetryBucket(RetryBudget(burst=10.0, per_second=1.0), 0.0)

    state = bucket.state(1e6)

    assert state == BudgetState(tokens=10.0, burst=10.0)


def test_calls_earn_no_more_than_the_burst() -> None:
    """A day of successes must not be saved up and spent on the provider in the first minute of its outage."""
    bucket = RetryBucket(DRY, 0.0)
    bucket.take(0.0, TRANSIENT)

    for _ in range(1000):
        bucket.deposit()

    assert bucket.state(0.0) == BudgetState(tokens=10.0, burst=10.0)


def test_a_retry_that_cannot_be_paid_takes_nothing() -> None:
    """Refusals that cost would keep the bucket empty for as long as the outage lasts."""
    bucket = RetryBucket(RetryBudget(burst=1.5, per_call=0.0, per_second=0.0), 0.0)
    bucket.take(0.0, TRANSIENT)

    granted = [bucket.take(0.0, TRANSIENT) for _ in range(5)]

    assert (granted, bucket.state(0.0)) == ([False] * 5, BudgetState(tokens=0.5, burst=1.5))


@pytest.mark.parametrize("kind", RetryKind)
def test_a_retry_that_was_never_sent_is_paid_back(kind: RetryKind) -> None:
    """Callers who cancel in the pause would eat up the budget of those who stay."""
    budget = RetryBudget(per_second=0.0, cost_transient=1.0, cost_throttled=0.25, cost_unsent=0.5)
    bucket = RetryBucket(budget, 0.0)

    bucket.take(0.0, kind)
    spent = bucket.state(0.0)
    bucket.give_back(kind)

    cost = {"transient": 1.0, "throttled": 0.25, "unsent": 0.5}[kind.value]
    assert (spent.tokens, bucket.state(0.0).tokens) == (10.0 - cost, 10.0)


def test_what_is_paid_back_does_not_overflow() -> None:
    """Tokens above the burst would be a burst that nobody allowed."""
    bucket = RetryBucket(DRY, 0.0)

    bucket.take(0.0, TRANSIENT)
    for _ in range(10):
        bucket.deposit()
    bucket.give_back(TRANSIENT)

    assert bucket.state(0.0) == BudgetState(tokens=10.0, burst=10.0)


@pytest.mark.parametrize(
    ("status", "bytes_sent", "expected"),
    [
        (None, False, RetryKind.UNSENT),
        (None, None, RetryKind.TRANSIENT),
        (None, True, RetryKind.TRANSIENT),
        (429, True, RetryKind.THROTTLED),
        (503, True, RetryKind.TRANSIENT),
        (500, True, RetryKind.TRANSIENT),
        (408, True, RetryKind.TRANSIENT),
        (503, False, RetryKind.TRANSIENT),
    ],
)
def test_a_retry_costs_by_what_it_answers(
    status: int | None,
    bytes_sent: bool | None,  # noqa: FBT001 - three-valued
    expected: RetryKind,
) -> None:
    """A timeout priced as if nothing had been sent would let through twice the load on a server that drowns."""
    kind = retry_kind(status, bytes_sent=bytes_sent)

    assert kind is expected


@given(
    budget=st.builds(RetryBudget, per_call=st.floats(0, 1), burst=st.floats(1, 1e308), per_second=st.floats(0, 1e308))
)
def test_no_allowed_budget_breaks_the_arithmetic(budget: RetryBudget) -> None:
    """A policy that is allowed must not fail in the middle of a payment."""
    bucket = RetryBucket(budget, 0.0)

    bucket.take(1.0, TRANSIENT)
    bucket.deposit()

    assert 0.0 <= bucket.state(1e9).tokens <= budget.burst


class BudgetAgainstSums(RuleBasedStateMachine):
    """Compare the bucket with exact sums, in which the trickle is added at every step and not when asked."""

    @initialize(
        burst=st.integers(1, 20), per_call=st.integers(0, 16), per_second=st.integers(0, 8), cheap=st.integers(0, 32)
    )
    def begin(self, burst: int, per_call: int, per_second: int, cheap: int) -> None:
        """Choose sizes in sixteenths, which floats hold exactly."""
        self.budget = RetryBudget(
            burst=burst, per_call=per_call / 16, per_second=per_second / 16, cost_throttled=cheap / 16, cost_unsent=0.5
        )
        self.costs = {
            RetryKind.TRANSIENT: Fraction(1),
            RetryKind.THROTTLED: Fraction(cheap, 16),
            RetryKind.UNSENT: Fraction(1, 2),
        }
        self.now = 0
        self.tokens = Fraction(burst)
        self.paid: list[RetryKind] = []
        self.bucket = RetryBucket(self.budget, 0.0)

    def add(self, amount: Fraction) -> None:
        """Fill the model up to the brim."""
        self.tokens = min(Fraction(self.budget.burst), self.tokens + amount)

    @rule(seconds=st.integers(0, 50))
    def pass_time(self, seconds: int) -> None:
        """Let time pass, of which the bucket is not told."""
        self.now += seconds
        self.add(Fraction(self.budget.per_second) * seconds)

    @rule()
    def call(self) -> None:
        """Send a call."""
        self.bucket.deposit()
        self.add(Fraction(self.budget.per_call))

    @rule(kind=st.sampled_from(RetryKind))
    def retry(self, kind: RetryKind) -> None:
        """Ask for a retry."""
        affordable = self.tokens >= self.costs[kind]

        granted = self.bucket.take(float(self.now), kind)

        assert granted is affordable
        if granted:
            self.tokens -= self.costs[kind]
            self.paid.append(kind)

    @rule()
    def cancel_in_the_pause(self) -> None:
        """Give the last retry back."""
        if self.paid:
            kind = self.paid.pop()
            self.bucket.give_back(kind)
            self.add(self.costs[kind])

    @rule()
    def look(self) -> None:
        """Nothing is earned or lost but by the rules, however long nobody looked."""
        state = self.bucket.state(float(self.now))

        assert state == BudgetState(tokens=float(self.tokens), burst=self.budget.burst)


test_the_bucket_agrees_with_exact_sums = BudgetAgainstSums.TestCase
test_the_bucket_agrees_with_exact_sums.settings = settings(max_examples=60, stateful_step_count=30)
