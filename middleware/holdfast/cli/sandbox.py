"""``holdfast sandbox``: the pretended Finix and Fiant, served until Ctrl-C or SIGTERM.

Standard output gets one line, the address, so that a script can read it; what people want to know goes to standard
error. It listens on the loopback interface only.
"""

import argparse
import asyncio
import errno
import signal
import sys
from contextlib import suppress
from typing import Final

from holdfast.cli.arguments import LARGEST_PORT, LARGEST_SEED, CommandError, CommandParser, share, whole_number
from holdfast.cli.plain_screen import PlainScreen
from holdfast.sandbox import Sandbox

DESCRIPTION: Final = (
    "Serve a pretended Finix (at the root) and Fiant (under /v1) on this machine until Ctrl-C.\n"
    "The address is printed to standard output, hints to standard error."
)
EPILOG: Final = (
    "A request chooses its own fault with the header X-Sandbox-Fault, for example reset-after*1.\n\n"
    "exit codes: 0 stopped by Ctrl-C or SIGTERM; 1 cannot listen, for example port in use; 2 bad arguments"
)

_HINTS: Final = (
    "{share:.0%} of the requests fail (seed {seed}). Finix is at the root, Fiant under /v1. Ctrl-C stops it. Try:\n"
    "curl -s {url}/transfers -H 'Content-Type: application/json'"
    ' -d \'{{"merchant":"MU1","currency":"USD","amount":1000,"idempotency_id":"order-7"}}\''
)


def describe(parser: CommandParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "--port", type=whole_number(0, LARGEST_PORT), default=0, help="port to listen on; 0 picks a free one (default)"
    )
    parser.add_argument(
        "--faults", type=share, default=0.2, help="share of requests that fail, from 0 to 1 (default 0.2)"
    )
    parser.add_argument(
        "--seed", type=whole_number(0, LARGEST_SEED), default=7, help="the same seed gives the same faults (default 7)"
    )


def run(options: argparse.Namespace) -> int:
    """Serve until told to stop.

    Raises:
        CommandError: The port cannot be listened on.
    """
    with suppress(KeyboardInterrupt):  # where the loop cannot handle signals, as on Windows
        asyncio.run(_serve(options))
    return 0


async def _serve(options: argparse.Namespace) -> None:
    stop = _on_signal()
    sandbox = Sandbox(port=options.port, faults=options.faults, seed=options.seed)
    try:
        await sandbox.start()
    except OSError as error:
        raise CommandError(f"holdfast: sandbox: {_why(error, options.port)}") from None
    try:
        PlainScreen(sys.stdout).line(sandbox.url)
        hints = _HINTS.format(share=options.faults, seed=options.seed, url=sandbox.url)
        PlainScreen(sys.stderr).line(hints)
        await stop.wait()
    finally:
        await sandbox.close()


def _on_signal() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    return stop


def _why(error: OSError, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use; --port 0 picks a free one"
    return f"cannot listen on port {port}: {error.strerror}"
