"""The ways to deal with failure that are compared, from nothing at all to everything that is on by default."""

from dataclasses import dataclass
from typing import Any, Final

from holdfast import Policy

_DEFAULT: Final = Policy(attempt_timeout=2.0, deadline=30.0)


@dataclass(frozen=True, slots=True)
class Strategy:
    """How a client deals with failure."""

    name: str
    policy: Policy
    advises: bool = True
    """Whether it is shown ``Retry-After``."""


def _with(**changes: Any) -> Policy:  # noqa: ANN401 - fields of a policy
    known = {"attempt_timeout": 2.0, "deadline": 30.0, "retry_budget": None, "breaker": None, "rate_gate": False}
    return Policy(**(known | changes))


STRATEGIES: Final = (
    Strategy("no retry", _with(max_attempts=1)),
    Strategy("naive: 3 retries at once", _with(backoff_base=0.0), advises=False),
    Strategy("full jitter", _with()),
    Strategy("budget", _with(retry_budget=_DEFAULT.retry_budget)),
    Strategy("budget + breaker", _with(retry_budget=_DEFAULT.retry_budget, breaker=_DEFAULT.breaker)),
    Strategy("budget + breaker + gate (default)", _DEFAULT),
)
