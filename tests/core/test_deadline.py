from math import inf, nextafter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.deadline import AttemptLimits, Deadline, deadline_after


@pytest.mark.parametrize(("now", "left"), [(100.0, 300.0), (399.5, 0.5), (400.0, 0.0), (400.5, 0.0), (1e9, 0.0)])
def test_the_time_left_runs_out_at_zero(now: float, left: float) -> None:
    """A negative time left would be handed to a timer, which fires at once or never."""
    deadline = Deadline(400.0)

    remaining = deadline.left(now)

    assert remaining == left


@pytest.mark.parametrize(
    ("pause_s", "now", "allowed"),
    [
        (0.0, 100.0, True),
        (299.9, 100.0, True),
        (300.0, 100.0, False),
        (300.1, 100.0, False),
        (0.0, nextafter(400.0, -inf), True),
        (0.0, 400.0, False),
        (0.0, 401.0, False),
        (inf, 100.0, False),
    ],
)
def test_a_pause_is_allowed_only_if_it_ends_before_the_deadline(
    pause_s: float,
    now: float,
    allowed: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """A pause that ends with the deadline leaves no time for the attempt it was made for."""
    deadline = Deadline(400.0)

    verdict = deadline.allows(pause_s, now)

    assert verdict is allowed


@pytest.mark.parametrize(
    ("now", "attempt_timeout_s", "expected"),
    [
        (100.0, None, AttemptLimits(300.0, 299.75)),
        (100.0, 10.0, AttemptLimits(10.0, 9.8)),
        (100.0, 12.5, AttemptLimits(12.5, 12.25)),
        (100.0, 1.0, AttemptLimits(1.0, 0.98)),
        (100.0, 300.0, AttemptLimits(300.0, 299.75)),
        (100.0, 500.0, AttemptLimits(300.0, 299.75)),
        (399.0, None, AttemptLimits(1.0, 0.98)),
        (399.0, 10.0, AttemptLimits(1.0, 0.98)),
        (399.0, 0.5, AttemptLimits(0.5, 0.49)),
    ],
)
def test_an_attempt_gets_its_own_limit_and_never_more_than_is_left(
    now: float, attempt_timeout_s: float | None, expected: AttemptLimits
) -> None:
    """One attempt that outlives the deadline is a call that outlives it."""
    limits = Deadline(400.0).limits(now, attempt_timeout_s)

    assert limits == pytest.approx(expected)


@pytest.mark.parametrize("now", [400.0, 401.0])
def test_past_the_deadline_no_time_is_left_for_an_attempt(now: float) -> None:
    """The engine asks this before each send: a positive answer would send after the deadline."""
    limits = Deadline(400.0).limits(now, 10.0)

    assert limits.total_s <= 0.0


@given(
    now=st.floats(0.0, 1e6),
    left=st.floats(1e-3, 300.0),
    attempt_timeout_s=st.none() | st.floats(1e-3, 1e6),
)
def test_connecting_always_times_out_before_the_attempt_does(
    now: float, left: float, attempt_timeout_s: float | None
) -> None:
    """The order of the two is how "nothing was sent" is told from "it may have been": swapped, safe calls are lost."""
    deadline = Deadline(now + left)

    total_s, connect_s = deadline.limits(now, attempt_timeout_s)

    assert 0.0 < connect_s < total_s <= deadline.left(now) + 1e-6  # what adding and subtracting make of it
    assert attempt_timeout_s is None or total_s <= attempt_timeout_s


@pytest.mark.parametrize(
    ("limits", "now", "cut"),
    [
        (AttemptLimits(300.0, 299.75), 400.0, True),
        (AttemptLimits(300.0, 299.75), 400.1, True),
        (AttemptLimits(300.0, 299.75), 399.75, True),
        (AttemptLimits(300.0, 299.75), 399.7, False),
        (AttemptLimits(10.0, 9.75), 110.0, False),
        (AttemptLimits(10.0, 9.75), 399.9, True),
    ],
)
def test_a_timeout_is_blamed_on_the_deadline_only_where_that_cut_the_attempt(
    limits: AttemptLimits,
    now: float,
    cut: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """Calling an attempt "deadline exceeded" that only ran into its own limit would stop a call with minutes left."""
    deadline = Deadline(400.0)

    verdict = deadline.cut(limits, now)

    assert verdict is cut


@given(now=st.floats(0.0, 1e6), left=st.floats(1e-3, 300.0), late=st.floats(1e-6, 10.0))
def test_an_attempt_that_had_all_the_time_left_is_cut_by_the_deadline(now: float, left: float, late: float) -> None:
    """Timers fire late, never early: both limits of the last attempt must lead to the same honest word."""
    deadline = Deadline(now + left)
    limits = deadline.limits(now, None)

    cut = [deadline.cut(limits, now + limit + late) for limit in limits]

    assert cut == [True, True]


@pytest.mark.parametrize(
    ("seconds", "at"), [(300.0, 400.0), (10.0, 110.0), (0.5, 100.5), (300.1, 400.0), (1e9, 400.0), (inf, 400.0)]
)
def test_no_call_may_live_longer_than_five_minutes(seconds: float, at: float) -> None:
    """Five minutes is the promise: whatever is asked for, it is never stretched."""
    deadline = deadline_after(100.0, seconds)

    assert deadline == Deadline(at)
