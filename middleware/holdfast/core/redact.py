"""What may leave this process in a log event, span, error or report.

The one place that answers that question: an allow-list of event keys, text made safe for a log line, and URLs
without their secret parts. Pure and total: nothing here raises, whatever it is given. Proof:
``tests/core/test_redact.py``.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

TEXT_LIMIT: Final = 256
"""Characters kept of one value that came from the network."""

URL_LIMIT: Final = 2048
"""Characters kept of one URL."""

EVENT_KEYS: Final[frozenset[str]] = frozenset(
    {
        "event",
        "call_id",
        "provider",
        "operation",
        "method",
        "host",
        "path",
        "attempt",
        "attempts",
        "status",
        "outcome",
        "effect",
        "reason",
        "stop_reason",
        "logref",
        "logrefs",
        "error_codes",
        "failure_code",
        "request_id",
        "idempotency_key",
        "elapsed_s",
        "pause_s",
        "deadline_left_s",
        "retry_after_s",
        "error_type",
        "inbound_request_id",
    }
)
"""Every key a log event may carry; DESIGN section 8. A key is logged because it is here, never by default."""

# What can forge a line, move a cursor, reorder text or break an encoder: C0 with DEL and C1, the line and paragraph
# separators, the bidirectional controls (Unicode TR 9; "Trojan Source", CVE-2021-42574), lone surrogates.
_UNSAFE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")

# A margin for stripped characters, so that the work on a 1 MB value is bounded.
_READ_AHEAD: Final = 4

# ISO/IEC 7812-1: 13 to 19 digits, as people write them, in groups or not.
_CARD: Final = re.compile(r"(?<![0-9])[0-9](?:[ -]?[0-9]){12,18}(?![0-9])")
_CARD_DIGITS: Final = 13
_SOME_DIGITS: Final = re.compile(r"[0-9](?:[ -]?[0-9]){12}")
"""In every text with a card number; without looking behind, the search for it takes a fifth of the time."""

# RFC 3986 section 3.2. User-info runs to the last "@" of the authority; it is matched so as not to be captured.
_URL: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*)://"
    r"(?:[^/?#]*@)?"
    r"(?P<host>\[[0-9A-Za-z:.%\-]+\]|[^/?#@:\[\]\\\s\"<>]+)"
    r"(?::(?P<port>[0-9]{0,5}))?"
    r"(?P<path>/[^?#]*)?"
    r"(?=[?#]|\Z)"
)


def clean(value: object, limit: int = TEXT_LIMIT) -> str:
    """Make one value safe to log.

    Args:
        value: Text or a number. Of anything else only the name of its type is given, because the ``str`` of an
            exception or a response may hold headers; ``None`` is empty.
        limit: Characters kept.

    Returns:
        The text without control characters, bidirectional controls and lone surrogates, cut at ``limit``. Only the
        first ``4 * limit`` characters are looked at.
    """
    if type(value) is not str:
        return "" if value is None else clean(_plain(value), limit)
    if len(value) <= limit:
        return value if value.isprintable() else _UNSAFE.sub("", value)
    value = value[: limit * _READ_AHEAD]
    return (value if value.isprintable() else _UNSAFE.sub("", value))[:limit]


def masked(text: str) -> str:
    """Take card numbers out of a text that a provider wrote.

    Args:
        text: A text for people, such as an error's message; some providers repeat in it what they were sent.

    Returns:
        The text with each run of 13 to 19 digits that passes the Luhn check replaced by ``[card number]``.
    """
    if len(text) < _CARD_DIGITS or _SOME_DIGITS.search(text) is None:
        return text
    return _CARD.sub(lambda found: "[card number]" if _passes_luhn(found[0]) else found[0], text)


def _passes_luhn(text: str) -> bool:
    digits = [int(digit) for digit in reversed(text) if digit.isdigit()]
    doubled = [2 * digit - 9 * (digit > 4) for digit in digits[1::2]]  # noqa: PLR2004 - ISO/IEC 7812-1, annex B
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def safe_url(url: str) -> str:
    """Reduce a URL to ``scheme://host[:port]/path``.

    Args:
        url: Any text.

    Returns:
        The URL without user-info, query and fragment, scheme and host in lower case, at most 2048 characters; empty
        when the text is not an absolute URL with a host.
    """
    parts = _URL.match(url)
    if parts is None or _UNSAFE.search(parts["host"]):
        return ""
    port = f":{parts['port']}" if parts["port"] else ""
    return clean(f"{parts['scheme']}://{parts['host']}".lower() + port + (parts["path"] or "/"), URL_LIMIT)


@lru_cache(maxsize=256)
def origin_of(url: str) -> str:
    """Give scheme, host and port of an absolute address as aiohttp sends it, e.g. ``https://api.test:8443``."""
    begin = url.find("//") + 2
    end = url.find("/", begin)
    origin = url if end < 0 else url[:end]
    return url[:begin] + origin.rpartition("@")[2] if "@" in origin else origin


@lru_cache(maxsize=256)
def place_of(url: str) -> tuple[str, str]:
    """Give host with port, and path, of an address as ``safe_url`` leaves it."""
    place = urlsplit(safe_url(url))
    return place.netloc, place.path


def safe_address(text: str) -> str:
    """Reduce what should have been a URL to what its writer needs to find it again.

    Returns:
        ``safe_url(text)``; where that is empty, the text without anything before its last ``@``, query and fragment.
    """
    stem = re.split(r"[?#]", text, maxsplit=1)[0]
    return safe_url(text) or clean(stem.rpartition("@")[2], URL_LIMIT)


def allowed(fields: Mapping[str, object]) -> dict[str, object]:
    """Keep what a log event may carry.

    Args:
        fields: Event fields by key.

    Returns:
        The fields whose key is in ``EVENT_KEYS`` and whose value is not ``None``, in their order.
    """
    kept = {**fields}  # a plain dict, so that what is looked at is what is handed on
    if EVENT_KEYS.issuperset(kept):
        for value in kept.values():
            if value is None:
                break
        else:
            return kept
    return {key: value for key, value in kept.items() if key in EVENT_KEYS and value is not None}


def _plain(value: object) -> str:
    """Give the text of a str subclass or a number, else the name of the type."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bool):
        return format(value)
    if isinstance(value, float):
        return float.__repr__(value)
    if isinstance(value, int) and value.bit_length() <= TEXT_LIMIT:
        return int.__repr__(value)
    return type(value).__name__
