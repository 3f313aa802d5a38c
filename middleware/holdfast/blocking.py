"""``BlockingSession``: the same calls and the same verdicts for code that does not await, such as a Flask view.

A shell: each call is carried out by a ``ResilientSession`` on the one loop thread of the process, while the calling
thread waits. Streaming is left out: a response is complete when it is returned, its body read within the call's
deadline.
"""

import asyncio
import inspect
import json as json_library
import weakref
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http.cookies import SimpleCookie
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, cast

import aiohttp
from aiohttp.typedefs import StrOrURL
from multidict import CIMultiDictProxy
from yarl import URL

from holdfast.engine import loop_thread
from holdfast.engine.loop_thread import LoopThread
from holdfast.engine.runtime import check_type
from holdfast.errors import ANSWER_ERRORS
from holdfast.outcome import Outcome, StopReason
from holdfast.policy import Policy
from holdfast.protocols import EventSink
from holdfast.providers.generic import GENERIC
from holdfast.providers.provider import Lookup, Provider
from holdfast.report import REPORT_ATTRIBUTE, CallReport, report_of
from holdfast.session import ResilientSession

if TYPE_CHECKING:
    from typing import Unpack

    from holdfast.session import _CallOptions

T = TypeVar("T")

_MADE_ON_THE_LOOP: Final = ("connector", "cookie_jar")
"""What aiohttp ties to the loop it is made on, so that here a function must make it."""

CLOSE_GRACE_S: Final = 2.0
"""Seconds that calls in flight get to end, when their session is closed."""

_NOT_HERE: Final = ("client", "loop")
"""What would bring another loop along."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class BlockingResponse:
    """An answer, read whole. Safe to share between threads."""

    status: int
    reason: str
    """Reason phrase of the status line; empty where there is none."""

    method: str
    url: URL
    """Where the answer came from, after redirects."""

    headers: CIMultiDictProxy[str]
    cookies: SimpleCookie
    """What this answer set."""

    encoding: str
    """Name of the codec that ``text`` uses: the header's charset, else UTF-8."""

    _body: bytes | None
    _lost: Exception | None
    _failed: bool
    _holdfast_report: CallReport = field()

    @property
    def ok(self) -> bool:
        """Whether the status is below 400."""
        return self.status < 400  # noqa: PLR2004 - RFC 9110 section 15

    @property
    def content(self) -> bytes:
        """The whole body.

        Raises:
            aiohttp.ClientError: The body was lost on its way. The status holds all the same, and so does the report: a
                lost body of a 201 does not undo the payment.
            TimeoutError: The call's time ran out while the body was read; likewise.
        """
        if self._lost is not None:
            raise self._lost
        return self._body or b""

    @property
    def text(self) -> str:
        """The body as text. What does not decode is replaced; raises as ``content`` does."""
        try:
            return self.content.decode(self.encoding, "replace")
        except (LookupError, UnicodeError):  # a peer may name any codec of Python's, and not all of them are of text
            return self.content.decode("utf-8", "replace")

    def json(self, *, loads: Callable[[str], Any] = json_library.loads) -> Any:  # noqa: ANN401 - any JSON value
        """Decode the body as JSON, whatever its content type.

        Raises:
            ValueError: It is not JSON; also as ``content`` does.
        """
        return loads(self.text)

    def raise_for_status(self) -> None:
        """Raise what ``raise_for_status=True`` would have raised, unless the call is a success.

        Raises:
            PermanentFailureError: The provider refused the call for good.
            RetriesExhaustedError: The last answer was a passing fault.
            IdempotencyConflictError: The provider knew the key or the payment before.
        """
        if self._failed:
            report = self._holdfast_report
            error = ANSWER_ERRORS[report.outcome]
            raise error(report, status=self.status, message=self.reason, headers=self.headers)

    def __repr__(self) -> str:
        """Name status, method and place; never a header, a query or the body."""
        return f"<BlockingResponse [{self.status}] {self._holdfast_report.method} {self._holdfast_report.url}>"


