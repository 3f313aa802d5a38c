"""How often, how fast and how long one call may be tried.

A policy is a value: it is checked once, when it is made, and no invalid one can exist. Nothing here acts.
"""

from sys import float_info
from typing import Final

from holdfast.values import dataclass

DEADLINE_CAP_S: Final = 300.0
"""No call outlives five minutes: Finix's own request timeout ("Timeout Limit", Finix error codes page)."""


def _within(name: str, value: float, low: float, high: float | None = None) -> None:
    if not _is_number(value) or value < low or (high is not None and value > high):
        bound = f"at least {low:g}" if high is None else f"between {low:g} and {high:g}"
        raise ValueError(f"{name} must be a finite number, {bound}, got {value!r}")


def _above_zero(name: str, value: float) -> None:
    if not _is_number(value) or value <= 0:
        raise ValueError(f"{name} must be a finite number above 0, got {value!r}")


def _whole(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number, at least 1, got {value!r}")


def _one_of(name: str, value: object, kind: type) -> None:
    if value is not None and not isinstance(value, kind):
        raise ValueError(f"{name} must be a {kind.__name__} or None, got {value!r}")


def _true_or_false(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, got {value!r}")  # noqa: TRY004 - a bad value, as the others


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= float_info.max


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudget:
    """How many retries the calls to one origin may cause over time.

    After the retry budget of Finagle and of the AWS SDKs: a token bucket that calls fill and retries empty.
    """

    per_call: float = 0.1
    """Tokens that each call puts in; a retry takes 1. Range ``[0, 1]``."""

    burst: float = 10.0
    """Most tokens the bucket holds, and what it starts with. At least 1."""

    per_second: float = 0.01
    """Tokens that trickle in each second, so that a quiet process is not starved. At least 0."""

    cost_transient: float = 1.0
    """Tokens that a retry takes after a failure that may have cost the origin work. At least 0."""

    cost_throttled: float = 0.0
    """Tokens that a retry takes after a 429. At least 0; the rate gate paces it, and that is what it costs.

    Charged in full, the calls that a limiter refused together would fail one and all but ten, though each would have
    had its turn: in simulation 10 of 1 000, and all of them with 0. Without the gate, ``cost_transient`` is the price.
    """

    cost_unsent: float = 1.0
    """Tokens that a retry takes after a failure before anything left this process. At least 0."""

    def __post_init__(self) -> None:
        """Refuse values outside the ranges above.

        Raises:
            ValueError: A field is out of its range or not finite.
        """
        _within("per_call", self.per_call, 0.0, 1.0)
        _within("burst", self.burst, 1.0)
        _within("per_second", self.per_second, 0.0)
        _within("cost_transient", self.cost_transient, 0.0)
        _within("cost_throttled", self.cost_throttled, 0.0)
        _within("cost_unsent", self.cost_unsent, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitBreaker:
    """When the circuit to one origin opens, and how it closes again."""

    failure_rate: float = 0.5
    """Share of failed calls in the window that opens the circuit. Range ``(0, 1]``."""

    minimum_calls: int = 10
    """Calls the window must hold before the rate counts. At least 1."""

    window_s: float = 10.0
    """Length of the rolling window, in seconds. Above 0."""

    open_s: float = 5.0
    """Most seconds the circuit stays open before probes are let through, unless the origin asked for more. Above 0.

    After a probe that failed they count from when it was sent, so that probes go out at even distances.
    """

    probes: int = 1
    """Calls let through at once while half-open; the circuit closes when as many have succeeded. At least 1."""

    open_jitter: float = 0.25
    """Share of ``open_s`` that chance takes off, so that clients that opened together do not probe together.

    A wait that the origin asked for is lengthened by up to this share instead, never shortened. Range ``[0, 1]``.
    """

    open_max_s: float = 60.0
    """Most seconds that a ``Retry-After`` can keep the circuit open, jitter apart. Above 0."""

    probe_s: float = 5.0
    """Seconds after which a probe that has not come back no longer stands in the way of the next one. Above 0.

    A blackhole swallows the probe that was out when it ended; whoever waits for that one's timeout is down longer.
    """

    ramp_s: float = 0.5
    """Seconds after closing over which the share of calls let through grows from none to all; 0 lets all through."""

    def __post_init__(self) -> None:
        """Refuse values outside the ranges above.

        Raises:
            ValueError: A field is out of its range or not finite.
        """
        _above_zero("failure_rate", self.failure_rate)
        _within("failure_rate", self.failure_rate, 0.0, 1.0)
        _whole("minimum_calls", self.minimum_calls)
        _above_zero("window_s", self.window_s)
        _above_zero("open_s", self.open_s)
        _whole("probes", self.probes)
        _within("open_jitter", self.open_jitter, 0.0, 1.0)
        _above_zero("open_max_s", self.open_max_s)
        _above_zero("probe_s", self.probe_s)
        _within("ramp_s", self.ramp_s, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """How fast calls to one origin may begin, whatever the origin says: a provider's published limit, kept by us.

    After the generic cell rate algorithm (ITU-T I.371): evenly spaced, with an allowance for bursts.
    """

    per_second: float
    """Calls that may begin each second, on average. Above 0."""

    burst: int = 1
    """Calls that may begin at once after a silence. At least 1."""

    reads_apart: bool = False
    """Whether calls with a safe method have this rate to themselves, beside the others, as Finix counts them."""

    def __post_init__(self) -> None:
        """Refuse values outside the ranges above.

        Raises:
            ValueError: A field is out of its range or not finite.
        """
        _above_zero("per_second", self.per_second)
        _whole("burst", self.burst)
        _true_or_false("reads_apart", self.reads_apart)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How often, how fast and how long one call may be tried. Times in seconds.

    May be given to a session and to a single request; the request's wins as a whole.
    """

    max_attempts: int = 4
    """Sends in total, the first one included; 1 turns retries off."""

    deadline: float = DEADLINE_CAP_S
    """Seconds for the whole call: attempts, pauses, lookups and body reads together. Range ``(0, 300]``."""

    attempt_timeout: float | None = None
    """Seconds for one attempt; ``None`` leaves it what is left of the deadline."""

    backoff_base: float = 0.5
    """Upper bound of the first pause, in seconds; it doubles with each attempt. 0 means no pause."""

    backoff_max: float = 20.0
    """No pause of our own choosing is longer than this, in seconds. A server may ask for more."""

    retry_budget: RetryBudget | None = RetryBudget()
    """Retries allowed over time, per origin; ``None`` means no budget."""

    breaker: CircuitBreaker | None = CircuitBreaker()
    """The circuit breaker per origin; ``None`` means none."""

    max_concurrency: int | None = None
    """Attempts in flight per origin; ``None`` means no limit. Those beyond it wait in line, within their deadline."""

    rate_limit: RateLimit | None = None
    """Attempts that may begin each second, per origin; ``None`` leaves it to what the origin answers."""

    rate_gate: bool = True
    """Let a 429, or a header that says that nothing is left, hold back all calls to the origin, and pace them after it.

    ``False`` leaves each call to its own pause.
    """

    expect_continue: bool = False
    """Send the body of an unsafe call without a key only after the server's ``100 Continue`` (RFC 9110 section 10.1.1).

    A connection that is lost before it, such as an idle one that the server closes at that very moment, then proves
    that nothing was taken in, and the call is sent again. It costs a round trip, and a server that ignores ``Expect``
    answers only at the attempt's timeout.
    """

    redirect_body: bool = False
    """Let a redirect to another origin (307, 308) take the request's body along. ``False`` follows it without the body,
    and then no answer from there counts as success."""

    read_body: bool | None = None
    """Read a success's body inside the attempt; ``None`` is the provider's choice, ``False`` keeps streaming."""

    def __post_init__(self) -> None:
        """Refuse values outside the ranges above.

        Raises:
            ValueError: A field is out of its range or not finite; ``deadline`` is above 300.
        """
        _whole("max_attempts", self.max_attempts)
        _above_zero("deadline", self.deadline)
        if self.deadline > DEADLINE_CAP_S:
            raise ValueError(f"deadline must be at most {DEADLINE_CAP_S:g} seconds, got {self.deadline!r}")
        if self.attempt_timeout is not None:
            _above_zero("attempt_timeout", self.attempt_timeout)
        _within("backoff_base", self.backoff_base, 0.0)
        _within("backoff_max", self.backoff_max, 0.0)
        if self.max_concurrency is not None:
            _whole("max_concurrency", self.max_concurrency)
        _one_of("retry_budget", self.retry_budget, RetryBudget)
        _one_of("breaker", self.breaker, CircuitBreaker)
        _one_of("rate_limit", self.rate_limit, RateLimit)
        _one_of("read_body", self.read_body, bool)
        _true_or_false("rate_gate", self.rate_gate)
        _true_or_false("expect_continue", self.expect_continue)
        _true_or_false("redirect_body", self.redirect_body)
