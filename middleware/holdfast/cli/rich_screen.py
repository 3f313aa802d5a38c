"""The same output on a terminal with ``rich``: coloured log lines above a progress bar, and a table.

Lines are cut at the terminal's width, the telling fields first. Piped, the command shows them whole.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from holdfast.cli.plain_screen import Row, level_name, logfmt_value

_OF_LEVEL: Final[Mapping[int, str]] = {
    logging.DEBUG: "dim",
    logging.INFO: "green",
    logging.WARNING: "yellow",
    logging.ERROR: "bold red",
}
_OF_WORD: Final[Mapping[str, str]] = {
    "success": "green",
    "landed": "green",
    "permanent_failure": "red",
    "retryable": "yellow",
    "idempotency_conflict": "magenta",
    "in_doubt": "bold yellow",
}
_OF_GOOD: Final[Mapping[bool | None, str]] = {None: "", True: "bold green", False: "bold red"}

_FIRST: Final = ("status", "outcome", "effect", "reason", "stop_reason", "attempt", "attempts", "pause_s", "error_type")
_IN_HEAD: Final = frozenset({"provider", "method", "path"})
_HEAD_WIDTH: Final = 40


class RichScreen:
    """A terminal in colour. Confined to one event loop."""

    def __init__(self, out: TextIO) -> None:
        """Write to a terminal; ``NO_COLOR`` and ``TERM`` are honoured by rich."""
        self._console = Console(file=out, highlight=False, markup=False, emoji=False)

    def event(self, event: str, level: int, fields: dict[str, Any]) -> None:
        """Show one event in colour, cut at the terminal's width."""
        style = _OF_LEVEL.get(level, "")
        head = " ".join(str(fields[name]) for name in ("provider", "method", "path") if name in fields)
        where = Text(head, "bold", no_wrap=True)
        where.truncate(_HEAD_WIDTH, overflow="ellipsis", pad=True)
        text = Text.assemble((f"{level_name(level):7} {event:18} ", style), where)
        first = {name: fields[name] for name in _FIRST if name in fields}
        rest = {name: value for name, value in fields.items() if name not in _IN_HEAD and name not in first}
        for name, value in (first | rest).items():
            word = logfmt_value(value)
            text.append(f" {name}=", "dim").append(word, _OF_WORD.get(word, ""))
        self._console.print(text, no_wrap=True, overflow="ellipsis")

    def line(self, text: str) -> None:
        """Show one line, wrapped by the terminal itself, so that it can be copied whole."""
        self._console.print(text, soft_wrap=True)

    def table(self, title: str, rows: Sequence[Row]) -> None:
        """Show names and values as a table."""
        table = Table(title=title, title_justify="left", title_style="bold", show_header=False)
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for row in rows:
            table.add_row(row.name, Text(row.value, _OF_GOOD[row.good]))
        self._console.print()
        self._console.print(table)

    @contextmanager
    def progress(self, total: int) -> Iterator[Callable[[], None]]:
        """Show a bar below the log until the work is done."""
        columns = (TextColumn("calls"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console, transient=True) as bar:
            task = bar.add_task("calls", total=total)
            yield lambda: bar.advance(task)
