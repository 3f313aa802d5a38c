"""gql: ``AIOHTTPTransport`` makes its own session in ``connect()``; a subclass of four lines gives it ours.

``client_session_args`` only reaches the ``aiohttp.ClientSession`` that gql makes itself, and a session that was put on
the transport before ``connect()`` is refused by it. So the hook is ``connect()``, and ``close()`` where the session is
shared.
"""

from typing import Any, Final

import aiohttp
import pytest
from gql import Client, GraphQLRequest, gql
from gql.transport.aiohttp import AIOHTTPTransport
from gql.transport.exceptions import (
    TransportAlreadyConnected,
    TransportConnectionFailed,
    TransportQueryError,
    TransportServerError,
)
from tests.consumers.sessions import OURS, PLAIN, Told, a_session, make_session, on_the_wire, over_both, told
from tests.support import Behaviour, Peer, answer, drop, failure, run, said

from holdfast.testing import RecordingSink

QUERY: Final = gql("query { hero { name } }")
ONE_HERO: Final = GraphQLRequest("query Q($n: Int) { hero(n: $n) { name } }", variable_values={"n": 1})
HERO: Final = {"hero": {"name": "R2-D2"}}
KEYED: Final = {"headers": {"Idempotency-Key": "query-1"}}


class SharedTransport(AIOHTTPTransport):
    """Sends through a session that somebody else opened and will close."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        super().__init__(url)
        self._shared = session

    async def connect(self) -> None:
        self.session = self._shared

    async def close(self) -> None:
        self.session = None


class OwningTransport(AIOHTTPTransport):
    """Sends through a session of its own, and lets gql close it."""

    def __init__(self, url: str, kind: str) -> None:
        super().__init__(url)
        self._kind = kind
        self.made: list[aiohttp.ClientSession] = []

    async def connect(self) -> None:
        self.session = make_session(self._kind)
        self.made.append(self.session)


async def asked(transport: AIOHTTPTransport, request: GraphQLRequest = QUERY, **options: Any) -> Any:
    """Run one query over a transport that is open for as long."""
    async with Client(transport=transport) as client:
        return await client.execute(request, **options)


@over_both
def test_a_query_is_answered_through_a_shared_session_which_stays_open(kind: str) -> None:
    """A service would need one pool of connections per GraphQL client."""

    async def scenario() -> list[Any]:
        async with Peer(said(200, {"data": HERO})) as peer, a_session(kind) as session:
            return [await asked(SharedTransport(peer.url, session)) for _ in range(2)]

    assert run(scenario()) == [HERO, HERO]


@over_both
def test_gql_closes_a_session_of_its_own(kind: str) -> None:
    """Before it closes, it looks into the connector's private parts: it would fail there, and leak the sockets."""

    async def scenario() -> tuple[Any, list[bool]]:
        async with Peer(said(200, {"data": HERO})) as peer:
            transport = OwningTransport(peer.url, kind)
            return await asked(transport), [session.closed for session in transport.made]

    assert run(scenario()) == (HERO, [True])


@over_both
def test_a_session_put_on_the_transport_is_refused(kind: str) -> None:
    """The short way, ``transport.session = session``, works with no session, and closes it: hence the subclass."""

    async def scenario() -> tuple[type[BaseException], bool]:
        async with Peer(said(200, {"data": HERO})) as peer:
            transport = AIOHTTPTransport(peer.url)
            transport.session = session = make_session(kind)
            error = await failure(asked(transport))
            return type(error), session.closed

    assert run(scenario()) == (TransportAlreadyConnected, True)


def test_a_client_middleware_reaches_the_session_that_gql_makes() -> None:
    """Without a subclass this is the only way in: what gql makes is genuine, and passes its middlewares on."""

    async def mark(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        request.headers["x-mark"] = "m"
        return await handler(request)

    async def scenario() -> tuple[Any, list[str]]:
        async with Peer(said(200, {"data": HERO})) as peer:
            result = await asked(AIOHTTPTransport(peer.url, client_session_args={"middlewares": (mark,)}))
            return result, [seen.headers["x-mark"] for seen in peer.seen]

    assert run(scenario()) == (HERO, ["m"])


def test_the_same_bytes_go_out_as_with_a_plain_session() -> None:
    """A GraphQL server that reads the body strictly would refuse what is written otherwise."""

    async def sent(kind: str) -> object:
        async with Peer(said(200, {"data": HERO})) as peer, a_session(kind) as session:
            transport = SharedTransport(peer.url, session)
            await asked(transport)
            await asked(transport, ONE_HERO)
            await asked(transport, extra_args=KEYED)
            return on_the_wire(peer)

    assert run(sent(OURS)) == run(sent(PLAIN))


@pytest.mark.parametrize("first", [answer(503), drop()], ids=["503", "dropped"])
@pytest.mark.parametrize("extra", [KEYED, {"idempotency_key": "query-1"}], ids=["header", "keyword"])
def test_a_query_with_a_key_is_seen_only_as_its_good_answer(extra: dict[str, Any], first: Behaviour) -> None:
    """Every GraphQL query is a POST: only a key says that it may be sent again."""
    sink = RecordingSink()

    async def scenario() -> tuple[Any, list[str]]:
        async with Peer(first, said(200, {"data": HERO})) as peer, a_session(OURS, sink) as session:
            result = await asked(SharedTransport(peer.url, session), extra_args=extra)
            return result, [seen.headers["idempotency-key"] for seen in peer.seen]

    assert run(scenario()) == (HERO, ["query-1", "query-1"])
    assert told(sink) == [Told("POST", 200, 2, "success", "landed")]


@over_both
@pytest.mark.parametrize(
    ("behaviour", "error_type", "code"),
    [
        (answer(503), TransportServerError, 503),
        (said(404, {"message": "no such path"}), TransportServerError, 404),
        (said(422, {"errors": [{"message": "bad"}]}), TransportQueryError, None),
        (said(200, {"errors": [{"message": "no hero"}]}), TransportQueryError, None),
        (drop(), TransportConnectionFailed, None),
    ],
    ids=["503", "404", "422", "200 with errors", "dropped"],
)
def test_a_failure_is_the_same_error_as_with_a_plain_session(
    kind: str, behaviour: Behaviour, error_type: type[Exception], code: int | None
) -> None:
    """Callers tell one failure from another by gql's exceptions; and a mutation without a key is sent once."""

    async def scenario() -> tuple[type[BaseException], int | None, list[str]]:
        async with Peer(behaviour) as peer, a_session(kind) as session:
            error = await failure(asked(SharedTransport(peer.url, session)))
            return type(error), getattr(error, "code", None), peer.lines

    assert run(scenario()) == (error_type, code, ["POST /"])
