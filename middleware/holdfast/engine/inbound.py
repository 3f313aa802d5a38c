"""What an outbound call inherits from the inbound request that it is made for: time left, request id, key seed.

The shells (ASGI, WSGI, aiohttp.web) read a request's headers with ``read_inbound`` and hold the result ``bound`` while
they serve it; calls look it up in a context variable. Tasks and ``asyncio.to_thread`` inherit it; other threads, those
of ``run_in_executor`` among them, do not: give them ``contextvars.copy_context().run``.
"""

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import field, replace
from math import isfinite, isnan
from threading import Lock
from typing import Any, Final, TypedDict

from holdfast.core.deadline import Deadline
from holdfast.core.inbound import (
    HEADER_NAME,
    IDEMPOTENCY_HEADER,
    REQUEST_ID,
    TRACE_HEADER,
    derive_key,
    read_headers,
    time_allowed,
)
from holdfast.policy import DEADLINE_CAP_S
from holdfast.providers.provider import KeySlot
from holdfast.telemetry.structlog import logged_request_id
from holdfast.values import dataclass

LEAST_SECRET_BYTES: Final = 16
"""128 bits; RFC 2104 section 3 advises 32 bytes, the length of the hash."""

_log: Final = logging.getLogger("holdfast")

CallerScope = Callable[[Any], str | None]
"""From the ASGI scope, WSGI environ or aiohttp request: a name of the authenticated caller, such as a tenant's id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundSettings:
    """What an application takes from its inbound requests. Safe to share between threads."""

    deadline_header: str | None = "X-Request-Timeout"
    """Header with the seconds left, read from inbound requests and sent on outbound ones; ``None`` does neither."""

    max_deadline: float = DEADLINE_CAP_S
    """Seconds from arrival in which outbound calls may run. Above 0; above 300 counts as 300."""

    request_id_header: str | None = "X-Request-ID"
    """Header with the request's id, likewise. Without it the id is the trace's, or made, and only logged."""

    secret: bytes | None = field(default=None, repr=False)
    """Key of the HMAC that derives idempotency keys, the same in every process; ``None`` turns the derivation off."""

    scope: CallerScope | None = None
    """Names the authenticated caller, so that equal keys of two tenants stay apart; ``None`` turns the derivation off.

    It is asked when the first key is needed, when the application has authenticated the caller. ``None`` from it
    derives nothing for this request; where it raises, the call fails with ``RuntimeError`` before anything is sent.
    """

    _told: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            TypeError: ``secret`` is not bytes, or ``scope`` cannot be called.
            ValueError: A header's name is not one, or used twice; ``max_deadline`` is not above 0; ``secret`` is short.
        """
        _check_names(self.deadline_header, self.request_id_header)
        limit: object = self.max_deadline
        if isinstance(limit, bool) or not isinstance(limit, int | float) or not isfinite(limit) or limit <= 0:
            raise ValueError(f"max_deadline must be a finite number of seconds above 0, got {limit!r}")
        if self.secret is not None and not isinstance(self.secret, bytes):
            raise TypeError(f"secret must be bytes, got {type(self.secret).__name__}")
        if self.secret is not None and len(self.secret) < LEAST_SECRET_BYTES:
            raise ValueError(f"secret must have at least {LEAST_SECRET_BYTES} bytes, got {len(self.secret)}")
        if self.scope is not None and not callable(self.scope):
            raise TypeError(f"scope must be a function that names the caller, got {type(self.scope).__name__}")

    @property
    def headers_read(self) -> frozenset[str]:
        """Names, in lower case, of the headers that ``read_inbound`` looks at."""
        names = (self.deadline_header, self.request_id_header, TRACE_HEADER, IDEMPOTENCY_HEADER)
        return frozenset(name.lower() for name in names if name is not None)

    def tell_once(self, level: int, why: str) -> None:
        """Log why no key is derived: once per application, not per request."""
        if why not in self._told:
            self._told.add(why)
            _log.log(level, "holdfast: no idempotency keys are derived from inbound ones: %s", why)


class InboundOptions(TypedDict, total=False):
    """The fields of ``InboundSettings``, as keywords of a shell."""

    deadline_header: str | None
    max_deadline: float
    request_id_header: str | None
    secret: bytes | None
    scope: CallerScope | None


