"""WSGI middleware: outbound sessions at hand in every request, and each outbound call within its request's limits.

A shell around Flask, Django or any other WSGI application. What a call inherits is decided in ``engine.inbound``; here
it is bound while the application's code runs: in the call itself, while each chunk of the response is made, and while
the response is closed, in whatever thread the server does these. In between nothing is bound, so nothing can leak into
the thread's next request.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import replace
from http import HTTPStatus
from itertools import islice
from math import inf
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, cast

from holdfast.blocking import BlockingSession
from holdfast.core.problem import problem_of
from holdfast.engine.inbound import CallerScope, Inbound, InboundSettings, bound, current, read_inbound
from holdfast.engine.sessions import check_factories
from holdfast.errors import HoldfastError
from holdfast.policy import DEADLINE_CAP_S

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

SESSIONS: Final = "holdfast.sessions"
"""Where applications find the sessions by name in their environ."""

_END: Final = object()


class OutboundMiddleware:
    """WSGI application around another. Safe to share between threads, and to make before a server forks.

    ``environ["holdfast.sessions"]["finix"]`` is a ``BlockingSession``. The sessions are opened by the first request of
    each process, and closed by ``close`` or with the process.

    Calls made while a request is served may not outlive it, carry its id, and derive their idempotency keys from its
    own. An uncaught ``HoldfastError`` is answered with a problem document (RFC 9457), unless the response has begun;
    every other exception is the server's to see. Frameworks that answer exceptions by themselves, as Flask and Django
    do, take ``problem_answer`` for that.
    """

    def __init__(
        self,
        app: "WSGIApplication",
        sessions: Mapping[str, Callable[[], BlockingSession]] = MappingProxyType({}),
        *,
        deadline_header: str | None = "X-Request-Timeout",
        max_deadline: float = DEADLINE_CAP_S,
        request_id_header: str | None = "X-Request-ID",
        secret: bytes | None = None,
        scope: CallerScope | None = None,
    ) -> None:
        """Put the middleware around an application.

        Args:
            app: The application.
            sessions: Functions that make the sessions, by name; called once per process.
            deadline_header: Header with the seconds that the caller will wait; ``None`` reads and sends none.
            max_deadline: Seconds from arrival in which outbound calls may run, whatever the header says; at most 300.
            request_id_header: Header with the request's id; ``None`` reads and sends none.
            secret: At least 16 bytes, the same in every process: with it, and with ``scope``, the keys of outbound
                calls are derived from the inbound ``Idempotency-Key``.
            scope: Names the authenticated caller from the environ, such as a tenant's id, so that equal keys of two
                callers stay apart.

        Raises:
            TypeError: An argument is of a wrong type.
            ValueError: An argument is out of its range.
        """
        check_factories(sessions)
        self._app = app
        self._factories = dict(sessions)
        self._settings = InboundSettings(
            deadline_header=deadline_header,
            max_deadline=max_deadline,
            request_id_header=request_id_header,
            secret=secret,
            scope=scope,
        )
        # Headers by variable, as in RFC 3875 section 4.1.18.
        self._wanted = [(f"HTTP_{name.upper().replace('-', '_')}", name) for name in self._settings.headers_read]
        self._of_process: dict[int, _Sessions] = {}

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Serve one request."""
        arrived = time.monotonic()
        place = f"{environ.get('REQUEST_METHOD', '')} {environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}"
        headers = {name: environ[variable] for variable, name in self._wanted if isinstance(environ.get(variable), str)}
        inbound = read_inbound(headers, settings=self._settings, arrived=arrived, source=environ, place=place)
        if str(environ.get("HTTP_UPGRADE", "")).lower() == "websocket":  # a connection, and nobody waits for its end
            inbound = replace(inbound, deadline_at=inf, seed=None)
        environ[SESSIONS] = self._sessions().opened(self._factories)
        start = _Start(start_response)
        try:
            with bound(inbound):
                return _bound_body(self._app(environ, start), inbound, environ)
        except HoldfastError as error:
            if start.has_written:
                raise
            with bound(inbound):
                body, status, headers = problem_answer(error)
            # A server that has begun the response after all raises what it is given here.
            start_response(f"{status} {HTTPStatus(status).phrase}", list(headers.items()), sys.exc_info())
            return [] if environ.get("REQUEST_METHOD") == "HEAD" else [body]

    def close(self) -> None:
        """Close the sessions of this process; a later request opens them again."""
        sessions = self._of_process.pop(os.getpid(), None)
        if sessions is not None:
            sessions.close()

    def _sessions(self) -> "_Sessions":
        # setdefault is atomic, and what it finds was made in this process: no lock of it was held when it was forked.
        pid = os.getpid()
        return self._of_process.get(pid) or self._of_process.setdefault(pid, _Sessions())


