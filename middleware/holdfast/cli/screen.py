"""How the command writes to a stream: in colour on a terminal where ``rich`` is installed, else in plain text.

Colours and the progress bar are for people. The one guarded import of ``rich`` is here.
"""

import os
from typing import TextIO

from holdfast.cli.plain_screen import PlainScreen, Screen


def open_screen(out: TextIO | None) -> Screen:
    """Choose how to write to a stream."""
    plain = PlainScreen(out)
    if out is None or not out.isatty() or os.environ.get("TERM") == "dumb":
        return plain
    try:
        from holdfast.cli.rich_screen import RichScreen  # noqa: PLC0415 - rich is an extra, and only for terminals
    except ImportError:
        return plain
    return RichScreen(out)
