"""One request's keywords, read once before its first attempt: what is ours, what is aiohttp's, which key, which body.

Everything that can be wrong with the arguments is said here, before anything is sent.
"""

import json as json_library
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

import aiohttp
from aiohttp.helpers import sentinel
from aiohttp.typedefs import StrOrURL
from multidict import CIMultiDict
from yarl import URL

from holdfast.core.deadline import deadline_after
from holdfast.core.idempotency import NO_KEY, KeyPlan, plan_key, with_json_field
from holdfast.core.redact import clean
from holdfast.engine.call import Call
from holdfast.engine.inbound import binding, inherited_deadline
from holdfast.policy import Policy
from holdfast.providers.provider import SAFE_METHODS, KeySlot, Lookup, Provider, below
from holdfast.transport.bare import MOST_KEPT, NOTHING_SENT, Bare, BareRequests
from holdfast.transport.body import RequestBody, body_from, json_body
from holdfast.transport.home import SECRET_HEADERS, Home
from holdfast.transport.inherited import InheritedHeaders, inherited_headers
from holdfast.transport.method import is_as_shipped
from holdfast.transport.session_exchange import Asked, SessionExchange, TimeLimits
from holdfast.transport.timers import Lines

_TYPED: Final = frozenset({"policy", "operation", "reconcile"})
"""Keywords of ours that must be of a type of ours."""

Reading = tuple[Call, SessionExchange, Any, bool]


class _Place(NamedTuple):
    """Where a request goes."""

    address: str
    path: str
    """Below the base address."""

    has_user: bool


_NOWHERE: Final = _Place("", "", has_user=False)
"""Where aiohttp will refuse the caller's address."""


@lru_cache(MOST_KEPT)
def _place_of(url: StrOrURL, base_url: URL | None) -> _Place:
    address = URL(url)
    if base_url is not None and not address.absolute:
        address = base_url.join(address)
    base_path = "" if base_url is None else base_url.path
    return _Place(str(address), below(address.path, base_path)[1], has_user=address.raw_user is not None)


