"""The clients that are compared, by name; each is loaded only in the process that measures it.

Every one sends the same bytes, reads the body and releases the connection, and sends again at once after a 503.
"""

import logging
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, TypeAlias, cast

Send: TypeAlias = Callable[[], Coroutine[Any, Any, tuple[int, bytes]]]
"""Makes one call; gives status and body."""

Fetch: TypeAlias = Callable[[str], Coroutine[Any, Any, tuple[int, bytes]]]
"""Sends a GET to an address."""

Submit: TypeAlias = Callable[..., Coroutine[Any, Any, tuple[int, bytes]]]
"""Sends a POST to an address, with ``json`` and ``headers``."""

Sends: TypeAlias = dict[str, Send]
"""One for each scenario, and ``held``."""

Opener: TypeAlias = Callable[[str, int], AbstractAsyncContextManager[Sends]]
"""Opens a client for a server's address, with a limit of connections; 0 means no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """One client, as it is measured."""

    name: str
    title: str
    where: str
    """Module of this package and name of the ``Opener`` in it."""

    needs: str | None = None
    """The distribution that it needs beside those of holdfast."""

    log_level: int | None = None
    """Level that structlog is configured for, to write JSON lines to a file; ``None`` leaves structlog alone."""

    uvloop: bool = False
    slow: bool = False
    """Whether a call takes so many times longer that fewer of them must do, and GET alone under valgrind."""

    def opener(self) -> Opener:
        """Load it."""
        module, _, name = self.where.partition(":")
        return cast("Opener", getattr(import_module(f"benchmarks.speed.adapters.{module}"), name))


BARE: Final = "bare"
AGAIN: Final = "bare_again"

_ALL: Final = (
    Adapter(name=BARE, title="bare aiohttp", where="plain:bare"),
    Adapter(name=AGAIN, title="bare aiohttp, once more: the noise", where="plain:bare"),
    Adapter(name="passthrough", title="a pass-through client middleware", where="plain:passthrough"),
    Adapter(
        name="holdfast_quiet",
        title="**holdfast**, success events filtered out",
        where="ours:holdfast",
        log_level=logging.WARNING,
    ),
    Adapter(
        name="holdfast_event",
        title="**holdfast**, one JSON event a call to a file",
        where="ours:holdfast",
        needs="orjson",
        log_level=logging.INFO,
    ),
    Adapter(name="aiohttp_retry", title="aiohttp-retry", where="retrying:with_aiohttp_retry", needs="aiohttp-retry"),
    Adapter(name="backoff", title="backoff decorator", where="retrying:with_backoff"),
    Adapter(
        name="line",
        title="bare aiohttp, one structlog JSON line a call",
        where="plain:line",
        needs="orjson",
        log_level=logging.INFO,
    ),
    Adapter(name="stamina", title="stamina", where="stamina_retry:opened", needs="stamina", log_level=logging.WARNING),
    Adapter(name="tenacity", title="tenacity", where="tenacity_retry:opened", needs="tenacity"),
    Adapter(name="httpx", title="httpx", where="foreign:bare", needs="httpx", slow=True),
    Adapter(name="httpx_retries", title="httpx-retries", where="foreign:retrying", needs="httpx-retries", slow=True),
    Adapter(name="bare_uvloop", title="bare aiohttp on uvloop", where="plain:bare", needs="uvloop", uvloop=True),
    Adapter(
        name="holdfast_quiet_uvloop",
        title="**holdfast** on uvloop, success events filtered out",
        where="ours:holdfast",
        needs="uvloop",
        log_level=logging.WARNING,
        uvloop=True,
    ),
    Adapter(
        name="holdfast_event_uvloop",
        title="**holdfast** on uvloop, one JSON event a call to a file",
        where="ours:holdfast",
        needs="uvloop",
        log_level=logging.INFO,
        uvloop=True,
    ),
)
ADAPTERS: Final = {adapter.name: adapter for adapter in _ALL}
