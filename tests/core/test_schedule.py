from math import isfinite
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.schedule import SERVER_WAIT_JITTER, pause_after_server_wait, pause_before
from holdfast.policy import Policy

HUGE: Final = 1.7e308


@pytest.mark.parametrize(
    ("attempt", "ceiling"),
    [
        (2, 0.5),
        (3, 1.0),
        (4, 2.0),
        (5, 4.0),
        (6, 8.0),
        (7, 16.0),
        (8, 30.0),
        (9, 30.0),
        (65, 30.0),
        (66, 30.0),
        (1026, 30.0),
        (10**9, 30.0),
        (10**400, 30.0),
    ],
)
def test_pause_doubles_until_the_cap(attempt: int, ceiling: float) -> None:
    """Each pause may be twice as long as the one before, but never above backoff_max."""
    policy = Policy(backoff_base=0.5, backoff_max=30.0)

    pause = pause_before(attempt, policy, draw=1.0)

    assert pause == ceiling


@pytest.mark.parametrize(("draw", "expected"), [(0.0, 0.0), (0.25, 1.0), (0.5, 2.0), (1.0, 4.0)])
def test_pause_is_spread_from_zero_to_the_ceiling(draw: float, expected: float) -> None:
    """Half the jitter is twice the crowd: clients that failed together would come back together."""
    policy = Policy(backoff_base=0.5, backoff_max=30.0)

    pause = pause_before(5, policy, draw)

    assert pause == expected


@pytest.mark.parametrize(
    ("base", "cap", "attempt", "ceiling"),
    [
        (0.0, 20.0, 2, 0.0),
        (0.0, 20.0, 10**9, 0.0),
        (0.0, 0.0, 5, 0.0),
        (5.0, 0.0, 5, 0.0),
        (50.0, 20.0, 2, 20.0),
        (20.0, 20.0, 2, 20.0),
        (5e-324, 20.0, 2, 5e-324),
        (5e-324, 20.0, 3, 1e-323),
        (1e-9, 20.0, 36, 1e-9 * 2**34),
        (1e-9, 20.0, 37, 20.0),
        (HUGE, 20.0, 2, 20.0),
        (HUGE, HUGE, 2, HUGE),
        (1e308, HUGE, 3, HUGE),
        (1e308, HUGE, 10**9, HUGE),
        (10**308, HUGE, 3, HUGE),
        (1, 30, 4, 4.0),
    ],
)
def test_pause_has_a_ceiling_for_every_policy(base: float, cap: float, attempt: int, ceiling: float) -> None:
    """A policy that is allowed must not overflow in the middle of a payment."""
    policy = Policy(backoff_base=base, backoff_max=cap)

    pause = pause_before(attempt, policy, draw=1.0)

    assert (type(pause), pause) == (float, ceiling)


@pytest.mark.parametrize("attempt", [1, 0, -1, -(10**9)])
def test_there_is_no_pause_before_the_first_send(attempt: int) -> None:
    """An off-by-one in a loop shows at once, and not as half a second on every call."""
    with pytest.raises(ValueError, match=rf"^attempt must be at least 2, .* got {attempt}$"):
        pause_before(attempt, Policy(), 0.5)


@given(
    attempt=st.integers(2, 200),
    base=st.floats(0.0, HUGE),
    cap=st.floats(0.0, HUGE),
    draw=st.floats(0.0, 1.0),
)
def test_pause_stays_below_its_ceiling_and_never_falls(attempt: int, base: float, cap: float, draw: float) -> None:
    """A pause above the cap keeps a customer waiting; one that falls crowds a server that is already down."""
    policy = Policy(backoff_base=base, backoff_max=cap)

    pause, later = (pause_before(number, policy, draw) for number in (attempt, attempt + 1))

    assert isfinite(later)
    assert 0.0 <= pause <= later <= cap
    assert pause <= base * 2.0 ** (attempt - 2)


@pytest.mark.parametrize(
    ("wait_s", "draw", "expected"),
    [(0.0, 1.0, 0.0), (10.0, 0.0, 10.0), (10.0, 0.5, 11.25), (10.0, 1.0, 12.5), (3600.0, 1.0, 4500.0)],
)
def test_a_servers_wait_is_lengthened_by_up_to_a_quarter(wait_s: float, draw: float, expected: float) -> None:
    """A thousand clients that were told "one second" must not all come back after exactly one."""
    pause = pause_after_server_wait(wait_s, draw)

    assert pause == expected


@given(wait_s=st.floats(0.0, 1e9), draw=st.floats(0.0, 1.0))
def test_a_servers_wait_is_never_shortened(wait_s: float, draw: float) -> None:
    """To come back sooner than told breaks the limit again, and some providers then lock the account."""
    pause = pause_after_server_wait(wait_s, draw)

    assert wait_s <= pause <= wait_s * (1.0 + SERVER_WAIT_JITTER)