class RequestReader:
    """Reads requests for one session. Confined to one event loop."""

    def __init__(
        self,
        client: aiohttp.ClientSession,
        provider: Provider,
        policy: Policy,
        now: Callable[[], float],
        *,
        sends_once: bool = False,
    ) -> None:
        """Take what all requests of the session share.

        Args:
            client: What sends them.
            provider: What is known of the API on the other side.
            policy: That of requests without one of their own.
            now: Reads the event loop's clock.
            sends_once: Whether the client was told not to send again by itself.
        """
        self._client = client
        self._provider = provider
        self._policy = policy
        self._now = now
        self._sends_once = sends_once
        # aiohttp has no public way to a session's base address.
        self._base_url: URL | None = getattr(client, "_base_url", None)
        self._key_headers = provider.key_headers
        self._secret_headers = SECRET_HEADERS | provider.key_headers
        self._has_told_of_endless = False
        self._limits = TimeLimits(client.timeout)
        # aiohttp has no public way to the bytes serializer, which is new in 3.14.
        self._dumps = getattr(client, "_json_serialize_bytes", None) or client.json_serialize
        self.reads_bodies: bool = provider.read_body if policy.read_body is None else policy.read_body
        """Whether a success counts only once its body has been read."""

        self.lines: Lines = Lines()
        self.base_path: str = "" if self._base_url is None else self._base_url.path
        self.bare: BareRequests = BareRequests(client, provider, policy, self.base_path)

    def read(
        self, shown: object, name: str, method: str, url: StrOrURL, options: dict[str, Any], started: float
    ) -> Reading:
        """Read one request.

        Args:
            shown: The session that trace callbacks and middlewares will see.
            name: The session method that was called, whose namesake on the aiohttp session sends the attempts.
            method: The HTTP method.
            url: The caller's address.
            options: The caller's keywords; those that are ours are taken out.
            started: The present moment of the event loop's clock.

        Returns:
            The call; what sends its attempts; the request's own ``raise_for_status=``; and whether its ``timeout=`` is
            longer than the deadline, or endless.

        Raises:
            TypeError: ``policy``, ``operation`` or ``reconcile`` is of a wrong type, or aiohttp cannot send the body.
            ValueError: ``idempotency_key`` is malformed, or protects nothing here; or both ``data`` and ``json`` given.
        """
        bare = None if options else self.bare.find(name, url)
        if bare is None:
            return self._read(shown, name, method.upper(), url, options)
        return bare.new_call(started), self.new_exchange(bare), None, False

    def new_exchange(self, bare: Bare) -> SessionExchange:
        """Give what sends it; under a guard where something of it must stay at home, and it may be led away."""
        exchange = SessionExchange(bare.asked, self.reads_bodies, self._key_headers)
        if bare.asked.options.get("allow_redirects", True):
            exchange.home, exchange.holds_back = self._home(bare.policy), False
            exchange.has_secrets = bare.has_secrets
        return exchange

    def _read(self, shown: object, name: str, method: str, url: StrOrURL, options: dict[str, Any]) -> Reading:
        bound = binding()
        place = self._place(url)
        slot = self._provider.slot_for(method, place.path)
        is_bare = not options and method in SAFE_METHODS and (slot is None or slot.make_key is None)
        policy, operation, own_lookup = self._policy, None, None
        if not _TYPED.isdisjoint(options):
            policy = _taken(options, "policy", Policy) or policy
            operation = _taken(options, "operation", str)
            own_lookup = _taken(options, "reconcile", Lookup)
        timeout = options.pop("timeout", sentinel)
        limits = self._client.timeout if timeout is sentinel else _client_timeout(timeout)
        raise_for_status = options.pop("raise_for_status", None)
        key_given = options.pop("idempotency_key", None)
        if options.get("headers"):
            options["headers"] = CIMultiDict(options["headers"])  # the caller may change his while we pause
        if bound is not None:
            slot = bound.seeded(slot, self._provider.name, operation or f"{method} {place.path}")
        document = self._document(slot, options)
        key = self._key(slot, method, place.path, key_given, document, options)
        if key.header is not None:
            headers = options.get("headers") or CIMultiDict()  # our copy, if any were given
            headers[key.header] = key.key
            options["headers"] = headers
        body = self._body(options, key)
        if policy.expect_continue and key.key is None and body is not None and method not in SAFE_METHODS:
            options.setdefault("expect100", True)
        asked = self._asked(shown, name, method, url, options, policy, limits)
        if is_bare and self._sends_once and asked.limits is self._limits and place is not _NOWHERE:
            self.bare.keep(asked, place.address, has_user=place.has_user)
        started = self._now()  # when a large body is written
        deadline = deadline_after(started, policy.deadline)
        if bound is not None:
            deadline = inherited_deadline(deadline, started)
        call = Call(method, place.address, self._provider, policy, deadline, started, asked.usual_s)
        call.operation = None if operation is None else clean(operation)
        call.key, call.base_path = key, self.base_path
        call.lookup = own_lookup or (None if key.key is None else self._provider.lookup)
        call.sent = _object_sent(document, body)
        beyond = timeout is not sentinel and self._asks_beyond(limits, policy.deadline)
        return call, self._guarded(asked, policy, body), raise_for_status, beyond

    def lookups(self, shown: object) -> SessionExchange:
        """Give an exchange that only looks up."""
        asked = self._asked(shown, "get", "GET", "", {}, self._policy, self._client.timeout)
        return self._guarded(asked, self._policy, None)

    def _asked(
        self,
        shown: object,
        name: str,
        method: str,
        url: StrOrURL,
        options: dict[str, Any],
        policy: Policy,
        limits: aiohttp.ClientTimeout,
    ) -> Asked:
        client = self._client
        if not self._provider.follow_redirects:
            options["allow_redirects"] = False
        given = options.pop("middlewares", None)
        # Nor to its middlewares, a list that may grow; a request's own replaces them.
        middlewares = tuple((getattr(client, "_middlewares", None) or ()) if given is None else given)
        is_watched = bool(middlewares or getattr(client, "trace_configs", None))
        is_plain = not is_watched and is_as_shipped(client, name)
        if is_plain and name == "head":
            options.setdefault("allow_redirects", False)
        usual_s = _shortest(policy.attempt_timeout, limits.total, policy.deadline)
        time_limits = self._limits if limits is self._limits.given else TimeLimits(limits)
        line = self.lines.of(usual_s) if is_plain else None
        shown = shown if is_watched else None
        # Arguments by name would cost twice as much.
        return Asked(client, shown, name, method, url, options, middlewares, time_limits, usual_s, line)

    def _guarded(self, asked: Asked, policy: Policy, body: RequestBody | None) -> SessionExchange:
        """See that each attempt goes out once, and that what is secret stays at home."""
        read_body = self._provider.read_body if policy.read_body is None else policy.read_body
        exchange = SessionExchange(asked, read_body, self._key_headers)
        exchange.body = body
        if binding() is not None:
            given = asked.options.get("headers") or {}
            exchange.inherited = inherited_headers(given, self._client.headers, self._key_headers)
        exchange.home = self._home(policy, exchange.inherited)
        exchange.holds_back = not (self._sends_once or asked.is_shown())
        return exchange

    def _home(self, policy: Policy, inherited: InheritedHeaders | None = None) -> Home:
        secret = self._secret_headers if inherited is None else self._secret_headers | inherited.names
        return Home(secret, body_may_leave=True) if policy.redirect_body else Home(secret)

    def _place(self, url: StrOrURL) -> _Place:
        try:
            return _place_of(url, self._base_url)
        except (TypeError, ValueError):
            return _NOWHERE

    def as_this_user(self, url: str) -> str:
        """Add the base address's user-info, which no report holds, to an address of the same origin."""
        base, address = self._base_url, URL(url)
        if base is None or base.raw_user is None or base.origin() != address.origin():
            return url
        return str(address.with_user(base.user).with_password(base.password))

    def _asks_beyond(self, limits: aiohttp.ClientTimeout, deadline_s: float) -> bool:
        """Say whether to tell of a timeout that is longer than the deadline: of one that nobody set, only once.

        Libraries pass ``ClientTimeout(sock_read=...)`` with every request, which has no total.
        """
        if limits.total is not None or not exceeds(limits, deadline_s):
            return exceeds(limits, deadline_s)
        told, self._has_told_of_endless = self._has_told_of_endless, True
        return not told

    def _document(self, slot: KeySlot | None, options: dict[str, Any]) -> object:
        json = options.get("json")
        if json is not None or slot is None or not (slot.json_field or self._provider.lookup):
            return json
        data = options.get("data")
        if not isinstance(data, str | bytes | bytearray):
            return None
        try:
            return json_library.loads(data)
        except (ValueError, RecursionError):
            return None

    def _key(
        self,
        slot: KeySlot | None,
        method: str,
        path: str,
        given: Any,  # noqa: ANN401 - whatever the caller took for a key
        document: object,
        options: dict[str, Any],
    ) -> KeyPlan:
        if slot is None and method in SAFE_METHODS:
            return NO_KEY
        editable = slot is not None and slot.json_field is not None and isinstance(options.get("json"), Mapping)
        headers: Mapping[str, str] = options.get("headers") or {}
        try:
            return plan_key(slot, given=given, headers=headers, document=document, editable=editable)
        except ValueError as error:
            raise ValueError(f"{self._provider.name} {method} {path}: {error}") from None

    def _body(self, options: dict[str, Any], key: KeyPlan) -> RequestBody | None:
        data, json = options.pop("data", None), options.pop("json", None)
        if json is None:
            if not data:
                options.pop("compress", None)  # aiohttp compresses no empty body, and cannot tell of ours
            # What the caller may change while we pause is copied.
            return body_from(bytes(data) if isinstance(data, bytearray | memoryview) else data)
        if data is not None:
            raise ValueError("data and json parameters can not be used at the same time")
        if key.json_field is not None and key.key is not None:
            json = with_json_field(json, key.json_field, key.key)
        return json_body(json, self._dumps)


