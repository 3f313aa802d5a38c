"""Answers that are whole: every status of the catalogue, and what goes with it."""

from email.utils import formatdate
from typing import Any, Final

from tests.faults.handlers import after_request, ok, redirecting, whole
from tests.faults.places import server
from tests.faults.rows import Ask, Differs, Row

from holdfast import Outcome

PERMANENT: Final = Outcome.PERMANENT_FAILURE
VIRTUAL: Final = Ask(virtual=True)

REFUSALS: Final = (402, 403, 404, 405, 410, 411, 412, 413, 414, 415, 424, 426, 428, 431, 401, 407, 422)
CAPABILITIES: Final = (501, 505, 506, 511)
ORIGIN_NOT_REACHED: Final = (523, 525)
UNCLEAR: Final = {500: None, 502: None, 503: None, 504: True, 520: None, 522: None, 524: True}
"""Statuses that do not say what the origin did, and what it did here; ``None`` tosses a coin."""

BY_408: Final = (
    "design section 4: a proxy in front of a slow origin answers 408 as well, so the effect of a 408 is in doubt, and "
    "an unkeyed POST is not sent again"
)
BY_409: Final = (
    "design section 4, row 3, and section 5: a 409 to a keyed call is a conflict, and is polled only where the "
    "provider declares it (see I06); this attempt itself did nothing"
)
BY_423: Final = "design section 4, row 9: a lock of unknown length is a permanent failure"
BY_5XX: Final = "design section 4: a 5xx outside the named ones is retryable and leaves the effect in doubt"
BY_526: Final = "design section 4, row 8: 526 is retryable like its neighbours; its effect is none all the same"
FOLLOWED: Final = (
    "GENERIC follows redirects, as aiohttp does: the answer at the end of the 303 is read, and nothing is unreadable"
)
NO_WAY_ON: Final = (
    "a GET whose redirect leads to no HTTP address has no answer to give; calling it ok would hand out nothing"
)


def _status(status: int, *, executes: bool | None = False, number: str = "", differs: tuple[Differs, ...] = ()) -> Row:
    handler = after_request(whole(status, b"{}"), executes=executes)
    return Row(id=number or f"S{status}", place=server(handler), differs=differs)


def _limited(number: str, flavour: str, said: bytes, **more: Any) -> Row:
    place = server(after_request(said, executes=False))
    return Row(id=number, flavour=flavour, place=place, ask=VIRTUAL, reason="rate_limited", **more)


def _doubted(why: str) -> tuple[Differs, ...]:
    """Write down that an answer leaves a doubt which the catalogue does not see."""
    return (
        Differs(cases="G", final="failed", retry=True, first="ok", why=why),
        Differs(cases="PK U", final="in_doubt", retry=True, first="ok", why=why),
        Differs(cases="P", final="in_doubt", retry=False, first="in_doubt", why=why),
    )


LIMITS: Final = (
    _limited("S429", "", whole(429, retry_after="1")),
    _limited("S429E", "", whole(429, date=formatdate(1_800_000_000, usegmt=True), x_ratelimit_reset="1800000002")),
    _limited("S429X", "", whole(429, retry_after="3600"), outcome=Outcome.RETRYABLE),
    _limited("S429B", "garbage", whole(429, retry_after="soon")),
    _limited("S429B", "negative", whole(429, retry_after="-1")),
    _limited(
        "S429B",
        "huge",
        whole(429, retry_after="1000000000000"),
        differs=(
            Differs(
                cases="G PK P U",
                final="failed_not_processed",
                retry=False,
                first="failed_not_processed",
                outcome=Outcome.RETRYABLE,
                why="design section 5: a Retry-After beyond the deadline stops at once, however far beyond; a number "
                "is not garbage because it is large",
            ),
        ),
    ),
)

REDIRECTS: Final = (
    Row(
        id="S303",
        place=server(redirecting(303, "/payments/1", executes=True)),
        seen=2,
        reason="ok",
        differs=(Differs(cases="PK P U", final="ok", retry=False, first="ok", why=FOLLOWED),),
    ),
    Row(id="S30L", place=server(redirecting(307, "/payments", hops=20)), seen=10, reason="too_many_redirects"),
    *(
        Row(
            id="S30X",
            flavour=flavour,
            place=server(redirecting(302, location, executes=None)),
            outcome=PERMANENT,
            reason="bad_redirect",
            differs=(Differs(cases="G", final="rejected", retry=False, first="rejected", why=NO_WAY_ON),),
        )
        for flavour, location in (("ftp", "ftp://pay.test/"), ("malformed", "http://[/"))
    ),
)

CONFLICTS: Final = (
    Row(
        id="S409",
        place=server(after_request(whole(409, b"{}"), executes=False)),
        put="P",
        differs=(Differs(cases="PK", final="key_conflict", retry=False, first="key_conflict", why=BY_409),),
    ),
    Row(
        id="S422K",
        place=server(after_request(whole(422, b'{"error": {"code": "idempotency_key_in_use"}}'), executes=False)),
        put="",
    ),
)

SERVER_ERRORS: Final = (
    *(_status(status) for status in CAPABILITIES),
    *(_status(status) for status in ORIGIN_NOT_REACHED),
    *(_status(status, executes=executes) for status, executes in UNCLEAR.items()),
    _status(599, executes=None, number="S598"),
    _status(508, differs=_doubted(BY_5XX)),
    _status(
        526, differs=(Differs(cases="G PK P U", final="failed_not_processed", retry=True, first="ok", why=BY_526),)
    ),
    Row(
        id="S503R",
        place=server(after_request(whole(503, b"{}", retry_after="1"), executes=False)),
        ask=VIRTUAL,
        reason="unavailable",
    ),
)

CLIENT_ERRORS: Final = (
    *(_status(status) for status in REFUSALS),
    _status(408, differs=_doubted(BY_408)[1:]),  # for a GET the two words come to the same
    _status(
        423,
        differs=(Differs(cases="G PK P U", final="rejected", retry=False, first="rejected", why=BY_423),),
    ),
    _status(425),
)

ROWS: Final = (
    Row(id="S200", place=server(after_request(ok)), reason="ok"),
    Row(id="S202", place=server(after_request(lambda body: whole(202, body))), reason="accepted"),
    *CLIENT_ERRORS,
    *CONFLICTS,
    *LIMITS,
    *SERVER_ERRORS,
    *REDIRECTS,
)
