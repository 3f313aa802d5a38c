"""The exchanges that are measured: what goes out, and the fixed bytes that come back.

The 422 is a Finix error as its error codes page shows them: vnd.error with ``logref``, code and links.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

ORDER: Final = {"amount": 1000, "currency": "USD", "merchant": "MU1", "source": "PI1", "tags": {"order": "7"}}
"""The JSON body of every POST."""

KEY_HEADER: Final = "Idempotency-Key"
KEY_FIELD: Final = "idempotency_id"
"""Where FINIX wants the key."""

CREDENTIALS: Final = {"Authorization": "Basic VVMxOnNlY3JldA=="}
"""The headers of a session as nearly every service has one."""

AGAIN: Final = 503
"""The status that every client here sends again after."""

ATTEMPTS: Final = 4
"""Sends of one call at most, in every client that sends again."""

CALLS_PER_FAILURE: Final = 10
"""One call in ten meets a 503, and its repeat succeeds."""

_REFUSAL: Final = {
    "total": 1,
    "_embedded": {
        "errors": [
            {
                "logref": "3fe8e6ab1e8cf44f",
                "message": "amount: must be greater than zero",
                "code": "INVALID_FIELD",
                "field": "amount",
                "_links": {
                    "self": {"href": "https://finix.sandbox-payments-api.com/transfers"},
                    "help": {"href": "https://docs.finix.com/errors"},
                },
            }
        ]
    },
}
_RESOURCE: Final = {"id": "TR1", "state": "SUCCEEDED", "amount": 1000, "currency": "USD"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One exchange."""

    name: str
    title: str
    method: str
    path: str
    status: int
    """What the caller gets in the end."""

    body: bytes
    timed: bool = True
    """Whether it is measured in CPU time too, and with many in flight; else instructions are counted, with one."""


SCENARIOS: Final = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            name="get",
            title="GET 200",
            method="GET",
            path="/accounts/AC1",
            status=200,
            body=json.dumps(_RESOURCE).encode(),
        ),
        Scenario(
            name="post",
            title="keyed POST 201",
            method="POST",
            path="/charges",
            status=201,
            body=json.dumps(_RESOURCE).encode(),
        ),
        Scenario(
            name="flaky",
            title="GET, 10 % 503",
            method="GET",
            path="/flaky",
            status=200,
            body=json.dumps(_RESOURCE).encode(),
        ),
        Scenario(
            name="refused",
            title="POST 422",
            method="POST",
            path="/transfers",
            status=422,
            body=json.dumps(_REFUSAL).encode(),
        ),
        Scenario(
            name="authorized",
            title="GET, session with Authorization",
            method="GET",
            path="/accounts/AC2",
            status=200,
            body=json.dumps(_RESOURCE).encode(),
            timed=False,
        ),
    )
}

HELD: Final = "/held"
"""Path of a GET that is answered when the server is told to."""

Case: TypeAlias = tuple[str, int]
"""Scenario, and calls in flight at once."""

IN_FLIGHT: Final = (1, 64)
TIMED: Final[Sequence[Case]] = tuple((each.name, at) for each in SCENARIOS.values() if each.timed for at in IN_FLIGHT)
"""The cases that are measured in CPU time."""

COUNTED: Final[Sequence[Case]] = (
    *TIMED,
    *((each.name, IN_FLIGHT[0]) for each in SCENARIOS.values() if not each.timed),
)
"""Those whose instructions are counted."""
