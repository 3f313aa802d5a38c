"""Puts the figures of one benchmark into its own section of ``RESULTS.md``."""

import importlib.metadata
import os
import platform
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

RESULTS: Final = Path(__file__).with_name("RESULTS.md")


def table(*rows: Sequence[object]) -> str:
    """Write rows as a Markdown table; the first is its head."""
    head, *rest = (f"| {' | '.join(map(str, row))} |" for row in rows)
    return "\n".join([head, "|" + "---|" * len(rows[0]), *rest])


def machine(*libraries: str) -> str:
    """Name the machine, Python, and the versions of libraries."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in libraries)
    where = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    return f"{where}, Python {platform.python_version()}, {versions}."


def keep(name: str, title: str, parts: Iterable[str]) -> None:
    """Write a section between its markers, in place of the one that was there."""
    first, last = f"<!-- {name} -->", f"<!-- /{name} -->"
    section = "\n\n".join([first, f"## {title}", *parts, last])
    text = RESULTS.read_text()
    found = re.search(re.escape(first) + ".*" + re.escape(last), text, re.DOTALL)
    text = text.replace(found[0], section) if found else f"{text.rstrip()}\n\n{section}\n"
    RESULTS.write_text(text)
