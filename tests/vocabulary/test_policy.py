import pickle
from dataclasses import FrozenInstanceError, fields, replace
from decimal import Decimal
from math import inf, nan
from sys import float_info
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.policy import DEADLINE_CAP_S, CircuitBreaker, Policy, RateLimit, RetryBudget

Kind = type[Policy] | type[RetryBudget] | type[CircuitBreaker] | type[RateLimit]

HUGE: Final = 10**400
NOTHING: Final[Any] = None
NOT_WHOLE: Final[list[Any]] = [nan, inf, -inf, -HUGE, True, False, "1", b"1", Decimal(1), 1j, [1.0], object()]

NUMBERS: Final[list[tuple[Kind, str]]] = [
    (Policy, "deadline"),
    (Policy, "attempt_timeout"),
    (Policy, "backoff_base"),
    (Policy, "backoff_max"),
    (RetryBudget, "per_call"),
    (RetryBudget, "burst"),
    (RetryBudget, "per_second"),
    (RetryBudget, "cost_transient"),
    (RetryBudget, "cost_throttled"),
    (RetryBudget, "cost_unsent"),
    (CircuitBreaker, "failure_rate"),
    (CircuitBreaker, "window_s"),
    (CircuitBreaker, "open_s"),
    (CircuitBreaker, "open_jitter"),
    (CircuitBreaker, "open_max_s"),
    (CircuitBreaker, "probe_s"),
    (CircuitBreaker, "ramp_s"),
    (RateLimit, "per_second"),
]
COUNTS: Final[list[tuple[Kind, str]]] = [
    (Policy, "max_attempts"),
    (Policy, "max_concurrency"),
    (CircuitBreaker, "minimum_calls"),
    (CircuitBreaker, "probes"),
    (RateLimit, "burst"),
]
REQUIRED: Final[dict[Kind, dict[str, Any]]] = {RateLimit: {"per_second": 1.0}}
"""What a kind cannot be made without."""

NEVER_NONE: Final = [pair for pair in NUMBERS + COUNTS if pair[1] not in {"attempt_timeout", "max_concurrency"}]


def short(value: object) -> str:
    """Name a case without an object's address or four hundred digits."""
    return getattr(value, "__name__", None) or repr(value).split(" ")[0][:16]


def test_the_defaults_are_those_of_the_design() -> None:
    """A default that moves changes, unasked, how hard every user's service hits its payment provider."""
    policy = Policy()

    assert policy == Policy(
        rate_limit=None,
        rate_gate=True,
        max_attempts=4,
        deadline=300.0,
        attempt_timeout=None,
        backoff_base=0.5,
        backoff_max=20.0,
        retry_budget=RetryBudget(
            per_call=0.1, burst=10.0, per_second=0.01, cost_transient=1.0, cost_throttled=0.0, cost_unsent=1.0
        ),
        breaker=CircuitBreaker(failure_rate=0.5, minimum_calls=10, window_s=10.0, open_s=5.0, probes=1),
        max_concurrency=None,
        read_body=None,
    )
    assert DEADLINE_CAP_S == 300.0


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (Policy, "max_attempts", 1),
        (Policy, "max_attempts", HUGE),
        (Policy, "deadline", 300),
        (Policy, "deadline", 300.0),
        (Policy, "deadline", 5e-324),
        (Policy, "attempt_timeout", None),
        (Policy, "attempt_timeout", 5e-324),
        (Policy, "attempt_timeout", 1e308),
        (Policy, "backoff_base", 0),
        (Policy, "backoff_base", 1.7e308),
        (Policy, "backoff_max", 0.0),
        (Policy, "backoff_max", float_info.max),
        (Policy, "retry_budget", None),
        (Policy, "breaker", None),
        (Policy, "max_concurrency", None),
        (Policy, "max_concurrency", 1),
        (Policy, "read_body", False),
        (Policy, "read_body", True),
        (RetryBudget, "per_call", 0.0),
        (RetryBudget, "per_call", 1),
        (RetryBudget, "burst", 1.0),
        (RetryBudget, "per_second", 0.0),
        (CircuitBreaker, "failure_rate", 5e-324),
        (CircuitBreaker, "failure_rate", 1.0),
        (CircuitBreaker, "minimum_calls", 1),
        (CircuitBreaker, "window_s", 5e-324),
        (CircuitBreaker, "open_s", 5e-324),
        (CircuitBreaker, "probes", 1),
        (RetryBudget, "cost_transient", 0.0),
        (RetryBudget, "cost_throttled", 0.0),
        (RetryBudget, "cost_unsent", 0.0),
        (CircuitBreaker, "open_jitter", 0.0),
        (CircuitBreaker, "open_jitter", 1.0),
        (CircuitBreaker, "open_max_s", 5e-324),
        (CircuitBreaker, "probe_s", 5e-324),
        (CircuitBreaker, "ramp_s", 0.0),
        (RateLimit, "per_second", 5e-324),
        (RateLimit, "burst", 1),
        (Policy, "rate_limit", None),
    ],
    ids=short,
)
def test_the_ends_of_each_range_are_allowed(kind: Kind, field: str, value: Any) -> None:
    """A limit that is documented as allowed and then refused stops a service from starting."""
    made = kind(**(REQUIRED.get(kind, {}) | {field: value}))

    assert getattr(made, field) == value


