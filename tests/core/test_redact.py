import sys
import time
from collections import OrderedDict, UserDict
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.redact import (
    EVENT_KEYS,
    TEXT_LIMIT,
    URL_LIMIT,
    allowed,
    clean,
    masked,
    origin_of,
    safe_address,
    safe_url,
)
from holdfast.outcome import Outcome

SURROGATE = chr(0xD800)

ANY_TEXT = st.text(st.characters(exclude_categories=())) | st.text("\x00\n\x1b\u202e:/@?#[]%\\ab1" + SURROGATE)


def short(value: object) -> str:
    """Name a case without its control characters and its megabyte."""
    return ascii(value[:24]) if isinstance(value, str) else type(value).__name__


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain", "plain"),
        ("", ""),
        ("héllo wörld 🚀", "héllo wörld 🚀"),
        ("non-breaking\u00a0space", "non-breaking\u00a0space"),
        ("a\nb\r\nc\td", "abcd"),
        ("a\x00b\x7fc\x85d\x9fe", "abcde"),
        ("\x1b[31mred", "[31mred"),
        ("a\u2028b\u2029c", "abc"),
        ("a\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069b", "ab"),
        (f"a{SURROGATE}b\udfffc", "abc"),
        (42, "42"),
        (1.5, "1.5"),
        (float("nan"), "nan"),
        (True, "True"),
        (None, ""),
        (HTTPStatus.OK, "200"),
        (Outcome.SUCCESS, "success"),
        (10**5000, "int"),
        (b"secret", "bytes"),
        (ValueError("Authorization: Bearer secret"), "ValueError"),
        ({"Authorization": "Bearer secret"}, "dict"),
    ],
    ids=short,
)
def test_a_cleaned_value_is_one_harmless_line(value: object, expected: str) -> None:
    """A provider could forge log lines, and an exception's text could carry the caller's credentials into them."""
    text = clean(value)

    assert (type(text), text) == (str, expected)


@pytest.mark.parametrize(
    ("value", "limit", "expected"),
    [
        ("a" * 257, TEXT_LIMIT, "a" * 256),
        ("a" * 256, TEXT_LIMIT, "a" * 256),
        ("\n" * 700 + "a" * 300, TEXT_LIMIT, "a" * 256),
        ("abcdef", 3, "abc"),
        ("a\nbcdef", 3, "abc"),
    ],
    ids=short,
)
def test_a_cleaned_value_is_cut_after_it_is_stripped(value: str, limit: int, expected: str) -> None:
    """A log pipeline drops events that are too long, and padding with control characters could hide the rest."""
    text = clean(value, limit)

    assert text == expected


@given(ANY_TEXT, st.integers(0, 300))
def test_whatever_is_cleaned_can_be_encoded_and_stays_on_its_line(value: str, limit: int) -> None:
    """One lone surrogate from the network would make the log handler raise in the middle of a payment."""
    text = clean(value, limit)

    assert len(text) <= limit
    assert text.encode() is not None
    assert len(text.splitlines()) <= 1


