"""Requests said in every way that aiohttp knows, and what a server must have seen of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any, Final

import aiohttp
from multidict import CIMultiDict, MultiDict, istr
from yarl import URL

SAME: Final = "/x"


def _nothing() -> dict[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class Asked:
    """One way to say a request."""

    id: str
    options: Callable[[], dict[str, Any]]
    target: str = SAME
    """The request's target as the server must have seen it."""

    headers: tuple[tuple[str, str], ...] = ()
    """Headers that the server must have seen, names in lower case; all of those names, in this order."""

    absent: tuple[str, ...] = ()
    """Names of headers, in lower case, that it must not have seen."""

    session: Callable[[], dict[str, Any]] = _nothing
    url: Any = SAME
    method: str = "GET"
    version: str = "HTTP/1.1"
    findings: Mapping[str, str] = field(default_factory=dict)


def _cookies() -> SimpleCookie:
    return SimpleCookie("a=1; b=2")


PARAMS: Final = (
    Asked("params-dict", lambda: {"params": {"a": "1", "b": "x y"}}, "/x?a=1&b=x+y"),
    Asked("params-pairs", lambda: {"params": [("a", "1"), ("a", "2")]}, "/x?a=1&a=2"),
    Asked("params-multidict", lambda: {"params": MultiDict([("a", "1"), ("a", "2")])}, "/x?a=1&a=2"),
    Asked("params-str", lambda: {"params": "a=1&b=%20"}, "/x?a=1&b=%2520"),
    Asked("params-numbers", lambda: {"params": {"a": 1, "b": 1.5}}, "/x?a=1&b=1.5"),
    Asked("params-sequence", lambda: {"params": {"a": ["1", 2], "b": ()}}, "/x?a=1&a=2"),
    Asked("params-none", lambda: {"params": None}),
    Asked("params-empty", lambda: {"params": {}}),
    Asked("params-and-query", lambda: {"params": {"a": "2"}}, "/x?a=1&a=2", url="/x?a=1"),
    Asked("params-reserved", lambda: {"params": {"a": "&=?#/+%"}}, "/x?a=%26%3D?%23/%2B%25"),
    Asked("params-unicode", lambda: {"params": {"\u00e9": "\u20ac"}}, "/x?%C3%A9=%E2%82%AC"),
    Asked("query", _nothing, "/x?q=a+b&r=%2B", url="/x?q=a+b&r=%2B"),
    Asked("encoded-url", _nothing, "/a%2Fb?x=%2b", url=URL("/a%2Fb?x=%2b", encoded=True)),
    Asked("unencoded-url", _nothing, "/a%20b/%C3%A9", url="/a b/\u00e9"),
    Asked("fragment", _nothing, "/x?a=1", url="/x?a=1#part"),
    Asked("dot-segments", _nothing, "/b", url="/a/../b"),
    Asked("empty-path", _nothing, "/", url=""),
    Asked("url-object", lambda: {"params": {"b": "2"}}, "/x?a=1&b=2", url=URL("/x?a=1")),
)

HEADERS: Final = (
    Asked("headers-dict", lambda: {"headers": {"X-A": "1"}}, headers=(("x-a", "1"),)),
    Asked(
        "headers-pairs",
        lambda: {"headers": [("X-A", "1"), ("X-A", "2")]},
        headers=(
            ("x-a", "1"),
            ("x-a", "2"),
        ),
    ),
    Asked(
        "headers-multi",
        lambda: {"headers": CIMultiDict([("X-A", "1"), ("X-A", "2")])},
        headers=(
            ("x-a", "1"),
            ("x-a", "2"),
        ),
    ),
    Asked("headers-istr", lambda: {"headers": {istr("x-a"): "1"}}, headers=(("x-a", "1"),)),
    Asked("headers-default", dict, headers=(("x-d", "d"),), session=lambda: {"headers": {"X-D": "d"}}),
    Asked(
        "headers-over-default",
        lambda: {"headers": {"x-d": "own"}},
        headers=(("x-d", "own"),),
        session=lambda: {"headers": {"X-D": "d"}},
    ),
    Asked(
        "headers-default-multi",
        lambda: {"headers": {"X-A": "1"}},
        headers=(
            ("x-d", "1"),
            ("x-d", "2"),
            ("x-a", "1"),
        ),
        session=lambda: {"headers": [("X-D", "1"), ("X-D", "2")]},
    ),
    Asked(
        "headers-auto",
        dict,
        headers=(
            ("accept", "*/*"),
            (
                "accept-encoding",
                aiohttp.ClientRequest.DEFAULT_HEADERS[istr("Accept-Encoding")],
            ),  # more with Brotli installed
        ),
    ),
    Asked("headers-user-agent", lambda: {"headers": {"User-Agent": "own/1"}}, headers=(("user-agent", "own/1"),)),
    Asked("headers-host", lambda: {"headers": {"Host": "other.test"}}, headers=(("host", "other.test"),)),
    Asked("skip-user-agent", lambda: {"skip_auto_headers": ["User-Agent"]}, absent=("user-agent",)),
    Asked(
        "skip-of-both",
        lambda: {"skip_auto_headers": [istr("accept")]},
        absent=("user-agent", "accept"),
        session=lambda: {"skip_auto_headers": {"user-agent"}},
    ),
    Asked("headers-none", lambda: {"headers": None}),
    Asked(
        "idempotency-key-of-the-callers",
        lambda: {"headers": {"Idempotency-Key": "k"}},
        headers=(("idempotency-key", "k"),),
    ),
    Asked(
        "idempotency-key-on-post",
        lambda: {"headers": {"Idempotency-Key": "k"}, "data": b""},
        headers=(("idempotency-key", "k"),),
        method="POST",
    ),
)

