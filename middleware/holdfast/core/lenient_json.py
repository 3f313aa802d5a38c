"""JSON as it comes in the body of an error: numbers as they are written, and what a broken document still says.

Numbers stay text, so that neither 5 000 digits nor NaN can do harm, and raw control characters in strings are
tolerated. Proof: ``tests/core/test_error_body.py``.
"""

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby, islice
from operator import itemgetter
from typing import Final

_DECODER: Final = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str, strict=False)

_SALVAGE_LIMIT: Final = 512
"""Members that are read of a document that does not parse."""


def read(text: str) -> object:
    """Read the JSON value that a text begins with.

    Raises:
        ValueError: It does not begin with one.
        RecursionError: It is nested too deeply.
    """
    value: object = _DECODER.raw_decode(text)[0]
    return value


def records(text: str, names: frozenset[str]) -> Iterator[dict[str, object]]:
    """Read some members, of text or number, of a document that does not parse.

    Args:
        text: The document.
        names: Of the members. One that comes again begins the next record.
    """
    content: dict[str, object] = {}
    for match in islice(_member(names).finditer(text), _SALVAGE_LIMIT):
        name, value = match[1], match[2]
        if name in content:
            yield content
            content = {}
        try:
            content[name] = read(value)
        except ValueError:  # an escape that JSON does not know
            continue
    yield content


@lru_cache(maxsize=1)
def _member(names: frozenset[str]) -> re.Pattern[str]:
    """Match a member of text or number. Compiled for the first document that does not parse.

    Linear: every key holds a bare quote, so the string of one match ends at the latest in the next key, and possessive
    repeats give nothing back. Looking ahead for a key, and by first letter for which, halves the worst body's time.
    """
    by_letter = groupby(sorted(names), itemgetter(0))
    known = "|".join(f"{letter}(?:{'|'.join(name[1:] for name in same)})" for letter, same in by_letter)
    value = r'"(?:[^"\\]++|\\.)*+"|-?[0-9]++(?=\s*+[,}\]])'
    return re.compile(rf'"(?=[A-Za-z_]++"\s*+:)({known})"\s*+:\s*+({value})', re.DOTALL)
