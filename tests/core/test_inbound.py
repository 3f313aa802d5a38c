import re
from typing import Any, Final
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.inbound import Reading, derive_key, read_headers, time_allowed, written_seconds
from holdfast.providers.fiant import REQUEST_ID_PATTERN

TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT: Final = f"00-{TRACE}-00f067aa0ba902b7-01"
SECRET: Final = b"0123456789abcdef0123456789abcdef"

ABSURD: Final = [
    "",
    "-1",
    "NaN",
    "inf",
    "1e309",
    "9" * 10_000,
    "5\n",
    "5\r\nX: y",
    "\u0665",
    "5 s",
    "5,3",
    "+5",
    ".5",
    "5.",
]


def read(**headers: str) -> Reading:
    """Read headers under the default names; underscores stand for dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_headers(named, deadline_header="X-Request-Timeout", request_id_header="X-Request-ID")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2", 2.0),
        ("0", 0.0),
        ("0.000", 0.0),
        ("1.987", 1.987),
        ("  30\t", 30.0),
        ("007", 7.0),
        ("999999999999999", 999999999999999.0),
    ],
)
def test_the_time_left_is_read_in_seconds(value: str, seconds: float) -> None:
    """A service behind a 10-second gateway would work on for minutes after its caller has left."""
    reading = read(x_request_timeout=value)

    assert reading == Reading(seconds, None, None, ())


@pytest.mark.parametrize("value", ABSURD)
def test_an_absurd_time_is_named_and_ignored(value: str) -> None:
    """One forged header would crash the request, or let a client stretch its time."""
    reading = read(x_request_timeout=value)

    assert reading == Reading(None, None, None, ("x-request-timeout",))


@pytest.mark.parametrize(
    "value",
    [
        "req-1",
        "a",
        "0af7651916cd43dd8448eb211c80319c",
        "3fa85f64-5717-4562-b3fc-2c963f66afa6",
        "Root=1-67891233-abcdef012345678912345678",
        "user_7:order.9~x+y/z==@eu",
        "a" * 128,
    ],
)
def test_a_sane_request_id_is_taken_as_it_is(value: str) -> None:
    """The caller could no longer find its request in our log."""
    reading = read(x_request_id=value, traceparent=TRACEPARENT)

    assert reading == Reading(None, value, None, ())


@pytest.mark.parametrize(
    "value", ["", "a" * 129, "a b", 'a"b', "a,b", "a\nb", "a\n", "\x1b[31m", "é", "-a", "a;b", "{a}", "x" * 10_000]
)
def test_a_request_id_that_could_forge_a_log_line_is_ignored(value: str) -> None:
    """A client could write lines of its own into our log, or headers into our outbound requests."""
    reading = read(x_request_id=value)

    assert reading == Reading(None, None, None, ("x-request-id",))


@pytest.mark.parametrize(
    ("value", "trace"),
    [
        (TRACEPARENT, TRACE),
        (f"00-{TRACE}-00f067aa0ba902b7-00", TRACE),
        (f"cc-{TRACE}-00f067aa0ba902b7-01", TRACE),
        (f"cc-{TRACE}-00f067aa0ba902b7-01-what-comes-later", TRACE),
        (f"00-{TRACE}-00f067aa0ba902b7-01-what-comes-later", None),
        (f"ff-{TRACE}-00f067aa0ba902b7-01", None),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (TRACEPARENT.upper(), None),
        (f"{TRACEPARENT}\n", None),
        (TRACEPARENT[:-1], None),
        (f"{TRACEPARENT},{TRACEPARENT}", None),
        ("cc" + "-" * 10_000, None),
    ],
)
def test_the_trace_names_a_request_that_has_no_id(value: str, trace: str | None) -> None:
    """The log lines of a traced request would stand apart from its trace."""
    reading = read(traceparent=value)

    assert reading == Reading(None, trace, None, () if trace else ("traceparent",))


def test_the_trace_stands_in_for_a_malformed_id() -> None:
    """One bad header would cut the request off from its trace too."""
    reading = read(x_request_id="not sane", traceparent=TRACEPARENT)

    assert reading == Reading(None, TRACE, None, ("x-request-id",))


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("order-7", "order-7"),
        ('"8e03978e-40d5-43dd-bc93-6894a57f9324"', '"8e03978e-40d5-43dd-bc93-6894a57f9324"'),
        ("k" * 255, "k" * 255),
        ("k" * 256, None),
        ("", None),
        ("schlüssel", None),
        ("a\r\nb", None),
    ],
)
def test_an_inbound_key_is_visible_ascii(value: str, key: str | None) -> None:
    """Two spellings of one broken key could become one outbound key, and two payments one."""
    reading = read(idempotency_key=value)

    assert reading == Reading(None, None, key, () if key else ("idempotency-key",))


def test_headers_that_are_turned_off_are_not_read() -> None:
    """An application that says no to a client's deadline would still be cut short by it."""
    headers = {"x-request-timeout": "1", "x-request-id": "theirs", "idempotency-key": "k"}

    reading = read_headers(headers, deadline_header=None, request_id_header=None)

    assert reading == Reading(None, None, "k", ())