@pytest.mark.parametrize(
    ("kind", "field", "value", "message"),
    [
        (Policy, "max_attempts", 0, "max_attempts must be a whole number, at least 1, got 0"),
        (Policy, "max_attempts", -1, "max_attempts must be a whole number, at least 1, got -1"),
        (Policy, "max_attempts", 1.5, "max_attempts must be a whole number, at least 1, got 1.5"),
        (Policy, "deadline", 301, "deadline must be at most 300 seconds, got 301"),
        (Policy, "deadline", 300.0000001, "deadline must be at most 300 seconds, got 300.0000001"),
        (Policy, "deadline", 0, "deadline must be a finite number above 0, got 0"),
        (Policy, "deadline", -1.0, "deadline must be a finite number above 0, got -1.0"),
        (Policy, "deadline", None, "deadline must be a finite number above 0, got None"),
        (Policy, "attempt_timeout", 0.0, "attempt_timeout must be a finite number above 0, got 0.0"),
        (Policy, "backoff_base", -0.1, "backoff_base must be a finite number, at least 0, got -0.1"),
        (Policy, "backoff_max", -1, "backoff_max must be a finite number, at least 0, got -1"),
        (Policy, "max_concurrency", 0, "max_concurrency must be a whole number, at least 1, got 0"),
        (RetryBudget, "per_call", -0.1, "per_call must be a finite number, between 0 and 1, got -0.1"),
        (RetryBudget, "per_call", 1.1, "per_call must be a finite number, between 0 and 1, got 1.1"),
        (RetryBudget, "burst", 0.9, "burst must be a finite number, at least 1, got 0.9"),
        (RetryBudget, "per_second", -1.0, "per_second must be a finite number, at least 0, got -1.0"),
        (CircuitBreaker, "failure_rate", 0.0, "failure_rate must be a finite number above 0, got 0.0"),
        (CircuitBreaker, "failure_rate", 1.1, "failure_rate must be a finite number, between 0 and 1, got 1.1"),
        (CircuitBreaker, "minimum_calls", 0, "minimum_calls must be a whole number, at least 1, got 0"),
        (CircuitBreaker, "window_s", 0.0, "window_s must be a finite number above 0, got 0.0"),
        (CircuitBreaker, "open_s", -1.0, "open_s must be a finite number above 0, got -1.0"),
        (CircuitBreaker, "probes", 0, "probes must be a whole number, at least 1, got 0"),
        (RetryBudget, "cost_transient", -1.0, "cost_transient must be a finite number, at least 0, got -1.0"),
        (RetryBudget, "cost_throttled", -1.0, "cost_throttled must be a finite number, at least 0, got -1.0"),
        (RetryBudget, "cost_unsent", -1.0, "cost_unsent must be a finite number, at least 0, got -1.0"),
        (CircuitBreaker, "open_jitter", 1.1, "open_jitter must be a finite number, between 0 and 1, got 1.1"),
        (CircuitBreaker, "open_max_s", 0.0, "open_max_s must be a finite number above 0, got 0.0"),
        (CircuitBreaker, "probe_s", 0.0, "probe_s must be a finite number above 0, got 0.0"),
        (CircuitBreaker, "ramp_s", -1.0, "ramp_s must be a finite number, at least 0, got -1.0"),
        (RateLimit, "per_second", 0.0, "per_second must be a finite number above 0, got 0.0"),
        (RateLimit, "burst", 0, "burst must be a whole number, at least 1, got 0"),
    ],
    ids=short,
)
def test_a_value_out_of_range_is_refused_by_name(kind: Kind, field: str, value: Any, message: str) -> None:
    """A mistyped setting must stop the deployment and say which one it is, not the first payment."""
    with pytest.raises(ValueError, match=r".") as refusal:
        kind(**(REQUIRED.get(kind, {}) | {field: value}))

    assert str(refusal.value) == message


