"""A call in front of a fault, and how it ended, as its caller and the server saw it."""

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import aiohttp
from tests.faults.ledger import Ledger

from holdfast import CallReport, ResilientSession, report_of
from holdfast.testing import RecordingSink


@dataclass(slots=True, kw_only=True)
class Ended:
    """How a call ended, as its caller sees it."""

    response: aiohttp.ClientResponse | None = None
    error: BaseException | None = None
    body: bytes | None = None
    """What the caller read; ``None`` where reading failed or there was nothing to read."""

    report: CallReport
    ledger: Ledger
    sink: RecordingSink


@dataclass(slots=True, kw_only=True)
class Scene:
    """A session in front of a fault, and the call to make with it. Confined to one event loop."""

    session: ResilientSession
    method: str
    url: str
    options: dict[str, Any]
    ledger: Ledger
    hits: int
    """How many attempts the fault hits."""

    sink: RecordingSink

    def call(self) -> Coroutine[Any, Any, aiohttp.ClientResponse]:
        """Make the call, through the method of that name."""
        coming: Coroutine[Any, Any, aiohttp.ClientResponse]
        coming = getattr(self.session, self.method.lower())(self.url, **self.options)
        return coming


async def outcome_of(coming: Coroutine[Any, Any, aiohttp.ClientResponse], scene: Scene) -> Ended:
    """Await the call, read what it gives, and gather what is known of it."""
    try:
        response = await coming
    except BaseException as error:  # noqa: BLE001 - cancellation is one of the endings
        return Ended(error=error, report=_report(error), ledger=scene.ledger, sink=scene.sink)
    report = _report(response)
    try:
        body = await response.read()
    except Exception:  # noqa: BLE001 - an unreadable body is an ending too
        body = None
    response.close()
    return Ended(response=response, body=body, report=report, ledger=scene.ledger, sink=scene.sink)


def _report(ended: object) -> CallReport:
    report = report_of(ended)
    assert report is not None, f"{ended!r} carries no report"
    return report
