"""What the caller gets when a call has ended: a response, an error, and a report that both carry."""

import pickle
from typing import Any

import aiohttp
import pytest
from tests.support import AT_ONCE, Behaviour, Peer, answer, cut, drop, failure, raw, refused_port, report, run, said

from holdfast import (
    Effect,
    HoldfastError,
    IdempotencyConflictError,
    Outcome,
    PermanentFailureError,
    Policy,
    Provider,
    ResilientSession,
    RetriesExhaustedError,
    StopReason,
    report_of,
)
from holdfast.providers import FIANT, FINIX, GENERIC

DEPOSIT = "/v1/transactions/deposits"


async def post(path: str, *script: Behaviour, provider: Provider = GENERIC, **options: Any) -> aiohttp.ClientResponse:
    """Make one POST and read what can be read of its answer."""
    async with Peer(*script) as peer, ResilientSession(peer.url, provider=provider, policy=AT_ONCE) as session:
        return await session.post(path, **{"json": {"amount": 1}, **options})


@pytest.mark.parametrize(
    "status", [200, 201, 202, 204, 304, 400, 401, 402, 403, 404, 409, 418, 422, 429, 500, 501, 503]
)
def test_a_response_is_returned_whatever_its_status(status: int) -> None:
    """Drop-in code that looks at ``response.status`` would have to learn to catch our exceptions."""
    response = run(post("/", raw(b"HTTP/1.1 %d Said\r\ncontent-length: 0\r\n\r\n" % status)))

    assert response.status == status
    assert report(response).attempts[-1].status == status


@pytest.mark.parametrize(
    ("behaviour", "kind", "outcome"),
    [
        (answer(404), PermanentFailureError, Outcome.PERMANENT_FAILURE),
        (answer(503), RetriesExhaustedError, Outcome.RETRYABLE),
        (answer(409), IdempotencyConflictError, Outcome.IDEMPOTENCY_CONFLICT),
    ],
)
@pytest.mark.parametrize("on_session", [False, True])
def test_raise_for_status_raises_the_error_of_the_outcome(
    behaviour: Behaviour, kind: type[aiohttp.ClientResponseError], outcome: Outcome, *, on_session: bool
) -> None:
    """``except ClientResponseError`` must go on working, and ``except HoldfastError`` must find the verdict."""

    async def scenario() -> BaseException:
        options: dict[str, Any] = {"raise_for_status": True} if on_session else {}
        async with Peer(behaviour) as peer, ResilientSession(peer.url, policy=AT_ONCE, **options) as session:
            asked: dict[str, Any] = {} if on_session else {"raise_for_status": True}
            return await failure(session.post("/", json={}, idempotency_key="k", **asked))

    error = run(scenario())

    assert type(error) is kind
    assert isinstance(error, HoldfastError)
    assert isinstance(error, aiohttp.ClientResponseError)
    assert (error.status, report(error).outcome) == (report(error).attempts[-1].status, outcome)
    assert error.report is report_of(error)
    assert pickle.loads(pickle.dumps(error)).report == error.report  # noqa: S301 - our own bytes


def test_a_request_may_turn_the_sessions_raise_for_status_off() -> None:
    """One call that wants to look at a 404 itself would have to open a session of its own."""

    async def scenario() -> int:
        async with Peer(answer(404)) as peer, ResilientSession(peer.url, raise_for_status=True) as session:
            return (await session.get("/", raise_for_status=False)).status

    assert run(scenario()) == 404


