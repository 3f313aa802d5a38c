"""``holdfast demo``: some sixty calls to a failing sandbox, and then the truth.

The calls go through ``ResilientSession`` to the sandbox in this process, which breaks in the ways networks and servers
really break and keeps a ledger of every effect. At the end each report is held against the ledger. Nothing leaves
this machine, and every call ends within ten seconds.
"""

import argparse
import asyncio
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Final

import aiohttp

from holdfast.cli.arguments import LARGEST_SEED, CommandParser, share, whole_number
from holdfast.cli.demo_plan import PLACE, Step, Story, plan
from holdfast.cli.demo_tally import MadeCall, Tally, add_up
from holdfast.cli.plain_screen import JsonScreen, Screen
from holdfast.cli.screen import open_screen
from holdfast.policy import Policy
from holdfast.providers.fiant import FIANT
from holdfast.providers.finix import FINIX
from holdfast.providers.generic import GENERIC
from holdfast.report import report_of
from holdfast.sandbox import Sandbox
from holdfast.session import ResilientSession

DESCRIPTION: Final = (
    "Make calls to a sandbox on this machine that fails on purpose, show the structured log as they run,\n"
    "and compare every verdict with the sandbox's ledger of what really happened."
)
EPILOG: Final = (
    "exit codes: 0 nothing was charged twice and nothing misreported; 1 something was; 2 bad arguments;\n"
    "130 interrupted"
)

EXIT_CODES: Final[Mapping[bool, int]] = {True: 0, False: 1}
"""Exit code by whether the client was honest."""

CONCURRENCY: Final = 8
MOST_CALLS: Final = 100_000

# Short, so that all of it can be seen within seconds. One client against a server that fails on purpose: a retry budget
# or a circuit breaker would, rightly, soon stop the show, and a rate gate draw it out.
POLICY: Final = Policy(
    max_attempts=5,
    deadline=10.0,
    attempt_timeout=1.0,
    backoff_base=0.05,
    backoff_max=0.5,
    retry_budget=None,
    breaker=None,
    rate_gate=False,
    read_body=True,
)
SLOW_S: Final = 1.5
"""Delay of the sandbox's slow answers: longer than an attempt may take."""


def describe(parser: CommandParser) -> None:
    """Add the command's options."""
    parser.add_argument("--json", action="store_true", help="print raw events as JSON lines, the summary last")
    parser.add_argument(
        "--seed", type=whole_number(0, LARGEST_SEED), default=7, help="the same seed makes the same calls (default 7)"
    )
    parser.add_argument("--calls", type=whole_number(1, MOST_CALLS), default=60, help="number of calls (default 60)")
    parser.add_argument(
        "--faults", type=share, default=0.25, help="share of requests that fail, from 0 to 1 (default 0.25)"
    )


def run(options: argparse.Namespace) -> int:
    """Make the calls and show what came of them."""
    screen = JsonScreen(sys.stdout) if options.json else open_screen(sys.stdout)
    if not options.json:
        screen.line(
            f"{options.calls} calls to a sandbox on this machine, which fails {options.faults:.0%} of all requests"
            f" (seed {options.seed})."
        )
    tally = asyncio.run(_show(options, screen))
    if options.json:
        screen.event("demo.summary", logging.INFO, tally.to_dict())
    else:
        conclude(screen, tally)
    return EXIT_CODES[tally.honest]


@dataclass(slots=True)
class ScreenSink:
    """Shows events as they happen. Confined to one event loop."""

    screen: Screen
    level: int
    lost: OSError | None = None
    """Why the output could not be written, once it could not."""

    def enabled(self, level: int) -> bool:
        """Say whether the level is shown."""
        return level >= self.level and self.lost is None

    def emit(self, event: str, level: int, fields: dict[str, Any]) -> None:
        """Show one event. A reader that has gone away is kept in mind, because an error here would cost no call."""
        try:
            self.screen.event(event, level, fields)
        except OSError as error:
            self.lost = error


@dataclass(slots=True)
class _Stage:
    """What the workers share. Confined to one event loop."""

    sessions: Mapping[str, ResilientSession]
    stories: Iterator[Story]
    sink: ScreenSink
    advance: Callable[[], None]
    made: list[MadeCall] = field(default_factory=list)
    begun: int = 0

    async def work(self) -> None:
        """Play stories until there are none left, or nobody is watching."""
        for story in self.stories:
            identity: str | None = None
            for step in story:
                if self.sink.lost is not None:
                    return
                made = await self._call(_with_identity(step, identity))
                identity = identity or made
                self.advance()

    async def _call(self, step: Step) -> str | None:
        """Make one call, keep its report, and give the id of what it made."""
        self.begun += 1
        name = f"call-{self.begun}"
        identity, readable = None, True
        ended: object
        try:
            response = await _send(self.sessions[step.provider], step, name)
            ended = response
            identity, readable = await _read(response)
        except (aiohttp.ClientError, OSError) as error:
            ended = error
        self.made.append(
            MadeCall(
                name=name,
                provider=step.provider,
                operation=step.operation,
                method=step.method,
                path=step.path,
                amount=step.amount,
                report=report_of(ended),
                readable=readable,
            )
        )
        return identity


async def _show(options: argparse.Namespace, screen: Screen) -> Tally:
    loop = asyncio.get_running_loop()
    # Text is for people, who need not see each attempt that went well.
    sink = ScreenSink(screen, logging.DEBUG if options.json else logging.INFO)
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox(faults=options.faults, seed=options.seed, slow_s=SLOW_S))
        sessions = {
            provider.name: await stack.enter_async_context(
                ResilientSession(sandbox.url + base, provider=provider, policy=POLICY, sinks=[sink])
            )
            for provider, base in ((FINIX, "/"), (FIANT, "/v1/"), (GENERIC, "/"))
        }
        begun = loop.time()
        with screen.progress(options.calls) as advance:
            stage = _Stage(sessions, iter(plan(options.seed, options.calls)), sink, advance)
            async with asyncio.TaskGroup() as workers:
                for _ in range(CONCURRENCY):
                    workers.create_task(stage.work())
        elapsed_s = loop.time() - begun
    if sink.lost is not None:
        raise sink.lost
    return add_up(stage.made, sandbox.ledger, sandbox.requests, elapsed_s=elapsed_s)


async def _send(session: ResilientSession, step: Step, name: str) -> aiohttp.ClientResponse:
    return await session.request(
        step.method,
        step.path,
        json=None if step.json is None else dict(step.json),
        headers={"X-Call": name},
        operation=step.operation,
        idempotency_key=step.key,
    )


async def _read(response: aiohttp.ClientResponse) -> tuple[str | None, bool]:
    """Give the id in a successful answer, and whether its body could be read."""
    async with response:
        try:
            document = await response.json(content_type=None) if response.ok else await response.read()
        except (aiohttp.ClientError, OSError, ValueError):
            return None, False
    identity = document.get("id") if isinstance(document, dict) else None
    return (identity if isinstance(identity, str) else None), True


def _with_identity(step: Step, identity: str | None) -> Step:
    if PLACE not in step.path:
        return step
    if identity is not None:
        return replace(step, path=step.path.replace(PLACE, identity))
    return Step(provider=step.provider, operation="read", method="GET", path=step.instead)


def conclude(screen: Screen, tally: Tally) -> None:
    """Show the numbers, and each finding on a line of its own."""
    screen.table("What the client said, held against the sandbox's ledger", tally.rows())
    for problem in (*(f"charged twice: {key}" for key in tally.charged_twice), *tally.misreported):
        screen.line(problem)
    if tally.honest:
        screen.line("Nothing was charged twice, and every verdict was true.")