def settle_tracker(tracker: Any) -> None:  # noqa: ANN401 - aiohttp.UploadTracker, new in 3.14
    """Tell an upload tracker that nothing will be sent; whoever waits for the upload would wait for ever."""
    if tracker is not None:
        tracker._bind()  # noqa: SLF001 - aiohttp settles only those that it was given with a request
        tracker._finalize()  # noqa: SLF001 - likewise


def exceeds(limits: aiohttp.ClientTimeout, seconds: float) -> bool:
    """Say whether a timeout is longer than so many seconds, or endless."""
    return limits.total is None or limits.total <= 0 or limits.total > seconds


def _object_sent(document: object, body: RequestBody | None) -> Mapping[str, Any] | None:
    if document is None:
        return NOTHING_SENT if body is None else None
    return document if isinstance(document, Mapping) else {} if body is None else None


def _taken(options: dict[str, Any], name: str, wanted: type[Any]) -> Any:  # noqa: ANN401 - what wanted says
    value = options.pop(name, None)
    if value is not None and not isinstance(value, wanted):
        raise TypeError(f"{name}= must be a {wanted.__name__}, got {type(value).__name__}")
    return value


def _client_timeout(given: Any) -> aiohttp.ClientTimeout:  # noqa: ANN401 - number, value or None
    return given if isinstance(given, aiohttp.ClientTimeout) else aiohttp.ClientTimeout(total=given)


def _shortest(policys: float | None, aiohttps: float | None, deadline_s: float) -> float:
    # aiohttp takes 0 and less for "no limit", and so does a drop-in.
    seconds = deadline_s if policys is None or policys > deadline_s else policys
    return seconds if aiohttps is None or not 0 < aiohttps < seconds else aiohttps
