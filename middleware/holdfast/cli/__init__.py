"""The ``holdfast`` command: see the library at work, ask it what a response means, run the sandbox.

It never calls out: ``demo`` and ``sandbox`` stay on the loopback interface and ``explain`` makes no call at all.
Without ``rich`` everything is shown as plain text, and nothing is left out.

Exit codes: 0 done; 1 cannot be done (port in use, file unreadable) or, for ``demo``, a charge made twice or an outcome
misreported; 2 bad arguments; 3, 4, 5 the outcome, for ``explain --exit-code`` alone; 130 interrupted.
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from holdfast.cli import demo, explain, sandbox
from holdfast.cli.arguments import CommandError, CommandParser
from holdfast.core.redact import clean

_INTERRUPTED: Final = 128 + 2  # as the shell reports SIGINT, signal 2
_MESSAGE_LIMIT: Final = 500

_EXIT_CODES: Final = "exit codes: 0 done; 1 cannot be done; 2 bad arguments; 130 interrupted"


@dataclass(frozen=True, slots=True)
class _Command:
    help: str
    description: str
    epilog: str
    describe: Callable[[CommandParser], None]
    run: Callable[[argparse.Namespace], int]


_COMMANDS: Final[Mapping[str, _Command]] = {
    "demo": _Command(
        "make calls to a failing sandbox and compare every verdict with what really happened",
        demo.DESCRIPTION,
        demo.EPILOG,
        demo.describe,
        demo.run,
    ),
    "explain": _Command(
        "say what one response means and whether the request would be sent again",
        explain.DESCRIPTION,
        explain.EPILOG,
        explain.describe,
        explain.run,
    ),
    "sandbox": _Command(
        "serve a pretended Finix and Fiant on this machine until Ctrl-C",
        sandbox.DESCRIPTION,
        sandbox.EPILOG,
        sandbox.describe,
        sandbox.run,
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Arguments without the program's name; ``None`` takes those of the process.

    Returns:
        The exit code; see the module's docstring.
    """
    try:
        options = _parser().parse_args(argv)
        code: int = options.run(options)
        if sys.stdout is not None:
            sys.stdout.flush()
    except SystemExit as ended:  # argparse has shown the help
        return int(ended.code or 0)
    except CommandError as error:
        return _complain(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _complain("holdfast: interrupted", _INTERRUPTED)
    except OSError as error:
        return _output_lost(error)
    return code


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="holdfast",
        description="Outbound HTTP calls that end in one honest verdict.",
        epilog=_EXIT_CODES,
    )
    parser.set_defaults(run=_no_command)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, command in _COMMANDS.items():
        added = commands.add_parser(name, help=command.help, description=command.description, epilog=command.epilog)
        command.describe(added)
        added.set_defaults(run=command.run)
    return parser


def _no_command(_: argparse.Namespace) -> int:
    raise CommandError(f"holdfast: COMMAND must be one of {', '.join(_COMMANDS)}; --help says more", exit_code=2)


def _complain(message: str, code: int) -> int:
    print(clean(message, _MESSAGE_LIMIT), file=sys.stderr)  # noqa: T201 - the command's one line
    return code


def _output_lost(error: OSError) -> int:
    """Say that the output could not be written; a reader that has had enough, such as ``head``, needs no message."""
    # What is still buffered goes nowhere, so that Python's own flush at exit has nothing to fail on.
    with suppress(OSError, AttributeError):  # a stream without a file behind it has no such flush
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    return 1 if isinstance(error, BrokenPipeError) else _complain(f"holdfast: {error.strerror or error}", 1)
