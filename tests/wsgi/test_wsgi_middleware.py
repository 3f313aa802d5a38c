"""The WSGI middleware, held between the standard library's validators: one towards the server, one towards the app."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO, StringIO
from typing import Any
from wsgiref.handlers import SimpleHandler
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest
import structlog
from tests.blocking.serving import loop_threads, on_a_thread, peer
from tests.support import answer, hang

from holdfast import DeadlineExceededError, HoldfastError, Policy
from holdfast.blocking import BlockingSession
from holdfast.engine.inbound import current
from holdfast.wsgi import OutboundMiddleware, problem_answer


def environ_of(method: str = "GET", **headers: str) -> WSGIEnvironment:
    """Make an environ; ``x_request_id="a"`` becomes ``HTTP_X_REQUEST_ID``."""
    environ: WSGIEnvironment = {"REQUEST_METHOD": method, "QUERY_STRING": ""}
    setup_testing_defaults(environ)
    return environ | {f"HTTP_{name.upper()}": value for name, value in headers.items()}


@dataclass
class Answered:
    """What a server would send."""

    status: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def serve(app: WSGIApplication, environ: WSGIEnvironment | None = None, *, lax: bool = False) -> Answered:
    """Serve one request as a conforming server does, checking both sides' manners; or as lax as granian does."""
    answered = Answered()

    def write(data: bytes) -> None:
        answered.body += data

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        if exc_info is None and not lax:
            assert not answered.status, "PEP 3333: called again without exc_info"
        if exc_info is not None and answered.body and not lax:
            raise exc_info[1]
        answered.status, answered.headers = status, {name.lower(): value for name, value in headers}
        return write

    body = validator(app)(environ or environ_of(), start_response)
    try:
        for chunk in body:
            answered.body += chunk
    finally:
        body.close()  # type: ignore[attr-defined] # the validator's has one
    return answered


def request_id() -> str:
    """Give the id of the request that is being served here, or say that there is none."""
    inbound = current()
    return "nobody" if inbound is None else inbound.request_id


