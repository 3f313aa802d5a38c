"""What each failure of aiohttp means, class by class."""

import pickle
import ssl
from typing import Any, Final

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from holdfast import Effect, Outcome
from holdfast.core.classify import REASONS
from holdfast.transport.faults import fault_of, without_secrets

KEY: Final = ConnectionKey("host.test", 443, True, True, None, None, None)  # noqa: FBT003 - a tuple of aiohttp's
INFO: Final = aiohttp.RequestInfo(URL("http://host.test/"), "POST", {}, URL("http://host.test/"))  # type: ignore[arg-type]


def headers(value: str) -> CIMultiDictProxy[str]:
    """Make headers that hold a secret."""
    return CIMultiDictProxy(CIMultiDict({"Authorization": value}))


RETRY, FINAL = Outcome.RETRYABLE, Outcome.PERMANENT_FAILURE
NONE, DOUBT = Effect.NONE, Effect.IN_DOUBT

CASES: Final[list[tuple[Exception, Outcome, Effect, str]]] = [
    (aiohttp.ClientConnectorDNSError(KEY, OSError(-2, "unknown")), RETRY, NONE, "dns"),
    (aiohttp.ClientConnectorError(KEY, OSError(111, "refused")), RETRY, NONE, "connect"),
    (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, "handshake")), RETRY, NONE, "tls"),
    (aiohttp.ClientConnectorCertificateError(KEY, ssl.CertificateError("name")), FINAL, NONE, "tls_certificate"),
    (aiohttp.ServerFingerprintMismatch(b"a", b"b", "host.test", 443), FINAL, NONE, "tls_certificate"),
    (aiohttp.ClientProxyConnectionError(KEY, OSError(111, "refused")), RETRY, NONE, "proxy"),
    (aiohttp.ClientHttpProxyError(INFO, (), status=502), RETRY, NONE, "proxy_refused"),
    (aiohttp.ClientHttpProxyError(INFO, (), status=407), FINAL, NONE, "proxy_authentication_required"),
    (aiohttp.ConnectionTimeoutError("x"), RETRY, NONE, "connect_timeout"),
    (aiohttp.InvalidURL("x"), FINAL, NONE, "invalid_url"),
    (aiohttp.InvalidUrlClientError("x"), FINAL, NONE, "invalid_url"),
    (aiohttp.NonHttpUrlClientError("ftp://x"), FINAL, NONE, "invalid_url"),
    (aiohttp.InvalidUrlRedirectClientError("x"), FINAL, DOUBT, "bad_redirect"),
    (aiohttp.NonHttpUrlRedirectClientError("x"), FINAL, DOUBT, "bad_redirect"),
    (aiohttp.TooManyRedirects(INFO, ()), FINAL, NONE, "too_many_redirects"),
    (aiohttp.SocketTimeoutError("x"), RETRY, DOUBT, "read_timeout"),
    (aiohttp.ServerDisconnectedError(), RETRY, DOUBT, "disconnected"),
    (aiohttp.ClientOSError(104, "reset"), RETRY, DOUBT, "connection_lost"),
    (aiohttp.ClientConnectionResetError("x"), RETRY, DOUBT, "connection_lost"),
    (aiohttp.ClientConnectionError("x"), RETRY, DOUBT, "connection_lost"),
    (aiohttp.ClientResponseError(INFO, (), status=400), RETRY, DOUBT, "malformed_response"),
    (aiohttp.ClientResponseError(INFO, (), status=200), RETRY, DOUBT, "malformed_response"),
    (aiohttp.ClientPayloadError("x"), RETRY, DOUBT, "payload_lost"),
    (TimeoutError(), RETRY, DOUBT, "timeout"),
    (ConnectionResetError(104, "x"), RETRY, DOUBT, "connection_lost"),
    (aiohttp.ClientError("x"), RETRY, DOUBT, "connection_lost"),
    (LookupError("of the caller's own"), FINAL, DOUBT, "local_error"),
]


