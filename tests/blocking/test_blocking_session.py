"""A call that blocks its thread ends in the same verdict as one that is awaited."""

import asyncio
import contextvars
import gc
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import aiohttp
import pytest
from tests.blocking.serving import loop_threads, on_a_thread, peer
from tests.support import AT_ONCE, Seen, answer, cut, drop, hang, head_of, raw, refused_port, report, said

from holdfast import (
    DeadlineExceededError,
    IdempotencyConflictError,
    PermanentFailureError,
    Policy,
    RetriesExhaustedError,
    report_of,
)
from holdfast.blocking import BlockingResponse, BlockingSession
from holdfast.engine import loop_thread
from holdfast.providers import FINIX
from holdfast.testing import RecordingSink

METHODS = ["get", "options", "head", "post", "put", "patch", "delete"]


def test_an_answer_is_complete_when_it_is_returned() -> None:
    """A view could not read what the provider said, or would read it after the deadline."""
    body = b'{"id": "TR1", "note": "gr\xc3\xbc\xc3\x9fe"}'
    with on_a_thread(peer(answer(201, body, set_cookie="a=b"))) as there, BlockingSession(there.url) as session:
        response = session.post("/charges?secret=1", json={"amount": 1})

    known = report(response)
    assert (response.status, response.reason, response.method, response.ok) == (201, "Said", "POST", True)
    assert (response.content, response.text) == (body, body.decode())
    assert response.json() == {"id": "TR1", "note": "grüße"}
    assert str(response.url) == f"{there.url}/charges?secret=1"
    assert (response.headers["Content-Type"], response.cookies["a"].value) == ("application/json", "b")
    assert (known.outcome, known.effect, len(known.attempts)) == ("success", "landed", 1)
    assert repr(response) == f"<BlockingResponse [201] POST {there.url}/charges>"
    response.raise_for_status()


@pytest.mark.parametrize("method", METHODS)
def test_each_method_sends_its_own_verb(method: str) -> None:
    """A ``session.delete`` that posts would do the opposite of what was asked."""
    with on_a_thread(peer(answer(200, b""))) as there, BlockingSession(there.url) as session:
        response = getattr(session, method)("/thing")
        by_name = session.request(method, "/thing")

    assert [seen.method for seen in there.seen] == [method.upper()] * 2
    assert (response.status, by_name.method) == (200, method.upper())


@pytest.mark.parametrize("method", METHODS)
def test_each_method_takes_the_keywords_of_the_async_session(method: str) -> None:
    """Code that moves between the two sessions would have to be rewritten."""
    keywords = {"params": {"a": "1"}, "headers": {"X-Own": "1"}, "allow_redirects": False, "operation": "look"}
    with on_a_thread(peer(answer(302, b"", location="/there"))) as there, BlockingSession(there.url) as session:
        response = getattr(session, method)("/thing", policy=Policy(max_attempts=1), reconcile=None, **keywords)

    (seen,) = there.seen
    assert (seen.target, seen.headers["x-own"]) == ("/thing?a=1", "1")
    assert (response.status, report(response).operation) == (302, "look")


def test_a_misspelt_keyword_is_refused_before_anything_is_sent() -> None:
    """A payment would be made without the policy, or the key, that its caller wrote."""
    with on_a_thread(peer(answer())) as there, BlockingSession(there.url) as session:
        with pytest.raises(TypeError, match="idempotencykey"):
            session.post("/charges", json={}, idempotencykey="order-7")  # type: ignore[call-arg]
        with pytest.raises(TypeError, match=r"^policy= must be a Policy, got int$"):
            session.post("/charges", json={}, policy=5)  # type: ignore[arg-type]

    assert there.seen == []


@pytest.mark.parametrize(
    ("status", "error"),
    [(402, PermanentFailureError), (503, RetriesExhaustedError), (409, IdempotencyConflictError)],
)
def test_a_failed_answer_raises_the_async_sessions_error_when_asked(status: int, error: type[Exception]) -> None:
    """A view that calls ``raise_for_status`` would take a refusal for a success, or catch another class."""
    once = Policy(max_attempts=1)
    with on_a_thread(peer(said(status, {"logref": "L1"}))) as there, BlockingSession(there.url, policy=once) as session:
        response = session.post("/charges", json={}, idempotency_key="k")
        with pytest.raises(error) as late:
            response.raise_for_status()
        with pytest.raises(error) as early:
            session.post("/charges", json={}, idempotency_key="k", raise_for_status=True)

    assert (response.ok, response.json()) == (False, {"logref": "L1"})
    assert str(late.value) == str(early.value)
    assert report(late.value) == report(response)
    assert isinstance(late.value, aiohttp.ClientResponseError)


