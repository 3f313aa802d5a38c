"""What each failure of aiohttp means: is it worth another attempt, and may the peer have acted?

A table, read from the top; the most specific class stands first, because aiohttp's classes overlap. The phase is known
by construction: every class that aiohttp raises before it has a connection is listed as unsent, and since the
connect phase has its own limit, a bare ``TimeoutError`` means that a connection existed. All else is in doubt.

An exception's ``status`` is never read, but for a proxy's 407: a malformed response raises
``ClientResponseError(status=400)``, and may follow a charge.

Source: measured on aiohttp 3.12.15 to 3.14.5 against a byte-exact server.
"""

from collections.abc import Callable
from traceback import walk_tb
from typing import Final, NamedTuple, cast

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from holdfast.core.redact import safe_address, safe_url
from holdfast.outcome import Effect, Outcome
from holdfast.protocols import Fault

_NO_HEADERS: Final = cast("CIMultiDictProxy[str]", CIMultiDict())  # a real proxy does not pickle
_RETRY: Final = Outcome.RETRYABLE
_FINAL: Final = Outcome.PERMANENT_FAILURE
_UNSENT: Final = False
_MAYBE: Final = None

_VERSIONS: Final = frozenset({"TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE"})
"""OpenSSL's names for "no TLS version in common", from either side."""


_TO_HOST: Final = " to host "
"""What aiohttp puts between the words and the address of a connection timeout."""


_REQUEST: Final = "_request"
"""The method of aiohttp's session that sends a request and follows its redirects."""

_WAITS_IN_LINE: Final = "_wait_for_available_connection"
"""The method of aiohttp's connector in which a request waits while its pool is full."""


