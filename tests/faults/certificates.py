"""Certificates made when the tests run: a good one, and one for each way in which a certificate can be bad."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import trustme

HOST: Final = "pay.test"
"""The provider's name; the resolver of each test says where it is."""

_LONG_AGO: Final = datetime(2001, 1, 1, tzinfo=UTC)
_NO_LONGER: Final = datetime(2002, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """TLS settings of both sides."""

    client: ssl.SSLContext
    stranger: ssl.SSLContext
    """A client that does not know our authority."""

    modern_client: ssl.SSLContext
    """Speaks TLS 1.3 only."""

    old_client: ssl.SSLContext
    """Speaks TLS 1.2 only."""

    good: ssl.SSLContext
    expired: ssl.SSLContext
    other_host: ssl.SSLContext
    modern: ssl.SSLContext
    old: ssl.SSLContext
    demanding: ssl.SSLContext
    """Asks for a client certificate, which no client here has."""


@lru_cache(maxsize=1)
def certificates() -> Certificates:
    """Make them, once per process."""
    authority = trustme.CA()
    return Certificates(
        client=_client(authority),
        stranger=ssl.create_default_context(),
        modern_client=_client(authority, lowest=ssl.TLSVersion.TLSv1_3),
        old_client=_client(authority, highest=ssl.TLSVersion.TLSv1_2),
        good=_server(authority.issue_cert(HOST)),
        expired=_server(authority.issue_cert(HOST, not_before=_LONG_AGO, not_after=_NO_LONGER)),
        other_host=_server(authority.issue_cert("other.test")),
        modern=_server(authority.issue_cert(HOST), lowest=ssl.TLSVersion.TLSv1_3),
        old=_server(authority.issue_cert(HOST), highest=ssl.TLSVersion.TLSv1_2),
        demanding=_demanding(authority),
    )


def _client(
    authority: trustme.CA, lowest: ssl.TLSVersion | None = None, highest: ssl.TLSVersion | None = None
) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return _limited(context, lowest, highest)


def _server(
    certificate: trustme.LeafCert, lowest: ssl.TLSVersion | None = None, highest: ssl.TLSVersion | None = None
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return _limited(context, lowest, highest)


def _demanding(authority: trustme.CA) -> ssl.SSLContext:
    context = _server(authority.issue_cert(HOST))
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    return context


def _limited(context: ssl.SSLContext, lowest: ssl.TLSVersion | None, highest: ssl.TLSVersion | None) -> ssl.SSLContext:
    if lowest is not None:
        context.minimum_version = lowest
    if highest is not None:
        context.maximum_version = highest
    return context
