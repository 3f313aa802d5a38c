"""Arguments of the command: what is accepted, and the one line that says what is not.

``argparse`` does the parsing; here it is kept from dumping its usage, and each value is checked with its bounds, so
that a wrong one is named together with what would be right.
"""

import argparse
import re
from collections.abc import Callable, Collection
from math import isfinite
from typing import Any, Final, NoReturn

LARGEST_SEED: Final = 2**63 - 1
LARGEST_PORT: Final = 65535

_BAD_ARGUMENTS: Final = 2


class CommandError(Exception):
    """Ends the command with one line on standard error.

    Attributes:
        exit_code: 1 when it cannot be done, 2 when the arguments are wrong.
    """

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        """Keep the line and the exit code."""
        super().__init__(message)
        self.exit_code = exit_code


class CommandParser(argparse.ArgumentParser):
    """An ``argparse`` parser whose complaint is one line: ``holdfast: explain: STATUS must be ..., got 'abc'``."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - argparse's own keywords
        """Accept whole option names only: an abbreviation in a script breaks when an option is added."""
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """End with the message alone.

        Raises:
            CommandError: Always.
        """
        # argparse writes "argument STATUS: must be ..." where a sentence would do, and its choices differ by version.
        sentence = re.sub(r"^argument ([^:]+): ", r"\1 ", message)
        choice = re.fullmatch(r"(.+) invalid choice: (.+) \(choose from (.+)\)", sentence, flags=re.DOTALL)
        if choice is not None:
            sentence = f"{choice[1]} must be one of {choice[3].replace(chr(39), '')}, got {choice[2]}"
        raise CommandError(f"{self.prog.replace(' ', ': ')}: {sentence}", exit_code=_BAD_ARGUMENTS)


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """Accept a whole number within bounds, both included."""

    def convert(text: str) -> int:
        # The pattern is asked first: int() also takes "1_000", " 7 " and other scripts' digits.
        number = int(text) if re.fullmatch(r"-?[0-9]{1,20}", text) else None
        if number is None or not low <= number <= high:
            raise argparse.ArgumentTypeError(f"must be a number from {low} to {high}, got {text!r}")
        return number

    return convert


def share(text: str) -> float:
    """Accept a number from 0 to 1."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not isfinite(number) or not 0.0 <= number <= 1.0:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1, got {text!r}")
    return number


def one_of(names: Collection[str]) -> Callable[[str], str]:
    """Accept one of a few names."""

    def convert(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"must be one of {', '.join(names)}, got {text!r}")
        return text

    return convert


def header(text: str) -> tuple[str, str]:
    """Accept a header line, ``Name: value``."""
    name, colon, value = text.partition(":")
    if not colon or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):  # a token, RFC 9110 section 5.6.2
        raise argparse.ArgumentTypeError(f"must look like 'Retry-After: 30', got {text!r}")
    return name, value.strip()


def method(text: str) -> str:
    """Accept a request method, in any case."""
    if not re.fullmatch(r"[A-Za-z]{1,32}", text):
        raise argparse.ArgumentTypeError(f"must be a request method such as POST, got {text!r}")
    return text.upper()
