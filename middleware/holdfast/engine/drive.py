"""The straight line of one call: attempt, judge, pause, again; look up what is in doubt; give one verdict.

Nothing here knows aiohttp. Every call ends in exactly one ``outbound.call`` event, cancelled and failed ones included.
"""

from collections.abc import Callable, Mapping
from typing import Final

from holdfast.core.deadline import AttemptLimits
from holdfast.core.decide import Retry, Situation, Stop, decide, stop_after
from holdfast.core.redact import origin_of
from holdfast.engine import events
from holdfast.engine.call import Attempt, Call
from holdfast.engine.reconcile import look_up, reconciliation
from holdfast.engine.runtime import Runtime
from holdfast.errors import CircuitOpenError, DeadlineExceededError, RateLimitedError
from holdfast.outcome import Effect, Outcome, StopReason
from holdfast.protocols import Answer, Exchange, Fault, OriginLimits, Refused, Ticket
from holdfast.providers.provider import SAFE_METHODS
from holdfast.report import REPORT_ATTRIBUTE, Classification

_NOT_SENT: Final[Mapping[StopReason, tuple[Callable[[str, float | None], Exception], str]]] = {
    StopReason.CIRCUIT_OPEN: (CircuitOpenError, "circuit_open"),
    StopReason.RETRY_AFTER_TOO_LONG: (RateLimitedError, "rate_limited"),
    StopReason.DEADLINE: (lambda *_: TimeoutError(), "deadline"),
}
"""What a call ends in that was never let through, and the word for it."""

# Looked up once: a member of an enumeration costs more than a call of a function.
_SUCCESS: Final = Outcome.SUCCESS
_IN_DOUBT: Final = Effect.IN_DOUBT
_SUCCEEDED: Final = StopReason.SUCCEEDED

_TOO_SHORT_SHARE: Final = 0.5
"""An attempt that the deadline cut off after less than this share of its usual time says nothing of the origin: another
caller's patience, and not its health, was what had run out."""


async def make_call(call: Call, exchange: Exchange, runtime: Runtime) -> Answer:  # noqa: C901 - a coroutine within costs 1 %
    """Bring one call to its verdict.

    Returns:
        The answer the caller gets, whatever its status. Where the call is still in flight, it is a redirect: either
        this is called again with the exchange of the next hop, or ``end_unfollowed`` with the answer.

    Raises:
        CircuitOpenError: The origin's circuit is open, and nothing was sent.
        RateLimitedError: The origin asked for a pause that ends after the deadline, and nothing was sent.
        DeadlineExceededError: Time ran out before an answer came.
        Exception: No answer came: the last failure of the transport, as itself. The report is attached to whatever
            is raised, cancellation included.
    """
    if call.limits is None:
        call.limits = runtime.limits.of(origin_of(call.url), call.policy)
    limits, clock, ended = call.limits, runtime.now, None
    now = clock() if call.attempts else call.started
    try:
        while True:
            if not (call.in_flight or _enters_at_once(call, limits, now, ended)):
                last = await _kept_out(call, exchange, runtime, limits, ended)
                if last is not None:
                    break
                now = clock()
            times = call.deadline.limits(now, call.attempt_timeout_s)
            if times.total_s <= 0:
                last = _let_in_too_late(call, runtime, limits, ended)
                break
            attempt = call.attempts[-1] if call.in_flight else call.begin_attempt(now)
            ended = await exchange.send(times.total_s, times.connect_s)
            if isinstance(ended, Answer) and ended.may_go_on:
                return ended
            now = clock()
            verdict = call.end_attempt(ended, now)
            if verdict.outcome is _SUCCESS:
                last = ended
                _leave(call, ended, verdict, runtime, limits, now)
                call.stop_reason = _SUCCEEDED
                events.attempt_ended(runtime, call, attempt)
                break
            decision = _judged(call, times, ended, verdict, exchange, runtime, limits, now)
            if isinstance(decision, Stop):
                events.attempt_ended(runtime, call, attempt)
                last = _stopped(call, decision.reason, ended, verdict, exchange)
                break
            await _pause(call, attempt, decision.pause_s, ended, exchange, runtime, limits)
            now = clock()
        if call.stop_reason is not _SUCCEEDED:
            if call.effect is _IN_DOUBT:
                last = await _settled(call, exchange, runtime, last, limits)
            call.elapsed_s = clock() - call.started
    except BaseException as error:
        cut_off(call, error, runtime, bytes_sent=exchange.bytes_sent, status=exchange.status)
        raise
    events.call_ended(runtime, call)
    if isinstance(last, Answer):
        return last
    raise _error_of(call, last)


