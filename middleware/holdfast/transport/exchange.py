"""One aiohttp send per attempt, and what came of it.

The status of a response counts as soon as its head is here. Of an error's body at most 64 KiB are read for
classification and put back, so that the caller can still read or stream the whole of it; a discarded response gives
its connection back before the pause.
"""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any, Final

import aiohttp
from aiohttp.typedefs import LooseHeaders
from multidict import CIMultiDict

from holdfast.core.error_body import ERROR_BODY_LIMIT
from holdfast.outcome import Effect, Outcome
from holdfast.protocols import Answer, Fault
from holdfast.transport.body import RequestBody
from holdfast.transport.faults import fault_of, without_secrets
from holdfast.transport.method import Send
from holdfast.transport.single_send import SECRET_HEADERS, SingleSend, unwrapped
from holdfast.transport.whole_body import put_back, read_whole

ERROR_BODY_WAIT_S: Final = 5.0
"""An error's body that drips more slowly than this is classified by what has come: its status says enough."""

LOOKUP_BODY_LIMIT: Final = 1024 * 1024
"""A lookup's answer is one resource or one page of them."""

_NEVER_ROUND_UP: Final = float("inf")
_OF_THE_BODY: Final = frozenset({"content-type", "content-length", "content-encoding", "transfer-encoding", "expect"})
_OF_A_LOOKUP: Final = frozenset(
    {"headers", "auth", "cookies", "proxy", "proxy_auth", "proxy_headers", "ssl", "ssl_context", "verify_ssl"}
    | {"fingerprint", "server_hostname", "trace_request_ctx", "skip_auto_headers"}
)


