"""What the four protections cost a call that succeeds: circuit, rate gate, concurrency limit and retry budget together.

Run it with ``make cost``. Times what the engine does for them on the way of one attempt: finding the origin and its
guard, entering and leaving. The best of many rounds is kept, because other work on the machine only adds;
fails above three microseconds.
"""

import asyncio
import sys
from timeit import default_timer
from typing import Final

from benchmarks.results import keep, machine, table
from multidict import CIMultiDict, CIMultiDictProxy

from holdfast import LocalLimits, Policy, RateLimit, classify
from holdfast.core.redact import origin_of
from holdfast.protocols import Answer, Refused

MOST_US: Final = 3.0
ROUNDS: Final = 1_000
CALLS: Final = 100
URL: Final = "https://api.example.test/v1/transfers/TR1"
POLICIES: Final = {
    "circuit, gate, budget (default)": Policy(),
    "with `max_concurrency=100`: all four": Policy(max_concurrency=100),
    "with `rate_limit` besides": Policy(max_concurrency=100, rate_limit=RateLimit(per_second=1e6, burst=1_000_000)),
    "none": Policy(retry_budget=None, breaker=None, rate_gate=False),
}


async def cost_us(policy: Policy) -> float:
    """Time the way of one attempt, in microseconds."""
    limits = LocalLimits()
    headers = CIMultiDictProxy(CIMultiDict({"Content-Type": "application/json", "Date": "now", "Content-Length": "2"}))
    answer, verdict = Answer(200, headers), classify(200)
    guard = limits.of(origin_of(URL), policy)
    now = asyncio.get_running_loop().time()
    ticket: int | Refused | None = await guard.enter(
        now, now + 300.0, again=False, safe=True
    )  # the first is counted in
    assert isinstance(ticket, int)
    guard.leave(ticket, answer, verdict, sent_at=now, now=now)
    best = float("inf")
    for _ in range(ROUNDS):
        began = default_timer()
        for _ in range(CALLS):
            guard = limits.of(origin_of(URL), policy)
            ticket = guard.try_enter(now, now + 300.0, False, True)  # noqa: FBT003 - as engine/drive.py calls it
            assert ticket is not None
            guard.leave(ticket, answer, verdict, sent_at=now, now=now)
        best = min(best, (default_timer() - began) / CALLS)
    state = limits.state(origin_of(URL), policy)
    assert state.circuit is None or state.circuit.failures == 0
    return best * 1e6


def main() -> None:
    """Time each policy, print the table and keep it."""
    figures = {name: asyncio.run(cost_us(policy)) for name, policy in POLICIES.items()}
    rows = [[name, f"{figure:.2f}"] for name, figure in figures.items()]
    parts = [
        f"`make cost`. {machine('aiohttp')} The best of {ROUNDS} rounds of {CALLS} calls.",
        table(["protections", "microseconds a call"], *rows),
    ]
    print("\n\n".join(parts))
    keep("cost", "What the protections cost a call that succeeds", parts)
    if figures["with `max_concurrency=100`: all four"] > MOST_US:
        sys.exit(f"more than {MOST_US} microseconds")


if __name__ == "__main__":
    main()
