"""The straight line of one call: attempt, judge, pause, again; look up what is in doubt; give one verdict.

Nothing here knows aiohttp. Every call ends in exactly one ``outbound.call`` event, cancelled and failed ones included.
"""

from holdfast.core.decide import Retry, Situation, Stop, decide
from holdfast.engine import events
from holdfast.engine.call import Call
from holdfast.engine.reconcile import look_up, reconciliation
from holdfast.engine.runtime import Runtime
from holdfast.errors import DeadlineExceededError
from holdfast.outcome import Effect, Outcome, StopReason
from holdfast.protocols import Answer, Exchange, Fault
from holdfast.report import REPORT_ATTRIBUTE, Classification


async def make_call(call: Call, exchange: Exchange, runtime: Runtime) -> Answer:
    """Bring one call to its verdict.

    Returns:
        The answer the caller gets, whatever its status. Where the call is still in flight, it is a redirect: either
        this is called again with the exchange of the next hop, or ``end_unfollowed`` with the answer.

    Raises:
        DeadlineExceededError: Time ran out before an answer came.
        Exception: No answer came: the last failure of the transport, as itself. The report is attached to whatever
            is raised, cancellation included.
    """
    try:
        last = await _try_until_stopped(call, exchange, runtime)
        if call.in_flight and isinstance(last, Answer):
            return last
        last = await _settled(call, exchange, runtime, last)
    except BaseException as error:
        was_in_flight = call.in_flight
        call.cut_off(error, exchange.bytes_sent, exchange.status, runtime.now())
        if was_in_flight:
            events.attempt_ended(runtime, call, call.attempts[-1])
        _conclude(call, runtime, runtime.now())
        setattr(error, REPORT_ATTRIBUTE, call.report())
        raise
    _conclude(call, runtime, runtime.now())
    if isinstance(last, Answer):
        return last
    raise _error_of(call, last)


def end_unfollowed(call: Call, redirect: Answer, runtime: Runtime, now: float) -> None:
    """Conclude a call whose redirect was not followed.

    Args:
        call: The call, in flight.
        redirect: Its newest answer.
        runtime: The call's.
        now: When that came.
    """
    call.end_attempt(redirect, now)
    call.stop_reason = StopReason.PERMANENT
    events.attempt_ended(runtime, call, call.attempts[-1])
    _conclude(call, runtime, now)


async def _try_until_stopped(call: Call, exchange: Exchange, runtime: Runtime) -> Answer | Fault:
    while True:
        now = runtime.now()
        limits = call.deadline.limits(now, call.attempt_timeout_s)
        if limits.total_s <= 0:
            return _out_of_time(call, runtime, now)
        attempt = call.attempts[-1] if call.in_flight else call.begin_attempt(now)
        ended = await exchange.send(limits.total_s, limits.connect_s)
        if isinstance(ended, Answer) and ended.may_go_on:
            return ended
        now = runtime.now()
        verdict = call.end_attempt(ended, now)
        decision = _decide(call, verdict, exchange, runtime, now)
        if isinstance(ended, Fault) and ended.timed_out and (ended.final or call.deadline.cut(limits, now)):
            decision = Stop(StopReason.DEADLINE)
        attempt.pause_s = decision.pause_s if isinstance(decision, Retry) else None
        events.attempt_ended(runtime, call, attempt)
        if isinstance(decision, Stop):
            return _stopped(call, decision.reason, ended, verdict, exchange)
        exchange.discard(ended)
        events.pause_begins(runtime, call, attempt, now)
        await runtime.sleep(decision.pause_s)


def _decide(call: Call, verdict: Classification, exchange: Exchange, runtime: Runtime, now: float) -> Retry | Stop:
    if verdict.outcome is Outcome.SUCCESS:
        return Stop(StopReason.SUCCEEDED)
    return decide(
        Situation(
            answer=verdict,
            attempt=len(call.attempts),
            policy=call.policy,
            deadline=call.deadline,
            now=now,
            draw=runtime.draw(),
            may_repeat=call.may_repeat,
            replayable=exchange.replayable,
            polls_conflict=call.provider.polls_conflict,
            circuit_open=runtime.limits.circuit_open(call.origin),
            budget=lambda: runtime.limits.take_retry(call.origin),
        )
    )


def _stopped(
    call: Call, reason: StopReason, ended: Answer | Fault, verdict: Classification, exchange: Exchange
) -> Answer | Fault:
    call.stop_reason = reason
    call.retry_after_s = verdict.retry_after
    landed = call.landed_answer
    if landed is None or verdict.outcome is Outcome.SUCCESS:
        return ended
    if landed is not ended:
        exchange.discard(ended)
    return _landed_unread(call, landed)


def _landed_unread(call: Call, landed: Answer) -> Answer:
    # An attempt landed and only its body was lost: that, and no later failure, is the truth.
    call.outcome, call.reason, call.status = Outcome.SUCCESS, "body_unreadable", landed.status
    return landed


def _out_of_time(call: Call, runtime: Runtime, now: float) -> Answer | Fault:
    if call.in_flight:  # it was redirected too late to be sent on
        call.cut_off(TimeoutError(), bytes_sent=True, status=None, now=now)
        call.reason = "deadline"
        events.attempt_ended(runtime, call, call.attempts[-1])
    call.stop_reason = StopReason.DEADLINE
    if call.landed_answer is not None:
        return _landed_unread(call, call.landed_answer)
    if not call.attempts:
        call.outcome, call.reason = Outcome.RETRYABLE, "deadline"
    return Fault(Outcome.RETRYABLE, call.effect, "deadline", TimeoutError(), timed_out=True)


async def _settled(call: Call, exchange: Exchange, runtime: Runtime, last: Answer | Fault) -> Answer | Fault:
    if call.effect is not Effect.IN_DOUBT:
        return last
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
    if plan is None or call.deadline.left(now) <= 0:
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


def _conclude(call: Call, runtime: Runtime, now: float) -> None:
    call.elapsed_s = now - call.started
    events.call_ended(runtime, call, now)
