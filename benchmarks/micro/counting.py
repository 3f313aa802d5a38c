"""How often one call runs each function: counted over real calls to a peer on this machine, with the log on."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from types import CodeType, FrameType
from typing import Any, Final

from benchmarks.micro.examples import VND_ERROR, json_lines
from benchmarks.micro.rows import ROWS
from tests.support import Behaviour, Peer, answer, run

from holdfast import CircuitBreaker, LogSink, Policy, ResilientSession, RetryBudget

CALLS: Final = 20
WARMING: Final = 3

# The protections do their work on every call, and have room for half of the attempts to fail.
POLICY: Final = Policy(
    backoff_base=0.0,
    breaker=CircuitBreaker(minimum_calls=1000),
    retry_budget=RetryBudget(burst=1000),
    max_concurrency=10,
)

KEYED: Final = {"json": {"amount": 1000}, "idempotency_key": "order-7"}
Scenario = tuple[str, Mapping[str, Any], tuple[Behaviour, ...]]
SCENARIOS: Final[Mapping[str, Scenario]] = {
    "GET 200": ("GET", {}, (answer(),)),
    "keyed POST 201": ("POST", KEYED, (answer(201),)),
    "GET 503, then 200": ("GET", {}, (answer(503), answer())),
    "keyed POST 422": ("POST", KEYED, (answer(422, VND_ERROR),)),
}


def counts_of(scenario: Scenario) -> dict[str, float]:
    """Count the calls of each row's function in one outbound call of a scenario."""
    return run(_counted(scenario))


async def _counted(scenario: Scenario) -> dict[str, float]:
    counted: Counter[str] = Counter()
    method, named, answers = scenario
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123, ASYNC230 - a file that takes everything
        session = ResilientSession(sinks=[LogSink(json_lines(nowhere))], policy=POLICY)
        async with Peer(*answers * (WARMING + CALLS)) as peer, session:
            for number in range(WARMING + CALLS):
                sys.setprofile(_counting(counted) if number >= WARMING else None)
                async with session.request(method, f"{peer.url}/v1/transfers", **named) as response:
                    await response.read()
            sys.setprofile(None)
    return {row: counted[row] / CALLS for row in ROWS}


def _counting(counted: Counter[str]) -> Callable[[FrameType, str, object], None]:
    rows: dict[CodeType, list[str]] = {}
    for name, row in ROWS.items():
        rows.setdefault(row.code(), []).append(name)

    def note(frame: FrameType, event: str, _: object) -> None:
        if event != "call":
            return
        for name in rows.get(frame.f_code, ()):
            counted[name] += ROWS[name].when(frame.f_locals)

    return note
