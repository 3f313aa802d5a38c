"""What the command shows: log events, progress and tables, as plain text or as JSON lines.

Plain text is what every terminal, file and pipe takes, and nothing that the command knows is left out of it.
"""

import json
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol, TextIO

_BARE: Final = re.compile(r"[^\s=\"]+")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table."""

    name: str
    value: str
    good: bool | None = None
    """Whether the value is as it must be; ``None`` where none is better than another."""


class Screen(Protocol):
    """Where the command writes. Confined to one event loop."""

    def event(self, event: str, level: int, fields: dict[str, Any]) -> None:
        """Show one log event on one line."""
        ...

    def line(self, text: str) -> None:
        """Show one line of text."""
        ...

    def table(self, title: str, rows: Sequence[Row]) -> None:
        """Show names and values."""
        ...

    def progress(self, total: int) -> AbstractContextManager[Callable[[], None]]:
        """Show how much is done; the function given counts one more."""
        ...


class PlainScreen:
    """Text that any terminal, file or pipe takes, one event per line in logfmt. Confined to one event loop."""

    def __init__(self, out: TextIO | None) -> None:
        """Write to a stream, in its own encoding; ``None``, a closed standard output, takes nothing."""
        self._out = out

    def event(self, event: str, level: int, fields: dict[str, Any]) -> None:
        """Write one event as ``level=... event=... key=value``."""
        self.line(logfmt({"level": level_name(level), "event": event, **fields}))

    def line(self, text: str) -> None:
        """Write one line; what the stream's encoding lacks is escaped."""
        encoding = getattr(self._out, "encoding", None) or "utf-8"
        safe = text.encode(encoding, "backslashreplace").decode(encoding)
        print(safe, file=self._out, flush=True)

    def table(self, title: str, rows: Sequence[Row]) -> None:
        """Write names and values in two columns."""
        width = max(len(row.name) for row in rows)
        self.line("")
        self.line(title)
        for row in rows:
            self.line(f"  {row.name.ljust(width)}  {row.value}".rstrip())

    @contextmanager
    def progress(self, total: int) -> Iterator[Callable[[], None]]:  # noqa: ARG002 - the protocol's signature
        """Show nothing: the log itself moves on."""
        yield lambda: None


class JsonScreen(PlainScreen):
    """One JSON object per line, for programs. Confined to one event loop."""

    def event(self, event: str, level: int, fields: dict[str, Any]) -> None:
        """Write one event as it was emitted, with its level."""
        self.line(json.dumps({"event": event, "level": level_name(level), **fields}))


def logfmt(fields: dict[str, Any]) -> str:
    """Join fields as ``key=value`` words; a value is quoted where it holds a space, a quote or an equals sign."""
    return " ".join(f"{name}={logfmt_value(value)}" for name, value in fields.items())


def logfmt_value(value: object) -> str:
    """Write one value of a logfmt line; the items of a list are joined with commas."""
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if _BARE.fullmatch(text) else json.dumps(text)


def level_name(level: int) -> str:
    """Name a level of ``logging`` in lower case."""
    return logging.getLevelName(level).lower()
