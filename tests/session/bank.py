"""A Finix that loses payments on their way back, and can be asked about them."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
from tests.support import (
    AT_ONCE,
    Behaviour,
    Peer,
    Seen,
    drop,
    said,
)

from holdfast import Policy, ResilientSession
from holdfast.providers import FINIX
from holdfast.testing import RecordingSink


def transfer(key: str, state: str = "SUCCEEDED") -> dict[str, Any]:
    """Make a transfer as Finix shows it."""
    return {"id": "TR1", "state": state, "idempotency_id": key, "amount": 1}


class Bank:
    """A Finix that loses the connection after each payment, and answers lookups."""

    def __init__(
        self, state: str | None = "SUCCEEDED", *, loses: Behaviour | None = None, finds_after: int = 0
    ) -> None:
        self._state = state
        self._loses = loses or drop()
        self._blind = finds_after
        self._key = ""

    def __call__(self, seen: Seen) -> Behaviour:
        if seen.method == "POST":
            return self._loses
        place = urlsplit(seen.target)
        if not place.query:
            return said(200, transfer(self._key, self._state or ""))
        self._key = key = parse_qs(place.query)["idempotency_id"][0]
        self._blind -= 1
        if self._state is None or self._blind >= 0:
            return said(200, {"page": {"limit": 0}, "_links": {}})
        return said(200, {"_embedded": {"transfers": [transfer("other", "FAILED"), transfer(key, self._state)]}})


async def pay(
    bank: Callable[[Seen], Behaviour], sink: RecordingSink, *, policy: Policy = AT_ONCE, **options: Any
) -> tuple[Peer, aiohttp.ClientResponse | BaseException, Any]:
    """Make one payment to a bank; give its peer, its end and what its body said."""
    async with (
        Peer(choose=bank) as peer,
        ResilientSession(peer.url, provider=FINIX, policy=policy, sinks=[sink]) as session,
    ):
        try:
            response = await session.post("/transfers", json={"amount": 1}, **options)
            return peer, response, await response.json()
        except Exception as error:  # noqa: BLE001 - the tests look at it
            return peer, error, None
