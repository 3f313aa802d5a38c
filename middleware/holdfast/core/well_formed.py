"""Whether bytes are a JSON document: asked of a success whose frame does not vouch for its end, such as a gzipped one.

What counts is what ``json.loads`` takes, and orjson, where it is installed (``holdfast[speed]``), knows it in half the
time. It is stricter: it takes no NaN, no infinity, no byte order mark, no lone surrogate and no UTF-16, so only its yes
counts, and after its no ``json.loads`` is asked. It is laxer only with nesting, so deep documents are not shown to it.
Proof: ``tests/core/test_well_formed.py`` holds the two ways against each other.
"""

import json
from collections.abc import Callable
from functools import cache
from typing import Final

MOST_BRACKETS: Final = 500
"""``json.loads`` gives up at the interpreter's recursion limit, 1000 by default, and orjson at 1024 levels."""

Loads = Callable[[bytes], object]


def is_json(body: bytes) -> bool:
    """Say whether ``json.loads`` would take a body. Never raises."""
    loads = orjson_loads()
    if loads is not None and body.count(b"[") + body.count(b"{") <= MOST_BRACKETS and takes(loads, body):
        return True
    return takes(json.loads, body)


def takes(loads: Loads, body: bytes) -> bool:
    """Say whether a parser takes a body."""
    try:
        loads(body)
    except (ValueError, RecursionError):
        return False
    return True


@cache
def orjson_loads() -> Loads | None:
    """Give orjson's parser, where it is installed; looked for when it is first needed, for its import takes a while."""
    try:
        from orjson import loads  # noqa: PLC0415 - see above
    except ImportError:
        return None
    return loads
