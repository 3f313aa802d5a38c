"""Retry storms: fleets of clients against one server that breaks, on a virtual clock.

Run it with ``make storm``. Every client is a process of its own: a ``ResilientSession`` with limits of its own, down to
aiohttp's byte stream; only the socket is missing, and for the fleets of 1 000 the session too. Prints the tables, and
keeps them in ``RESULTS.md``, the figures in ``storm.json`` and the load in ``storm.svg``. Fails when a bar is missed.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Final

from benchmarks.results import keep, machine, table
from benchmarks.storming.plot import draw
from benchmarks.storming.runs import SCENARIOS, Figures, Instant, run, run_instant
from benchmarks.storming.strategies import STRATEGIES

HERE: Final = Path(__file__).parent
ALONE, BUDGET, BREAKER, ALL = 0, 3, 4, 5
OF_TEN_CLIENTS: Final = """\
With 10 clients the default's goodput under 429 is arithmetic. A limiter of 2 a second that lets nothing through at
once serves whoever comes next after half a second. Of 4.2 requests a second that know nothing of each other that is
one in 0.5 and 0.24 s: 1.36 a second, 68 %. Nine tenths would take 18 requests a second, 1.8 for each call. Their 6 s
after an outage are up to 5 s of open circuit, the wait for the process's next call, which is the probe, and half a
second's ramp; one refused call in ten is already less than 95 %."""
OF_A_QUIET_PROCESS: Final = """\
A process that calls once a second and is refused three times in a row sends its next 20 calls in some 20 s: at its
usual rate, which is all that the origin is known to bear. Two kinder rules were measured under 429, with the engine
alone. Let each success add a quarter, a half or the whole to a pace below 10 a second: 20 calls in 8 to 10 s, but
after the repair 10 or 100 clients recover in 18 to 59 s instead of 2 to 4. Let a refusal halve the pace, and not what
was used of it: 20 calls in 10 s, but in 3 of 19 runs of three such rules 100 clients, who catch up at just what the
origin can serve, bring it down once more: 274 to 1 438 calls fail after the repair, without the rule 52 to 82 in 13
runs."""
_BY_NAME: Final = {strategy.name: index for index, strategy in enumerate(STRATEGIES)}