@pytest.mark.parametrize("unit", ["a", "\n", SURROGATE, "é", "\u202e"], ids=short)
def test_a_huge_value_costs_no_more_than_a_long_one(unit: str) -> None:
    """One hostile header would stop the event loop for every other call."""
    value = unit * (1024 * 1024)

    elapsed = min(timed(clean, value) for _ in range(5))

    assert elapsed < 0.001


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.test/transfers", "https://api.test/transfers"),
        ("https://api.test", "https://api.test/"),
        ("https://api.test?token=secret", "https://api.test/"),
        ("HTTPS://API.Test:8443/Transfers/TR1", "https://api.test:8443/Transfers/TR1"),
        ("https://api.test:/a", "https://api.test/a"),
        ("https://user:secret@api.test/a?card=4111#frag", "https://api.test/a"),
        ("https://user:sec@ret@api.test/a", "https://api.test/a"),
        ("https://secret@[::1]:8080/a", "https://[::1]:8080/a"),
        ("https://api.test/a@b:c", "https://api.test/a@b:c"),
        ("https://api.test/a\r\nX: y\u202e", "https://api.test/aX: y"),
        ("https://bücher.test/ä", "https://bücher.test/ä"),
        ("https://user:not-a-port/secret@api.test/a", ""),
        ("https://secret@bad host/", ""),
        ("https://api.te\nst/", ""),
        ("https://api.te\u202est/", ""),
        (f"https://api{SURROGATE}.test/", ""),
        ("https://secret\\@/", ""),
        ("https:///path", ""),
        ("https://[::1/", ""),
        ("https://api.test:80x/", ""),
        ("mailto:user@api.test", ""),
        ("/transfers?token=secret", ""),
        ("garbage", ""),
        ("", ""),
    ],
    ids=short,
)
def test_a_safe_url_has_no_secret_part(url: str, expected: str) -> None:
    """A password or a card number in a URL would stand in the logs of everybody who runs this."""
    text = safe_url(url)

    assert text == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://host.test/a?b#c", "http://host.test/a"),
        (":wrong", ":wrong"),
        ("http:///path?card=4242", "http:///path"),
        ("ftp://user:secret@/x", "/x"),
        ("user:pa/ss@host", "host"),
        ("/relative#secret", "/relative"),
        ("", ""),
    ],
)
def test_what_is_no_address_can_be_found_again(text: str, expected: str) -> None:
    """An error that says nothing of the address that was wrong sends its reader through the whole program."""
    assert safe_address(text) == expected


def test_a_long_url_keeps_its_beginning() -> None:
    """The host must be readable even where the path is absurd, and user-info must not survive for being long."""
    text = safe_url("https://" + "secret" * 5000 + "@api.test/" + "a" * 5000)

    assert text == "https://api.test/" + "a" * (URL_LIMIT - len("https://api.test/"))


@given(ANY_TEXT)
def test_no_text_makes_safe_url_raise(url: str) -> None:
    """The report of a call with an invalid URL would be lost to the very URL that it is about."""
    text = safe_url(url)

    assert text == "" or "://" in text
    assert text.encode() is not None


@given(
    user_info=st.text(st.characters(exclude_characters="/?#", exclude_categories=())),
    query=st.text(st.characters(exclude_categories=())),
)
def test_neither_user_info_nor_query_survives(user_info: str, query: str) -> None:
    """Whatever the characters of a credential, none of them may be read as part of the host."""
    text = safe_url(f"https://{user_info}@api.test/a?{query}")

    assert text == "https://api.test/a"


@pytest.mark.parametrize(
    "url", ["https://" + "a@" * 32768, "https://" + ":@" * 32768, "https://" + "a" * 65536 + "@"], ids=short
)
def test_a_hostile_url_is_read_in_linear_time(url: str) -> None:
    """A redirect to a crafted address would stop the event loop for every other call."""
    elapsed = min(timed(safe_url, url) for _ in range(5))

    assert elapsed < 0.02


def test_only_listed_keys_leave_the_process() -> None:
    """A field that somebody adds to an event would reach the logs before anyone asked whether it may."""
    fields = {"event": "outbound.call", "status": 0, "body": "4111", "message": "x", "logref": None, "attempts": []}

    kept = allowed(fields)

    assert list(kept.items()) == [("event", "outbound.call"), ("status", 0), ("attempts", [])]


@given(
    st.dictionaries(st.sampled_from(sorted(EVENT_KEYS)), st.none() | st.integers() | st.just([])),
    st.dictionaries(ANY_TEXT, st.none() | st.integers(), max_size=2),
)
def test_every_field_is_judged_by_its_own_key_and_value(listed: dict[str, Any], others: dict[str, Any]) -> None:
    """One field that may leave would take the others of its event along."""
    fields = listed | others

    kept = allowed(fields)

    assert list(kept.items()) == [item for item in fields.items() if item[0] in EVENT_KEYS and item[1] is not None]


