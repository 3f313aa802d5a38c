"""What came of one aiohttp send per attempt, and of a lookup.

The status of a response counts as soon as its head is here. Of an error's body at most 64 KiB are read for
classification and put back, so that the caller can still read or stream the whole of it; a discarded response gives
its connection back before the pause. How a request is sent differs between a session of ours and a middleware in
somebody else's: that is for the two modules that build on this one.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final

import aiohttp
from aiohttp.typedefs import LooseHeaders
from multidict import CIMultiDict

from holdfast.core.classify import classify
from holdfast.core.error_body import ERROR_BODY_LIMIT
from holdfast.outcome import Effect, Outcome
from holdfast.protocols import Answer, Fault
from holdfast.transport.body import RequestBody
from holdfast.transport.faults import after_redirect, fault_of, without_secrets
from holdfast.transport.home import Home
from holdfast.transport.inherited import InheritedHeaders
from holdfast.transport.single_send import SingleSend, unwrapped
from holdfast.transport.timers import AttemptTimer
from holdfast.transport.whole_body import put_back, read_whole

ERROR_BODY_WAIT_S: Final = 5.0
"""An error's body that drips more slowly than this is classified by what has come: its status says enough."""

LOOKUP_BODY_LIMIT: Final = 1024 * 1024
"""A lookup's answer is one resource or one page of them."""

_OF_THE_BODY: Final = frozenset({"content-type", "content-length", "content-encoding", "transfer-encoding", "expect"})


