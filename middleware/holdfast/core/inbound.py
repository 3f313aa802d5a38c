"""What an inbound request's headers may tell us, and the idempotency keys that follow from them.

Pure and total: header text in, values out; whatever the text holds, nothing here raises, and what is malformed is named
and left out, never repaired. Everything is untrusted: a client can shorten its own time, name its own request and
repeat its own keys, and that is all. Proof: ``tests/core/test_inbound.py``.

Sources: W3C Trace Context sections 3.2.2 (traceparent) and 4.3 (versions); RFC 9110 section 5.6.2 (header names);
draft-ietf-httpapi-idempotency-key-header-07; HMAC is RFC 2104.
"""

import hmac
import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple
from uuid import UUID

from holdfast.core.idempotency import HEADER_KEY_PATTERN
from holdfast.policy import DEADLINE_CAP_S

IDEMPOTENCY_HEADER: Final = "Idempotency-Key"
TRACE_HEADER: Final = "traceparent"

HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
"""A token of RFC 9110 section 5.6.2."""

REQUEST_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:~+/=@-]{0,127}")
"""Ids in use (UUID, ULID, Base64, ``Root=1-...``) fit; separators, quotes, spaces and control characters do not,
because the id goes into log lines and outbound headers."""

# No sign, exponent, infinity or NaN. Fifteen digits are 31 million years, and a float holds them exactly.
_SECONDS: Final = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})?")

# A version above 00 may go on after another dash; ff, and ids that are all zero, are invalid.
_TRACEPARENT: Final = re.compile(
    r"(?:00|(?!00|ff)(?P<later>[0-9a-f]{2}))-(?P<trace>(?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
    r"(?(later)(?:-[\x21-\x7e]{0,256})?)"
)

_DOMAIN: Final = b"holdfast idempotency key 1"
"""Keeps these MACs apart from whatever else the application's secret is used for; 1 is this scheme's version."""

_FORMS: Final[tuple[Callable[[bytes], str], ...]] = (
    lambda digest: str(UUID(bytes=digest[:16], version=4)),  # what a made key looks like, so it fits wherever one does
    lambda digest: digest[:16].hex(),
    lambda digest: digest.hex(),
    lambda digest: digest[:16].hex().upper(),
    lambda digest: f"{int.from_bytes(digest[:8]):020d}",
)
"""How a key may be written, best first. None has fewer than 64 bits."""


class Reading(NamedTuple):
    """What the headers of one inbound request say."""

    timeout_s: float | None
    """Seconds that the client will wait; 0 means that nothing is left, ``None`` that it does not say."""

    request_id: str | None
    """The client's id of the request, or of its trace; ``None`` when one has to be made."""

    idempotency_key: str | None
    malformed: tuple[str, ...]
    """Names, in lower case, of headers that were ignored."""


def read_headers(headers: Mapping[str, str], *, deadline_header: str | None, request_id_header: str | None) -> Reading:
    """Read what an inbound request says of itself. Never raises.

    Args:
        headers: Values by lower-case name; repeated headers joined with commas.
        deadline_header: Name of the header with the seconds left; ``None`` reads none.
        request_id_header: Name of the header with the request's id; ``None`` reads none.
    """
    malformed: list[str] = []

    def take(name: str | None, form: re.Pattern[str]) -> re.Match[str] | None:
        value = None if name is None else headers.get(name.lower())
        if name is None or value is None:
            return None
        match = form.fullmatch(value.strip(" \t"))
        if match is None:
            malformed.append(name.lower())
        return match

    timeout = take(deadline_header, _SECONDS)
    named = take(request_id_header, REQUEST_ID)
    traced = None if named is not None else take(TRACE_HEADER, _TRACEPARENT)
    key = take(IDEMPOTENCY_HEADER, HEADER_KEY_PATTERN)
    own_id = None if named is None else named[0]
    return Reading(
        timeout_s=None if timeout is None else float(timeout[0]),
        request_id=own_id if traced is None else traced["trace"],
        idempotency_key=None if key is None else key[0],
        malformed=tuple(malformed),
    )


def time_allowed(asked_s: float | None, max_deadline_s: float) -> float:
    """Give the seconds from arrival in which outbound calls may run: the least of what is asked, allowed and possible.

    Args:
        asked_s: What the client says; it can only shorten. ``None`` when it says nothing.
        max_deadline_s: The application's limit.
    """
    return min(max_deadline_s, DEADLINE_CAP_S) if asked_s is None else min(asked_s, max_deadline_s, DEADLINE_CAP_S)


def derive_key(secret: bytes, *parts: str, pattern: str | None = None) -> str | None:
    """Derive an outbound idempotency key: the same parts give the same key, in every process, and others another one.

    Args:
        secret: The application's secret. Without it nobody can tell a key, or aim at another caller's.
        *parts: What the key depends on; each is taken with its length, so that no two lists of parts run together.
        pattern: What the provider accepts, as a regular expression; ``None`` means 1 to 255 visible ASCII characters.

    Returns:
        HMAC-SHA-256 in the first form that fits; ``None`` where none does.
    """
    encoded = [_DOMAIN, *(part.encode("utf-8", "surrogatepass") for part in parts)]
    message = b"".join(len(part).to_bytes(8) + part for part in encoded)
    digest = hmac.digest(secret, message, "sha256")
    written = (form(digest) for form in _FORMS)
    return next((key for key in written if re.fullmatch(pattern or HEADER_KEY_PATTERN, key)), None)


def written_seconds(seconds: float) -> str:
    """Write a time left for a header: milliseconds, cut and never rounded up; 0 when nothing is left."""
    return f"{max(0, int(seconds * 1000)) / 1000:.3f}"
