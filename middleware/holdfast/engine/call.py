"""One call: what was asked for, what its attempts did, and the verdict they add up to.

The record is filled in as the call runs and turned into a frozen ``CallReport`` only when somebody asks.
"""

import os
from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from holdfast.core.classify import bodiless_success, classified_success, classify, unreadable_success
from holdfast.core.deadline import Deadline
from holdfast.core.effect import after_redirects, join_effects
from holdfast.core.idempotency import NO_KEY, KeyPlan
from holdfast.core.redact import clean, origin_of, safe_url
from holdfast.outcome import Effect, Outcome, StopReason
from holdfast.policy import Policy
from holdfast.protocols import Answer, Fault, OriginLimits, Ticket
from holdfast.providers.provider import SAFE_METHODS, Finding, Lookup, Provider
from holdfast.report import AttemptReport, CallReport, Classification, ErrorDetail, logrefs_of

# Looked up once: a member of an enumeration costs more than a call of a function.
_NONE: Final = Effect.NONE
_IN_DOUBT: Final = Effect.IN_DOUBT
_LANDED: Final = Effect.LANDED
_SUCCESS: Final = Outcome.SUCCESS
_PERMANENT_FAILURE: Final = Outcome.PERMANENT_FAILURE
_PERMANENT: Final = StopReason.PERMANENT


class Attempt:
    """One send, as it happened. Times in seconds."""

    __slots__ = ("answer", "bytes_sent", "elapsed_s", "error", "headers", "number", "pause_s", "started_s")

    def __init__(self, number: int, started_s: float) -> None:
        """Begin.

        Args:
            number: Its own; the first is 1.
            started_s: When, since the call began.
        """
        self.number: int = number
        self.started_s: float = started_s
        self.elapsed_s: float = 0.0
        self.answer: Classification | None = None
        self.bytes_sent: bool | None = None
        self.error: str | None = None
        self.pause_s: float | None = None
        self.headers: Mapping[str, str] | None = None
        """Of the answer, for what a report or an event takes out of them."""

    @property
    def verdict(self) -> Classification:
        """What it means; an attempt that never ended is in doubt."""
        return self.answer or _NEVER_ENDED


_NEVER_ENDED: Final = Classification(outcome=Outcome.RETRYABLE, effect=Effect.IN_DOUBT, reason="cancelled")


def new_call_id() -> str:
    """Make an identifier that is unique across processes: 64 random bits in hex."""
    return os.urandom(8).hex()