@dataclass(kw_only=True)
class HttpExchange(ABC):
    """Sends the attempts of one call through aiohttp. Confined to one event loop."""

    body: RequestBody | None = None
    read_body: bool = False
    key_headers: frozenset[str] = frozenset()
    """In lower case: request headers that carry a key."""

    inherited: InheritedHeaders | None = None
    """Headers that stand for the inbound request that the call is made for; ``None`` outside of any."""

    status: int | None = field(default=None, init=False)
    """Status of the attempt in flight, from the moment its head is here."""

    sees_single_hops: ClassVar[bool] = False
    """Whether each hop of a call is sent by itself, and only what came before tells how far the call has got."""

    _guard: SingleSend | None = field(default=None, init=False)
    """That of the attempt in flight; ``None`` where it needs none."""

    _timer: AttemptTimer | None = field(default=None, init=False)
    """That of the attempt in flight; ``None`` where aiohttp or asyncio keep its time."""

    _read_until: float | None = field(default=None, init=False)
    """Moment by which a body must be read; ``None`` where aiohttp's own timer sees to it."""

    _timer_spent: bool = field(default=False, init=False)
    """Whether aiohttp's timer of the caller's whole request has fired, after which nothing can be sent."""

    @property
    def replayable(self) -> bool:
        """Whether the body can be sent once more, byte for byte."""
        return self.body is None or self.body.replayable

    @property
    def bytes_sent(self) -> bool | None:
        """Whether any of the attempt in flight has left this process: ``False`` is proof, ``None`` is not known."""
        return None if self._guard is None else self._guard.bytes_sent

    async def send(self, total_s: float, connect_s: float) -> Answer | Fault:
        """Make one attempt, within limits in seconds. Cancellation passes at once."""
        self.status = None
        guard = self._guard = self._new_guard()
        try:
            response: Any = await self._send(guard, total_s, connect_s)
        except BaseException as error:  # noqa: BLE001 - every failure is a row of the table, the last row takes the rest
            return self._fault(self._failure(error))
        if self._timer is not None:
            self._timer.go_on_with(response)
        if not isinstance(response, aiohttp.ClientResponse):  # a test's mock, of which only the status is asked
            self.status = response.status
            return Answer(response.status, {}, response=response)
        answer = Answer(response.status, response.headers)
        answer.response = response
        if self.sees_single_hops or response.history or (guard is not None and len(guard.inner) > 1):
            self._tell_of_the_way(answer, response)
        # After a redirect the status is that of another request.
        self.status = None if answer.redirects else answer.status
        if self.read_body or not 200 <= answer.status <= 304:  # noqa: PLR2004 - a redirect's body says nothing
            await self._read_body_of(answer)
        return answer

    async def look_up(self, address: str, total_s: float, connect_s: float) -> Answer | Fault:
        """GET an address and read the whole answer. It is safe to make, whatever became of the call."""
        guard = SingleSend(Home())
        try:
            response = await self._get(guard, address, total_s, connect_s)
            return await _whole(response, on_a_wire=guard.reached)
        except Exception as error:  # noqa: BLE001 - as in send
            return fault_of(unwrapped(error), bytes_sent=None)

    def discard(self, ended: Answer | Fault) -> None:
        """Give back the connection of an answer that the caller will not see."""
        if isinstance(ended, Answer) and ended.response is not None:
            # release() keeps the connection when the body has ended, and close() is the only way when it has not.
            response = ended.response
            if response.connection is None:
                return  # it went back at the end of the body, which the caller may get to read after all
            response.release() if response.content.at_eof() else response.close()

    @abstractmethod
    def _new_guard(self) -> SingleSend | None:
        """Give the guard of the next attempt; ``None`` where it needs none."""

    @abstractmethod
    def _send(self, guard: SingleSend | None, total_s: float, connect_s: float) -> Awaitable[aiohttp.ClientResponse]:
        """Send the request once, under the guard."""

    @abstractmethod
    async def _get(self, guard: SingleSend, address: str, total_s: float, connect_s: float) -> aiohttp.ClientResponse:
        """GET an address with the credentials of the request, under the guard."""

    def _redirects(self, response: aiohttp.ClientResponse) -> tuple[int, ...]:
        return tuple(hop.status for hop in response.history)

    def _may_go_on(self, response: aiohttp.ClientResponse) -> bool:  # noqa: ARG002 - for those who see single hops
        return False

    def _tell_of_the_way(self, answer: Answer, response: aiohttp.ClientResponse) -> None:
        """Say what the request met before its answer came."""
        answer.redirects = self._redirects(response)
        guard = self._guard
        if guard is None:
            return
        answer.key_dropped = guard.home.key_dropped
        answer.body_dropped = guard.home.body_dropped
        answer.may_go_on = self._may_go_on(response)
        answer.earlier = self._earlier(guard, response)

    async def _read_body_of(self, answer: Answer) -> None:
        response = answer.response
        try:
            if 200 <= answer.status <= 299:  # noqa: PLR2004 - RFC 9110 section 15.3
                answer.unreadable = self.read_body and not await self._read_whole(response)
            elif answer.status > 304:  # noqa: PLR2004 - the others have no body, or one that says nothing
                content: Any = response.content
                if isinstance(content, aiohttp.StreamReader) and content.is_eof():  # it came with its head
                    answer.body, answer.cut = _head_at_hand(content)
                else:
                    answer.body, answer.cut = await _peek(content, self._read_until)
        except BaseException:
            response.close()
            raise

    def _earlier(self, guard: SingleSend, response: aiohttp.ClientResponse) -> Effect:
        """Say what a middleware of the caller's had come of its own tries before this answer."""
        inner = guard.inner
        if len(inner) < 2:  # noqa: PLR2004 - history is not asked for within aiohttp's own chain, which sets it later
            return Effect.NONE
        before = [one for one in inner if one is not response and one not in response.history]
        answered = [
            classify(one.status, method=one.method) for one in before if isinstance(one, aiohttp.ClientResponse)
        ]
        if any(verdict.effect is Effect.LANDED for verdict in answered):
            return Effect.LANDED
        lost = any(_may_have_landed(one) for one in before if isinstance(one, BaseException))
        doubtful = lost or any(verdict.effect is Effect.IN_DOUBT for verdict in answered)
        return Effect.IN_DOUBT if doubtful else Effect.NONE

    async def _read_whole(self, response: aiohttp.ClientResponse) -> bool:
        on_a_wire = self._guard is None or self._guard.reached
        return await read_whole(response, on_a_wire=on_a_wire, until=self._read_until)

    def _failure(self, error: BaseException) -> Exception:
        """Give what the attempt failed with; raise what is no failure of its own, such as its caller's cancellation."""
        timer = self._timer
        if timer is not None and timer.has_cut(error):
            timeout = TimeoutError().with_traceback(error.__traceback__)  # by which it is told how far the request got
            timeout.__cause__ = error
            return timeout
        if not isinstance(error, Exception):
            raise error
        return unwrapped(error)

    def _fault(self, error: Exception) -> Fault:
        guard = self._guard
        fault = self._fault_under(guard, error) if guard else fault_of(error, bytes_sent=after_redirect(error))
        fault.final = self._timer_spent
        without_secrets(error)
        return fault

    def _fault_under(self, guard: SingleSend, error: Exception) -> Fault:
        trusted = self._speaks_for_itself(error)
        evidence = _evidence(guard, error)
        fault = fault_of(error, bytes_sent=evidence if trusted or evidence else None, trusted=trusted)
        if guard.answered and not guard.failed_with(error):
            # A middleware of the caller's failed over a response that had come: sending again mends nothing.
            fault = replace(fault, outcome=Outcome.PERMANENT_FAILURE, reason="local_error")
        fault.key_dropped = guard.home.key_dropped
        return fault

    def _speaks_for_itself(self, error: Exception) -> bool:  # noqa: ARG002 - for those who do not see the last send
        """Say whether an error that aiohttp raises only before it sends shows that this request was not sent."""
        return True

    def _lookup_headers(self, given: LooseHeaders | None) -> CIMultiDict[str]:
        headers = CIMultiDict(given or ())
        for name in _OF_THE_BODY | self.key_headers:
            headers.popall(name, None)
        return headers


