"""The requests of which nothing is said but where they go, which are read once and known from then on.

What could change them is looked at every time: what other libraries put in the place of a method, a middleware that
joins, an inbound request, a token that the session gets.
"""

from collections.abc import Callable, Mapping
from functools import partial
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import aiohttp
from aiohttp.typedefs import StrOrURL

from holdfast.core.deadline import deadline_after
from holdfast.core.redact import origin_of
from holdfast.engine.call import Call
from holdfast.engine.inbound import binding
from holdfast.policy import Policy
from holdfast.providers.provider import Provider
from holdfast.transport.session_exchange import Asked
from holdfast.transport.timers import Line

NOTHING_SENT: Final[Mapping[str, Any]] = MappingProxyType({})
MOST_KEPT: Final = 1024
"""Addresses that are not taken apart again when they are asked for again."""

_ASKED_OF_A_CLIENT: Final = ("_middlewares", "_trace_configs", "_default_headers", "_default_auth", "_timeout")
"""Of aiohttp's session, which has setters for none of them: other libraries put their own there all the same."""


class Bare(NamedTuple):
    """A request of which nothing is said but method and address, which is safe, and takes no key unasked."""

    asked: Asked
    look: Callable[[aiohttp.ClientSession], object]
    """Gives the client's methods that send it, and what they ask it: these are others when they are replaced."""

    seen: object
    """What it gave when the methods were aiohttp's own, and the rest was as it was read."""

    line: Line
    limits: aiohttp.ClientTimeout
    """What aiohttp is told of an attempt whose time the deadline does not cut, and the line keeps."""

    policy: Policy
    deadline_s: float
    origin: str
    has_secrets: bool
    """Whether the session adds to it what must not reach another origin, or the address holds it."""

    new_call: Callable[[float], Call]
    """Makes the record of one that began at that moment."""


class BareRequests:
    """The bare requests that one session has made before. Confined to one event loop."""

    __slots__ = ("_base_path", "_client", "_policy", "_provider", "_shows_all", "kept")

    def __init__(self, client: aiohttp.ClientSession, provider: Provider, policy: Policy, base_path: str) -> None:
        """Begin without any.

        Args:
            client: What sends them.
            provider: What is known of the API on the other side.
            policy: Of the session.
            base_path: Path of the session's base address.
        """
        self._client = client
        self._provider = provider
        self._policy = policy
        self._base_path = base_path
        self._shows_all = all(hasattr(client, name) for name in _ASKED_OF_A_CLIENT)
        self.kept: dict[tuple[str, StrOrURL], Bare] = {}

    def find(self, name: str, url: StrOrURL) -> Bare | None:
        """Give a bare request that was made before, where nothing that was looked at then may have changed."""
        try:
            bare = self.kept.get((name, url))
        except TypeError:
            return None
        client = self._client  # whose lists and headers may also have grown where they are
        if bare is None or binding() or bare.look(client) != bare.seen:
            return None
        grown = client._middlewares or client._trace_configs or (client._default_headers and not bare.has_secrets)  # noqa: SLF001
        return None if grown else bare

    def keep(self, asked: Asked, address: str, *, has_user: bool) -> None:
        """Keep a bare request, of which nothing is different next time but the credentials, which aiohttp adds."""
        line = asked.line
        if line is None or asked.name == "request" or not self._shows_all:
            return
        if len(self.kept) >= MOST_KEPT:
            self.kept.clear()
        policy, deadline = self._policy, deadline_after(0.0, self._policy.deadline)
        look = attrgetter(asked.name, "_request", *_ASKED_OF_A_CLIENT)
        self.kept[asked.name, asked.url] = Bare(
            asked=asked,
            look=look,
            seen=look(self._client),
            line=line,
            limits=asked.limits.without_total(deadline.limits(0.0, asked.usual_s).connect_s),
            policy=policy,
            deadline_s=deadline,
            origin=origin_of(address),
            has_secrets=bool(self._client.headers or self._client.auth or has_user),
            new_call=partial(_bare_call, asked, address, self._provider, policy, self._base_path),
        )


def _bare_call(asked: Asked, address: str, provider: Provider, policy: Policy, base_path: str, started: float) -> Call:
    # Arguments by name would cost twice as much.
    deadline = deadline_after(started, policy.deadline)
    call = Call(asked.method, address, provider, policy, deadline, started, asked.usual_s)
    call.sent, call.base_path = NOTHING_SENT, base_path
    return call
