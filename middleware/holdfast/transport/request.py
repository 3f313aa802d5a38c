"""One request's keywords, read once before its first attempt: what is ours, what is aiohttp's, which key, which body.

Everything that can be wrong with the arguments is said here, before anything is sent.
"""

import json as json_library
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from aiohttp.helpers import sentinel
from aiohttp.typedefs import StrOrURL
from multidict import CIMultiDict
from yarl import URL

from holdfast.core.idempotency import NO_KEY, KeyPlan, plan_key, with_json_field
from holdfast.core.redact import clean
from holdfast.engine.inbound import binding
from holdfast.policy import Policy
from holdfast.providers.provider import SAFE_METHODS, KeySlot, Lookup, Provider, below
from holdfast.transport.body import RequestBody, body_from, json_body
from holdfast.transport.home import SECRET_HEADERS, Home
from holdfast.transport.inherited import inherited_headers
from holdfast.transport.method import is_watched, method_of
from holdfast.transport.session_exchange import SessionExchange

_NOT_GIVEN: Final[Any] = object()


@dataclass(slots=True, kw_only=True)
class Request:
    """One request, ready to be sent any number of times. Confined to one event loop."""

    method: str
    address: str
    """Absolute address, query and all; empty where the caller's was no address."""

    policy: Policy
    operation: str | None
    key: KeyPlan
    lookup: Lookup | None
    document: Mapping[str, Any] | None
    """The JSON object in the body, an empty one where there is no body; ``None`` where that is not known."""

    raise_for_status: Any
    exchange: SessionExchange
    attempt_timeout_s: float | None
    """The shorter of the policy's and aiohttp's own ``timeout=``."""

    asks_beyond_deadline: bool
    """Whether the caller's ``timeout=`` for this request is longer than the deadline, or endless."""


class RequestReader:
    """Reads requests for one session. Confined to one event loop."""

    def __init__(self, client: aiohttp.ClientSession, provider: Provider, policy: Policy) -> None:
        """Take what all requests of the session share."""
        self._client = client
        self._provider = provider
        self._policy = policy
        # aiohttp has no public way to a session's base address.
        self._base_url: URL | None = getattr(client, "_base_url", None)
        self._key_headers = provider.key_headers
        self._secret_headers = SECRET_HEADERS | provider.key_headers
        self._has_told_of_endless = False
        self.base_path: str = "" if self._base_url is None else self._base_url.path

    def read(self, shown: object, name: str, method: str, url: StrOrURL, options: dict[str, Any]) -> Request:
        """Read one request.

        Args:
            shown: The session that trace callbacks and middlewares will see.
            name: The session method that was called, whose namesake on the aiohttp session sends the attempts.
            method: The HTTP method.
            url: The caller's address.
            options: The caller's keywords; those that are ours are taken out.

        Raises:
            TypeError: ``policy``, ``operation`` or ``reconcile`` is of a wrong type, or aiohttp cannot send the body.
            ValueError: ``idempotency_key`` is malformed, or protects nothing here; or both ``data`` and ``json`` given.
        """
        policy = _taken(options, "policy", Policy) or self._policy
        timeout = options.pop("timeout", _NOT_GIVEN)
        given = timeout is not _NOT_GIVEN and timeout is not sentinel
        limits = _client_timeout(timeout) if given else self._client.timeout
        operation = _taken(options, "operation", str)
        own_lookup = _taken(options, "reconcile", Lookup)
        raise_for_status = options.pop("raise_for_status", None)
        key_given = options.pop("idempotency_key", None)
        if options.get("headers"):
            options["headers"] = CIMultiDict(options["headers"])  # the caller may change his while we pause
        method = method.upper()
        address = self.absolute(url)
        path = below(URL(address).path, self.base_path)[1]
        slot = self._provider.slot_for(method, path)
        if (bound := binding()) is not None:
            slot = bound.seeded(slot, self._provider.name, operation or f"{method} {path}")
        document = self._document(slot, options)
        key = self._key(slot, method, path, key_given, document, options)
        if key.header is not None:
            options["headers"] = _with_header(options.get("headers"), key.header, key.key)
        body = self._body(options, key)
        if policy.expect_continue and key.key is None and body is not None and method not in SAFE_METHODS:
            options.setdefault("expect100", True)
        where = (method, url) if name == "request" else (url,)
        return Request(
            method=method,
            address=address,
            policy=policy,
            operation=None if operation is None else clean(operation),
            key=key,
            lookup=own_lookup or (None if key.key is None else self._provider.lookup),
            document=_object_sent(document, body),
            raise_for_status=raise_for_status,
            exchange=self.exchange(shown, name, where, options, policy, limits, body),
            attempt_timeout_s=_shorter(policy.attempt_timeout, limits.total),
            asks_beyond_deadline=given and self._asks_beyond(limits, policy.deadline),
        )

    def exchange(
        self,
        shown: object,
        name: str,
        where: tuple[Any, ...],
        options: dict[str, Any],
        policy: Policy,
        limits: aiohttp.ClientTimeout,
        body: RequestBody | None,
    ) -> SessionExchange:
        """Bind a request to the aiohttp session's method of the same name."""
        if not self._provider.follow_redirects:
            options["allow_redirects"] = False
        given = options.pop("middlewares", None)
        client = self._client
        # Nor to its middlewares, a list that may grow; a request's own replaces them.
        middlewares = tuple((getattr(client, "_middlewares", None) or ()) if given is None else given)
        inherited = inherited_headers(options.get("headers") or {}, client.headers, self._key_headers)
        onstage = shown if is_watched(client, middlewares) else None
        send = method_of(client, onstage, name)
        read_body = self._provider.read_body if policy.read_body is None else policy.read_body
        return SessionExchange(
            send_request=lambda **late: send(*where, data=body, raise_for_status=False, **late),
            get=method_of(client, onstage, "get"),
            options=options,
            middlewares=middlewares,
            timeout=limits,
            body=body,
            read_body=read_body,
            key_headers=self._key_headers,
            inherited=inherited,
            home=Home(
                self._secret_headers if inherited is None else self._secret_headers | inherited.names,
                body_may_leave=policy.redirect_body,
            ),
            holds_back=onstage is None or getattr(send, "__self__", None) is not onstage,
        )

    def absolute(self, url: StrOrURL) -> str:
        """Give the address that aiohttp will send to; empty where aiohttp will refuse the caller's."""
        try:
            address = URL(url)
        except (TypeError, ValueError):
            return ""
        if self._base_url is not None and not address.absolute:
            address = self._base_url.join(address)
        return str(address)

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
        editable = isinstance(options.get("json"), Mapping)
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
        # aiohttp has no public way to the bytes serializer, which is new in 3.14.
        dumps_bytes = getattr(self._client, "_json_serialize_bytes", None)
        return json_body(json, dumps_bytes or self._client.json_serialize)