@pytest.mark.parametrize("on_session", [False, True])
def test_a_callable_raise_for_status_is_awaited_with_the_final_response(*, on_session: bool) -> None:
    """A caller's own check would run on answers that he never sees, or not at all."""
    checked: list[int] = []

    async def check(response: aiohttp.ClientResponse) -> None:
        checked.append(response.status)
        raise LookupError(await response.text())

    async def scenario() -> BaseException:
        session_options: dict[str, Any] = {"raise_for_status": check} if on_session else {}
        options: dict[str, Any] = {} if on_session else {"raise_for_status": check}
        script = answer(503), answer(400, b"the body")
        async with Peer(*script) as peer, ResilientSession(peer.url, policy=AT_ONCE, **session_options) as session:
            return await failure(session.get("/", **options))

    error = run(scenario())

    assert isinstance(error, LookupError)
    assert (checked, str(error)) == ([400], "the body")


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [(drop(), aiohttp.ServerDisconnectedError), (raw(b"nonsense\r\n\r\n"), aiohttp.ClientResponseError)],
)
def test_aiohttps_own_error_is_raised_as_itself_with_the_report(behaviour: Behaviour, kind: type[Exception]) -> None:
    """``except ServerDisconnectedError`` in drop-in code would never fire again."""
    error = run(failure_of_post(behaviour))

    assert type(error) is kind
    assert not isinstance(error, HoldfastError)
    assert report(error).attempts[0].error == kind.__name__


async def failure_of_post(behaviour: Behaviour, **options: Any) -> BaseException:
    """Make one POST that fails."""
    return await failure(post("/", behaviour, **options))


def test_a_refused_connection_is_raised_as_itself() -> None:
    """Code that falls back to another host on ``ClientConnectorError`` would stop doing so."""

    async def scenario() -> BaseException:
        async with ResilientSession(policy=AT_ONCE) as session:
            return await failure(session.post(f"http://127.0.0.1:{refused_port()}/", json={}))

    error = run(scenario())

    assert type(error) is aiohttp.ClientConnectorError
    assert report(error).effect is Effect.NONE


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n",
    ],
)
def test_a_malformed_response_is_doubt_and_never_a_refusal(garbage: bytes) -> None:
    """Aiohttp calls it status 400: the caller would take the payment for refused and make it again."""
    error = run(failure_of_post(raw(garbage, then="close")))

    known = report(error)
    assert (known.outcome, known.effect, known.stop_reason) == (
        Outcome.RETRYABLE,
        Effect.IN_DOUBT,
        StopReason.UNSAFE_TO_RESEND,
    )
    assert known.attempts[0].status is None


def test_a_lost_body_is_fetched_again_under_the_same_key() -> None:
    """The caller would not learn the id of the transfer that he has just paid for."""

    async def scenario() -> tuple[aiohttp.ClientResponse, Any, list[Any]]:
        script = cut(201), said(201, {"id": "TR1"})
        async with Peer(*script) as peer, ResilientSession(peer.url, provider=FINIX, policy=AT_ONCE) as session:
            response = await session.post("/transfers", json={"amount": 1})
            return response, await response.json(), [seen.document["idempotency_id"] for seen in peer.seen]

    response, document, keys = run(scenario())

    known = report(response)
    assert (document, keys) == ({"id": "TR1"}, [known.idempotency_key] * 2)
    assert (known.outcome, known.effect, known.stop_reason) == (Outcome.SUCCESS, Effect.LANDED, StopReason.SUCCEEDED)


def test_a_lost_body_of_a_provider_that_does_not_replay_is_a_landed_success() -> None:
    """Fiant answers a re-used id with an error: asking again would turn a payment made into one refused."""

    async def scenario() -> tuple[aiohttp.ClientResponse, int, BaseException]:
        async with Peer(cut(201)) as peer, ResilientSession(peer.url, provider=FIANT, policy=AT_ONCE) as session:
            response = await session.post(DEPOSIT, json={"amount": 1})
            return response, len(peer.seen), await failure(response.read())

    response, sends, error = run(scenario())

    known = report(response)
    assert (response.status, sends) == (201, 1)
    assert (known.outcome, known.effect, known.reason) == (Outcome.SUCCESS, Effect.LANDED, "body_unreadable")
    assert isinstance(error, aiohttp.ClientError)


@pytest.mark.parametrize("later", [answer(503), drop(), answer(409), answer(422), answer(404)])
def test_what_landed_stays_landed_whatever_comes_after(later: Behaviour) -> None:
    """The 201 had arrived: no later failure makes the payment unmade."""
    response = run(post("/transfers", cut(201), later, provider=FINIX))

    known = report(response)
    assert response.status == 201
    assert (known.outcome, known.effect, known.reason) == (Outcome.SUCCESS, Effect.LANDED, "body_unreadable")