def said(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer with the request's id, in two chunks."""
    assert environ
    start_response("200 OK", [("Content-Type", "text/plain")])

    def chunks() -> Iterator[bytes]:
        yield request_id().encode()
        yield request_id().encode()

    return chunks()


def failing(error: BaseException, after: str) -> WSGIApplication:
    """Make an application that fails at a certain point."""

    def app(_: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if after == "nothing":
            raise error
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        write(b"begun" if after == "write" else b"")
        if after in {"start_response", "write"}:
            raise error
        return chunks()

    def chunks() -> Iterator[bytes]:
        if after == "chunk":
            yield b"begun"
        raise error

    return app


def late(url: str) -> DeadlineExceededError:
    """Make the error of a call that ran out of time."""
    with BlockingSession(url, sinks=[]) as session:
        try:
            session.post("/charges", json={}, operation="charge", policy=Policy(deadline=0.1))
        except DeadlineExceededError as error:
            return error
    raise AssertionError("it was in time")


@pytest.fixture(scope="module")
def error() -> Iterator[HoldfastError]:
    """Give a real error of ours."""
    with on_a_thread(peer(hang())) as there:
        yield late(there.url)


def test_every_chunk_is_made_within_its_request() -> None:
    """A streamed report would make its later calls without deadline, id and keys."""
    middleware = OutboundMiddleware(validator(said))

    answered = serve(middleware, environ_of(x_request_id="r-1"))

    assert (answered.status, answered.body) == ("200 OK", b"r-1r-1")
    assert request_id() == "nobody"


def test_each_chunk_may_be_asked_for_in_another_thread() -> None:
    """A server that hands a response from thread to thread would lose the request, or fail on the way."""
    bodies = [OutboundMiddleware(said)(environ_of(x_request_id=f"r-{n}"), lambda *_: lambda _: None) for n in range(2)]
    made: list[list[bytes]] = [[], []]

    for _ in range(2):
        for body, chunks in zip(bodies, made, strict=True):
            with ThreadPoolExecutor(1) as thread:
                chunks.append(thread.submit(next, iter(body)).result())
            assert request_id() == "nobody"

    assert made == [[b"r-0"] * 2, [b"r-1"] * 2]


def test_a_generator_has_started_its_response_when_the_server_gets_it() -> None:
    """Granian takes the status at once: an application that is a generator would answer 200 to everything."""
    statuses: list[str] = []

    def app(_: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        yield b"none here"

    def start(status: str, *_: Any) -> Callable[[bytes], object]:
        statuses.append(status)
        return lambda _: None

    body = OutboundMiddleware(app)(environ_of(), start)

    assert statuses == ["404 Not Found"]
    assert list(body) == [b"none here"]


class Closing:
    """An iterable that notes when, and in whose name, it is closed."""

    def __init__(self, *chunks: bytes | BaseException) -> None:
        self._chunks = list(chunks)
        self.closed_by: list[str] = []

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if not self._chunks:
            raise StopIteration
        chunk = self._chunks.pop(0)
        if isinstance(chunk, BaseException):
            raise chunk
        return chunk

    def close(self) -> None:
        self.closed_by.append(request_id())


def test_the_body_is_closed_once_within_its_request() -> None:
    """A view's clean-up would not run, and its connections to a database would be gone one by one."""
    body = Closing(b"a", b"b")

    def app(_: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return body

    answered = serve(OutboundMiddleware(app), environ_of(x_request_id="r-1"))

    assert (answered.body, body.closed_by) == (b"ab", ["r-1"])


def test_a_body_that_fails_at_once_is_closed_too(error: HoldfastError) -> None:
    """The server never sees it, and so cannot close it."""
    body = Closing(error)

    def app(_: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return body

    answered = serve(OutboundMiddleware(app), environ_of(x_request_id="r-1"))

    assert (answered.status, body.closed_by) == ("504 Gateway Timeout", ["r-1"])


class Sized(tuple[bytes, ...]):
    """A body with a length that is no list."""

    __slots__ = ()


@pytest.mark.parametrize("body", [[b"one"], (b"one",), Sized([b"one"])])
def test_a_measurable_body_stays_measurable(body: Any) -> None:
    """Servers set Content-Length where there is one chunk, and fall back to closing the connection where not."""

    def app(_: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return body  # type: ignore[no-any-return] # as given

    sent = BytesIO()
    handler = SimpleHandler(BytesIO(), sent, StringIO(), environ_of())
    handler.run(OutboundMiddleware(app))

    head, _, content = sent.getvalue().partition(b"\r\n\r\n")
    assert content == b"one"
    assert b"Content-Length: 3" in head


def test_a_list_is_handed_on_as_it_is() -> None:
    """Granian sends a list in one piece, with its length, and anything else chunk by chunk."""
    body = [b"a", b"b"]

    def app(_: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return body

    assert OutboundMiddleware(app)(environ_of(), lambda *_: lambda _: None) is body


def test_a_file_in_the_servers_wrapper_is_left_to_the_server() -> None:
    """A download would go through Python chunk by chunk where the server could send the file by itself."""
    sent: list[Iterable[bytes]] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        sent.append(environ["wsgi.file_wrapper"](BytesIO(b"file")))
        return sent[0]

    body = OutboundMiddleware(app)(environ_of() | {"wsgi.file_wrapper": FileWrapper}, lambda *_: lambda _: None)

    assert body is sent[0]


@pytest.mark.parametrize("after", ["nothing", "start_response", "first chunk"])
def test_an_error_of_ours_before_the_response_is_a_problem_document(after: str, error: HoldfastError) -> None:
    """Our caller would get an empty 500, and not learn that the payment may have been made."""
    answered = serve(OutboundMiddleware(failing(error, after)), environ_of(x_request_id="r-1"))

    assert (answered.status, answered.headers["content-type"]) == ("504 Gateway Timeout", "application/problem+json")
    assert answered.headers["content-length"] == str(len(answered.body))
    assert b'"effect": "in_doubt"' in answered.body
    assert b'"request_id": "r-1"' in answered.body
    assert request_id() == "nobody"


def test_a_problem_document_has_no_body_for_head(error: HoldfastError) -> None:
    """The body would be taken for the beginning of the next response on the connection."""
    answered = serve(OutboundMiddleware(failing(error, "nothing")), environ_of("HEAD"))

    assert (answered.status, answered.body) == ("504 Gateway Timeout", b"")


@pytest.mark.parametrize("lax", [False, True])
@pytest.mark.parametrize("after", ["chunk", "write"])
def test_an_error_of_ours_after_the_response_began_is_the_servers(
    after: str,
    lax: bool,  # noqa: FBT001 - two servers
    error: HoldfastError,
) -> None:
    """A problem document would be glued to the end of half a page."""
    with pytest.raises(DeadlineExceededError) as raised:
        serve(OutboundMiddleware(failing(error, after)), lax=lax)

    assert raised.value is error
    assert request_id() == "nobody"


@pytest.mark.parametrize("after", ["nothing", "start_response", "first chunk", "chunk", "write"])
def test_the_applications_own_errors_are_left_alone(after: str) -> None:
    """Error trackers, and the framework's own pages, would see another error than the application raised."""
    error = LookupError("mine")

    with pytest.raises(LookupError) as raised:
        serve(OutboundMiddleware(failing(error, after)))

    assert raised.value is error


def test_the_applications_own_exc_info_reaches_the_server(error: HoldfastError) -> None:
    """An application that replaces its answer after a failure would be refused, or silently overruled."""
    seen: list[Any] = []
    failure: Any = (type(error), error, error.__traceback__)

    def app(_: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        start_response("500 Mine", [("Content-Type", "text/plain")], failure)
        return [b"mine"]

    def start(*arguments: Any) -> Callable[[bytes], None]:
        seen.append(arguments)
        return lambda _: None

    body = list(OutboundMiddleware(app)(environ_of(), start))

    assert body == [b"mine"]
    assert [(one[0], len(one)) for one in seen] == [("200 OK", 2), ("500 Mine", 3)]
    assert seen[1][2] is failure


def test_write_reaches_the_server() -> None:
    """Old applications, which write as they go, would answer with nothing."""

    def app(_: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        write(b"")
        write(request_id().encode())
        return []

    answered = serve(OutboundMiddleware(validator(app)), environ_of(x_request_id="r-1"))

    assert answered.body == b"r-1"


@pytest.mark.parametrize(
    "value", ["-1", "nan", "1e309", "inf", "", "9" * 10_000, "1\r\nX-Evil: 1", "\xff\xfe", "0x10", "1_0", "none"]
)
@pytest.mark.parametrize("header", ["x_request_timeout", "x_request_id", "traceparent", "idempotency_key"])
def test_absurd_headers_do_no_harm(header: str, value: str, caplog: pytest.LogCaptureFixture) -> None:
    """Anybody on the internet could answer 500 for us, or write lines of his own into our log."""
    with caplog.at_level(logging.WARNING):
        answered = serve(OutboundMiddleware(said), environ_of(**{header: value}))

    assert answered.status == "200 OK"
    assert len(caplog.records) <= 1
    assert "Evil" not in caplog.text


def test_sessions_are_opened_at_the_first_request_and_once() -> None:
    """Sixteen threads that start at once would open sixteen sessions, or none in the worker and one in the master."""
    made: list[float] = []
    together = threading.Barrier(16)

    def make() -> BlockingSession:
        made.append(time.monotonic())
        time.sleep(0.02)
        return BlockingSession()

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(id(environ["holdfast.sessions"]["bank"])).encode()]

    middleware = OutboundMiddleware(app, {"bank": make})
    before = len(made)

    def visit(_: int) -> bytes:
        together.wait()
        return serve(middleware).body

    with ThreadPoolExecutor(16) as threads:
        sessions = set(threads.map(visit, range(16)))

    assert (before, len(made), len(sessions)) == (0, 1, 1)


def test_close_closes_the_sessions_and_a_later_request_opens_them_again() -> None:
    """A worker's shutdown hook would leave connections behind, or make the worker useless in the next test."""
    opened: list[BlockingSession] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        opened.append(environ["holdfast.sessions"]["bank"])
        return [str(opened[-1].get("/").status).encode()]

    with on_a_thread(peer(answer())) as there:
        middleware = OutboundMiddleware(app, {"bank": lambda: BlockingSession(there.url)})
        serve(middleware)
        middleware.close()
        middleware.close()
        first_closed = opened[0].closed
        again = serve(middleware)
        middleware.close()

    assert (first_closed, again.body, opened[1].closed, there.ended) == (True, b"200", True, 2)
    assert loop_threads() <= 1


def test_what_a_request_has_left_goes_along() -> None:
    """The provider would work on for a caller that has gone, and nobody could join the two logs."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        environ["holdfast.sessions"]["bank"].get("/")
        return []

    with on_a_thread(peer(answer())) as there:
        middleware = OutboundMiddleware(app, {"bank": lambda: BlockingSession(there.url)})
        serve(middleware, environ_of(x_request_id="r-1", x_request_timeout="7"))
        middleware.close()

    (sent,) = there.seen
    assert sent.headers["x-request-id"] == "r-1"
    assert 5 < float(sent.headers["x-request-timeout"]) <= 7


def test_log_lines_of_the_application_show_the_request() -> None:
    """Operations could not tell which lines belong to the request that a customer asks about."""
    seen: list[dict[str, Any]] = []

    def app(_: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        seen.append(structlog.contextvars.get_contextvars())
        start_response("200 OK", [("Content-Type", "text/plain")])
        return []

    serve(OutboundMiddleware(app), environ_of(x_request_id="r-1"))

    assert (seen, structlog.contextvars.get_contextvars()) == ([{"request_id": "r-1"}], {})


@pytest.mark.parametrize(
    ("arguments", "error", "said_of_it"),
    [
        ({"sessions": {"bank": 5}}, TypeError, r"sessions\['bank'\] must be a function that opens a session"),
        ({"deadline_header": "not a name"}, ValueError, "deadline_header"),
        ({"max_deadline": 0}, ValueError, "max_deadline"),
        ({"secret": b"short"}, ValueError, "at least 16 bytes"),
        ({"scope": "tenant"}, TypeError, "scope must be a function"),
    ],
)
def test_a_wrong_setting_is_refused_where_it_is_given(
    arguments: dict[str, Any], error: type[Exception], said_of_it: str
) -> None:
    """A typing error would surface at the first customer's request."""
    with pytest.raises(error, match=said_of_it):
        OutboundMiddleware(said, **arguments)


def test_a_function_that_makes_something_else_is_named() -> None:
    """The async session in a WSGI service would fail with words about event loops."""
    middleware = OutboundMiddleware(said, {"bank": dict})  # type: ignore[dict-item]

    with pytest.raises(TypeError, match=r"sessions\['bank'\] must make a BlockingSession, made dict"):
        serve(middleware)


def test_a_framework_can_make_the_same_answer(error: HoldfastError) -> None:
    """Flask answers exceptions before the middleware sees them, and would answer 500."""
    body, status, headers = problem_answer(error)

    assert (status, headers["content-type"]) == (504, "application/problem+json")
    assert b'"effect": "in_doubt"' in body
