import time
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from holdfast.core.retry_after import advised_wait, quota_wait

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
EPOCH = 784111777
SURROGATE = chr(0xD800)


def short(value: object) -> str:
    """Name a case without its control characters and its megabyte."""
    return ascii(value[:24]) if isinstance(value, str) else type(value).__name__


NAMES = (
    "Retry-After",
    "retry-after-ms",
    "Date",
    "RateLimit",
    "RateLimit-Remaining",
    "RateLimit-Reset",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "X-Rate-Limit-Reset",
)


class RepeatedHeaders(Mapping[str, str]):
    """Headers as aiohttp gives them: a name may come again, and ``items`` yields every one."""

    def __init__(self, *pairs: tuple[str, str]) -> None:
        self._pairs = pairs

    def __getitem__(self, name: str) -> str:
        return next(value for key, value in self._pairs if key.lower() == name.lower())

    def __iter__(self) -> Iterator[str]:
        return (key for key, _ in self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def items(self) -> "Pairs":  # type: ignore[override]
        return self._pairs


Pairs = tuple[tuple[str, str], ...]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0.0),
        ("5", 5.0),
        ("  007\t", 7.0),
        ("7200", 7200.0),
        ("1" + "0" * 30, 1e9),
        ("9" * 5000, 1e9),
        ("9" * 1024 * 1024, 1e9),
        ("5, 10", 5.0),
        ("soon, 10", 10.0),
        (f"{DATE}, 10", 0.0),
        ("-1", None),
        ("+5", None),
        ("1.5", None),
        ("1e3", None),
        ("5 s", None),
        ("\u0665", None),
        ("\u2075", None),
        ("", None),
        ("\x00", None),
        (SURROGATE, None),
        ("soon" * 262144, None),
        ("x, " * 100 + "36", None),
    ],
    ids=short,
)
def test_a_retry_after_in_seconds_is_taken_as_given(value: str, expected: float | None) -> None:
    """A wait read too short floods a provider in trouble; garbage must not stop the call either."""
    wait = advised_wait(503, {"Retry-After": value, "Date": DATE})

    assert wait == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Sun, 06 Nov 1994 08:50:37 GMT", 60.0),
        ("Sunday, 06-Nov-94 08:50:37 GMT", 60.0),
        ("Sun Nov  6 08:50:37 1994", 60.0),
        ("sun, 06 nov 1994 08:50:37 GMT", 60.0),
        ("Sun, 06 Nov 1994 08:49:60 GMT", 22.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
        ("Sun, 06 Nov 1994 08:48:37 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 1e9),
        ("Sun, 99 Nov 1994 08:50:37 GMT", None),
        ("Sun, 06 Nov 1994 28:50:37 GMT", None),
        ("Sun, 06 Foo 1994 08:50:37 GMT", None),
        ("Sun, 06 Nov 0000 08:50:37 GMT", None),
        ("Sun, 06 Nov 1994 08:50:37 PST", None),
        ("1994-11-06T08:50:37Z", None),
    ],
)
def test_a_retry_after_date_is_measured_from_the_servers_own_clock(value: str, expected: float | None) -> None:
    """With the local clock as base, a machine that runs behind would wait for hours, or not at all."""
    wait = advised_wait(503, {"Retry-After": value, "Date": DATE})

    assert wait == expected


@pytest.mark.parametrize(
    ("date", "now_epoch", "expected"),
    [
        ({}, None, None),
        ({}, EPOCH, 60.0),
        ({"Date": "garbage"}, None, None),
        ({"Date": "garbage"}, EPOCH + 10.0, 50.0),
        ({"Date": DATE}, EPOCH + 1000.0, 60.0),
    ],
)
def test_a_date_without_a_base_is_no_advice(
    date: dict[str, str], now_epoch: float | None, expected: float | None
) -> None:
    """A date means nothing without a clock, and a guess could be a wait of decades."""
    headers = {"Retry-After": "Sun, 06 Nov 1994 08:50:37 GMT", **date}

    wait = advised_wait(503, headers, now_epoch=now_epoch)

    assert wait == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after-ms": "1500"}, 1.5),
        ({"Retry-After-Ms": "0"}, 0.0),
        ({"retry-after-ms": "1500", "Retry-After": "2"}, 2.0),
        ({"retry-after-ms": "1500", "Retry-After": "soon"}, 1.5),
        ({"retry-after-ms": "9" * 400}, 1e9),
        ({"retry-after-ms": "1.5"}, None),
        ({"retry-after-ms": "-1"}, None),
    ],
)
def test_milliseconds_count_where_there_are_no_seconds(headers: dict[str, str], expected: float | None) -> None:
    """Azure and OpenAI send milliseconds: without them a short wait becomes a whole back-off."""
    wait = advised_wait(429, headers)

    assert wait == expected


@pytest.mark.parametrize("status", [202, 301, 400, 403, 413, 429, 500, 503])
def test_a_retry_after_counts_on_any_status(status: int) -> None:
    """The server that says it on an unusual status means it."""
    wait = advised_wait(status, {"Retry-After": "3"})

    assert wait == 3.0


