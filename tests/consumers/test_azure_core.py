"""azure-core: every Azure SDK sends through ``AioHttpTransport(session=..., session_owner=False)``."""

from typing import Any, Final

import aiohttp
import pytest
from azure.core import AsyncPipelineClient
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseTimeoutError,
    map_error,
)
from azure.core.pipeline.policies import AsyncRetryPolicy
from azure.core.pipeline.transport import AioHttpTransport
from azure.core.rest import AsyncHttpResponse, HttpRequest
from tests.consumers.sessions import OURS, PLAIN, Told, a_session, make_session, on_the_wire, over_both, told
from tests.support import Behaviour, Peer, answer, drop, failure, hang, refused_port, run, run_virtual, said

from holdfast import DeadlineExceededError, Policy
from holdfast.testing import RecordingSink

ERRORS: Final = {401: ClientAuthenticationError, 404: ResourceNotFoundError}
"""What a generated SDK hands to ``map_error``."""


def azure(url: str, session: aiohttp.ClientSession, **options: Any) -> AsyncPipelineClient[HttpRequest, Any]:
    """Make a client whose own retries are off: one that tries again beside us multiplies the attempts."""
    transport = AioHttpTransport(session=session, session_owner=False, **options)
    return AsyncPipelineClient(url, transport=transport, policies=[AsyncRetryPolicy.no_retries()])


async def asked(client: AsyncPipelineClient[HttpRequest, Any], request: HttpRequest) -> AsyncHttpResponse:
    """Send a request the way a generated SDK does, which raises for what it does not expect."""
    response: AsyncHttpResponse = await client.send_request(request)
    map_error(response.status_code, response, ERRORS)
    response.raise_for_status()
    return response


@over_both
def test_a_request_is_answered_through_the_session_which_stays_open(kind: str) -> None:
    """One session shared by several SDK clients would be closed under the others."""

    async def scenario() -> Any:
        async with Peer(said(200, {"name": "blob"})) as peer, a_session(kind) as session:
            async with azure(peer.url, session) as client:
                response = await asked(client, HttpRequest("GET", f"{peer.url}/container"))
            async with azure(peer.url, session) as client:
                again = await asked(client, HttpRequest("GET", f"{peer.url}/container"))
            return response.json(), again.json()

    assert run(scenario()) == ({"name": "blob"}, {"name": "blob"})


@over_both
def test_a_transport_that_owns_the_session_closes_it(kind: str) -> None:
    """Sockets would be left open by every client that was told to look after its session."""

    async def scenario() -> tuple[bool, bool]:
        session = make_session(kind)
        async with AioHttpTransport(session=session, session_owner=True):
            before = session.closed
        return before, session.closed

    assert run(scenario()) == (False, True)


def test_the_same_bytes_go_out_as_with_a_plain_session() -> None:
    """Azure Storage signs the request: one header more, Content-Type for instance, is a 403."""

    async def sent(kind: str) -> object:
        async with Peer(said(200, {})) as peer, a_session(kind) as session, azure(peer.url, session) as client:
            numbered: Any = {"headers": {"x-ms-client-request-id": "1"}}  # else azure-core draws one
            await client.send_request(HttpRequest("GET", f"{peer.url}/a?x=%20y", **numbered))
            await client.send_request(HttpRequest("POST", f"{peer.url}/empty", **numbered))
            await client.send_request(HttpRequest("PUT", f"{peer.url}/b", json={"k": 1}, **numbered))
            await client.send_request(HttpRequest("PUT", f"{peer.url}/c", content=b"\0raw", **numbered))
            await client.send_request(HttpRequest("DELETE", f"{peer.url}/d", **numbered))
            return on_the_wire(peer)

    assert run(sent(OURS)) == run(sent(PLAIN))


@pytest.mark.parametrize("first", [answer(503), drop()], ids=["503", "dropped"])
@pytest.mark.parametrize(("method", "effect"), [("GET", "none"), ("PUT", "landed")])
def test_what_is_safe_to_repeat_is_seen_only_as_its_good_answer(method: str, effect: str, first: Behaviour) -> None:
    """With the pipeline's own retries off, a passing 503 of Azure would fail the job."""
    sink = RecordingSink()

    async def scenario() -> Any:
        async with (
            Peer(first, said(200, {"name": "blob"})) as peer,
            a_session(OURS, sink) as session,
            azure(peer.url, session) as client,
        ):
            body: Any = {"json": {"k": 1}} if method == "PUT" else {}
            response = await asked(client, HttpRequest(method, f"{peer.url}/container", **body))
            return response.json(), [seen.body for seen in peer.seen]

    document, bodies = run(scenario())

    assert document == {"name": "blob"}
    assert bodies == ([b'{"k": 1}'] * 2 if method == "PUT" else [b"", b""])
    assert told(sink) == [Told(method, 200, 2, "success", effect)]


@over_both
@pytest.mark.parametrize(
    ("status", "error_type"),
    [(401, ClientAuthenticationError), (404, ResourceNotFoundError), (422, HttpResponseError)],
)
def test_a_refusal_is_the_same_error_as_with_a_plain_session(
    kind: str, status: int, error_type: type[HttpResponseError]
) -> None:
    """An SDK reads Azure's error code out of the body: one that was read away leaves an error without a cause."""

    async def scenario() -> BaseException:
        refusal = said(status, {"error": {"code": "Gone", "message": "it is not here"}})
        async with Peer(refusal) as peer, a_session(kind) as session, azure(peer.url, session) as client:
            return await failure(asked(client, HttpRequest("POST", f"{peer.url}/container", json={})))

    error = run(scenario())

    assert isinstance(error, HttpResponseError)
    assert (type(error), error.status_code, error.error and error.error.code) == (error_type, status, "Gone")


@over_both
@pytest.mark.parametrize("how", ["refused", "dropped"])
def test_a_failure_of_the_network_is_the_same_error_as_with_a_plain_session(kind: str, how: str) -> None:
    """``ServiceRequestError`` and ``ServiceResponseError`` tell an SDK whether the request may have been taken in."""

    async def scenario() -> tuple[type[BaseException], type[BaseException | None]]:
        async with Peer(drop()) as peer, a_session(kind) as session:
            url = peer.url if how == "dropped" else f"http://127.0.0.1:{refused_port()}"
            async with azure(url, session) as client:
                error = await failure(client.send_request(HttpRequest("POST", f"{url}/container", json={})))
                return type(error), type(error.__cause__)

    cause = aiohttp.ServerDisconnectedError if how == "dropped" else aiohttp.ClientConnectorError
    assert run(scenario()) == (ServiceRequestError, cause)


def test_a_call_past_its_deadline_is_azures_timeout() -> None:
    """Code written for Azure catches ``ServiceResponseTimeoutError``, and knows none of ours."""

    async def scenario() -> BaseException:
        policy = Policy(deadline=20.0)
        async with Peer(hang()) as peer, a_session(OURS, policy=policy) as session, azure(peer.url, session) as client:
            return await failure(client.send_request(HttpRequest("POST", f"{peer.url}/container", json={})))

    error = run_virtual(scenario())

    assert (type(error), type(error.__cause__)) == (ServiceResponseTimeoutError, DeadlineExceededError)