def test_an_accepted_call_says_so() -> None:
    """The user would ship goods for a transfer that is still pending."""
    response = run(post("/transfers", answer(202), provider=FINIX))

    known = report(response)
    assert (known.outcome, known.reason, known.effect) == (Outcome.SUCCESS, "accepted", Effect.LANDED)


@pytest.mark.parametrize("provider", [FINIX, FIANT])
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_payment_provider_that_redirects_is_not_followed(provider: Provider, status: int) -> None:
    """Credentials and card data would go wherever a hijacked answer points."""

    async def scenario() -> tuple[aiohttp.ClientResponse, int]:
        script = answer(status, location="/elsewhere")
        async with Peer(script) as peer, ResilientSession(peer.url, provider=provider, policy=AT_ONCE) as session:
            return await session.post("/transfers", json={}, allow_redirects=True), peer.lines.count("POST /transfers")

    response, sends = run(scenario())

    known = report(response)
    assert (response.status, sends) == (status, 1)
    assert (known.outcome, known.stop_reason) == (Outcome.PERMANENT_FAILURE, StopReason.PERMANENT)


def test_a_redirect_the_caller_did_not_want_followed_is_an_answer() -> None:
    """``allow_redirects=False`` with ``raise_for_status`` would raise on the very answer that was asked for."""

    async def scenario() -> int:
        async with Peer(answer(302, location="/x")) as peer, ResilientSession(peer.url) as session:
            return (await session.get("/", allow_redirects=False, raise_for_status=True)).status

    assert run(scenario()) == 302


def test_an_earlier_doubt_is_settled_by_a_refusal_under_the_same_key() -> None:
    """A payment that the provider has looked up and refused would be chased by hand."""
    response = run(post("/pay", drop(), answer(422), idempotency_key="k"))

    assert report(response).effect is Effect.NONE


@pytest.mark.parametrize("status", [401, 403, 404, 429, 503])
def test_an_earlier_doubt_is_not_settled_by_a_refusal_at_the_door(status: int) -> None:
    """An expired token on the retry says nothing about the payment sent before it."""
    response = run(post("/pay", drop(), answer(status), idempotency_key="k"))

    assert report(response).effect is Effect.IN_DOUBT


def test_a_conflict_under_our_key_is_not_a_refusal() -> None:
    """The first send landed; calling the second's 409 "refused" makes the caller pay again."""
    response = run(post("/pay", drop(), answer(409), idempotency_key="k"))

    known = report(response)
    assert (known.outcome, known.effect, known.stop_reason) == (
        Outcome.IDEMPOTENCY_CONFLICT,
        Effect.IN_DOUBT,
        StopReason.CONFLICT,
    )


def test_a_report_is_plain_and_survives_a_pickle() -> None:
    """A report that cannot be stored with the order is of no use the next day."""
    response = run(post("/pay?secret=1", said(503, {"logref": "L1", "message": "m"}), answer(200), idempotency_key="k"))

    known = report(response)
    plain = known.to_dict()
    assert pickle.loads(pickle.dumps(known)) == known  # noqa: S301 - our own bytes
    assert (plain["outcome"], plain["logrefs"], len(plain["attempts"])) == ("success", ["L1"], 2)
    assert plain["url"].endswith("/pay")


def test_a_plain_object_has_no_report() -> None:
    """``report_of`` on somebody else's response must not raise in an error handler."""
    for ended in (None, ValueError("x"), object(), "text"):
        assert report_of(ended) is None


def test_a_get_whose_body_is_lost_each_time_says_so() -> None:
    """The caller would be told "success" of a page that nobody has read."""

    async def scenario() -> tuple[aiohttp.ClientResponse, BaseException]:
        policy = Policy(backoff_base=0.0, max_attempts=2)
        async with Peer(cut(200)) as peer, ResilientSession(peer.url, provider=FINIX, policy=policy) as session:
            response = await session.get("/transfers/TR1")
            return response, await failure(response.read())

    response, error = run(scenario())

    known = report(response)
    assert (known.outcome, known.effect, known.stop_reason) == (
        Outcome.RETRYABLE,
        Effect.NONE,
        StopReason.ATTEMPTS_EXHAUSTED,
    )
    assert isinstance(error, aiohttp.ClientError)