def cut_off(
    call: Call, error: BaseException, runtime: Runtime, *, bytes_sent: bool | None = None, status: int | None = None
) -> None:
    """Conclude a call that its caller gave up, or that failed in a way of which nothing is known.

    Args:
        call: The call.
        error: What cut it off; it gets the report.
        runtime: The call's.
        bytes_sent: What the transport knows of the attempt in flight.
        status: The status of the attempt in flight, where its head had arrived.
    """
    was_in_flight = call.in_flight
    call.cut_off(error, bytes_sent, status, runtime.now())
    if was_in_flight:
        if call.limits is not None:
            call.limits.abandon(call.ticket)
        events.attempt_ended(runtime, call, call.attempts[-1])
    call.elapsed_s = runtime.now() - call.started
    events.call_ended(runtime, call)
    setattr(error, REPORT_ATTRIBUTE, call.report())


def end_unfollowed(call: Call, redirect: Answer, runtime: Runtime, now: float) -> None:
    """Conclude a call whose redirect was not followed.

    Args:
        call: The call, in flight.
        redirect: Its newest answer.
        runtime: The call's.
        now: When that came.
    """
    verdict = call.end_attempt(redirect, now)
    if call.limits is not None:
        _leave(call, redirect, verdict, runtime, call.limits, now)
    call.stop_reason = StopReason.PERMANENT
    events.attempt_ended(runtime, call, call.attempts[-1])
    events.call_ended(runtime, call)


def _judged(
    call: Call,
    times: AttemptLimits,
    ended: Answer | Fault,
    verdict: Classification,
    exchange: Exchange,
    runtime: Runtime,
    limits: OriginLimits,
    now: float,
) -> Retry | Stop:
    """Tell the origin's limits of an attempt that failed, and decide what follows it."""
    cut = isinstance(ended, Fault) and ended.timed_out and (ended.final or call.deadline.cut(times, now))
    if cut and _is_too_short(call, times):
        limits.abandon(call.ticket)
    else:
        _leave(call, ended, verdict, runtime, limits, now)
    return Stop(StopReason.DEADLINE) if cut else _decide(call, verdict, ended, exchange, runtime, limits)


async def _pause(
    call: Call,
    attempt: Attempt,
    pause_s: float,
    ended: Answer | Fault,
    exchange: Exchange,
    runtime: Runtime,
    limits: OriginLimits,
) -> None:
    """Wait before the next attempt; one that is cancelled in the pause has not used what it paid."""
    attempt.pause_s = pause_s
    events.attempt_ended(runtime, call, attempt)
    exchange.discard(ended)
    events.pause_begins(runtime, call, attempt, runtime.now())
    try:
        await runtime.sleep(pause_s)
    except BaseException:
        limits.give_back_retry(ended)
        raise


def _enters_at_once(call: Call, limits: OriginLimits, now: float, last: Answer | Fault | None) -> bool:
    """Take a turn to send, where all is well and nothing is to be waited for."""
    if call.has_turn:
        call.has_turn = False
        return True
    if now >= call.deadline:
        return False
    turn = limits.try_enter(now, call.deadline, last is not None, call.method in SAFE_METHODS)
    if turn is None:
        return False
    call.ticket = turn
    return True


async def _kept_out(
    call: Call, exchange: Exchange, runtime: Runtime, limits: OriginLimits, last: Answer | Fault | None
) -> Answer | Fault | None:
    """Wait for a turn to send; where there is none, give what the call ends in.

    A retry that gets none has not used what it paid.
    """
    entered: Ticket | Refused | None = None
    try:
        now, end = runtime.now(), call.deadline
        if now < end:
            entered = await limits.enter(now, end, again=last is not None, safe=call.method in SAFE_METHODS)
    finally:
        if last is not None and (entered is None or isinstance(entered, Refused)):
            limits.give_back_retry(last)
    news = limits.take_news()
    if news is not None:
        events.circuit_changed(runtime, call, news)
    if isinstance(entered, Ticket):
        call.ticket = entered
        return None
    return _out_of_time(call, runtime) if entered is None else _refused(call, entered, last, exchange)


def _let_in_too_late(call: Call, runtime: Runtime, limits: OriginLimits, last: Answer | Fault | None) -> Answer | Fault:
    limits.abandon(call.ticket)
    if last is not None:
        limits.give_back_retry(last)
    return _out_of_time(call, runtime)


