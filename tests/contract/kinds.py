"""The sessions that one contract holds for: aiohttp's own, ours, and aiohttp's own with our middleware in it.

Every test of this folder says the same of each of them. What plain aiohttp does is the specification: an assertion that
does not hold for it is wrong, and one that holds for it alone is a finding, which stays visible as a strict xfail.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import aiohttp
import pytest

from holdfast import Policy, ResilientSession, resilient_middleware

ONCE: Final = Policy(max_attempts=1)
"""Nothing is sent again, so that what is left of us must look like aiohttp."""

OLD_AUTH: Final = pytest.mark.filterwarnings("ignore:.*(auth' parameter|BasicAuth) is deprecated:DeprecationWarning")
"""For what aiohttp 3.14 still takes and 4.0 will not."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to have a session."""

    name: str
    make: Callable[..., aiohttp.ClientSession]

    def open(self, base_url: str | None = None, *, policy: Policy = ONCE, **options: Any) -> aiohttp.ClientSession:
        """Open a session; ``policy`` is for those that have one, ``options`` are aiohttp's."""
        return self.make(base_url, policy, options)


def _plain(base_url: str | None, _: Policy, options: dict[str, Any]) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(base_url, **options)


def _resilient(base_url: str | None, policy: Policy, options: dict[str, Any]) -> aiohttp.ClientSession:
    return ResilientSession(base_url, policy=policy, **options)


def _with_middleware(base_url: str | None, policy: Policy, options: dict[str, Any]) -> aiohttp.ClientSession:
    others = options.pop("middlewares", ())
    return aiohttp.ClientSession(base_url, middlewares=(resilient_middleware(policy=policy), *others), **options)


PLAIN: Final = Kind("plain", _plain)
RESILIENT: Final = Kind("resilient", _resilient)
MIDDLEWARE: Final = Kind("middleware", _with_middleware)

KINDS: Final = (PLAIN, RESILIENT, MIDDLEWARE)
OURS: Final = KINDS[1:]


def placed(place: str, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give options to the ``session`` or to the ``request``: first the former's, then the latter's."""
    return (options, {}) if place == "session" else ({}, options)


class Case(Protocol):
    """A row of a table, with what is known to differ for it."""

    @property
    def id(self) -> str:
        """Name of the row."""
        ...

    @property
    def findings(self) -> Mapping[str, str]:
        """What differs from plain aiohttp, by name of the kind."""
        ...


def each_kind(kinds: Iterable[Kind] = KINDS, **findings: str) -> pytest.MarkDecorator:
    """Run a test for each kind; for one with a finding it must fail until that is mended."""
    return pytest.mark.parametrize(
        "kind", [pytest.param(kind, id=kind.name, marks=_marks(findings, kind)) for kind in kinds]
    )


def each_case(cases: Iterable[Case], kinds: Iterable[Kind] = KINDS) -> pytest.MarkDecorator:
    """Run a test for each row of a table and each kind."""
    rows = [(kind, case) for case in cases for kind in kinds]
    return pytest.mark.parametrize(
        ("kind", "case"),
        [
            pytest.param(kind, case, id=f"{case.id}-{kind.name}", marks=_marks(case.findings, kind))
            for kind, case in rows
        ],
    )


def _marks(findings: Mapping[str, str], kind: Kind) -> list[pytest.MarkDecorator]:
    return [pytest.mark.xfail(strict=True, reason=findings[kind.name])] if kind.name in findings else []
