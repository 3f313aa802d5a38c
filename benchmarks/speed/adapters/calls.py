"""The calls of all scenarios, in terms of one client's GET and POST."""

from functools import partial
from itertools import count
from uuid import uuid4

from benchmarks.speed.adapters import Fetch, Send, Sends, Submit
from benchmarks.speed.scenarios import AGAIN, ATTEMPTS, CALLS_PER_FAILURE, HELD, KEY_FIELD, KEY_HEADER, ORDER, SCENARIOS


def calls_of(fetch: Fetch, submit: Submit, url: str, *, authorized: Fetch, retrying: Fetch | None = None) -> Sends:
    """Make the calls of all scenarios.

    Args:
        fetch: Sends a GET.
        submit: Sends a POST.
        url: The server's address.
        authorized: Sends a GET through a session that has ``CREDENTIALS``.
        retrying: Sends a GET, and again after a 503, where ``fetch`` does not.
    """
    charges, transfers = (f"{url}{SCENARIOS[name].path}" for name in ("post", "refused"))

    async def charge() -> tuple[int, bytes]:
        return await submit(charges, json=ORDER, headers={KEY_HEADER: str(uuid4())})

    async def transfer() -> tuple[int, bytes]:
        return await submit(transfers, json=ORDER | {KEY_FIELD: str(uuid4())})

    return {
        "get": partial(fetch, f"{url}{SCENARIOS['get'].path}"),
        "post": charge,
        "flaky": _flaky(retrying or fetch, f"{url}{SCENARIOS['flaky'].path}"),
        "refused": transfer,
        "authorized": partial(authorized, f"{url}{SCENARIOS['authorized'].path}"),
        "held": partial(fetch, f"{url}{HELD}"),
    }


def _flaky(fetch: Fetch, address: str) -> Send:
    """Send every tenth call to an address of its own, which fails once."""
    numbers = count(1)

    async def send() -> tuple[int, bytes]:
        number = next(numbers)
        return await fetch(address if number % CALLS_PER_FAILURE else f"{address}/{number}")

    return send


def by_hand(fetch: Fetch) -> Fetch:
    """Send again after a 503, as one would by hand."""

    async def again(url: str) -> tuple[int, bytes]:
        for _ in range(ATTEMPTS):
            status, body = await fetch(url)
            if status != AGAIN:
                break
        return status, body

    return again