def test_a_redirect_that_was_not_to_be_followed_is_an_answer() -> None:
    """``allow_redirects=False`` asks for the 302 itself; raising it would make the caller's own wish an error."""
    with on_a_thread(peer(answer(302, b"", location="/there"))) as there, BlockingSession(there.url) as session:
        response = session.get("/here", allow_redirects=False)

    assert response.status == 302
    response.raise_for_status()


def test_a_redirect_from_a_provider_that_sends_none_is_a_failure() -> None:
    """A payment answered by a redirect did not pass; ``raise_for_status`` must say so, as the async session does."""
    with on_a_thread(peer(answer(302, location="/x"))) as there, BlockingSession(there.url, provider=FINIX) as session:
        response = session.get("/transfers/TR1")

    with pytest.raises(PermanentFailureError):
        response.raise_for_status()


def test_what_is_safe_is_sent_again() -> None:
    """A keyed payment would fail at the first lost connection."""
    with (
        on_a_thread(peer(drop(), said(201, {"id": "TR1"}))) as there,
        BlockingSession(there.url, provider=FINIX, policy=AT_ONCE) as session,
    ):
        response = session.post("/transfers", json={"amount": 1}, operation="charge")

    keys = {seen.document["idempotency_id"] for seen in there.seen}
    assert (len(there.seen), len(keys)) == (2, 1)
    assert (report(response).operation, report(response).effect) == ("charge", "landed")


@pytest.mark.parametrize("policy", [None, Policy(), Policy(read_body=False)])
def test_a_success_whose_body_is_lost_has_landed(policy: Policy | None) -> None:
    """A view would report "payment failed" for one that was made: 201 is the answer, whatever became of its body."""
    with on_a_thread(peer(cut(201))) as there, BlockingSession(there.url, policy=policy or Policy()) as session:
        response = session.post("/charges", json={"amount": 1}, policy=policy)

    known = report(response)
    assert (response.status, known.outcome, known.effect, known.reason) == (201, "success", "landed", "body_unreadable")
    for read in (lambda: response.content, lambda: response.text, response.json):
        with pytest.raises(aiohttp.ClientError) as error:
            read()
        assert report_of(error.value) == known
    response.raise_for_status()


def test_an_error_whose_body_is_lost_keeps_its_status() -> None:
    """A refusal would turn into a connection error, and be tried again by whoever catches that."""
    with on_a_thread(peer(cut(422, b'{"logref": "L1"', announced=200_000))) as there, BlockingSession() as session:
        response = session.post(there.url, json={})

    assert (response.status, report(response).effect) == (422, "none")
    with pytest.raises(aiohttp.ClientPayloadError):
        _ = response.content


def test_a_large_error_body_is_read_whole() -> None:
    """The caller would see the 64 KiB that the verdict needs, and not the document."""
    body = b'{"a": "' + b"x" * 300_000 + b'"}'
    with on_a_thread(peer(answer(400, body))) as there, BlockingSession(there.url) as session:
        response = session.get("/")

    assert response.content == body


def test_an_error_body_that_never_ends_is_left_at_the_deadline() -> None:
    """A thread of the server's pool would hang on a peer that drips."""
    stuck = hang(head_of(404, {"content-length": "100000"}) + b"x" * 70_000)
    with on_a_thread(peer(stuck)) as there, BlockingSession(there.url, policy=Policy(deadline=0.3)) as session:
        response = session.get("/")

    assert response.status == 404
    with pytest.raises(TimeoutError):
        _ = response.content


def test_no_call_outlives_its_deadline() -> None:
    """A view would hold its worker until the server kills it."""
    with (
        on_a_thread(peer(hang())) as there,
        BlockingSession(there.url, policy=Policy(deadline=0.2)) as session,
        pytest.raises(DeadlineExceededError) as error,
    ):
        session.post("/charges", json={})

    assert 0.2 <= report(error.value).elapsed_s < 1.0
    assert report(error.value).effect == "in_doubt"


def test_a_failure_without_answer_is_aiohttps_own_with_its_report() -> None:
    """A caller that catches ``ClientConnectorError`` would miss it, or not learn that nothing was sent."""
    with (
        BlockingSession(policy=Policy(max_attempts=1)) as session,
        pytest.raises(aiohttp.ClientConnectorError) as error,
    ):
        session.post(f"http://127.0.0.1:{refused_port()}/", json={})

    assert report(error.value).effect == "none"