def _refused(call: Call, refused: Refused, last: Answer | Fault | None, exchange: Exchange) -> Answer | Fault:
    if last is None:
        return _turned_away(call, refused)
    stopped = _stopped(call, refused.reason, last, call.attempts[-1].verdict, exchange)
    if refused.retry_after_s is not None:
        call.retry_after_s = refused.retry_after_s
    return stopped


def _turned_away(call: Call, refused: Refused) -> Fault:
    """Say of a call that nothing was sent."""
    make_error, call.reason = _NOT_SENT[refused.reason]
    call.outcome, call.stop_reason, call.retry_after_s = Outcome.RETRYABLE, refused.reason, refused.retry_after_s
    error = make_error(call.origin, refused.retry_after_s)
    timed_out = isinstance(error, TimeoutError)
    return Fault(Outcome.RETRYABLE, Effect.NONE, call.reason, error, bytes_sent=False, timed_out=timed_out)


def _is_too_short(call: Call, times: AttemptLimits) -> bool:
    return times.total_s < call.usual_time_s * _TOO_SHORT_SHARE


def _leave(
    call: Call,
    ended: Answer | Fault,
    verdict: Classification,
    runtime: Runtime,
    limits: OriginLimits,
    now: float,
) -> None:
    began = call.started + call.attempts[-1].started_s
    news = limits.leave(call.ticket, ended, verdict, sent_at=began, now=now)
    if news is not None:
        events.circuit_changed(runtime, call, news)


def _decide(
    call: Call,
    verdict: Classification,
    ended: Answer | Fault,
    exchange: Exchange,
    runtime: Runtime,
    limits: OriginLimits,
) -> Retry | Stop:
    final = stop_after(verdict, polls_conflict=call.provider.polls_conflict)
    if final is not None:
        return final
    return decide(
        Situation(
            answer=verdict,
            attempt=len(call.attempts),
            policy=call.policy,
            deadline=call.deadline,
            now=runtime.now(),
            draw=runtime.draw(),
            may_repeat=call.may_repeat,
            replayable=exchange.replayable,
            polls_conflict=call.provider.polls_conflict,
            circuit_open=limits.refuses(),
            budget=lambda: limits.take_retry(ended),
        )
    )


def _stopped(
    call: Call, reason: StopReason, ended: Answer | Fault, verdict: Classification, exchange: Exchange
) -> Answer | Fault:
    call.stop_reason = reason
    call.retry_after_s = verdict.retry_after
    landed = call.landed_answer
    if landed is None:
        return ended
    if landed is not ended:
        exchange.discard(ended)
    return _landed_unread(call, landed)


def _landed_unread(call: Call, landed: Answer) -> Answer:
    # An attempt landed and only its body was lost: that, and no later failure, is the truth.
    call.outcome, call.reason, call.status = Outcome.SUCCESS, "body_unreadable", landed.status
    return landed


def _out_of_time(call: Call, runtime: Runtime) -> Answer | Fault:
    if call.in_flight:  # it was redirected too late to be sent on
        call.cut_off(TimeoutError(), bytes_sent=True, status=None, now=runtime.now())
        call.reason = "deadline"
        events.attempt_ended(runtime, call, call.attempts[-1])
    call.stop_reason = StopReason.DEADLINE
    if call.landed_answer is not None:
        return _landed_unread(call, call.landed_answer)
    if not call.attempts:
        call.outcome, call.reason = Outcome.RETRYABLE, "deadline"
    return Fault(Outcome.RETRYABLE, call.effect, "deadline", TimeoutError(), timed_out=True)


async def _settled(
    call: Call, exchange: Exchange, runtime: Runtime, last: Answer | Fault, limits: OriginLimits
) -> Answer | Fault:
    plan = reconciliation(
        call.lookup,
        method=call.method,
        url=call.url,
        base_path=call.base_path,
        key=call.key.key,
        outcome=call.outcome,
        sent=call.sent,
    )
    now = runtime.now()
    if plan is None or call.deadline.left(now) <= 0 or limits.refuses():
        return last
    try:
        finding, answer = await look_up(plan, exchange.look_up, runtime, call.policy, call.deadline)
    except BaseException:
        exchange.discard(last)
        raise
    call.settle(finding)
    known = events.describe(call)
    events.lookup_ended(runtime, known, settled=finding.outcome is not None, elapsed_s=runtime.now() - now)
    if answer is None or finding.outcome is None:
        return last
    exchange.discard(last)
    call.status = answer.status
    return answer


def _error_of(call: Call, last: Fault) -> Exception:
    if call.stop_reason is StopReason.DEADLINE and last.timed_out:
        return DeadlineExceededError(call.report())
    setattr(last.error, REPORT_ATTRIBUTE, call.report())
    return last.error