class _Hops(tuple[aiohttp.ClientResponse, ...]):
    """The redirects that were followed, for the caller to look at: neither printed nor pickled."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} redirects>"

    def __reduce__(self) -> tuple[type[tuple[()]], tuple[()]]:
        return tuple, ()


class _Row(NamedTuple):
    error: type[Exception]
    outcome: Outcome
    bytes_sent: bool | None
    """``False``: raised only before a connection exists, so nothing was sent. ``None``: the class does not tell."""

    reason: str
    only_if: Callable[[Exception], bool] = lambda _: True
    """What else must hold of the error, where its class says too little."""


def _speaks_another_version(error: Exception) -> bool:
    return getattr(getattr(error, "os_error", None), "reason", None) in _VERSIONS


def _demands_login(error: Exception) -> bool:
    # The one status of an exception that is an answer: aiohttp raises this class only for a proxy's own, to CONNECT.
    return getattr(error, "status", None) == 407  # noqa: PLR2004 - RFC 9110 section 15.5.8


def _while_connecting(error: Exception) -> bool:
    """Say whether it was raised while aiohttp made a connection, on which nothing can have been sent yet.

    aiohttp's total timer raises its ``TimeoutError`` from the cancellation that it cut the work off with.
    """
    raised = [error] if error.__cause__ is None else [error, error.__cause__]
    frames = (frame for one in raised for frame, _ in walk_tb(one.__traceback__))
    return any(frame.f_globals.get("__name__") == "aiohttp.connector" for frame in frames)


def _in_line_for_a_connection(error: Exception) -> bool:
    """Say whether it was raised while all connections of aiohttp's pool were in use: our own doing, not the peer's."""
    cause: BaseException | None = error
    while cause is not None:
        if any(frame.f_code.co_name == _WAITS_IN_LINE for frame, _ in walk_tb(cause.__traceback__)):
            return True
        cause = cause.__cause__
    return False


_TABLE: Final = (
    # Before a connection exists.
    _Row(aiohttp.ClientConnectorCertificateError, _FINAL, _UNSENT, "tls_certificate"),
    _Row(aiohttp.ServerFingerprintMismatch, _FINAL, _UNSENT, "tls_certificate"),
    _Row(aiohttp.ClientConnectorSSLError, _FINAL, _UNSENT, "tls", _speaks_another_version),
    _Row(aiohttp.ClientConnectorSSLError, _RETRY, _UNSENT, "tls"),
    _Row(aiohttp.ClientConnectorDNSError, _RETRY, _UNSENT, "dns"),
    _Row(aiohttp.ClientProxyConnectionError, _RETRY, _UNSENT, "proxy"),
    _Row(aiohttp.ClientHttpProxyError, _FINAL, _UNSENT, "proxy_authentication_required", _demands_login),
    _Row(aiohttp.ClientHttpProxyError, _RETRY, _UNSENT, "proxy_refused"),
    _Row(aiohttp.ClientConnectorError, _RETRY, _UNSENT, "connect"),
    # Pool wait, DNS, TCP, TLS and proxy all end in this one class; only the first of them is told apart.
    _Row(aiohttp.ConnectionTimeoutError, _RETRY, _UNSENT, "pool_wait", _in_line_for_a_connection),
    _Row(aiohttp.ConnectionTimeoutError, _RETRY, _UNSENT, "connect_timeout"),
    # The address, or where a redirect led. InvalidUrlRedirectClientError follows an answer, so it comes first.
    _Row(aiohttp.InvalidUrlRedirectClientError, _FINAL, _MAYBE, "bad_redirect"),
    _Row(aiohttp.NonHttpUrlRedirectClientError, _FINAL, _MAYBE, "bad_redirect"),
    _Row(aiohttp.InvalidURL, _FINAL, _UNSENT, "invalid_url"),
    _Row(aiohttp.NonHttpUrlClientError, _FINAL, _UNSENT, "invalid_url"),
    _Row(aiohttp.TooManyRedirects, _FINAL, _MAYBE, "too_many_redirects"),
    # A connection existed.
    _Row(aiohttp.SocketTimeoutError, _RETRY, _MAYBE, "read_timeout"),
    _Row(aiohttp.ServerDisconnectedError, _RETRY, _MAYBE, "disconnected"),
    _Row(aiohttp.ClientResponseError, _RETRY, _MAYBE, "malformed_response"),
    _Row(aiohttp.ClientPayloadError, _RETRY, _MAYBE, "payload_lost"),
    _Row(aiohttp.ClientConnectionError, _RETRY, _MAYBE, "connection_lost"),
    # The connect phase's own limit lies below the total, but a loop that lags can find both due at once.
    _Row(TimeoutError, _RETRY, _UNSENT, "pool_wait", _in_line_for_a_connection),
    _Row(TimeoutError, _RETRY, _UNSENT, "connect_timeout", _while_connecting),
    _Row(TimeoutError, _RETRY, _MAYBE, "timeout"),
    _Row(OSError, _RETRY, _MAYBE, "connection_lost"),
    _Row(aiohttp.ClientError, _RETRY, _MAYBE, "connection_lost"),
    # A resolver that found no address: aiohttp trips over the empty list, in a way that differs between its versions.
    _Row(AssertionError, _RETRY, _UNSENT, "dns", _while_connecting),
    _Row(RuntimeError, _RETRY, _UNSENT, "dns", _while_connecting),
    # Not the network's: a wrong argument, a closed session, a caller's own middleware or body.
    _Row(Exception, _FINAL, _MAYBE, "local_error"),
)


def fault_of(error: Exception, *, bytes_sent: bool | None, trusted: bool = True) -> Fault:
    """Say what one failure means.

    Args:
        error: What aiohttp raised.
        bytes_sent: What the guard knows of this attempt; ``False`` is proof that nothing took effect.
        trusted: Whether the error is known to come from the send itself, so that its class proves something.
    """
    row = next(row for row in _TABLE if isinstance(error, row.error) and row.only_if(error))
    unsent = trusted and (row.bytes_sent is False or _while_connecting(error))
    # Evidence that something was sent outweighs the class: a redirect's target may refuse what its source took in.
    sent = False if unsent and bytes_sent is not True else bytes_sent
    effect = Effect.NONE if sent is False or _never_taken_in(error) else Effect.IN_DOUBT
    return Fault(row.outcome, effect, row.reason, error, bytes_sent=sent, timed_out=isinstance(error, TimeoutError))


def after_redirect(error: Exception) -> bool | None:
    """Say whether aiohttp had followed a redirect when this was raised; ``None`` where that does not show."""
    frames = (frame for frame, _ in walk_tb(error.__traceback__) if frame.f_code.co_name == _REQUEST)
    return True if any(frame.f_locals.get("history") for frame in frames) else None


def _never_taken_in(error: Exception) -> bool:
    """Say whether every hop of a redirect loop sent the request on as it was (RFC 9110 sections 15.4.8 and 15.4.9)."""
    return isinstance(error, aiohttp.TooManyRedirects) and all(hop.status in {307, 308} for hop in error.history)


def without_secrets(error: Exception) -> None:
    """Take out of aiohttp's own errors what they print and pickle: the address with its query, headers, the hops."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        said, to, address = str(error).partition(_TO_HOST)
        error.args = (f"{said}{to}{safe_url(address)}",)
    if isinstance(error, aiohttp.ClientResponseError):
        asked = error.request_info
        place = URL(safe_url(str(asked.real_url)))
        error.request_info = aiohttp.RequestInfo(place, asked.method, _NO_HEADERS, place)
        error.headers, error.history = None, _Hops(error.history)
        error.args = (error.request_info, ())
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        error.args = (safe_address(str(error.args[0])), *error.args[1:]) if error.args else ()
    if isinstance(error, aiohttp.InvalidURL):
        error._url = error.args[0] if error.args else ""  # noqa: SLF001 - what str(error) prints