def main() -> None:
    """Run every fleet, print the tables, keep them, and hold them against the bars."""
    parser = argparse.ArgumentParser(description="Compare ways to retry in five kinds of fault, on a virtual clock.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, nargs="+", default=[10, 100], help="fleets of real sessions")
    parser.add_argument("--largest", type=int, default=1000, help="clients of the fleet that is the engine alone")
    parser.add_argument("--engine", action="store_true", help="leave the session out everywhere: faster")
    chosen = parser.parse_args()
    with ProcessPoolExecutor(os.cpu_count()) as processes:
        jobs: list[Future[Figures]] = []
        outage = next(scenario for scenario in SCENARIOS if scenario.name == "outage")
        largest = (STRATEGIES[ALONE], STRATEGIES[BUDGET], STRATEGIES[ALL]) if chosen.largest else ()
        jobs += [
            processes.submit(run, outage, strategy, chosen.largest, chosen.seed, engine_only=True)
            for strategy in largest
        ]
        for clients in sorted(chosen.clients, reverse=True):
            jobs += [
                processes.submit(run, scenario, strategy, clients, chosen.seed, engine_only=chosen.engine)
                for scenario in SCENARIOS
                for strategy in STRATEGIES
            ]
        instants = [
            processes.submit(run_instant, strategy, 1000, chosen.seed, burst_s=burst_s, shared=shared)
            for burst_s in (0.1, 1.0)
            for strategy, shared in [*((each, False) for each in STRATEGIES), (STRATEGIES[ALL], True)]
        ]
        runs = sorted((job.result() for job in jobs), key=_in_order)
        at_once = [job.result() for job in instants]
    _keep(runs, at_once, chosen.seed, " ".join(sys.argv[1:]))
    if missed := list(_missed(runs, at_once)):
        sys.exit("missed: " + "; ".join(missed))


def _in_order(figures: Figures) -> tuple[int, int, int]:
    scenario = next(index for index, each in enumerate(SCENARIOS) if each.name == figures.scenario)
    return figures.clients, scenario, _BY_NAME[figures.strategy]


def _keep(runs: list[Figures], at_once: list[Instant], seed: int, arguments: str) -> None:
    command = f'make storm ARGS="{arguments}"' if arguments else "make storm"
    parts = [f"`{command}`, seed {seed}. {machine('aiohttp')}", "![Load by strategy](storm.svg)"]
    for clients in dict.fromkeys(each.clients for each in runs):
        fleet = [each for each in runs if each.clients == clients]
        through = "sessions" if fleet[0].through == "session" else "clients that are the engine alone"
        parts += [f"{clients} {through}, {fleet[0].calls} calls in each row:", _table(fleet)]
    parts += ["1 000 sessions that all call at the same instant, where 100 a second can be served:", _instants(at_once)]
    parts += [OF_TEN_CLIENTS, OF_A_QUIET_PROCESS]
    print("\n\n".join(parts))
    keep("storm", "Retry storms", parts)
    kept = {"seed": seed, "runs": [asdict(each) for each in runs], "same instant": [asdict(each) for each in at_once]}
    (HERE / "storm.json").write_text(json.dumps(kept, separators=(",", ":")) + "\n")
    most = max((each.clients for each in runs if each.through == "session"), default=max(each.clients for each in runs))
    draw([each for each in runs if each.clients == most], HERE / "storm.svg")


def _table(runs: Iterable[Figures]) -> str:
    head = ["fault", "strategy", "requests per call", "busiest 10 s", "goodput, of what can be served"]
    head += ["recovery, s", "failed after repair", "p99 of a call, s", "p99 of a refusal, ms"]
    rows = [
        [
            each.scenario,
            each.strategy,
            f"{each.amplification:.2f}",
            f"{each.peak:.2f}",
            "" if each.goodput is None else f"{each.goodput:.0%}",
            "never" if each.recovery_s is None else each.recovery_s,
            each.failed_after,
            f"{each.p99_s:.2f}",
            "" if each.refused_p99_ms is None else f"{each.refused_p99_ms:.2f}",
        ]
        for each in runs
    ]
    return table(head, *rows)


def _instants(at_once: Iterable[Instant]) -> str:
    head = ["strategy", "let through at once", "requests per call", "calls that succeed", "over after, s"]
    rows = [
        [each.strategy, f"{each.burst_s:g} s worth", f"{each.attempts:.2f}", each.succeeded, f"{each.lasted_s:.0f}"]
        for each in at_once
    ]
    return table(head, *rows)


def _missed(runs: list[Figures], at_once: list[Instant]) -> Iterable[str]:
    """Hold the fleets of 100 against what the defaults must show."""
    found = {(each.scenario, _BY_NAME[each.strategy]): each for each in runs if each.clients == 100}
    if not found:
        return
    for index, most in ((BUDGET, 1.15), (BREAKER, 0.3), (ALL, 0.3)):
        if (share := found["outage", index].amplification) > most:
            yield f"{share:.3f} requests per call in an outage with {STRATEGIES[index].name}"
    for scenario in SCENARIOS:
        alone, ours = found[scenario.name, ALONE].recovery_s, found[scenario.name, ALL]
        most_s = 5.0 if alone is not None and alone <= 10 else (alone or 0) / 2
        if ours.recovery_s is None or ours.recovery_s > most_s:
            yield f"{scenario.name}: recovery in {ours.recovery_s} s"
        if scenario.name.startswith("shedding") and (ours.goodput or 0.0) < 0.9:
            yield f"{scenario.name}: goodput {ours.goodput:.2f}"
        if ours.refused_p99_ms is not None and ours.refused_p99_ms > 1.0:
            yield f"{scenario.name}: a refusal takes {ours.refused_p99_ms:.2f} ms"
    for each in at_once:
        # A limiter that lets a hundredth through at once leaves no room: the least that is possible there is 1.99.
        if each.strategy.endswith("one process") and each.burst_s >= 1.0 and each.attempts > 2.0:
            yield f"same instant, {each.burst_s:g} s let through: {each.attempts:.3f} requests per call"


if __name__ == "__main__":
    main()