class BlockingSession:
    """``ResilientSession`` for threads. Safe to share between threads.

    It may be made anywhere, at import time too: nothing is opened before the first call, and each process that a server
    forks opens its own connections. One daemon thread per process runs the event loop of all sessions.

    Requests take what those of ``ResilientSession`` take. Streaming is left out: each body is read whole, inside the
    attempt, so that a success whose body is lost keeps its verdict. A call inside a running event loop is refused,
    because it would stop that loop.
    """

    def __init__(
        self,
        base_url: StrOrURL | None = None,
        *,
        provider: Provider = GENERIC,
        policy: Policy = Policy(),  # noqa: B008 - frozen
        sinks: Sequence[EventSink] | None = None,
        **client_options: Any,  # noqa: ANN401 - any keyword of aiohttp.ClientSession
    ) -> None:
        """Describe the session; the first call of each process opens it.

        Args:
            base_url: As for ``aiohttp.ClientSession``.
            provider: What is known of the API on the other side.
            policy: How often, how fast and how long a call may be tried; bodies are read whole whatever it says.
            sinks: Where events go, from the loop's thread; ``None`` means the log.
            **client_options: Any keyword of ``aiohttp.ClientSession``. ``connector`` and ``cookie_jar`` belong to one
                event loop and so must be functions that make one, such as ``lambda: TCPConnector(limit=10)``: they are
                called on the loop's thread, once per process.

        Raises:
            TypeError: An argument is of a wrong type, or aiohttp does not know it.
        """
        check_type("provider", provider, Provider)
        check_type("policy", policy, Policy)
        _check_options(client_options)
        self._base_url = base_url
        self._options = client_options | {"provider": provider, "policy": _reading(policy), "sinks": sinks}
        self._provider = provider
        self._closed = False
        self._owner = object()
        weakref.finalize(self, _let_go, self._owner).atexit = False

    def __enter__(self) -> Self:
        """Enter; nothing is opened yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the session."""
        self.close()

    def __repr__(self) -> str:
        """Name the provider and whether the session is open."""
        return f"<BlockingSession provider={self._provider.name!r} closed={self.closed}>"

    @property
    def closed(self) -> bool:
        """Whether the session was closed."""
        return self._closed

    def close(self) -> None:
        """Close the connections of this process; no call can be made afterwards. May be called twice.

        Calls of other threads that are in flight get 2 seconds to end, and are cancelled and reported then.
        """
        self._closed = True
        thread = loop_thread.running()
        if thread is not None:
            _wait_on(thread, lambda: _close(thread, self._owner))

    def request(self, method: str, url: StrOrURL, **kwargs: "Unpack[_CallOptions]") -> BlockingResponse:
        """Make a call with any method."""
        return self._call("request", (method, url), kwargs)

    def get(self, url: StrOrURL, **kwargs: "Unpack[_CallOptions]") -> BlockingResponse:
        """Make a GET call."""
        return self._call("get", (url,), kwargs)

    def options(self, url: StrOrURL, **kwargs: "Unpack[_CallOptions]") -> BlockingResponse:
        """Make an OPTIONS call."""
        return self._call("options", (url,), kwargs)

    def head(self, url: StrOrURL, **kwargs: "Unpack[_CallOptions]") -> BlockingResponse:
        """Make a HEAD call."""
        return self._call("head", (url,), kwargs)

    def post(self, url: StrOrURL, **kwargs: "Unpack[_CallOptions]") -> BlockingResponse:
        """Make a POST call."""
        return self._call("post", (url,), kwargs)

    def put(self, url: StrOrURL, **kwargs: "Unpack[_CallOptions]") -> BlockingResponse:
        """Make a PUT call."""
        return self._call("put", (url,), kwargs)

    def patch(self, url: StrOrURL, **kwargs: "Unpack[_CallOptions]") -> BlockingResponse:
        """Make a PATCH call."""
        return self._call("patch", (url,), kwargs)

    def delete(self, url: StrOrURL, **kwargs: "Unpack[_CallOptions]") -> BlockingResponse:
        """Make a DELETE call."""
        return self._call("delete", (url,), kwargs)

    def reconcile(
        self, report: CallReport, lookup: Lookup | None = None, *, sent: Mapping[str, Any] | None = None
    ) -> CallReport:
        """Look up what became of an in-doubt call, as ``ResilientSession.reconcile`` does."""
        thread = self._thread()

        async def look_up() -> CallReport:
            return await self._opened(thread).reconcile(report, lookup, sent=sent)

        return _wait_on(thread, look_up)

    def _call(self, name: str, where: tuple[Any, ...], kwargs: object) -> BlockingResponse:
        options = cast("dict[str, Any]", kwargs)
        policy = options.get("policy")
        if isinstance(policy, Policy):
            options["policy"] = _reading(policy)
        thread = self._thread()

        async def make_call() -> BlockingResponse:
            response = await getattr(self._opened(thread), name)(*where, **options)
            return await self._read(response)

        return _wait_on(thread, make_call)

    def _thread(self) -> LoopThread:
        self._refuse_when_closed()
        return loop_thread.started()

    def _opened(self, thread: LoopThread) -> ResilientSession:
        """Give the session of this process; on the loop, where no two threads can open it."""
        self._refuse_when_closed()
        session: ResilientSession | None = thread.kept.get(self._owner)
        if session is None:
            made = {name: self._options[name]() for name in _MADE_ON_THE_LOOP if self._options.get(name) is not None}
            session = ResilientSession(self._base_url, **{**self._options, **made})
            thread.kept[self._owner] = session
        return session

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise RuntimeError("Session is closed")  # aiohttp's own words

    async def _read(self, response: aiohttp.ClientResponse) -> BlockingResponse:
        report = cast(CallReport, report_of(response))
        body, lost = None, None
        try:
            body = await response.read()
        except BaseException as error:
            setattr(error, REPORT_ATTRIBUTE, report)
            if not isinstance(error, Exception):
                raise
            lost = error  # the status is an answer all the same
        return BlockingResponse(
            status=response.status,
            reason=response.reason or "",
            method=response.method,
            url=response.url,
            headers=response.headers,
            cookies=response.cookies,
            encoding="utf-8" if lost is not None else response.get_encoding(),
            _body=body,
            _lost=lost,
            _failed=report.outcome is not Outcome.SUCCESS and not self._is_plain_redirect(report, response.status),
            _holdfast_report=report,
        )

    def _is_plain_redirect(self, report: CallReport, status: int) -> bool:
        # To the async session, too, a redirect that the caller did not want followed is an answer.
        looked_up = report.stop_reason is StopReason.RECONCILED
        return 300 <= status < 400 and not looked_up and self._provider.follow_redirects  # noqa: PLR2004


def _wait_on(thread: LoopThread, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    _refuse_inside_a_loop()
    return thread.run(make)


def _refuse_inside_a_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(
        "BlockingSession would block the event loop that runs in this thread: use ResilientSession here, or "
        "asyncio.to_thread"
    )


async def _close(thread: LoopThread, owner: object) -> None:
    session: ResilientSession | None = thread.kept.pop(owner, None)
    if session is not None:
        await session.drain(CLOSE_GRACE_S)
        await session.close()


def _let_go(owner: object) -> None:
    thread = loop_thread.running()
    if thread is not None:
        thread.let_go(owner)


def _reading(policy: Policy) -> Policy:
    return policy if policy.read_body else replace(policy, read_body=True)


def _check_options(options: Mapping[str, Any]) -> None:
    for name in _NOT_HERE:
        if name in options:
            raise TypeError(f"{name}= cannot be given: the session has an event loop of its own; pass other options")
    for name in _MADE_ON_THE_LOOP:
        value = options.get(name)
        if value is not None and not callable(value):
            kind = type(value).__name__
            raise TypeError(f"{name}= belongs to one event loop: pass a function that makes it, got {kind}")
    inspect.signature(aiohttp.ClientSession).bind_partial(**options)
