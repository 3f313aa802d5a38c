"""The sandbox as a server: one aiohttp.web application, one handler, two providers.

Everything decided is decided in values by the providers and the fault plan; this module reads requests, keeps the
record and owns the socket. Ordinary faults log nothing; only a defect of the sandbox itself is logged, as
``holdfast.sandbox``.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from aiohttp import web

from holdfast.sandbox.faults import FAULT_HEADER, HARMS, Fault, FaultPlan, Injection, Script
from holdfast.sandbox.fiant import Fiant
from holdfast.sandbox.finix import Finix
from holdfast.sandbox.ids import Ids
from holdfast.sandbox.ledger import Ledger
from holdfast.sandbox.messages import Answer, Document, Incoming, PretendProvider, document_of
from holdfast.sandbox.wire import deliver, invite_body

_LOOPBACK: Final[Mapping[str, str]] = {"127.0.0.1": "127.0.0.1", "localhost": "127.0.0.1", "::1": "::1"}
_LARGEST_PORT: Final = 65535
_SHUTDOWN_S: Final = 0.05
_NOTHING: Final = Answer(status=200)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRequest:
    """One request that arrived."""

    method: str
    """Upper case."""

    path: str
    """Decoded, without query."""

    key: str | None
    """Idempotency key that the endpoint honours; None also when the connection was closed before the body was read."""

    fault: Fault | None
    """What went wrong; None when nothing did."""

    effect: bool
    """True when this very request added to the ledger."""

    reference: str | None = None
    """The client's own name for the call, from its ``X-Call`` header; None when not sent."""


class Sandbox:
    """A local Finix and Fiant with faults on request. Confined to one event loop.

    Use it as an async context manager, or call `start` and `close`. The ledger and all resources outlive `close`, so a
    sandbox with a fixed port can be stopped and started again to make connections fail for a while.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        faults: float = 0.0,
        seed: int = 0,
        slow_s: float = 1.0,
    ) -> None:
        """Make a sandbox; nothing listens yet.

        Args:
            host: ``127.0.0.1``, ``localhost`` (the same) or ``::1``.
            port: Port to listen on; 0 picks a free one at each start.
            faults: Share of requests that draw a fault, in ``[0, 1]``.
            seed: The same seed gives the same faults, in order of arrival, and the same ids.
            slow_s: Delay of the ``slow`` fault, in seconds.

        Raises:
            ValueError: The host is not a loopback one, or another value is out of range.
        """
        if host not in _LOOPBACK:
            raise ValueError(f"host must be one of {', '.join(_LOOPBACK)}, got {host!r}")
        if not 0 <= port <= _LARGEST_PORT:
            raise ValueError(f"port must be between 0 and {_LARGEST_PORT}, got {port}")
        if not 0.0 <= slow_s < float("inf"):
            raise ValueError(f"slow_s must be zero or more seconds, got {slow_s}")
        self._host = _LOOPBACK[host]
        self._port = port
        self._slow_s = slow_s
        self._plan = FaultPlan(faults, seed)
        self._ledger = Ledger()
        self._requests: list[SeenRequest] = []
        ids = Ids(seed)
        self._finix = Finix(self._ledger, ids)
        self._fiant = Fiant(self._ledger, ids)
        self._runner: web.AppRunner | None = None
        self._url = ""

    @property
    def url(self) -> str:
        """Scheme, host and port, such as ``http://127.0.0.1:49152``.

        Raises:
            RuntimeError: The sandbox is not running.
        """
        if self._runner is None:
            raise RuntimeError("the sandbox is not running")
        return self._url

    @property
    def ledger(self) -> Ledger:
        """Every effect so far."""
        return self._ledger

    @property
    def requests(self) -> tuple[SeenRequest, ...]:
        """Every request so far, in order of processing."""
        return tuple(self._requests)

    async def start(self) -> None:
        """Listen.

        Raises:
            RuntimeError: The sandbox is running already.
            OSError: The port is taken.
        """
        if self._runner is not None:
            raise RuntimeError("the sandbox is running already")
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve, expect_handler=_expect_later)
        logger = logging.getLogger("holdfast.sandbox")
        runner = web.AppRunner(app, access_log=None, logger=logger, shutdown_timeout=_SHUTDOWN_S)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        name = f"[{self._host}]" if ":" in self._host else self._host
        self._url = f"http://{name}:{runner.addresses[0][1]}"

    async def close(self) -> None:
        """Stop listening and drop every connection; slow answers are not waited for. Does nothing when closed."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self.close()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        try:
            script = Script.parse(request.headers[FAULT_HEADER]) if FAULT_HEADER in request.headers else None
        except ValueError as error:
            return web.Response(status=400, text=str(error))
        provider = self._fiant if request.path.startswith("/v1/") else self._finix
        injection = self._plan.on_arrival(script)
        document = None
        if injection is None or injection.fault is not Fault.REFUSE:
            document = await _read(request)
        incoming = self._incoming(request, document)
        key = provider.key_of(incoming)
        if injection is None and script is not None:
            subject = key or incoming.reference or f"{incoming.method} {incoming.path}"
            injection = self._plan.next_step(script, subject)
        injection = injection or Injection()
        answer = self._process(provider, incoming, key, injection)
        return await deliver(request, answer, HARMS[injection.fault].delivery, self._slow_s)

    def _incoming(self, request: web.Request, document: Document | None) -> Incoming:
        return Incoming(
            method=request.method,
            path=request.path,
            query=request.query,
            headers=request.headers,
            document=document,
            origin=self._url,
        )

    def _process(self, provider: PretendProvider, incoming: Incoming, key: str | None, injection: Injection) -> Answer:
        """Carry out one request as far as its fault allows, and keep the record; no await, so nothing comes between."""
        harm = HARMS[injection.fault]
        before = self._ledger.count
        answer = provider.answer(incoming) if harm.executes else _NOTHING
        if harm.status is not None:
            headers = {"Retry-After": str(injection.retry_after)} if injection.fault is Fault.RATE_LIMIT else {}
            answer = provider.unwell(incoming, harm.status, headers)
        seen = SeenRequest(
            method=incoming.method,
            path=incoming.path,
            key=key,
            fault=injection.fault,
            effect=self._ledger.count > before,
            reference=incoming.reference,
        )
        self._requests.append(seen)
        return answer


async def _expect_later(request: web.Request) -> None:
    """Leave ``100 Continue`` unsent until the body is wanted: `Fault.REFUSE` never wants it."""


async def _read(request: web.Request) -> Document | None:
    invite_body(request)
    try:
        return document_of(await request.read())
    except (ConnectionError, web.RequestPayloadError, web.HTTPRequestEntityTooLarge):
        return None