@dataclass(slots=True, kw_only=True)
class HttpExchange:
    """Sends the attempts of one call through aiohttp. Confined to one event loop."""

    send_request: Send
    """The session's own method, bound to method and address; called once per attempt."""

    get: Send
    """The session's ``get``, for lookups."""

    options: dict[str, Any]
    """The caller's keywords, less those that differ between attempts."""

    middlewares: tuple[aiohttp.ClientMiddlewareType, ...]
    timeout: aiohttp.ClientTimeout
    body: RequestBody | None = None
    read_body: bool = False
    key_headers: frozenset[str] = frozenset()
    """In lower case: request headers that carry a key."""

    body_may_leave: bool = False
    """Whether a redirect to another origin may take the body along."""

    status: int | None = None
    """Status of the attempt in flight, from the moment its head is here."""

    _guard: SingleSend = field(default_factory=SingleSend)

    @property
    def replayable(self) -> bool:
        """Whether the body can be sent once more, byte for byte."""
        return self.body is None or self.body.replayable

    @property
    def bytes_sent(self) -> bool | None:
        """Whether any of the attempt in flight has left this process: ``False`` is proof, ``None`` is not known."""
        return self._guard.bytes_sent

    async def send(self, total_s: float, connect_s: float) -> Answer | Fault:
        """Make one attempt, within limits in seconds. Cancellation passes at once."""
        self.status = None
        self._guard = SingleSend(self._secret_headers(), self.body, body_may_leave=self.body_may_leave)
        chain = self._guard.around(self.middlewares)
        try:
            response = await self.send_request(
                timeout=self._timeout(total_s, connect_s), middlewares=chain, **self.options
            )
        except Exception as error:  # noqa: BLE001 - every failure is a row of the table, the last row takes the rest
            return self._fault(unwrapped(error))
        finally:
            # aiohttp refuses a tracker that has seen a request.
            self.options.pop("upload_tracker", None)
        # After a redirect the status is that of another request.
        self.status = None if response.history else response.status
        return await self._answer(response)

    async def look_up(self, address: str, total_s: float, connect_s: float) -> Answer | Fault:
        """GET an address and read the whole answer. It is safe to make, whatever became of the call."""
        options = {name: value for name, value in self.options.items() if name in _OF_A_LOOKUP}
        options["headers"] = self._lookup_headers(options.get("headers"))
        guard = SingleSend()
        try:
            response = await self.get(
                address,
                timeout=self._timeout(total_s, connect_s),
                middlewares=(guard, *self.middlewares),
                allow_redirects=False,
                raise_for_status=False,
                **options,
            )
            return await _whole(response, on_a_wire=guard.reached)
        except Exception as error:  # noqa: BLE001 - as in send
            return fault_of(unwrapped(error), bytes_sent=None)

    def discard(self, ended: Answer | Fault) -> None:
        """Give back the connection of an answer that the caller will not see."""
        if isinstance(ended, Answer) and ended.response is not None:
            # release() keeps the connection when the body has ended, and close() is the only way when it has not.
            response = ended.response
            response.release() if response.content.at_eof() else response.close()

    async def _answer(self, response: aiohttp.ClientResponse) -> Answer:
        redirects = tuple(hop.status for hop in response.history)
        answer = Answer(response.status, response.headers, redirects=redirects, response=response)
        answer.key_dropped = self._guard.key_dropped
        answer.body_dropped = self._guard.body_dropped
        try:
            if 200 <= response.status <= 299:  # noqa: PLR2004 - RFC 9110 section 15.3
                answer.unreadable = self.read_body and not await read_whole(response, on_a_wire=self._guard.reached)
            elif response.status > 304:  # noqa: PLR2004 - a redirect's body says nothing, and the others have none
                answer.body, answer.cut = await _peek(response)
        except BaseException:
            response.close()
            raise
        return answer

    def _fault(self, error: Exception) -> Fault:
        guard = self._guard
        fault = fault_of(error, bytes_sent=self._evidence(error))
        if guard.answered and not guard.failed_with(error):
            # A middleware of the caller's failed over a response that had come: sending again mends nothing.
            fault = replace(fault, outcome=Outcome.PERMANENT_FAILURE, reason="local_error")
        fault.key_dropped = guard.key_dropped
        without_secrets(error)
        return fault

    def _evidence(self, error: Exception) -> bool | None:
        guard = self._guard
        # Where a test library has put itself in aiohttp's place, the guard is never asked, and proves nothing.
        if not guard.reached and isinstance(error, aiohttp.ClientError | OSError):
            return None
        # A middleware may have failed at something else, after a send that failed and may have been taken in.
        earlier = guard.inner_errors[:-1] if guard.failed_with(error) else guard.inner_errors
        if any(_may_have_landed(one) for one in earlier):
            return True
        return guard.bytes_sent

    def _timeout(self, total_s: float, connect_s: float) -> aiohttp.ClientTimeout:
        given = self.timeout
        return aiohttp.ClientTimeout(
            total=total_s,
            # aiohttp takes 0 for "no limit", and so does a drop-in.
            connect=min(given.connect, connect_s) if given.connect else connect_s,
            sock_connect=given.sock_connect,
            sock_read=given.sock_read,
            # aiohttp rounds timers of 5 s and above up to a whole second of the loop's clock; the deadline is exact.
            ceil_threshold=_NEVER_ROUND_UP,
        )

    def _secret_headers(self) -> frozenset[str]:
        return SECRET_HEADERS | self.key_headers

    def _lookup_headers(self, given: LooseHeaders | None) -> CIMultiDict[str]:
        headers = CIMultiDict(given or ())
        for name in _OF_THE_BODY | self.key_headers:
            headers.popall(name, None)
        return headers


def _may_have_landed(error: BaseException) -> bool:
    # A send that a middleware cancelled, to try elsewhere, says nothing of how far it had come.
    return not isinstance(error, Exception) or fault_of(error, bytes_sent=None).effect is Effect.IN_DOUBT


async def _peek(response: aiohttp.ClientResponse, limit: int = ERROR_BODY_LIMIT) -> tuple[bytes, bool]:
    """Read the head of a body and put it back; say whether there was, or should have been, more.

    What cannot be read is left out: the status alone is an answer.
    """
    taken, cut = bytearray(), True
    try:
        async with asyncio.timeout(ERROR_BODY_WAIT_S):
            while len(taken) < limit and cut:
                chunk = await response.content.read(limit - len(taken))
                taken += chunk
                cut = bool(chunk)
    except Exception:  # noqa: BLE001, S110 - as above; the caller meets the failure himself when he reads on
        pass
    put_back(response.content, bytes(taken))
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