class Seed:
    """Derives the keys of the outbound calls of one inbound request. Safe to share between threads.

    A key depends on the caller's scope, the inbound key, method and path, the provider, the operation, and on how many
    calls of that operation the request has made before; so a caller's retry repeats the keys, call by call.
    """

    __slots__ = ("_caller", "_counts", "_key", "_lock", "_place", "_settings", "_source")

    def __init__(self, key: str, place: str, settings: InboundSettings, source: object) -> None:
        """Take the inbound key, where it came in, and what tells whose it is."""
        self._key = key
        self._place = place
        self._settings = settings
        self._source = source
        self._caller: str | None = None
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = Lock()

    def key_for(self, provider: str, operation: str, pattern: str | None = None) -> str | None:
        """Derive the key of the next call of an operation; ``None`` where the caller is unknown or no form fits."""
        with self._lock:
            self._counts[provider, operation] += 1
            number = self._counts[provider, operation]
        return self._derive("call", provider, operation, str(number), pattern=pattern)

    def labelled(self, label: str) -> str | None:
        """Derive the key that the application's own label stands for, however many calls there are, in any order."""
        return self._derive("label", label)

    def _derive(self, *parts: str, pattern: str | None = None) -> str | None:
        secret, caller = self._settings.secret, self._caller_name()
        if secret is None or caller is None:
            return None
        key = derive_key(secret, caller, self._key, self._place, *parts, pattern=pattern)
        if key is None:
            self._settings.tell_once(logging.WARNING, f"no form of them fits the pattern {pattern}")
        return key

    def _caller_name(self) -> str | None:
        if self._caller is not None or self._settings.scope is None:
            return self._caller
        try:
            named: object = self._settings.scope(self._source)
        except Exception as error:
            # A key that is only made would pay a second time for a caller who tries again.
            raise RuntimeError(
                f"scope= raised {type(error).__name__}: the caller is not known, so no idempotency key can be derived "
                "for this call, and nothing was sent. Let scope= return None for a caller without one"
            ) from error
        if not isinstance(named, str) or not named:
            found = "an empty str" if isinstance(named, str) else type(named).__name__
            self._settings.tell_once(logging.WARNING, f"scope= gave {found} for the caller of a request with a key")
            return None
        self._caller = named
        return named


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbound:
    """What one inbound request hands on to the outbound calls made for it. Safe to share between threads."""

    request_id: str
    deadline_at: float
    """The moment on ``time.monotonic()`` that no outbound call outlives; infinity for none."""

    seed: Seed | None = field(default=None, repr=False, compare=False)
    """Where the keys of outbound calls come from; ``None`` leaves them to be made or given."""

    deadline_header: str | None = "X-Request-Timeout"
    """Outbound header for the seconds left; ``None`` sends none."""

    request_id_header: str | None = "X-Request-ID"
    """Outbound header for the id; ``None`` sends none."""

    def __post_init__(self) -> None:
        """Refuse what cannot be sent or reckoned with.

        Raises:
            ValueError: The id or a header's name is malformed, or the deadline is not a number.
        """
        if not REQUEST_ID.fullmatch(self.request_id):
            raise ValueError(f"request_id must fit {REQUEST_ID.pattern}")
        if isnan(self.deadline_at):
            raise ValueError("deadline_at must be a moment, got nan")
        _check_names(self.deadline_header, self.request_id_header)


class Binding:
    """An inbound request while it is served. Its deadline also stands on the clock of the loop that serves it."""

    __slots__ = ("_loop", "_moment", "inbound")

    def __init__(self, inbound: Inbound) -> None:
        """Translate the deadline to the clock of the running loop, if one runs."""
        self.inbound: Inbound = inbound
        self._loop = _running_loop()
        self._moment = 0.0 if self._loop is None else self._translated(self._loop.time())

    def shortened(self, deadline: Deadline, now: float) -> Deadline:
        """Give the earlier of a call's own deadline and the request's.

        Args:
            deadline: The call's own, on the running loop's clock.
            now: The present moment on that clock.
        """
        # Another loop, such as the one that serves WSGI workers, may have another clock: only what is left counts.
        end = self._moment if self._loop is _running_loop() else self._translated(now)
        return Deadline(end) if end < deadline else deadline

    def seeded(self, slot: KeySlot | None, provider: str, operation: str) -> KeySlot | None:
        """Let the key of a call be derived, where the provider would have one made.

        A slot that makes no key is left alone: that the server honours one there is the application's to say, and
        never its client's.
        """
        seed, make_key = self.inbound.seed, None if slot is None else slot.make_key
        if seed is None or slot is None or make_key is None:
            return slot
        return replace(slot, make_key=lambda: seed.key_for(provider, operation, slot.pattern) or make_key())

    def _translated(self, now: float) -> float:
        return now + (self.inbound.deadline_at - time.monotonic())


_BOUND: Final[ContextVar[Binding | None]] = ContextVar("holdfast_inbound", default=None)


def binding() -> Binding | None:
    """Give what the present call inherits from; ``None`` outside of any inbound request."""
    return _BOUND.get()


def inherited_deadline(deadline: Deadline, now: float) -> Deadline:
    """Give a call's deadline, or the present request's where that is earlier; both on the running loop's clock."""
    bound_here = _BOUND.get()
    return deadline if bound_here is None else bound_here.shortened(deadline, now)


