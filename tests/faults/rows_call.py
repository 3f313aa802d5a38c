"""Rows about the call as a whole: given up, out of time, and the life of its key."""

import json
from dataclasses import replace
from itertools import count
from typing import Any, Final

from tests.faults.drivers import cancel_in_pause, cancel_once_written, send_beside_another
from tests.faults.handlers import HANG, after_request, one_at_a_time, slowly, stopping_the_world, whole
from tests.faults.places import server
from tests.faults.rows import SHORT_S, Ask, Differs, Row

from holdfast import Outcome
from holdfast.providers import GENERIC

STOPPED_S: Final = 0.5
LONG_PAUSE: Final = {"backoff_base": 1e9, "backoff_max": 1e9}
"""No draw of the jitter ends such a pause in time."""

WALL_CLOCK: Final = (
    "aiohttp's timer and the answer are both due when the process runs again, and the timer wins; that is a doubt, "
    "and not a lie"
)

_turns: Final = count()


def never_the_same(value: Any) -> str:
    """Serialize a value so that two renderings of it never have the same bytes."""
    return json.dumps(value) + " " * next(_turns)


ROWS: Final = (
    Row(id="A01", place=server(after_request(then=HANG, executes=None)), drive=cancel_once_written, reason="cancelled"),
    Row(
        id="A02",
        place=server(after_request(whole(429), executes=False)),
        ask=Ask(policy={"deadline": 300.0, "backoff_base": 200.0, "backoff_max": 200.0}),
        drive=cancel_in_pause,
        outcome=Outcome.RETRYABLE,
        reason="cancelled",
    ),
    Row(
        id="A03",
        place=server(after_request(then=HANG)),
        ask=Ask(policy={"attempt_timeout": SHORT_S, **LONG_PAUSE}),
        reason="timeout",
    ),
    # On this loop 100 s pass in no time: against its clock, the wall's has jumped back by them.
    Row(id="A04", place=server(slowly(100.0)), ask=Ask(policy={"deadline": 300.0}, virtual=True)),
    Row(
        id="A05",
        place=server(stopping_the_world(STOPPED_S)),
        ask=Ask(policy={"deadline": SHORT_S}),
        differs=(
            Differs(cases="G", final="failed", retry=False, first="failed", why=WALL_CLOCK),
            Differs(cases="PK P U", final="in_doubt", retry=False, first="in_doubt", why=WALL_CLOCK),
        ),
    ),
    Row(id="I01", place=server(after_request()), hits=("first",), put=""),
    Row(
        id="I03",
        place=server(after_request(whole(500, b"{}", stripe_should_retry="false"), executes=None)),
        outcome=Outcome.PERMANENT_FAILURE,
        reason="server_says_stop",
        put="",
    ),
    Row(
        id="I06",
        place=server(one_at_a_time()),
        ask=Ask(session={"provider": replace(GENERIC, polls_conflict=True)}, policy={"max_attempts": 2}),
        drive=send_beside_another,
        hits=("every",),
        seen=None,
        connects=None,
        put="",
    ),
    Row(
        id="I07",
        place=server(after_request()),
        ask=Ask(
            session={"json_serialize": never_the_same},
            options={"json": {"amount": 100, "rate": 0.1}},
            body=lambda: None,
        ),
        hits=("first",),
        put="",
    ),
)
