"""What of a request must not follow a redirect to another origin.

aiohttp drops Authorization and Cookie only, and gives them back where a session has them of its own. Here idempotency
keys, API keys, cookies that are not of the session's jar, and the body of a 307 or 308 stay at home too. What has been
abroad does not come home: who sent it back chose its address.
"""

from typing import Final

from aiohttp import ClientRequest, Payload, hdrs
from yarl import URL

SECRET_HEADERS: Final = frozenset({"idempotency-key", "x-api-key", "api-key", "x-auth-token", "proxy-authorization"})
"""Headers that must not reach another origin, besides Authorization, Cookie and the provider's key header."""

_OF_THE_BODY: Final = (hdrs.CONTENT_TYPE, hdrs.CONTENT_ENCODING, hdrs.TRANSFER_ENCODING, hdrs.EXPECT)


class Home:
    """Where a call came from, and what stays there. Confined to one event loop."""

    __slots__ = ("_authorization", "_body_may_leave", "_secret_headers", "_url", "body_dropped", "key_dropped")

    def __init__(self, secret_headers: frozenset[str] = SECRET_HEADERS, *, body_may_leave: bool = False) -> None:
        """Set out.

        Args:
            secret_headers: In lower case: headers that must not reach another origin.
            body_may_leave: Whether the body may follow a redirect to another origin.
        """
        self._secret_headers = secret_headers
        self._body_may_leave = body_may_leave
        self._url: URL | None = None
        self._authorization: str | None = None
        self.key_dropped: bool = False
        """Whether a hop went to another origin, without the key."""

        self.body_dropped: bool = False
        """Whether a hop that was to repeat the request went to another origin, without the body."""

    def begin_anew(self) -> None:
        """Start from home again: the next hop is the first one of a new attempt."""
        self.key_dropped = self.body_dropped = False

    def is_left_by(self, request: ClientRequest) -> bool:
        """Say whether a hop goes, or went before, to another origin, so that its request has to be stripped."""
        if self._url is None:
            self._url, self._authorization = request.url, request.headers.get(hdrs.AUTHORIZATION)
            return False
        self.key_dropped = self.key_dropped or _origin(self._url) != _origin(request.url)
        return self.key_dropped

    async def strip(self, request: ClientRequest) -> None:
        """Take out of one hop's request what must stay at home."""
        for name in [name for name in request.headers if name.lower() in self._secret_headers]:
            del request.headers[name]
        if request.headers.get(hdrs.AUTHORIZATION) == self._authorization:  # the session's, which aiohttp put back
            request.headers.popall(hdrs.AUTHORIZATION, None)
        _send_cookies_of_the_jar_only(request)
        if self._body_may_leave or not _has_body(request):
            return
        self.body_dropped = True
        await _drop_body(request)


def _origin(url: URL) -> tuple[str, str | None, int | None]:
    return url.scheme, url.host, url.port  # the port that is meant, where none is written


def _send_cookies_of_the_jar_only(request: ClientRequest) -> None:
    request.headers.popall(hdrs.COOKIE, None)
    theirs = request.session.cookie_jar.filter_cookies(request.url)
    if theirs:
        request.headers[hdrs.COOKIE] = theirs.output(header="", sep=";").strip()


def _has_body(request: ClientRequest) -> bool:
    return isinstance(request.body, Payload) and request.body.size != 0


async def _drop_body(request: ClientRequest) -> None:
    request.chunked = request.compress = None
    for name in _OF_THE_BODY:
        request.headers.popall(name, None)
    request._continue = None  # noqa: SLF001 - else aiohttp waits for leave to send a body that is gone (RFC 9110 10.1.1)
    await request.update_body(None)