def _evidence(guard: SingleSend, error: Exception) -> bool | None:
    # Where a test library has put itself in aiohttp's place, the guard is never asked, and proves nothing.
    if not guard.reached and isinstance(error, aiohttp.ClientError | OSError):
        return None
    # A middleware may have failed at something else, after a send that failed and may have been taken in.
    errors = [one for one in guard.inner if isinstance(one, BaseException)]
    earlier = errors[:-1] if guard.failed_with(error) else errors
    if any(_may_have_landed(one) for one in earlier):
        return True
    return guard.bytes_sent


def _may_have_landed(error: BaseException) -> bool:
    # A send that a middleware cancelled, to try elsewhere, says nothing of how far it had come.
    return not isinstance(error, Exception) or fault_of(error, bytes_sent=None).effect is Effect.IN_DOUBT


def _head_at_hand(content: aiohttp.StreamReader) -> tuple[bytes, bool]:
    """Do what ``_peek`` does with a body that has come whole: there is nothing to wait for."""
    try:
        head = content.read_nowait(ERROR_BODY_LIMIT)
    except Exception:  # noqa: BLE001 - as below
        return b"", True
    put_back(content, head)
    return head, len(head) == ERROR_BODY_LIMIT


async def _peek(content: Any, until: float | None) -> tuple[bytes, bool]:  # noqa: ANN401 - or a test library's
    """Read the head of a body and put it back; say whether there was, or should have been, more.

    What cannot be read is left out: the status alone is an answer.
    """
    if not hasattr(content, "unread_data"):
        return b"", True  # which could not be given back
    taken, cut = bytearray(), True
    try:
        async with asyncio.timeout_at(until), asyncio.timeout(ERROR_BODY_WAIT_S):
            while len(taken) < ERROR_BODY_LIMIT and cut:
                chunk = await content.read(ERROR_BODY_LIMIT - len(taken))
                taken += chunk
                cut = bool(chunk)
    except Exception:  # noqa: BLE001, S110 - as above; the caller meets the failure himself when he reads on
        pass
    put_back(content, bytes(taken))
    return bytes(taken), cut


async def _whole(response: aiohttp.ClientResponse, *, on_a_wire: bool) -> Answer:
    answer = Answer(response.status, response.headers, response=response)
    if not await _fits(response, LOOKUP_BODY_LIMIT) or not await read_whole(response, on_a_wire=on_a_wire):
        response.close()
        answer.unreadable = True
        return answer
    answer.body = await response.read()
    return answer


async def _fits(response: aiohttp.ClientResponse, limit: int) -> bool:
    """Say whether a body is no longer than so many bytes, and leave it to be read. What is chunked does not say."""
    if (response.content_length or 0) > limit:
        return False
    taken = bytearray()
    try:
        while len(taken) <= limit and (chunk := await response.content.read(limit + 1 - len(taken))):
            taken += chunk
    except BaseException:
        response.close()
        raise
    put_back(response.content, bytes(taken))
    return len(taken) <= limit
