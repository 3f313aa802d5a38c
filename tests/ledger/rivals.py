"""The same calls through plain aiohttp and through aiohttp-retry, each given the help that a careful user gives.

That is a key of his own on every keyed call, the same on each attempt; a time limit for each attempt; and retries of
lost connections, timeouts, 429 and 5xx. What the user sees is the verdict: a 2xx that he can read has landed, a 4xx has
done nothing, and anything else has failed.
"""

import asyncio
import importlib.util
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, Final, Self

import aiohttp
from tests.ledger.callers import own_body
from tests.ledger.plan import ATTEMPT_TIMEOUT_S, KEY_HEADER, POLICIES, Kind, Order, key_of
from tests.ledger.verdicts import Verdict

Send = Callable[..., Awaitable[aiohttp.ClientResponse]]

_SAFE_WITHOUT_KEY: Final = {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"}
"""What RFC 9110 section 9.2.2 lets anybody send again."""


class PlainCaller:
    """Calls through ``aiohttp.ClientSession``. Confined to one event loop."""

    def __init__(self, base_url: str) -> None:
        tracing = aiohttp.TraceConfig()
        tracing.on_request_start.append(_count)
        limits = aiohttp.ClientTimeout(total=ATTEMPT_TIMEOUT_S)
        self.session = aiohttp.ClientSession(base_url, timeout=limits, trace_configs=[tracing])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.session.close()

    async def make(self, order: Order) -> Verdict:
        """Make one call and tell what its user would think of it."""
        known = {"attempts": 0}
        headers = {"X-Call": order.call} | ({KEY_HEADER: str(key_of(order))} if order.kind.keyed else {})
        options: dict[str, Any] = {} if order.kind is Kind.READ else {"json": order.body}
        verdict = Verdict(call=order.call, kind=order.kind, effect="failed", deadline_s=order.policy.deadline)
        try:
            response = await self.send(
                order, order.kind.path(order.call), headers=headers, trace_request_ctx={"known": known}, **options
            )
            verdict.own_body = await own_body(response, order)
            verdict.effect = _as_seen(response.status, readable=verdict.own_body is not None)
            response.release()
        except (aiohttp.ClientError, TimeoutError) as error:
            verdict.reason = type(error).__name__
        verdict.attempts, verdict.ended_at = known["attempts"], asyncio.get_running_loop().time()
        return verdict

    def send(self, order: Order, path: str, **options: Any) -> Awaitable[aiohttp.ClientResponse]:
        """Send one call."""
        return self.session.request(order.kind.method, path, **options)


class RetryCaller(PlainCaller):
    """Calls through aiohttp-retry, with the methods that it sends again by default: all. Confined to one event loop."""

    without_key: Any = None
    """Methods that may be sent again without a key; ``None`` is the library's own choice."""

    def __init__(self, base_url: str) -> None:
        super().__init__(base_url)
        library = importlib.import_module("aiohttp_retry")  # in the benchmarks' environment only
        self._client = library.RetryClient(client_session=self.session)
        self._keyed = self._options(library, None)
        self._unkeyed = self._options(library, self.without_key)

    def send(self, order: Order, path: str, **options: Any) -> Awaitable[aiohttp.ClientResponse]:
        """Send one call, and again where the library does."""
        retrying = self._keyed if order.kind.keyed else self._unkeyed
        sent: Awaitable[aiohttp.ClientResponse] = self._client.request(
            order.kind.method, path, retry_options=retrying, **options
        )
        return sent

    def _options(self, library: Any, methods: Any) -> Any:
        return library.ExponentialRetry(
            attempts=POLICIES[0].max_attempts,
            start_timeout=POLICIES[0].backoff_base,
            max_timeout=POLICIES[0].backoff_max,
            statuses={429},
            # Without this it sends no exception again, whatever its comment says (2.9.1).
            exceptions={aiohttp.ClientError, asyncio.TimeoutError},
            methods=methods,
        )


class CarefulRetryCaller(RetryCaller):
    """The same, with unkeyed POST kept out of it by hand."""

    without_key = _SAFE_WITHOUT_KEY


HAS_LIBRARY: Final = importlib.util.find_spec("aiohttp_retry") is not None

RIVALS: Final[dict[str, Callable[[str], PlainCaller]]] = {
    "aiohttp": PlainCaller,
    **({"aiohttp-retry": RetryCaller} if HAS_LIBRARY else {}),
    **({"aiohttp-retry, unkeyed POST kept out": CarefulRetryCaller} if HAS_LIBRARY else {}),
}


async def _count(session: aiohttp.ClientSession, context: SimpleNamespace, params: Any) -> None:  # noqa: ARG001
    context.trace_request_ctx["known"]["attempts"] += 1


def _as_seen(status: int, *, readable: bool) -> str:
    if 400 <= status <= 499:
        return "none"
    return "landed" if readable else "failed"