@pytest.mark.parametrize("name", ["Retry-After", "retry-after", "RETRY-AFTER", "rEtRy-AfTeR"])
def test_header_names_are_read_in_any_case(name: str) -> None:
    """HTTP/2 gateways send lower case, and a plain dict does not fold it."""
    wait = advised_wait(429, {"Content-Type": "text/html", name: "3", "X-Retry-After": "9"})

    assert wait == 3.0


def test_a_repeated_header_is_read_like_a_list() -> None:
    """A proxy may add its own Retry-After; the first one that can be read counts."""
    headers = RepeatedHeaders(("Retry-After", "soon"), ("retry-after", "4"), ("Retry-After", "9"))

    wait = advised_wait(429, headers)

    assert (wait, headers["Retry-After"], len(headers), next(iter(headers))) == (4.0, "soon", 3, "Retry-After")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('"burst";r=0;t=30', 30.0),
        ("burst;r=0;t=30", 30.0),
        ('"burst";r=0;t=30, "daily";r=10;t=3000', 30.0),
        ('"burst";r=0;t=30, "daily";r=0;t=300', 300.0),
        ('"burst";r=5;t=30, "daily";r=10;t=300', 300.0),
        ('"a,b;r=1\\"";pk=:c2VjcmV0:;r=0;t=12', 12.0),
        ('"burst" ; r=0 ; t=30 ; x ; y="z"', 30.0),
        ('"burst";t=30;r=0', 30.0),
        ('"burst";r=0;t=86400', 3600.0),
        ('"burst";r=0', None),
        ('"burst";t=30', None),
        ('"burst";r=0;t=-30', None),
        ('"burst";r=0;t=1.5', None),
        ('"burst";r=0;t=9999999999999999', None),
        ('"burst;r=0;t=30', None),
        ('"burst";r=0;t=30, "daily', None),
        ('"burst";r=0;t=30;', None),
        ("limit=100, remaining=0, reset=42", 42.0),
        ("limit=100, remaining=7, reset=42", 42.0),
        ("limit=100, remaining=0", None),
        ("0", None),
        ("", None),
        (SURROGATE, None),
    ],
    ids=short,
)
def test_the_longest_exhausted_quota_is_waited_for(value: str, expected: float | None) -> None:
    """Waiting for the short window while the long one is spent only earns the next 429."""
    wait = advised_wait(429, {"RateLimit": value})

    assert wait == expected


@pytest.mark.parametrize(("first", "expected"), [('"a";r=0;t=7,', 7.0), ("", None)])
def test_no_number_is_read_that_our_own_limit_has_cut(first: str, expected: float | None) -> None:
    """A wait of 36 seconds where the server said 3600 would be of our own making."""
    padding = "x" * (256 - len(first) - len('"";r=0;t=36'))

    wait = advised_wait(429, {"RateLimit": f'{first}"{padding}";r=0;t=3600'})

    assert wait == expected


@pytest.mark.parametrize("name", ["RateLimit-Reset", "X-RateLimit-Reset", "X-Rate-Limit-Reset", "x-ratelimit-reset"])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0.0),
        ("60", 60.0),
        ("999999999", 3600.0),
        ("2000000060", 60.0),
        ("2000000060000", 60.0),
        ("2000000060500", 60.5),
        ("1999999999", 0.0),
        ("9" * 200, 3600.0),
        ("2033-05-18T03:34:20Z", 60.0),
        ("2033-05-18T03:34:20", 60.0),
        ("2033-05-18T05:34:20.500+02:00", 60.5),
        ("Wed, 18 May 2033 03:34:20 GMT", 60.0),
        ("0001-01-01T00:00:00+23:59", 0.0),
        ("9999-12-31T23:59:59-23:59", 3600.0),
        ("2033-05-18T03:34:99Z", None),
        ("\u0666\u0660", None),
        ("2033-05-18T03:34:2\u0660Z", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("\x00", None),
        (SURROGATE, None),
        ("x" * 1024 * 1024, None),
    ],
    ids=short,
)
def test_a_reset_header_is_read_by_its_size_and_shape(name: str, value: str, expected: float | None) -> None:
    """GitHub sends epoch seconds, others a delta: taken for each other, that is a pause of 60 years or of none."""
    wait = advised_wait(429, {name: value, "Date": "Wed, 18 May 2033 03:33:20 GMT"})

    assert wait == expected