@pytest.mark.parametrize(
    ("content_type", "body", "text"),
    [
        ("text/plain; charset=latin-1", b"gr\xfc\xdfe", "grüße"),
        ("text/plain", "grüße".encode(), "grüße"),
        ("text/plain; charset=no-such", b"a\xff", "a�"),
        ("text/plain; charset=zlib", b"a", "a"),
        ("text/plain; charset=idna", b"a\xff", "a�"),
        ("application/json; charset=utf-16", "{}".encode("utf-16"), "{}"),
    ],
)
def test_text_is_decoded_as_announced_and_never_raises(content_type: str, body: bytes, text: str) -> None:
    """A peer could crash a view by the name of a codec, or put a body into the error's own text."""
    with on_a_thread(peer(answer(200, body, content_type=content_type))) as there, BlockingSession() as session:
        response = session.get(there.url)

    assert response.text == text


def test_an_error_is_gone_when_it_was_handled() -> None:
    """Each failed call would keep its views' local variables, card numbers and all, until the garbage is collected."""

    class CardDeclinedError(Exception):
        pass

    async def fail() -> None:
        raise CardDeclinedError

    left: list[weakref.ref[CardDeclinedError]] = []
    gc.disable()
    try:
        try:
            loop_thread.started().run(fail)
        except CardDeclinedError as error:
            left.append(weakref.ref(error))
        loop_thread.started().run(partial(asyncio.sleep, 0))  # the loop has let go of its task
        kept = left[0]()
    finally:
        gc.enable()

    assert kept is None


def test_a_call_that_ends_with_its_process_raises_an_ordinary_error() -> None:
    """A thread would end in ``CancelledError``, which no ``except Exception`` of its own would see and log."""

    async def be_cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(RuntimeError, match=r"^the call was cancelled: the process is exiting$"):
        loop_thread.started().run(be_cancelled)


def test_what_is_not_json_raises_value_error() -> None:
    """A view that guards ``response.json()`` with ``except ValueError`` would fail all the same."""
    with on_a_thread(peer(answer(200, b"<html>"))) as there, BlockingSession() as session:
        response = session.get(there.url)

    with pytest.raises(ValueError, match="Expecting value"):
        response.json()


def test_an_in_doubt_call_is_looked_up_later() -> None:
    """A doubt of a Flask service could be settled only by hand."""
    mended = threading.Event()

    def bank(seen: Seen) -> Any:
        if not mended.is_set():
            return drop()
        key = there.seen[0].document["idempotency_id"]
        found = {"id": "TR1", "state": "SUCCEEDED", "idempotency_id": key, "amount": 1}
        return said(200, {"_embedded": {"transfers": [found]}} if "?" in seen.target else found)

    once = Policy(max_attempts=1, backoff_base=0.0, deadline=5)
    with (
        on_a_thread(peer(choose=bank)) as there,
        BlockingSession(there.url, provider=FINIX, policy=once, sinks=[]) as session,
    ):
        with pytest.raises(aiohttp.ClientError) as error:
            session.post("/transfers", json={"amount": 1})
        doubtful = report(error.value)
        mended.set()
        settled = session.reconcile(doubtful, sent={"amount": 1})

    assert (doubtful.effect, settled.effect, settled.stop_reason) == ("in_doubt", "landed", "reconciled")


def test_thirty_two_threads_share_one_session() -> None:
    """A threaded server would mix up answers, or open a session and a loop for each thread."""
    opened: list[str] = []

    def connector() -> aiohttp.TCPConnector:
        opened.append(threading.current_thread().name)
        return aiohttp.TCPConnector(limit=32)

    def echo(seen: Seen) -> Any:
        return answer(200, seen.body)

    with (
        on_a_thread(peer(choose=echo)) as there,
        BlockingSession(there.url, connector=connector) as session,
        ThreadPoolExecutor(32) as threads,
    ):
        answers = list(threads.map(lambda n: session.post("/", json=n).json(), range(640)))

    assert answers == list(range(640))
    assert opened == ["holdfast-loop"]
    assert loop_threads() == 1


def test_all_sessions_of_a_process_share_one_thread() -> None:
    """Each provider would cost a thread, and each test of a user's one more."""
    with on_a_thread(peer(answer())) as there, BlockingSession() as first, BlockingSession() as second:
        first.get(there.url)
        second.get(there.url)
        between = loop_threads()

    assert (between, there.connections) == (1, 2)


def test_nothing_is_opened_before_the_first_call() -> None:
    """A session at module level would start its thread in gunicorn's master, where the workers cannot use it."""
    made: list[object] = []

    with BlockingSession("http://peer.test", connector=lambda: made.append(1)) as session:
        pass

    assert (made, session.closed) == ([], True)


