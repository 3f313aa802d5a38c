"""The aiohttp session's method that sends an attempt, and the session that onlookers see it belong to.

An attempt is made with the method of the same name in the same form (``session.get()`` with ``client.get()``), so that
a mock or a patch of either, on the class or on the instance, still sees it. Trace callbacks and client middlewares are
shown the caller's own session, not the aiohttp session inside it: aiohttp's method is run on the former, which passes
every attribute on. That costs a look-up per attribute, so it is done only where somebody looks.
"""

from collections.abc import Awaitable, Callable
from types import MethodType
from typing import Any, Final

import aiohttp

Send = Callable[..., Awaitable[aiohttp.ClientResponse]]

_GENUINE: Final = aiohttp.ClientSession


def method_of(client: aiohttp.ClientSession, shown: object, name: str) -> Send:
    """Give the client's method of this name, to run on the session that is shown, or on itself where that is ``None``.

    A client whose class has its own ideas, or whose method was replaced, gets the call on itself.
    """
    if shown is None or type(client) is not _GENUINE or name in vars(client):
        method: Send = getattr(client, name)
        return method
    return MethodType(getattr(_GENUINE, name), shown)


def is_watched(client: aiohttp.ClientSession, middlewares: tuple[Any, ...]) -> bool:
    """Say whether a trace callback or a client middleware will see the session of a request."""
    return bool(middlewares or getattr(client, "trace_configs", None))