def current() -> Inbound | None:
    """Give the inbound request that is being served; ``None`` outside of any."""
    bound_here = _BOUND.get()
    return None if bound_here is None else bound_here.inbound


@contextmanager
def _set(value: Binding | None) -> Iterator[None]:
    token = _BOUND.set(value)
    try:
        yield
    finally:
        # A request that a stopping loop leaves behind is closed in another context, where nothing was ever bound.
        with suppress(ValueError):
            _BOUND.reset(token)


@contextmanager
def bound(inbound: Inbound) -> Iterator[None]:
    """Let the outbound calls made in this block inherit from an inbound request, and log lines show its id.

    Within another it is the same request, met by a second middleware: its time can only become shorter, and its keys
    go on counting.
    """
    outer = current()
    if outer is not None:
        inbound = replace(outer, deadline_at=min(outer.deadline_at, inbound.deadline_at))
    with _set(Binding(inbound)), logged_request_id(inbound.request_id):
        yield


@contextmanager
def detached() -> Iterator[None]:
    """Let calls made in this block inherit nothing: no deadline, no request id, no keys.

    For work that outlives the request that caused it, such as a background task::

        with holdfast.detached():
            await session.post("/receipts", json=receipt)
    """
    with _set(None), logged_request_id(None):
        yield


def inherited_key(label: str) -> str | None:
    """Derive an idempotency key from the inbound request's own, to be passed on as ``idempotency_key=``.

    For calls whose order may change between a caller's tries, such as those of ``asyncio.gather``, and for providers
    that have no keys made (``GENERIC``)::

        await session.post("/charges", json=item, idempotency_key=holdfast.inherited_key(f"charge {item_id}"))

    Args:
        label: Tells the calls of one request apart; a caller's retry must come to the same label for the same call.

    Returns:
        The same key for the same caller, inbound key and label; ``None``, which leaves the key to the provider's
        profile, outside of a request, for a request without a key, and where the derivation is off.

    Raises:
        TypeError: The label is not a str.
    """
    if not isinstance(label, str):
        raise TypeError(f"label must be a str, got {type(label).__name__}")
    inbound = current()
    return None if inbound is None or inbound.seed is None else inbound.seed.labelled(label)


def read_inbound(
    headers: Mapping[str, str], *, settings: InboundSettings, arrived: float, source: object = None, place: str = ""
) -> Inbound:
    """Read an inbound request. Never raises; malformed headers are ignored with one warning that names them.

    Args:
        headers: Values by lower-case name; repeated headers joined with commas.
        settings: What the application takes from its requests.
        arrived: The moment of arrival on ``time.monotonic()``.
        source: What ``settings.scope`` is asked with: the ASGI scope, WSGI environ or aiohttp request.
        place: Method and path, without the query: the same key means another operation elsewhere.
    """
    reading = read_headers(
        headers, deadline_header=settings.deadline_header, request_id_header=settings.request_id_header
    )
    request_id = reading.request_id or os.urandom(16).hex()
    if reading.malformed:
        names = ", ".join(reading.malformed)
        _log.warning("holdfast: inbound request %s: ignored malformed %s", request_id, names)
    return Inbound(
        request_id=request_id,
        deadline_at=arrived + time_allowed(reading.timeout_s, settings.max_deadline),
        seed=_seed(reading.idempotency_key, place, settings, source),
        deadline_header=settings.deadline_header,
        request_id_header=settings.request_id_header,
    )


def _seed(key: str | None, place: str, settings: InboundSettings, source: object) -> Seed | None:
    if key is None:
        return None
    given = {"secret": settings.secret, "scope": settings.scope}
    missing = [f"{name}=" for name, value in given.items() if value is None]
    if missing:
        # One of the two is a half-made decision, and none may well be a decision.
        level = logging.WARNING if len(missing) == 1 else logging.INFO
        settings.tell_once(level, f"the middleware was given no {' and no '.join(missing)}")
        return None
    return Seed(key, place, settings, source)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _check_names(deadline_header: str | None, request_id_header: str | None) -> None:
    taken = {IDEMPOTENCY_HEADER.lower(), TRACE_HEADER}
    given: tuple[tuple[str, object], ...] = (
        ("deadline_header", deadline_header),
        ("request_id_header", request_id_header),
    )
    for field_name, name in given:
        if name is None:
            continue
        if not isinstance(name, str) or not HEADER_NAME.fullmatch(name):
            raise ValueError(f"{field_name} must be the name of a header or None, got {name!r}")
        if name.lower() in taken:
            raise ValueError(f"{field_name}={name!r} is read for something else already: choose another header")
        taken.add(name.lower())