def test_the_callers_context_goes_along() -> None:
    """Log lines of the call would lack the request id that the view has bound."""
    request_id = contextvars.ContextVar[str]("request_id")
    seen: list[tuple[str, str]] = []

    class Sink:
        def enabled(self, level: int) -> bool:  # noqa: ARG002
            return True

        def emit(self, event: str, level: int, fields: dict[str, Any]) -> None:  # noqa: ARG002
            if event == "outbound.call":
                seen.append((request_id.get(), fields["path"]))

    def view(number: int) -> None:
        request_id.set(f"r{number}")
        session.get(f"/{number}")

    with (
        on_a_thread(peer(answer())) as there,
        BlockingSession(there.url, sinks=[Sink()]) as session,
        ThreadPoolExecutor(8) as threads,
    ):
        list(threads.map(view, range(64)))

    assert sorted(seen) == sorted((f"r{n}", f"/{n}") for n in range(64))


def test_a_closed_session_says_so_in_aiohttps_words() -> None:
    """Code that looks for aiohttp's ``Session is closed`` would not know what happened."""
    with on_a_thread(peer(answer())) as there:
        session = BlockingSession(there.url)
        session.get("/")
        session.close()
        session.close()

        with pytest.raises(RuntimeError, match=r"^Session is closed$"):
            session.get("/")
        with pytest.raises(RuntimeError, match=r"^Session is closed$"):
            session.reconcile(report(_any_response(there.url)))

    assert (session.closed, repr(session)) == (True, "<BlockingSession provider='generic' closed=True>")
    assert there.ended == there.connections


def test_a_forgotten_session_closes_its_connections() -> None:
    """A session made per task would leak sockets until the provider refuses more."""
    with on_a_thread(peer(answer())) as there:
        BlockingSession(there.url).get("/")
        gc.collect()
        until = time.monotonic() + 5
        while not there.ended and time.monotonic() < until:
            time.sleep(0.001)

        assert there.ended == 1


def test_a_running_loop_is_never_blocked() -> None:
    """One call in an ``async def`` view would stop every request of its server; a call in a sink, for ever."""
    session = BlockingSession("http://peer.test")

    async def view() -> None:
        session.get("/")

    with pytest.raises(RuntimeError, match=r"would block the event loop .* use ResilientSession"):
        asyncio.run(view())
    with (
        on_a_thread(peer(answer())) as there,
        BlockingSession(there.url, middlewares=[_calls(session)]) as outer,
        pytest.raises(RuntimeError, match="would block the event loop"),
    ):
        outer.get("/")
    session.close()


@pytest.mark.parametrize(
    ("options", "said_of_it"),
    [
        ({"provider": "finix"}, r"^provider= must be a Provider, got str$"),
        ({"policy": 5}, r"^policy= must be a Policy, got int$"),
        ({"timeuot": 5}, r"unexpected keyword argument 'timeuot'"),
        ({"client": object()}, r"^client= cannot be given: the session has an event loop of its own"),
        ({"loop": None}, r"^loop= cannot be given"),
        ({"connector": object()}, r"^connector= belongs to one event loop: pass a function that makes it, got object$"),
        ({"cookie_jar": 1}, r"^cookie_jar= belongs to one event loop"),
    ],
)
def test_a_wrong_argument_is_refused_where_it_is_given(options: dict[str, Any], said_of_it: str) -> None:
    """A typing error at import would surface at the first payment, hours later."""
    with pytest.raises(TypeError, match=said_of_it):
        BlockingSession(**options)


def test_aiohttps_options_are_aiohttps_own() -> None:
    """Headers, cookies and time limits of a service would be lost when it moves from one session to the other."""
    with (
        on_a_thread(peer(answer(), raw(b"not http", then="close"))) as there,
        BlockingSession(
            there.url,
            headers={"X-Own": "1"},
            cookies={"c": "1"},
            cookie_jar=aiohttp.DummyCookieJar,
            timeout=aiohttp.ClientTimeout(total=5),
            raise_for_status=True,
            sinks=[RecordingSink()],
        ) as session,
    ):
        session.get("/", params={"q": "1"}, headers={"X-Late": "2"}, timeout=aiohttp.ClientTimeout(total=1))

    (seen,) = there.seen
    assert (seen.target, seen.headers["x-own"], seen.headers["x-late"]) == ("/?q=1", "1", "2")


def _any_response(url: str) -> BlockingResponse:
    with BlockingSession() as session:
        return session.get(url)


def _calls(session: BlockingSession) -> Any:
    async def middleware(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        session.get("/")
        return await handler(request)

    return middleware
