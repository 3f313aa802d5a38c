"""A call that succeeds at its first send, as nearly all do: it has no record until somebody asks for one.

What protects the origin is asked and told as for every call. Whatever is not plain, such as a failure, a redirect or a
turn that has to be waited for, is for the drive, which takes the call over as it stands.
"""

import logging
from collections.abc import Callable
from typing import Final

from holdfast.core.classify import classified_success
from holdfast.engine import events
from holdfast.engine.call import Call
from holdfast.engine.drive import cut_off
from holdfast.engine.runtime import Runtime
from holdfast.outcome import StopReason
from holdfast.protocols import Answer, OriginLimits, Ticket
from holdfast.report import CallReport

_LEVELS: Final = (logging.INFO, logging.DEBUG)
"""Those of the events of a success."""


class PlainCall:
    """A call with a safe method, from the moment of its first send. Confined to one event loop."""

    __slots__ = ("_answer", "_call", "_ended", "_limits", "_method", "_new_call", "_started", "_ticket")

    def __init__(
        self, method: str, started: float, limits: OriginLimits, ticket: Ticket, new_call: Callable[[float], Call]
    ) -> None:
        """Begin with the turn that was taken.

        Args:
            method: A safe one.
            started: When it is sent, and the call began: on the event loop's clock, in seconds.
            limits: Those of the origin.
            ticket: The turn at these limits.
            new_call: Makes the record of a call that began then, without an attempt.
        """
        self._method = method
        self._started = started
        self._limits = limits
        self._ticket = ticket
        self._new_call = new_call
        self._call: Call | None = None

    def succeed(self, answer: Answer, now: float, runtime: Runtime) -> None:
        """Conclude it with a 2xx of which nothing else is to be said, straight from where it was asked for.

        Args:
            answer: What came.
            now: When, on the event loop's clock, in seconds.
            runtime: The call's.

        Raises:
            BaseException: The limits are not ours, and raised it; the report is attached.
        """
        self._answer, self._ended = answer, now
        verdict = classified_success(answer.status, self._method)
        try:
            news = self._limits.leave(self._ticket, answer, verdict, sent_at=self._started, now=now)
        except BaseException as error:  # of limits that are not ours
            cut_off(self.record(), error, runtime)
            raise
        if news is not None:
            events.circuit_changed(runtime, self.record(), news)
        if runtime.is_heard(_LEVELS):
            call = self.record()
            events.attempt_ended(runtime, call, call.attempts[-1])
            events.call_ended(runtime, call)

    def taken_over(self) -> Call:
        """Give the call to the drive, which sends nothing before it has seen what came of this send."""
        call = self._new_call(self._started)
        call.limits, call.ticket, call.has_turn = self._limits, self._ticket, True
        return call

    def record(self) -> Call:
        """Give the record of the call that has succeeded."""
        call = self._call
        if call is None:
            made = self._new_call(self._started)
            made.begin_attempt(made.started)
            made.end_attempt(self._answer, self._ended)
            made.stop_reason = StopReason.SUCCEEDED
            # When it is whole: a response may be handed to another thread, which asks for its report at the same time.
            call = self._call = self._call or made
        return call

    def report(self) -> CallReport:
        """Give it as a frozen report."""
        return self.record().report()
