"""How long the server asks us to wait.

Pure parsing of ``Retry-After``, ``Retry-After-Ms``, ``RateLimit`` and the reset headers in use. No clock is read: dates
are measured against the response's own ``Date``, which also cancels a skewed server clock. Nothing here raises; what
is malformed is ignored. Proof: ``tests/core/test_retry_after.py``.

RFC 9110 sections 5.6.7 (HTTP-date) and 10.2.3 (Retry-After); draft-ietf-httpapi-ratelimit-headers-10.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_tz
from functools import cache
from typing import Final

VALUE_LIMIT: Final = 256
"""Characters of one header value that are looked at."""

WAIT_LIMIT_S: Final = 1e9
"""Ceiling of a ``Retry-After``, in seconds: about 31 years. It only keeps the arithmetic finite; a wait beyond the
deadline must reach the caller as it was given, so that it stops."""

QUOTA_LIMIT_S: Final = 3600.0
"""Ceiling of a wait taken from a quota header, in seconds."""

# Integers in reset headers: below the first they count from now, from the first they are epoch seconds, from the
# second epoch milliseconds (GitHub, X, Smartsheet send epoch seconds; IETF drafts up to 06 and Brevo send a delta).
_EPOCH_S: Final = 10**9
_EPOCH_MS: Final = 10**12

_ALWAYS: Final = 429
# GitHub answers an exhausted quota with 403, gateways with 503. Elsewhere these two are not about quota, so they count
# only when the response itself says that nothing remains.
_WHEN_EXHAUSTED: Final = frozenset({403, 503})

_REMAINING: Final = ("ratelimit-remaining", "x-ratelimit-remaining", "x-rate-limit-remaining")
# RateLimit-Reset: drafts up to 06. X-RateLimit-Reset: GitHub and most others. X-Rate-Limit-Reset: X.
_RESETS: Final = ("ratelimit-reset", "x-ratelimit-reset", "x-rate-limit-reset")
QUOTA_HEADERS: Final = frozenset({"ratelimit", *_REMAINING})
"""Without one of these an answer says nothing of what is left of a quota."""

ADVISING_HEADERS: Final = frozenset({"retry-after", "retry-after-ms", *QUOTA_HEADERS, *_RESETS})
"""In lower case: without one of these an answer advises no wait."""

_DATE_ALONE: Final = frozenset({"date"})
_WANTED: Final = ADVISING_HEADERS | _DATE_ALONE
_LENGTHS: Final = frozenset(map(len, _WANTED))

_TIME: Final = r"[0-9]{2}:[0-9]{2}:[0-9]{2}"
_YEAR: Final = r"[1-9][0-9]{3}"  # parsedate_tz would make 2000 of 0000
_HTTP_DATE: Final = (
    rf"[A-Za-z]{{3}}, [0-9]{{2}} [A-Za-z]{{3}} {_YEAR} {_TIME} GMT"  # Sun, 06 Nov 1994 08:49:37 GMT
    rf"|[A-Za-z]{{6,9}}, [0-9]{{2}}-[A-Za-z]{{3}}-[0-9]{{2}} {_TIME} GMT"  # Sunday, 06-Nov-94 08:49:37 GMT (RFC 850)
    rf"|[A-Za-z]{{3}} [A-Za-z]{{3}} [0-9 ][0-9] {_TIME} {_YEAR}"  # Sun Nov  6 08:49:37 1994 (asctime)
)
_DIGITS: Final = re.compile(r"[0-9]+")
_NOTHING: Final = re.compile(r"0+")
_RETRY_AFTER: Final = rf"(?:^|,)[ \t]*([0-9]+|{_HTTP_DATE})[ \t]*(?=,|$)"

# One member of the RateLimit list: "burst";r=0;t=30 (RFC 9651 strings and parameters; pk is a byte sequence).
_MEMBER: Final = (
    r'[ \t]*(?:"(?:[^"\\]|\\.)*"|[A-Za-z*][A-Za-z0-9_.*/:\-]*)'
    r'(?P<params>(?:[ \t]*;[ \t]*[a-z*][a-z0-9_.*\-]*(?:=(?:"(?:[^"\\]|\\.)*"|[^;,"\s]+))?)*)'
    r"[ \t]*(?:,|$)"
)
_PARAM: Final = r";[ \t]*([rt])=([0-9]{1,15})(?=[ \t;]|$)"
# The dictionary of draft 07, which express-rate-limit still sends: limit=100, remaining=0, reset=30
_DRAFT_07: Final = r"(?:^|,)[ \t]*(remaining|reset)=([0-9]{1,15})[ \t]*(?=,|$)"


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Compile at the first header that needs it: most processes see few of them, and all of them import this."""
    return re.compile(pattern)