def test_headers_may_have_other_names() -> None:
    """A user whose gateway has names of its own could not use its deadline."""
    headers = {"x-time-left": "4", "x-correlation-id": "c-1", "x-request-timeout": "1"}

    reading = read_headers(headers, deadline_header="X-Time-Left", request_id_header="X-Correlation-ID")

    assert reading == Reading(4.0, "c-1", None, ())


@given(
    st.dictionaries(st.sampled_from(["x-request-timeout", "x-request-id", "traceparent", "idempotency-key"]), st.text())
)
def test_reading_never_raises(headers: dict[str, str]) -> None:
    """Any stranger could make the service answer 500."""
    reading = read_headers(headers, deadline_header="X-Request-Timeout", request_id_header="X-Request-ID")

    assert set(reading.malformed) <= headers.keys()
    assert reading.timeout_s is None or 0 <= reading.timeout_s < 1e15
    assert reading.request_id is None or re.fullmatch(r"[\x21-\x7e]{1,128}", reading.request_id)


@pytest.mark.parametrize(
    ("asked", "most", "allowed"),
    [
        (None, 300.0, 300.0),
        (None, 10.0, 10.0),
        (None, 600.0, 300.0),
        (2.0, 10.0, 2.0),
        (20.0, 10.0, 10.0),
        (1e14, 600.0, 300.0),
        (0.0, 10.0, 0.0),
    ],
)
def test_a_client_can_only_shorten_its_time(asked: float | None, most: float, allowed: float) -> None:
    """A forged header could hold a worker and its connections for hours."""
    seconds = time_allowed(asked, most)

    assert seconds == allowed


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2.0, "2.000"), (1.9999, "1.999"), (0.0004, "0.000"), (-1.0, "0.000"), (299.9996, "299.999")],
)
def test_the_time_left_is_never_rounded_up(seconds: float, text: str) -> None:
    """The peer would work on for a moment after we have stopped listening."""
    written = written_seconds(seconds)

    assert written == text


def test_a_derived_key_is_a_stable_value() -> None:
    """A new release would give a caller's retry another key, and charge its card again."""
    key = derive_key(SECRET, "tenant-1", "order-7", "call", "finix", "charge", "1")

    assert key == "f75ecac5-bbe1-40f6-be97-133732e05f4c"


@pytest.mark.parametrize(
    "parts",
    [
        ("tenant-2", "order-7", "charge", "1"),
        ("tenant-1", "order-8", "charge", "1"),
        ("tenant-1", "order-7", "refund", "1"),
        ("tenant-1", "order-7", "charge", "2"),
        ("tenant-1order-7", "", "charge", "1"),
        ("tenant-1", "order-7charge", "", "1"),
        ("tenant-1", "order-7", "charge1"),
        ("tenant-1", "order-7", "charge", "1", ""),
    ],
)
def test_other_parts_give_another_key(parts: tuple[str, ...]) -> None:
    """One tenant's payment would be taken for another's, and never made."""
    key = derive_key(SECRET, *parts)

    assert key != derive_key(SECRET, "tenant-1", "order-7", "charge", "1")


def test_another_secret_gives_another_key() -> None:
    """Whoever knows the scheme could tell, and use up, the keys of others."""
    keys = {derive_key(secret, "a", "b") for secret in (SECRET, SECRET[::-1])}

    assert len(keys) == 2


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_no_two_lists_of_parts_run_together(first: list[str], second: list[str]) -> None:
    """A tenant could choose a key that, joined to its name, is another tenant's."""
    same = derive_key(SECRET, *first) == derive_key(SECRET, *second)

    assert same is (first == second)


@pytest.mark.parametrize(
    ("pattern", "form"),
    [
        (None, "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"),
        (REQUEST_ID_PATTERN, "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"),
        ("[a-z0-9]{1,32}", "[0-9a-f]{32}"),
        ("[a-z0-9]{40,64}", "[0-9a-f]{64}"),
        ("[A-Z0-9]{32}", "[0-9A-F]{32}"),
        ("[0-9]{1,20}", "[0-9]{20}"),
    ],
)
def test_a_derived_key_takes_a_form_that_fits(pattern: str | None, form: str) -> None:
    """The provider would refuse every payment of a request that carries a key."""
    key = derive_key(SECRET, "tenant-1", "order-7", pattern=pattern)

    assert key is not None
    assert re.fullmatch(form, key)


def test_the_first_form_is_a_uuid() -> None:
    """A provider that validates keys as UUIDs would refuse it."""
    key: Any = derive_key(SECRET, "tenant-1")

    assert (UUID(key).version, str(UUID(key))) == (4, key)


@pytest.mark.parametrize("pattern", ["[0-9]{4}", "charge-.*"])
def test_no_key_is_better_than_one_that_does_not_fit(pattern: str) -> None:
    """A key cut down to four digits would be somebody else's."""
    key = derive_key(SECRET, "tenant-1", pattern=pattern)

    assert key is None