COOKIES: Final = (
    Asked("cookies-dict", lambda: {"cookies": {"a": "1", "b": "2"}}, headers=(("cookie", "a=1; b=2"),)),
    Asked("cookies-simple", lambda: {"cookies": _cookies()}, headers=(("cookie", "a=1; b=2"),)),
    Asked("cookies-pairs", lambda: {"cookies": [("a", "1")]}, headers=(("cookie", "a=1"),)),
    Asked("cookies-of-the-session", dict, headers=(("cookie", "s=1"),), session=lambda: {"cookies": {"s": "1"}}),
    Asked(
        "cookies-of-both",
        lambda: {"cookies": {"a": "2"}},
        headers=(("cookie", "a=2; s=1"),),
        session=lambda: {"cookies": {"s": "1"}},
    ),
    Asked(
        "cookies-and-header",
        lambda: {"cookies": {"a": "1"}, "headers": {"Cookie": "h=1"}},
        headers=(("cookie", "a=1; h=1"),),
    ),
    Asked(
        "cookies-into-a-dummy-jar",
        dict,
        absent=("cookie",),
        session=lambda: {"cookies": {"s": "1"}, "cookie_jar": aiohttp.DummyCookieJar()},
    ),
    Asked(
        "cookies-beside-a-dummy-jar",
        lambda: {"cookies": {"a": "1"}},
        headers=(("cookie", "a=1"),),
        session=lambda: {"cookie_jar": aiohttp.DummyCookieJar()},
    ),
)

AUTH: Final = (
    Asked("auth", lambda: {"auth": aiohttp.BasicAuth("u", "p")}, headers=(("authorization", "Basic dTpw"),)),
    Asked(
        "auth-utf-8",
        lambda: {"auth": aiohttp.BasicAuth("\u00fc", "p", "utf-8")},
        headers=(("authorization", "Basic w7w6cA=="),),
    ),
    Asked(
        "auth-of-the-session",
        dict,
        headers=(("authorization", "Basic dTpw"),),
        session=lambda: {"auth": aiohttp.BasicAuth("u", "p")},
    ),
    Asked(
        "auth-over-the-sessions",
        lambda: {"auth": aiohttp.BasicAuth("u", "p")},
        headers=(("authorization", "Basic dTpw"),),
        session=lambda: {"auth": aiohttp.BasicAuth("s", "s")},
    ),
    Asked("auth-header", lambda: {"headers": {"Authorization": "Bearer t"}}, headers=(("authorization", "Bearer t"),)),
)

VERSIONS: Final = (
    Asked(
        "http-1.0",
        dict,
        headers=(("connection", "keep-alive"),),
        session=lambda: {"version": aiohttp.HttpVersion10},
        version="HTTP/1.0",
    ),
    Asked(
        "http-1.0-post",
        lambda: {"data": b"x"},
        session=lambda: {"version": aiohttp.HttpVersion10},
        version="HTTP/1.0",
        method="POST",
    ),
    Asked(
        "force-close",
        dict,
        headers=(("connection", "close"),),
        session=lambda: {"connector": aiohttp.TCPConnector(force_close=True)},
    ),
    Asked("connection-close", lambda: {"headers": {"Connection": "close"}}, headers=(("connection", "close"),)),
    Asked("timeout-number", lambda: {"timeout": 5}),
    Asked("timeout-none", lambda: {"timeout": None}),
    Asked("timeout-value", lambda: {"timeout": aiohttp.ClientTimeout(total=5, connect=1)}),
    Asked("ssl-is-no-matter-in-the-open", lambda: {"ssl": False}),
)