def advised_wait(
    status: int, headers: Mapping[str, str], *, limit_s: float = QUOTA_LIMIT_S, now_epoch: float | None = None
) -> float | None:
    """Read from a response how long to wait before asking again.

    ``Retry-After`` wins, then ``Retry-After-Ms``, on any status. Of several ``Retry-After`` values the first valid one
    counts. Quota headers count on a 429, and on a 403 or 503 that says that nothing remains: ``RateLimit`` first, then
    the reset headers.

    Args:
        status: HTTP status of the response.
        headers: Its headers; names in any case, repeated names allowed.
        limit_s: Ceiling in seconds of a wait taken from a quota header. A ``Retry-After`` is not cut by it.
        now_epoch: Epoch seconds at receipt, for dates in a response without a valid ``Date``; ``None`` ignores those.

    Returns:
        Seconds, zero or more; zero when the moment named is past. ``None`` when the response gives no usable advice.
    """
    found = _wanted(headers)
    if found.keys() <= _DATE_ALONE:
        return None
    base = _http_date(found.get("date", ""))
    base = now_epoch if base is None else base
    wait = _retry_after(found, base)
    if wait is not None:
        return min(max(0.0, wait), WAIT_LIMIT_S)
    wait = _quota_wait(status, found, base)
    return None if wait is None else min(max(0.0, wait), limit_s)


def quota_wait(headers: Mapping[str, str]) -> float | None:
    """Read from any answer that nothing is left of the quota, and for how long.

    Args:
        headers: The answer's headers, looked up case-insensitively.

    Returns:
        Seconds until there is more, above zero; ``None`` where something is left, or nothing is said.
    """
    if headers.keys().isdisjoint(QUOTA_HEADERS):
        return None
    found = _wanted(headers)
    # The rule for a 403 or 503: only where it says itself that nothing remains.
    wait = _quota_wait(403, found, _http_date(found.get("date", "")))
    return min(wait, QUOTA_LIMIT_S) if wait is not None and wait > 0 else None


def _wanted(headers: Mapping[str, str]) -> dict[str, str]:
    """Pick the headers that matter, by lower-case name, repeated ones joined as RFC 9110 section 5.3 says."""
    found: dict[str, str] = {}
    for name, value in headers.items():
        if len(name) in _LENGTHS and (key := name.lower()) in _WANTED:
            text = _cut(value)
            found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _cut(value: str) -> str:
    """Bound a value, without ever leaving a part of a number: a list loses its last member, a lone value all."""
    if len(value) <= VALUE_LIMIT:
        return value.strip(" \t")
    head = value[:VALUE_LIMIT]
    return head if head.isdigit() else head.rpartition(",")[0].strip(" \t")


def _retry_after(found: Mapping[str, str], base: float | None) -> float | None:
    """Read the two headers that mean exactly this, whatever the status."""
    for match in _compiled(_RETRY_AFTER).finditer(found["retry-after"]) if "retry-after" in found else ():
        wait = float(match[1]) if match[1].isdigit() else _until(_http_date(match[1]), base)
        if wait is not None:
            return wait
    milliseconds = found.get("retry-after-ms", "")
    return float(milliseconds) / 1000 if _DIGITS.fullmatch(milliseconds) else None


def _quota_wait(status: int, found: Mapping[str, str], base: float | None) -> float | None:
    """Read the quota headers where they explain the refusal."""
    if status != _ALWAYS and status not in _WHEN_EXHAUSTED:
        return None
    members = _rate_limit(found.get("ratelimit", ""))
    spent = [wait for remaining, wait in members if remaining == 0]
    if status != _ALWAYS and not spent and not any(_NOTHING.fullmatch(found.get(name, "")) for name in _REMAINING):
        return None
    waits = [wait for wait in (spent or [wait for _, wait in members]) if wait is not None]
    if waits:
        return max(waits)
    resets = (_reset(found[name], base) for name in _RESETS if name in found)
    return next((wait for wait in resets if wait is not None), None)


def _rate_limit(value: str) -> list[tuple[int, float | None]]:
    """Read ``RateLimit`` as pairs of what remains and the seconds until there is more.

    A malformed field is ignored as a whole (draft section 4).
    """
    old = dict(_compiled(_DRAFT_07).findall(value))
    if "remaining" in old:
        return [(int(old["remaining"]), float(old["reset"]) if "reset" in old else None)]
    members: list[tuple[int, float | None]] = []
    at = 0
    while at < len(value):
        member = _compiled(_MEMBER).match(value, at)
        if member is None:
            return []
        at = member.end()
        params = dict(_compiled(_PARAM).findall(member["params"]))
        if "r" in params:
            members.append((int(params["r"]), float(params["t"]) if "t" in params else None))
    return members


def _reset(value: str, base: float | None) -> float | None:
    """Read a reset header: a delta, an epoch, an ISO 8601 moment or an HTTP-date."""
    if not _DIGITS.fullmatch(value):
        moment = _http_date(value)
        return _until(_iso_date(value) if moment is None else moment, base)
    number = int(value)
    if number < _EPOCH_S:
        return float(number)
    return _until(float(number) if number < _EPOCH_MS else number / 1000, base)


def _until(moment: float | None, base: float | None) -> float | None:
    """Measure from the base to the moment; unknown when either is."""
    return None if moment is None or base is None else moment - base


def _http_date(value: str) -> float | None:
    """Read any of the three forms of HTTP-date as epoch seconds."""
    parts = parsedate_tz(value) if _compiled(_HTTP_DATE).fullmatch(value) else None
    if parts is None:
        return None
    year, month, day, hour, minute, second = parts[:6]
    try:
        # A leap second is valid in HTTP and unknown to datetime.
        return datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _iso_date(value: str) -> float | None:
    """Read an ISO 8601 moment as epoch seconds; without an offset it is taken as UTC."""
    try:
        moment = datetime.fromisoformat(value if value.isascii() else "")
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