@pytest.mark.parametrize("value", ["2000000060", "2000000060000", "2033-05-18T03:34:20Z"])
def test_a_reset_moment_without_a_base_is_no_advice(value: str) -> None:
    """Without any clock an epoch cannot be turned into a pause; with the caller's it can."""
    waits = [advised_wait(429, {"X-RateLimit-Reset": value}, now_epoch=now) for now in (None, 2e9)]

    assert waits == [None, 60.0]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Retry-After": "5", "RateLimit": '"a";r=0;t=30', "X-RateLimit-Reset": "60"}, 5.0),
        ({"Retry-After": "0", "X-RateLimit-Reset": "60"}, 0.0),
        ({"Retry-After": "soon", "RateLimit": '"a";r=0;t=30', "X-RateLimit-Reset": "60"}, 30.0),
        ({"RateLimit": "garbage;", "X-RateLimit-Reset": "60"}, 60.0),
        ({"RateLimit": '"a";r=0', "X-RateLimit-Reset": "60"}, 60.0),
        ({"RateLimit-Reset": "garbage", "X-RateLimit-Reset": "60"}, 60.0),
        ({"RateLimit-Reset": "10", "X-RateLimit-Reset": "60"}, 10.0),
        ({}, None),
    ],
)
def test_the_plainest_advice_wins(headers: dict[str, str], expected: float | None) -> None:
    """The draft says that Retry-After must win over the quota; a broken header must not hide a good one."""
    wait = advised_wait(429, headers)

    assert wait == expected


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (403, {"X-RateLimit-Reset": "60", "X-RateLimit-Remaining": "0"}, 60.0),
        (503, {"X-RateLimit-Reset": "60", "x-rate-limit-remaining": "00"}, 60.0),
        (403, {"RateLimit-Reset": "60", "RateLimit-Remaining": "0"}, 60.0),
        (503, {"RateLimit": '"a";r=0;t=30, "b";r=5;t=90'}, 30.0),
        (403, {"RateLimit": '"a";r=0', "X-RateLimit-Reset": "60"}, 60.0),
        (403, {"X-RateLimit-Reset": "60", "X-RateLimit-Remaining": "1"}, None),
        (403, {"X-RateLimit-Reset": "60", "X-RateLimit-Remaining": ""}, None),
        (403, {"X-RateLimit-Reset": "60"}, None),
        (503, {"RateLimit": '"a";r=5;t=90'}, None),
        (200, {"X-RateLimit-Reset": "60", "X-RateLimit-Remaining": "0"}, None),
        (500, {"RateLimit": '"a";r=0;t=30'}, None),
    ],
)
def test_quota_headers_count_only_where_the_quota_is_the_reason(
    status: int, headers: dict[str, str], expected: float | None
) -> None:
    """Many APIs send them on every answer: read on a 500 they would turn a short retry into an hour's wait."""
    wait = advised_wait(status, headers)

    assert wait == expected


def test_the_limit_cuts_quota_headers_and_never_a_retry_after() -> None:
    """A Retry-After cut to fit would send the caller back early; the call must see it and stop."""
    waits = (
        advised_wait(429, {"Retry-After": "7200"}, limit_s=10.0),
        advised_wait(429, {"X-RateLimit-Reset": "7200"}, limit_s=10.0),
    )

    assert waits == (7200.0, 10.0)


@given(
    status=st.sampled_from([200, 403, 429, 503]),
    headers=st.dictionaries(
        st.sampled_from(NAMES),
        st.text(st.characters(exclude_categories=()))
        | st.text('0123456789,;=rt" -:.TZGMT+\\')
        | st.integers().map(str)
        | st.datetimes().map(str)
        | st.sampled_from([DATE, '"a";r=0;t=30', "0"]),
    ),
    now_epoch=st.none() | st.floats(0, 1e11),
)
def test_no_header_text_makes_it_raise_or_leave_its_range(
    status: int, headers: dict[str, str], now_epoch: float | None
) -> None:
    """A header is the network's word: it may be ignored, but it may not crash a call that has paid already."""
    wait = advised_wait(status, headers, limit_s=3600.0, now_epoch=now_epoch)

    assert wait is None or (type(wait) is float and 0.0 <= wait <= 1e9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "value",
    ["9" * 2**20, '"' + "\\" * 2**20, "a;" * 2**19, " " * 2**20, "0," * 2**19, ";r=0" * 2**18],
    ids=short,
)
def test_a_huge_header_costs_no_more_than_a_long_one(name: str, value: str) -> None:
    """One hostile header would stop the event loop for every other call."""
    elapsed = []
    for _ in range(5):
        begun = time.process_time()
        advised_wait(429, {name: value})
        elapsed.append(time.process_time() - begun)

    assert min(elapsed) < 0.002


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"X-RateLimit-Limit": "100"}, None),
        ({"RateLimit": '"burst";r=0;t=30'}, 30.0),
        ({"RateLimit": '"burst";r=1;t=30'}, None),
        ({"RateLimit": "garbage"}, None),
        ({"RateLimit-Remaining": "0", "RateLimit-Reset": "7"}, 7.0),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "7"}, 7.0),
        ({"X-Rate-Limit-Remaining": "0", "X-Rate-Limit-Reset": "7"}, 7.0),
        ({"X-RateLimit-Remaining": "1", "X-RateLimit-Reset": "7"}, None),
        ({"X-RateLimit-Remaining": "0"}, None),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "0"}, None),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "999999"}, 3600.0),
        ({"RateLimit": '"burst";r=0;t=30', "Retry-After": "99"}, 30.0),
    ],
    ids=str,
)
def test_any_answer_can_say_that_nothing_is_left(headers: dict[str, str], wait_s: float | None) -> None:
    """The next call would be sent into a limit that the last answer had told of, and would be refused."""
    assert quota_wait(CIMultiDict(headers)) == wait_s
