"""Opens and closes an application's outbound sessions, for every shell that owns some.

Either all of them are open or none is. Messages name the session and the kind of failure, and never what it said,
because factories read passwords.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from inspect import isawaitable
from math import isfinite
from pathlib import PurePath
from traceback import extract_tb
from typing import Any, Final, Protocol, runtime_checkable

_log: Final = logging.getLogger("holdfast")


class Closable(Protocol):
    """What a factory may make: a ``ResilientSession``, or any aiohttp session."""

    async def close(self) -> None:
        """Close it. May be called twice."""
        ...


@runtime_checkable
class _Drainable(Protocol):
    async def drain(self, grace_s: float) -> None: ...


SessionFactory = Callable[[], Closable | Awaitable[Closable]]
"""Opens a session inside the running loop; it may be a coroutine function."""


class SessionNotOpenedError(RuntimeError):
    """Raised when a factory failed; the sessions that were open already are closed again."""


def check_factories(sessions: object) -> dict[str, SessionFactory]:
    """Take the application's factories by name.

    Raises:
        TypeError: It is not a mapping from names to functions.
    """
    if not isinstance(sessions, Mapping):
        raise TypeError(f"sessions= must map names to functions that open sessions, got {type(sessions).__name__}")
    for name, factory in sessions.items():
        if not isinstance(name, str) or not name:
            raise TypeError(f"sessions= must have names for keys, got {name!r}")
        if not callable(factory):
            kind = type(factory).__name__
            raise TypeError(f"sessions[{name!r}] must be a function that opens a session (lambda: ...), got {kind}")
    return dict(sessions)


def check_grace(grace_s: object) -> float:
    """Take the seconds for which a stopping service waits for its calls.

    Raises:
        ValueError: It is negative, not finite or no number.
    """
    if isinstance(grace_s, bool) or not isinstance(grace_s, int | float) or not isfinite(grace_s) or grace_s < 0:
        raise ValueError(f"grace_s must be a finite number of seconds, 0 or more, got {grace_s!r}")
    return float(grace_s)


async def open_sessions(factories: Mapping[str, SessionFactory]) -> dict[str, Any]:
    """Open every session, in order.

    Raises:
        SessionNotOpenedError: A factory failed.
    """
    opened: dict[str, Any] = {}
    try:
        for name, factory in factories.items():
            made = factory()
            opened[name] = await made if isawaitable(made) else made
    except BaseException as error:
        await close_sessions(opened, grace_s=0.0)
        if not isinstance(error, Exception):
            raise
        failed = list(factories)[len(opened)]
        raise SessionNotOpenedError(f"holdfast: session {failed!r} was not opened: {_kind_and_place(error)}") from None
    return opened


async def close_sessions(sessions: Mapping[str, Any], grace_s: float) -> None:
    """Let the calls in flight end, cancel them after so many seconds, and close the sessions, the last first."""
    drains = [session.drain(grace_s) for session in sessions.values() if isinstance(session, _Drainable)]
    try:
        if drains:
            await asyncio.gather(*drains)
    finally:
        for name in reversed(list(sessions)):
            await _close(name, sessions[name])


async def _close(name: str, session: Any) -> None:  # noqa: ANN401 - whatever a factory made
    try:
        await session.close()
    except Exception as error:  # noqa: BLE001 - the others must be closed all the same
        _log.warning("holdfast: session %s was not closed: %s", name, _kind_and_place(error))


def _kind_and_place(error: BaseException) -> str:
    """Say what failed where, without what it said."""
    place = extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {PurePath(place.filename).name}:{place.lineno}"