class Call:
    """The record of one call. Confined to one event loop."""

    __slots__ = (
        *("_call_id", "_report", "attempt_timeout_s", "attempts", "base_path", "deadline", "effect", "elapsed_s"),
        *("errors", "has_turn", "in_flight", "key", "key_dropped", "landed_answer", "limits", "lookup", "method"),
        *("operation", "outcome", "policy", "provider", "reason", "retry_after_s", "sent", "started", "status"),
        *("stop_reason", "ticket", "url"),
    )

    operation: str | None
    key: KeyPlan
    lookup: Lookup | None
    sent: Mapping[str, Any] | None
    """The JSON body, for lookups to compare with; ``None`` where it is not known. It goes into no report."""

    base_path: str
    """Path of the session's base address, which lookups go below."""

    attempts: list[Attempt]
    effect: Effect
    outcome: Outcome
    stop_reason: StopReason
    status: int | None
    errors: tuple[ErrorDetail, ...]
    retry_after_s: float | None
    key_dropped: bool
    """Whether an attempt was redirected to another origin, where no key of ours is known."""

    limits: OriginLimits | None
    """Those of the origin, once the call has asked for them."""

    ticket: Ticket
    """Of the attempt in flight, or of the next, at these limits."""

    has_turn: bool
    """Whether the next attempt has its ticket already."""

    landed_answer: Answer | None
    """A success whose body was lost; it is what the caller gets when nothing better came."""

    def __init__(
        self,
        method: str,
        url: str,
        provider: Provider,
        policy: Policy,
        deadline: Deadline,
        started: float,
        attempt_timeout_s: float | None = None,
    ) -> None:
        """Begin without an attempt; what only some calls have is set where one has it.

        Args:
            method: The HTTP method.
            url: Absolute address as it is sent, query and all: for sending and for ``safe_url``, never for a log line.
            provider: Whom it goes to.
            policy: How often, how fast and how long it may be tried.
            deadline: When it ends.
            started: When it began, on the event loop's clock.
            attempt_timeout_s: Seconds of one attempt; ``None`` gives it all that is left.
        """
        self.method: str = method
        self.url: str = url
        self.provider: Provider = provider
        self.policy: Policy = policy
        self.deadline: Deadline = deadline
        self.started: float = started
        self.attempt_timeout_s: float | None = attempt_timeout_s
        self.operation = self.lookup = self.sent = None
        self.key, self.base_path = NO_KEY, ""
        self.attempts = []
        self.in_flight: bool = False
        self.effect, self.outcome, self.stop_reason = _NONE, _PERMANENT_FAILURE, _PERMANENT
        self.reason: str = "local_error"
        self.status = self.retry_after_s = None
        self.errors = ()
        self.elapsed_s: float = 0.0
        self.key_dropped = self.has_turn = False
        self.limits, self.ticket = None, 0
        self.landed_answer = None
        self._call_id: str | None = None
        self._report: CallReport | None = None

    @property
    def call_id(self) -> str:
        """Its identifier, made when somebody asks for it."""
        if self._call_id is None:
            self._call_id = new_call_id()
        return self._call_id

    @property
    def logrefs(self) -> tuple[str, ...]:
        """Every ``logref`` of every attempt, in order, without repeats."""
        return logrefs_of(tuple(error for attempt in self.attempts for error in attempt.verdict.errors))

    @property
    def request_ids(self) -> tuple[str, ...]:
        """The provider's own ids of our requests; our key, where it names requests by that and gave no id."""
        answered = (attempt.headers for attempt in self.attempts if attempt.headers is not None)
        found = (next(filter(None, map(headers.get, self.provider.request_id_header)), None) for headers in answered)
        return tuple(dict.fromkeys(clean(each) for each in found if each is not None)) or self._own_request_id()

    @property
    def keyed(self) -> bool:
        """Whether the call carries a key that the provider honours on this endpoint."""
        return self.key.key is not None and not self.key_dropped

    @property
    def may_repeat(self) -> bool:
        """Whether sending again is harmless even after it may have taken effect."""
        return self.keyed or self.method in self.provider.resend_methods

    @property
    def usual_time_s(self) -> float:
        """Seconds that an attempt has while the deadline is far."""
        whole_s = self.deadline - self.started
        return whole_s if self.attempt_timeout_s is None else min(self.attempt_timeout_s, whole_s)

    @property
    def place(self) -> SplitResult:
        """Scheme, host, port and path of the peer, and nothing else of the address."""
        return urlsplit(safe_url(self.url))

    @property
    def origin(self) -> str:
        """Scheme, host and port of the peer."""
        return origin_of(self.url)

    def begin_attempt(self, now: float) -> Attempt:
        """Open the record of the next attempt."""
        attempt = Attempt(len(self.attempts) + 1, now - self.started)
        self.attempts.append(attempt)
        self.in_flight = True
        return attempt

    def end_attempt(self, ended: Answer | Fault, now: float) -> Classification:
        """Close the record of the attempt in flight and join its effect to the call's."""
        attempt = self.attempts[-1]
        if ended.key_dropped:
            self.key_dropped = True
        if isinstance(ended, Answer):
            verdict = self._classified_answer(ended)
            attempt.bytes_sent, attempt.headers = True, ended.headers
        else:
            verdict = self._classified_fault(ended)
            attempt.bytes_sent, attempt.error = ended.bytes_sent, type(ended.error).__name__
        self.in_flight = False
        self.elapsed_s = now - self.started
        attempt.elapsed_s = self.elapsed_s - attempt.started_s
        attempt.answer = verdict
        if self.effect is _NONE:
            self.effect = verdict.effect
        else:
            self.effect = join_effects(self.effect, verdict, same_key=self._settled_by(ended, verdict))
        self.outcome, self.reason, self.status = verdict.outcome, verdict.reason, verdict.status
        return verdict

    def cut_off(self, error: BaseException, bytes_sent: bool | None, status: int | None, now: float) -> None:  # noqa: FBT001 - three-valued
        """Record that the caller gave the call up while it ran.

        Args:
            error: What cut it off, as a rule ``asyncio.CancelledError``.
            bytes_sent: What the transport knows of the attempt in flight.
            status: The status of the attempt in flight, where its head had arrived.
            now: The present moment.
        """
        if self.in_flight:
            attempt = self.attempts[-1]
            attempt.answer = self._cut_attempt(bytes_sent, status)
            attempt.elapsed_s = now - self.started - attempt.started_s
            attempt.bytes_sent, attempt.error = bytes_sent, type(error).__name__
            self.effect = join_effects(self.effect, attempt.answer, same_key=self.keyed)
        self.in_flight = False
        self.outcome, self.reason = Outcome.RETRYABLE, "cancelled"
        self.stop_reason = StopReason.CANCELLED
        self.status = status

    def _cut_attempt(self, bytes_sent: bool | None, status: int | None) -> Classification:  # noqa: FBT001 - three-valued
        if status is not None:
            known = classify(status, method=self.method, in_doubt=self.effect is Effect.IN_DOUBT)
            # A 402 whose body was not read may be the processor's fault, which leaves a doubt.
            unread = status == 402 and self.method not in SAFE_METHODS  # noqa: PLR2004
            effect = Effect.IN_DOUBT if unread else known.effect
            return replace(known, outcome=Outcome.RETRYABLE, reason="cancelled", effect=effect)
        unsent = bytes_sent is False or self.method in SAFE_METHODS
        effect = Effect.NONE if unsent else Effect.IN_DOUBT
        return Classification(outcome=Outcome.RETRYABLE, effect=effect, reason="cancelled")

    def settle(self, finding: Finding) -> None:
        """Take a lookup's finding for the verdict, where it supports one."""
        if finding.outcome is None:
            return
        self.effect, self.outcome, self.reason = finding.effect, finding.outcome, finding.reason
        self.stop_reason = StopReason.RECONCILED

    def report(self) -> CallReport:
        """Give the record as a frozen report. The call must have ended."""
        if self._report is None:
            self._report = self._build_report()
        return self._report

    def preview(self, redirect: Answer, now: float) -> CallReport:
        """Give the report as it will be if this redirect is not followed. The call stays in flight."""
        ahead = copy(self)
        ahead._call_id = self.call_id  # noqa: SLF001 - which is made when it is first asked for
        ahead.attempts = [copy(attempt) for attempt in self.attempts]
        ahead.end_attempt(redirect, now)
        ahead.elapsed_s = now - self.started
        return ahead.report()

    def asked_again(self) -> "Call":
        """Begin another call for the same request of the caller's: same key, same deadline, and what is in doubt."""
        again = Call(
            method=self.method,
            url=self.url,
            provider=self.provider,
            policy=self.policy,
            deadline=self.deadline,
            started=self.started,
            attempt_timeout_s=self.attempt_timeout_s,
        )
        again.operation, again.key, again.lookup = self.operation, self.key, self.lookup
        again.sent, again.base_path = self.sent, self.base_path
        again.effect, again.key_dropped = self.effect, self.key_dropped
        return again

    def _settled_by(self, ended: Answer | Fault, verdict: Classification) -> bool:
        """Say whether an answer speaks for the key: it was read whole, and the provider answers a key's owner so.

        Where a used key is an error of unknown shape, and not a replay, only a refusal that we know by its code is one.
        """
        if not self.keyed or isinstance(ended, Fault) or ended.cut:
            return False
        codes = {error.code for error in verdict.errors}
        known = any(rule.status == ended.status and rule.code in codes for rule in self.provider.rules)
        return known or self.provider.replays_answer

    def _classified_answer(self, ended: Answer) -> Classification:
        if 200 <= ended.status <= 299 and not (  # noqa: PLR2004 - RFC 9110 section 15.3
            ended.unreadable or ended.redirects or ended.body_dropped or ended.earlier is not _NONE
        ):
            return classified_success(ended.status, self.method)
        verdict = classify(
            ended.status,
            method=self.method,
            headers=ended.headers,
            body=ended.body,
            provider=self.provider,
            keyed=self.keyed,
            in_doubt=self.effect is _IN_DOUBT,
        )
        if verdict.errors:
            self.errors = verdict.errors
        unread = ended.unreadable and verdict.outcome is _SUCCESS
        if unread:
            verdict = unreadable_success(ended.status, self.method, keyed=self.keyed, provider=self.provider)
        if ended.body_dropped and verdict.outcome is _SUCCESS:
            verdict = bodiless_success(ended.status, self.method)
        if ended.redirects and self.method not in SAFE_METHODS:
            verdict = replace(verdict, effect=after_redirects(verdict.effect, ended.redirects, self.method))
        if ended.earlier is not _NONE and self.method not in SAFE_METHODS and verdict.effect is not _LANDED:
            verdict = replace(verdict, effect=ended.earlier)
        if unread and verdict.effect is _LANDED:
            self.landed_answer = ended
        return verdict

    def _classified_fault(self, ended: Fault) -> Classification:
        effect = Effect.NONE if self.method in SAFE_METHODS else ended.effect
        return Classification(outcome=ended.outcome, effect=effect, reason=ended.reason)

    def _own_request_id(self) -> tuple[str, ...]:
        """Our key, where the provider names requests by it."""
        slots = self.provider.key_slots
        named_by_key = any(slot.header in self.provider.request_id_header for slot in slots)
        return (self.key.key,) if named_by_key and self.key.key is not None else ()

    def _build_report(self) -> CallReport:
        return CallReport(
            call_id=self.call_id,
            provider=self.provider.name,
            operation=self.operation,
            method=self.method,
            url=safe_url(self.url),
            outcome=self.outcome,
            effect=self.effect,
            reason=self.reason,
            stop_reason=self.stop_reason,
            attempts=tuple(_attempt_report(attempt) for attempt in self.attempts),
            idempotency_key=self.key.key,
            logrefs=self.logrefs,
            errors=self.errors,
            request_ids=self.request_ids,
            elapsed_s=self.elapsed_s,
            retry_after_s=self.retry_after_s,
        )


def _attempt_report(attempt: Attempt) -> AttemptReport:
    verdict = attempt.verdict
    return AttemptReport(
        number=attempt.number,
        started_s=attempt.started_s,
        elapsed_s=attempt.elapsed_s,
        status=verdict.status,
        outcome=verdict.outcome,
        effect=verdict.effect,
        reason=verdict.reason,
        pause_s=attempt.pause_s,
        bytes_sent=attempt.bytes_sent,
        error=attempt.error,
    )
