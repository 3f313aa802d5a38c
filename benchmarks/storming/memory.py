"""Two ways for a client to reach the server in memory: aiohttp's own byte stream, and the engine's transport alone.

The first is the whole library down to the bytes; only the socket is missing. The second is some five times as fast, for
the largest fleets. Confined to one event loop.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler
from benchmarks.storming.server import Server

from holdfast import CallReport, LocalLimits, Policy, ResilientSession
from holdfast.core.deadline import deadline_after
from holdfast.engine.call import Call
from holdfast.engine.drive import make_call
from holdfast.engine.runtime import Runtime
from holdfast.protocols import Answer, Fault
from holdfast.providers import GENERIC
from holdfast.report import REPORT_ATTRIBUTE
from holdfast.transport.faults import fault_of

ORIGIN: Final = "http://origin.test"


class _Wire(asyncio.Transport):
    """Hands each request head to the server, and its answers to aiohttp."""

    def __init__(self, protocol: ResponseHandler, server: Server, *, advises: bool) -> None:
        super().__init__()
        self._protocol = protocol
        self._server = server
        self._advises = advises
        self._closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if bytes(data).endswith(b"\r\n\r\n"):  # a GET is a head alone, written at once
            self._server.take(self._reply)

    def is_closing(self) -> bool:
        return self._closed

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    abort = close

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - as asyncio says
        del name
        return default

    def _reply(self, status: int, advice_s: int | None) -> None:
        if not self._closed:
            advice = f"Retry-After: {advice_s}\r\n" if advice_s is not None and self._advises else ""
            self._protocol.data_received(f"HTTP/1.1 {status} Said\r\n{advice}Content-Length: 2\r\n\r\n{{}}".encode())


class _Connector(aiohttp.BaseConnector):
    """Connects to the server in memory."""

    def __init__(self, server: Server, *, advises: bool) -> None:
        super().__init__(limit=0)
        self._server = server
        self._advises = advises

    async def _create_connection(self, *_: object) -> ResponseHandler:
        protocol = ResponseHandler(asyncio.get_running_loop())
        protocol.connection_made(_Wire(protocol, self._server, advises=self._advises))
        return protocol


class SessionClient:
    """One process with a ``ResilientSession``."""

    def __init__(self, server: Server, policy: Policy, limits: LocalLimits, *, advises: bool) -> None:
        self._session = ResilientSession(
            policy=policy, sinks=[], limits=limits, connector=_Connector(server, advises=advises)
        )

    def draw_from(self, draw: Callable[[], float]) -> None:
        """Take every random number from one source, so that a run can be repeated."""
        self._session._calls.runtime = replace(self._session._calls.runtime, draw=draw)  # noqa: SLF001 - for a benchmark alone

    async def call(self) -> aiohttp.ClientResponse:
        """Make one call."""
        async with self._session.get(f"{ORIGIN}/") as response:
            return response

    async def close(self) -> None:
        """Close the session."""
        await self._session.close()


class _Exchange:
    """The engine's transport, straight to the server."""

    __slots__ = ("_advises", "_server", "bytes_sent", "replayable", "status")

    def __init__(self, server: Server, *, advises: bool) -> None:
        self._server = server
        self._advises = advises
        self.replayable = True
        self.bytes_sent: bool | None = True
        self.status: int | None = None

    async def send(self, total_s: float, connect_s: float) -> Answer | Fault:
        del connect_s
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Answer | Fault] = loop.create_future()
        limit = loop.call_later(total_s, self._time_out, ended)
        self._server.take(lambda status, advice_s: self._reply(ended, status, advice_s))
        try:
            return await ended
        finally:
            limit.cancel()

    async def look_up(self, address: str, total_s: float, connect_s: float) -> Answer | Fault:
        raise NotImplementedError

    def discard(self, ended: Answer | Fault) -> None: ...

    def _reply(self, ended: "asyncio.Future[Answer | Fault]", status: int, advice_s: int | None) -> None:
        if not ended.done():
            advice = {"retry-after": str(advice_s)} if advice_s is not None and self._advises else {}
            ended.set_result(Answer(status, advice))

    @staticmethod
    def _time_out(ended: "asyncio.Future[Answer | Fault]") -> None:
        if not ended.done():
            ended.set_result(fault_of(TimeoutError(), bytes_sent=True))


class Told:
    """An answer with its report, as ``report_of`` finds it."""

    def __init__(self, status: int, report: Callable[[], CallReport]) -> None:
        """Keep both."""
        self.status = status
        setattr(self, REPORT_ATTRIBUTE, report)


class EngineClient:
    """One process with the engine alone: no session, no aiohttp."""

    def __init__(self, server: Server, policy: Policy, limits: LocalLimits, *, advises: bool) -> None:
        self._server = server
        self._policy = policy
        self._runtime = Runtime(GENERIC, limits=limits)
        self._advises = advises

    def draw_from(self, draw: Callable[[], float]) -> None:
        """Take every random number from one source, so that a run can be repeated."""
        self._runtime = replace(self._runtime, draw=draw)

    async def call(self) -> "Told":
        """Make one call."""
        now, policy = self._runtime.now(), self._policy
        call = Call(
            method="GET",
            url=f"{ORIGIN}/",
            provider=GENERIC,
            policy=policy,
            deadline=deadline_after(now, policy.deadline),
            started=now,
            attempt_timeout_s=policy.attempt_timeout,
        )
        answer = await make_call(call, _Exchange(self._server, advises=self._advises), self._runtime)
        return Told(answer.status, call.report)

    async def close(self) -> None:
        """Do nothing: there is nothing open."""


Client = SessionClient | EngineClient