def problem_answer(error: HoldfastError) -> tuple[bytes, int, dict[str, str]]:
    """Turn an error into an answer: body, status and headers, in the order in which Flask takes them from a view.

    For frameworks that answer exceptions before the middleware sees them::

        app.register_error_handler(HoldfastError, problem_answer)
    """
    inbound = current()
    problem = problem_of(error, None if inbound is None else inbound.request_id)
    return problem.body, problem.status, dict(problem.headers)


class _Sessions:
    """The sessions of one process. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: Mapping[str, BlockingSession] | None = None

    def opened(self, factories: Mapping[str, Callable[[], BlockingSession]]) -> Mapping[str, BlockingSession]:
        """Give the sessions; the first who asks opens them."""
        if self._open is not None:
            return self._open
        with self._lock:
            if self._open is None:
                self._open = MappingProxyType({name: _made(name, make) for name, make in factories.items()})
            return self._open

    def close(self) -> None:
        """Close them."""
        for session in (self._open or {}).values():
            session.close()


def _made(name: str, make: Callable[[], BlockingSession]) -> BlockingSession:
    session: object = make()
    if not isinstance(session, BlockingSession):
        raise TypeError(f"sessions[{name!r}] must make a BlockingSession, made {type(session).__name__}")
    return session


class _Start:
    """The server's ``start_response``, and whether the application has written through it."""

    __slots__ = ("_start_response", "has_written")

    def __init__(self, start_response: "StartResponse") -> None:
        self._start_response = start_response
        self.has_written = False

    def __call__(self, *arguments: Any) -> Callable[[bytes], object]:  # noqa: ANN401 - the protocol's, checked by the server
        server_write = self._start_response(*arguments)

        def write(data: bytes) -> object:
            self.has_written = self.has_written or bool(data)
            return server_write(data)

        return write


def _bound_body(body: Iterable[bytes], inbound: Inbound, environ: "WSGIEnvironment") -> Iterable[bytes]:
    """Bind the request while a body is made. One that is made already goes to the server as it is.

    Servers measure lists to set Content-Length, and send files by themselves that come in their own wrapper.
    """
    wrapper = environ.get("wsgi.file_wrapper")
    if type(body) is list or (isinstance(wrapper, type) and isinstance(body, wrapper)):
        return body
    return _SizedBody(body, inbound) if hasattr(type(body), "__len__") else _Body(body, inbound)


class _Body:
    """A response's body, with the request bound while the application makes a chunk. Used by one thread at a time.

    The first chunk is made at once, because a failure before it can still become a proper answer, and because not every
    server waits for it before it takes the status (granian does not).
    """

    __slots__ = ("_chunks", "_first", "_inbound", "_made_by")

    def __init__(self, made_by: Iterable[bytes], inbound: Inbound) -> None:
        self._made_by = made_by
        self._inbound = inbound
        try:
            self._chunks = iter(made_by)
            self._first = list(islice(self._chunks, 1))
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._first:
            return self._first.pop()
        with bound(self._inbound):
            chunk: Any = next(self._chunks, _END)
        if chunk is _END:
            raise StopIteration
        return chunk  # type: ignore[no-any-return] # whatever the application made

    def close(self) -> None:
        close = getattr(self._made_by, "close", None)
        if close is not None:
            with bound(self._inbound):
                close()


class _SizedBody(_Body):
    """A body that says how many chunks it has."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(cast(Sized, self._made_by))