@pytest.mark.parametrize(("kind", "field"), NUMBERS, ids=short)
@pytest.mark.parametrize("value", [*NOT_WHOLE, HUGE], ids=short)
def test_a_setting_in_seconds_or_shares_must_be_a_finite_number(kind: Kind, field: str, value: Any) -> None:
    """NaN compares false with everything: a NaN deadline would be a deadline that never comes."""
    with pytest.raises(ValueError, match=rf"^{field} must be a finite number"):
        kind(**(REQUIRED.get(kind, {}) | {field: value}))


@pytest.mark.parametrize(("kind", "field"), COUNTS, ids=short)
@pytest.mark.parametrize("value", [*NOT_WHOLE, 2.0], ids=short)
def test_a_count_must_be_a_whole_number(kind: Kind, field: str, value: Any) -> None:
    """``max_attempts=True`` is a mistake and not one attempt."""
    with pytest.raises(ValueError, match=rf"^{field} must be a whole number, at least 1"):
        kind(**(REQUIRED.get(kind, {}) | {field: value}))


@pytest.mark.parametrize(("kind", "field"), NEVER_NONE, ids=short)
def test_none_is_refused_where_it_has_no_meaning(kind: Kind, field: str) -> None:
    """A forgotten setting must not silently mean "for ever"."""
    with pytest.raises(ValueError, match=rf"^{field} must be"):
        kind(**(REQUIRED.get(kind, {}) | {field: NOTHING}))


@pytest.mark.parametrize("kind", [Policy, RetryBudget, CircuitBreaker, RateLimit], ids=short)
def test_no_field_can_be_changed_after_the_check(kind: Kind) -> None:
    """A policy is shared by every call of a session: one caller's change would be everybody's."""
    made = kind(**REQUIRED.get(kind, {}))
    refused = []

    for field in fields(kind):
        with pytest.raises(FrozenInstanceError):
            setattr(made, field.name, getattr(made, field.name))
        refused.append(field.name)

    assert (made, len(refused)) == (kind(**REQUIRED.get(kind, {})), len(fields(kind)))
    assert not hasattr(made, "__dict__")


@pytest.mark.parametrize("kind", [Policy, RetryBudget, CircuitBreaker, RateLimit], ids=short)
def test_fields_are_given_by_name_only(kind: Any) -> None:
    """``Policy(30, 2)`` could mean two different calls."""
    with pytest.raises(TypeError, match="positional"):
        kind(1)


def test_a_copy_with_a_change_is_checked_too() -> None:
    """The documented way to vary a policy must not lead round its limits."""
    policy = replace(Policy(), deadline=10)

    with pytest.raises(ValueError, match=r"^deadline must be at most 300 seconds, got 301$"):
        replace(policy, deadline=301)
    assert policy == Policy(deadline=10)


def test_a_policy_is_a_value() -> None:
    """Policies key caches and cross process borders to workers."""
    policy = Policy(max_attempts=2, retry_budget=None, breaker=CircuitBreaker(probes=2))

    same = pickle.loads(pickle.dumps(policy))  # noqa: S301 - our own bytes

    assert (same, hash(same), same == Policy()) == (policy, hash(policy), False)


@given(deadline=st.floats() | st.integers())
def test_no_policy_outlives_five_minutes(deadline: float) -> None:
    """Five minutes is the promise: there must be no number that gets past it."""
    try:
        policy = Policy(deadline=deadline)
    except ValueError:
        refused = True
    else:
        refused = not 0 < policy.deadline <= 300

    assert refused is not (0 < deadline <= 300)


@pytest.mark.parametrize("name", ["retry_budget", "breaker", "rate_limit", "read_body"])
def test_a_part_of_a_policy_is_of_its_own_kind(name: str) -> None:
    """A budget given as a number would be taken for one, and fail at the first retry, with a payment in doubt."""
    wrong: dict[str, Any] = {name: "no"}

    with pytest.raises(ValueError, match=f"{name} must be a .* or None, got 'no'"):
        Policy(**wrong)


@pytest.mark.parametrize(("kind", "field"), [(Policy, "rate_gate"), (RateLimit, "reads_apart")], ids=short)
def test_a_switch_is_true_or_false(kind: Kind, field: str) -> None:
    """``rate_gate=None`` would turn a protection off that was meant to be left alone."""
    with pytest.raises(ValueError, match=rf"^{field} must be"):
        kind(**(REQUIRED.get(kind, {}) | {field: NOTHING}))