def settle_tracker(tracker: Any) -> None:  # noqa: ANN401 - aiohttp.UploadTracker, new in 3.14
    """Tell an upload tracker that nothing will be sent; whoever waits for the upload would wait for ever."""
    if tracker is not None:
        tracker._bind()  # noqa: SLF001 - aiohttp settles only those that it was given with a request
        tracker._finalize()  # noqa: SLF001 - likewise


def exceeds(limits: aiohttp.ClientTimeout, seconds: float) -> bool:
    """Say whether a timeout is longer than so many seconds, or endless."""
    return limits.total is None or limits.total <= 0 or limits.total > seconds


def _object_sent(document: object, body: RequestBody | None) -> Mapping[str, Any] | None:
    if isinstance(document, Mapping):
        return document
    return {} if body is None else None


def _taken(options: dict[str, Any], name: str, wanted: type[Any]) -> Any:  # noqa: ANN401 - what wanted says
    value = options.pop(name, None)
    if value is not None and not isinstance(value, wanted):
        raise TypeError(f"{name}= must be a {wanted.__name__}, got {type(value).__name__}")
    return value


def _with_header(headers: Any, name: str, value: str | None) -> CIMultiDict[str]:  # noqa: ANN401 - LooseHeaders
    extended = CIMultiDict(headers or ())
    extended[name] = value or ""
    return extended


def _client_timeout(given: Any) -> aiohttp.ClientTimeout:  # noqa: ANN401 - number, value or None
    return given if isinstance(given, aiohttp.ClientTimeout) else aiohttp.ClientTimeout(total=given)


def _shorter(first: float | None, second: float | None) -> float | None:
    # aiohttp takes 0 and less for "no limit", and so does a drop-in.
    return min((seconds for seconds in (first, second) if seconds is not None and seconds > 0), default=None)
