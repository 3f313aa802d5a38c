"""The aiohttp session's method that sends an attempt, and the session that onlookers see it belong to.

An attempt is made with the method of the same name in the same form (``session.get()`` with ``client.get()``), so that
a mock or a patch of either, on the class or on the instance, still sees it. Trace callbacks and client middlewares are
shown the caller's own session, not the aiohttp session inside it: aiohttp's method is run on the former, which passes
every attribute on. That costs a look-up per attribute, so it is done only where somebody looks.
"""

from collections.abc import Awaitable, Callable
from types import MethodType
from typing import Final

import aiohttp

Send = Callable[..., Awaitable[aiohttp.ClientResponse]]

_GENUINE: Final = aiohttp.ClientSession
_SHIPPED: Final = dict(vars(_GENUINE))
_SEND: Final = _GENUINE._request  # noqa: SLF001 - only to know it again


def method_of(client: aiohttp.ClientSession, shown: object, name: str) -> Send:
    """Give the client's method of this name, to run on the session that is shown, or on itself where that is ``None``.

    A client whose class has its own ideas, or whose method was replaced, gets the call on itself.
    """
    if shown is None or type(client) is not _GENUINE or name in vars(client):
        method: Send = getattr(client, name)
        return method
    return MethodType(getattr(_GENUINE, name), shown)


def is_as_shipped(client: aiohttp.ClientSession, name: str) -> bool:
    """Say whether a client's method, and what sends for it, are aiohttp's own, replaced nowhere."""
    if type(client) is not _GENUINE:
        return False
    # Asked without a look at its __dict__, which would make every attribute of the client slower from then on.
    asked, sends = getattr(client, name), client._request  # noqa: SLF001 - what test libraries replace
    return getattr(asked, "__func__", None) is _SHIPPED[name] and getattr(sends, "__func__", None) is _SEND


def sends_once(client: aiohttp.ClientSession) -> bool:
    """Tell a client of our own not to send again by itself; say whether this aiohttp lets itself be told."""
    known = hasattr(client, "_retry_connection")
    if known:
        client._retry_connection = False  # noqa: SLF001 - the only switch; without it the guard of each attempt does it
    return known