class Lying(dict[str, Any]):
    """Says of itself that it holds a status and no more."""

    def keys(self) -> Any:
        return {"status": 200}.keys()

    def items(self) -> Any:
        return {"status": 200}.items()

    def __iter__(self) -> Iterator[str]:
        return iter(["status"])

    def __len__(self) -> int:
        return 1

    def copy(self) -> "Lying":
        return self


class Named(str):
    """A key of a class of its own."""

    __slots__ = ()


@pytest.mark.parametrize(
    "fields",
    [
        Lying({"body": "4111", "status": 200}),
        OrderedDict({"body": "4111", "status": 200}),
        UserDict({"body": "4111", "status": 200}),
        MappingProxyType({"body": "4111", "status": 200}),
        {Named("body"): "4111", "status": 200},
        {"Status": 200, "status ": 200, "status": 200, "": 200},
    ],
    ids=["lying", "ordered", "user", "proxy", "key", "alike"],
)
def test_no_kind_of_mapping_gets_more_through(fields: Mapping[str, object]) -> None:
    """What a mapping says of itself is not what a log line would be made of."""
    kept = allowed(fields)

    assert (type(kept), dict(kept)) == (dict, {"status": 200})


def test_what_may_leave_is_a_copy() -> None:
    """Whoever is handed an event could add to that of the next one after it was looked at."""
    fields = {"status": 200}

    allowed(fields)["body"] = "4111"

    assert fields == {"status": 200}


def test_the_allow_list_is_the_documented_one() -> None:
    """Operations build dashboards on these names, and security reviews them: a change must be seen."""
    documented = """
        call_id provider operation method host path attempt attempts status outcome effect reason stop_reason logref
        logrefs error_codes failure_code request_id idempotency_key elapsed_s pause_s deadline_left_s retry_after_s
        error_type inbound_request_id
    """

    assert frozenset({"event", *documented.split()}) == EVENT_KEYS


def timed(function: object, value: str) -> float:
    """Measure one call in seconds."""
    assert callable(function)
    begun = time.process_time()
    function(value)
    return time.process_time() - begun


def test_every_code_point_is_either_kept_or_dropped_whole() -> None:
    """A character outside the list, such as an emoji or an accent in a provider's message, must reach the reader."""
    dropped = [point for point in range(sys.maxunicode + 1) if clean(chr(point)) != chr(point)]

    assert dropped == [
        *range(0x20),
        *range(0x7F, 0xA0),
        0x061C,
        *(0x200E, 0x200F),
        *range(0x2028, 0x202F),
        *range(0x2066, 0x206A),
        *range(0xD800, 0xE000),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Card 4111111111111111 was declined", "Card [card number] was declined"),
        ("4111 1111 1111 1111", "[card number]"),
        ("4111-1111-1111-1111; 378282246310005", "[card number]; [card number]"),
        ("order 4111111111111112 not found", "order 4111111111111112 not found"),
        ("12 items for 5 people", "12 items for 5 people"),
        ("id 41111111111111114111111111111111", "id 41111111111111114111111111111111"),
        ("", ""),
    ],
)
def test_a_card_number_in_a_providers_text_is_masked(text: str, expected: str) -> None:
    """A provider that repeats what it was sent would put the card into every pickled error and report."""
    left = masked(text)

    assert left == expected


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://api.test/v1/transfers?key=1", "https://api.test"),
        ("https://api.test:8443/", "https://api.test:8443"),
        ("https://api.test", "https://api.test"),
        ("https://user:pw@api.test/a@b", "https://api.test"),
        ("http://u:p%40w@[::1]:80/x", "http://[::1]:80"),
        ("https://api.test/to/user@home", "https://api.test"),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, origin: str) -> None:
    """Each user of a gateway would have a circuit of his own, and his password in every refusal."""
    assert origin_of(url) == origin