@pytest.mark.parametrize(
    ("error", "outcome", "effect", "reason"), CASES, ids=[f"{type(case[0]).__name__}-{case[3]}" for case in CASES]
)
def test_each_class_has_its_meaning(error: Exception, outcome: Outcome, effect: Effect, reason: str) -> None:
    """A certificate that does not verify would be tried again, or a reset taken for proof that nothing was sent."""
    fault = fault_of(error, bytes_sent=None)

    assert (fault.outcome, fault.effect, fault.reason, fault.error) == (outcome, effect, reason, error)
    assert fault.bytes_sent is (False if effect is NONE and reason != "too_many_redirects" else None)
    assert fault.reason in REASONS


@pytest.mark.parametrize("error", [case[0] for case in CASES], ids=[type(case[0]).__name__ for case in CASES])
def test_proof_that_nothing_left_wins_over_every_class(error: Exception) -> None:
    """A keep-alive connection that was dead before the body began would leave a payment in doubt."""
    assert fault_of(error, bytes_sent=False).effect is NONE


def subclasses(kind: type[Exception]) -> set[type[Exception]]:
    """List a class and all below it."""
    return {kind}.union(*(subclasses(each) for each in kind.__subclasses__()))


def bare(kind: type[Exception]) -> Exception:
    """Make an error of a class whose arguments nobody knows."""
    error = kind.__new__(kind)
    vars(error).update(status=0, history=(), _os_error=OSError())
    return error


def test_every_class_of_aiohttps_is_in_a_row_of_its_own_kind() -> None:
    """A class that a new aiohttp adds would fall to the caller's own mistakes, which are never tried again."""
    kinds = {kind for kind in subclasses(aiohttp.ClientError) if kind.__module__ == "aiohttp.client_exceptions"}

    reasons = {kind.__name__: fault_of(bare(kind), bytes_sent=None).reason for kind in kinds}

    assert len(reasons) > 20
    assert not [name for name, reason in reasons.items() if reason == "local_error"]


@pytest.mark.parametrize(
    ("error", "timed_out"),
    [
        (TimeoutError(), True),
        (aiohttp.SocketTimeoutError("x"), True),
        (aiohttp.ConnectionTimeoutError("x"), True),
        (aiohttp.ServerDisconnectedError(), False),
    ],
)
def test_a_timeout_is_known_for_one(error: Exception, *, timed_out: bool) -> None:
    """A call cut off by its deadline would end in another error than one that ran out of time."""
    assert fault_of(error, bytes_sent=None).timed_out is timed_out


def test_the_address_is_taken_out_of_a_connect_timeout() -> None:
    """Aiohttp writes the whole URL, query and all, into this one."""
    error = aiohttp.ConnectionTimeoutError("Connection timeout to host http://host.test/?token=secret")

    without_secrets(error)

    assert str(error) == "Connection timeout to host http://host.test/"


@pytest.mark.parametrize(
    "error",
    [
        aiohttp.InvalidUrlClientError("http://user:secret@host.test/?card=secret"),
        aiohttp.InvalidURL("http://host.test/?card=secret", "bad"),
        aiohttp.NonHttpUrlClientError("ftp://user:secret@host.test/?card=secret"),
        aiohttp.ClientResponseError(
            aiohttp.RequestInfo(
                URL("http://host.test/?card=secret"),
                "POST",
                headers("Bearer secret"),
                URL("http://host.test/?x=secret"),
            ),
            (),
            status=400,
            message="Bad",
            headers=headers("secret"),
        ),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_aiohttps_that_we_pass_on_tells_no_secret(error: aiohttp.ClientError) -> None:
    """Error trackers keep ``str``, ``repr`` and pickles: a card number or a token would be there for ever."""
    without_secrets(error)

    assert "secret" not in f"{error} {error!r} {error.args}"


def test_the_redirects_before_an_error_can_be_looked_at_and_are_not_printed() -> None:
    """Code that asks where a redirect loop began would find nothing; an error tracker would find its cookies."""
    place = URL("http://host.test/?card=secret")
    request = aiohttp.RequestInfo(place, "GET", headers("secret"), place)
    hops: Any = ("first secret", "second secret")
    error = aiohttp.TooManyRedirects(request, hops)

    without_secrets(error)

    assert list(error.history) == list(hops)
    assert "secret" not in f"{error!r} {error.args} {pickle.dumps(error)!r}"
