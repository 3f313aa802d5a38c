"""Which function answers which method and path: a table, matched in order.

Templates have at most one ``{id}``, which is all that the two providers need.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from holdfast.sandbox.messages import Answer, Incoming

Run = Callable[[Incoming, str], Answer]
"""Answers a request; the string is what stood for ``{id}``, or empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One row of the table."""

    method: str
    """Upper case."""

    template: str
    """Path, such as ``/transfers/{id}``."""

    run: Run
    """Answers the request."""

    keyed: bool = False
    """True where the endpoint honours an idempotency key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """The route found for a request."""

    route: Route
    """The row that matched."""

    id: str
    """What stood for ``{id}``, or empty."""


class Routes:
    """A table of routes. Safe to share between threads."""

    __slots__ = ("_rows",)

    def __init__(self, *routes: Route) -> None:
        """Compile the table.

        Args:
            routes: Rows, the most specific first.
        """
        self._rows = tuple((_pattern(route.template), route) for route in routes)

    def find(self, method: str, path: str) -> Match | None:
        """Find the first row for a method and path; None when there is none."""
        for pattern, route in self._rows:
            found = pattern.fullmatch(path) if route.method == method else None
            if found is not None:
                return Match(route=route, id=found.groupdict().get("id", ""))
        return None

    def knows(self, path: str) -> bool:
        """Tell whether the path exists for some method."""
        return any(pattern.fullmatch(path) for pattern, _ in self._rows)


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.escape(template).replace(re.escape("{id}"), "(?P<id>[^/]+)"))
