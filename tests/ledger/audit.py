"""Holds what the callers were told against the bank's books, when all has come to rest.

Every invariant is one row of ``CHECKS``: what must hold of one call, and what it is called when it does not.
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.ledger import verdicts
from tests.ledger.plan import Kind
from tests.ledger.verdicts import Verdict

GRACE_S: Final = 0.05
"""How long after its deadline a call may come back, besides what the event loop itself was late."""


@dataclass(slots=True)
class Page:
    """All that the bank knows of one call."""

    effects: int = 0
    effects_later: int = 0
    """Those of them that came of a repetition after the run, under the same key."""

    asked: int = 0
    keys: set[str | None] = field(default_factory=set)
    bodies: set[str] = field(default_factory=set)
    told: int = 0
    """Verdicts that its caller was given."""


@dataclass(slots=True)
class Figures:
    """What one audited run comes to."""

    calls: int = 0
    requests: int = 0
    faulted: int = 0
    lookups: int = 0
    raced: int = 0
    """Requests that met a connection which the bank had closed."""

    unseen: int = 0
    """Attempts that never reached the bank, on connections that it had closed."""

    violations: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    effects: Counter[tuple[Kind, str, int]] = field(default_factory=Counter)
    """Calls by kind, effect as told, and effects in the books."""

    told: Counter[str] = field(default_factory=Counter)
    """Calls by effect and stop reason."""

    twice: int = 0
    landed_called_failed: int = 0
    landed_called_none: int = 0
    hidden: int = 0
    """Requests beyond the attempts that the caller knows of."""

    worst_over_s: float = 0.0
    """Longest time after its deadline that a call came back."""

    worst_over_less_lag_s: float = 0.0

    @property
    def in_doubt(self) -> int:
        """Calls that ended in doubt."""
        return sum(count for (_, effect, _), count in self.effects.items() if effect == "in_doubt")


Check = Callable[[Verdict, Page], bool]

CHECKS: Final[tuple[tuple[str, Check], ...]] = (
    ("an effect was made twice", lambda _, page: page.effects <= 1),
    ("a call had no verdict or two", lambda _, page: page.told == 1),
    ("a call had no outbound.call event or two", lambda told, _: told.events == 1),
    ("landed, but not in the books", lambda told, page: told.effect != "landed" or page.effects == 1),
    ("none, but in the books", lambda told, page: told.effect != "none" or page.effects == 0),
    ("a success that is not landed", lambda told, _: _is_read(told) or (told.outcome != "success" or _landed(told))),
    ("an effect of a GET", lambda told, page: not _is_read(told) or (told.effect, page.effects) == ("none", 0)),
    ("another call's body", lambda told, _: told.own_body is not False),
    ("two keys for one call", lambda told, page: len(page.keys) <= 1 and (None in page.keys) == _unkeyed(told, page)),
    ("two bodies for one call", lambda _, page: len(page.bodies) <= 1),
    ("a request that was not reported", lambda told, page: page.asked <= told.attempts - told.proven_unsent),
    ("a report of a request that was not made", lambda told, page: page.asked >= told.proven_sent),
    ("an attempt began after the deadline", lambda told, _: told.last_start_s < told.deadline_s),
    ("a call had no attempt", lambda told, _: told.attempts >= 1),
)


def _is_read(told: Verdict) -> bool:
    return told.kind is Kind.READ


def _landed(told: Verdict) -> bool:
    return told.effect == "landed"


def _unkeyed(told: Verdict, page: Page) -> bool:
    return bool(page.keys) and not told.kind.keyed


def audit(folder: Path, late_between: Callable[[float, float], float]) -> Figures:
    """Read a run's files and hold every call against every check."""
    figures = Figures()
    pages = _pages(folder, figures)
    for told in verdicts.read(folder / "verdicts"):
        pages[told.call].told += 1
    for told in verdicts.read(folder / "verdicts"):
        page = pages[told.call]
        judge(told, page, figures)
        _judge_time(told, figures, late_between)
    figures.violations["an effect of a call that nobody made"] = sum(
        page.effects for page in pages.values() if not page.told
    )
    figures.violations = +figures.violations
    return figures


def judge(told: Verdict, page: Page, figures: Figures) -> None:
    """Hold one call against every check, and count it."""
    for name, holds in CHECKS:
        if not holds(told, page):
            figures.violations[name] += 1
            figures.examples.setdefault(name, f"{told} {page}")
    figures.calls += 1
    figures.effects[told.kind, told.effect, page.effects - page.effects_later] += 1
    figures.told[f"{told.effect}, {told.stop_reason}"] += 1
    figures.twice += max(0, page.effects - 1)
    figures.landed_called_failed += page.effects >= 1 and told.effect == "failed"
    figures.landed_called_none += page.effects >= 1 and told.effect == "none"
    figures.hidden += max(0, page.asked - told.attempts)
    figures.unseen += max(0, told.attempts - page.asked)


def _judge_time(told: Verdict, figures: Figures, late_between: Callable[[float, float], float]) -> None:
    over_s = told.elapsed_s - told.deadline_s
    figures.worst_over_s = max(figures.worst_over_s, over_s)
    if over_s <= 0:
        return
    less_lag_s = over_s - late_between(told.ended_at - over_s, told.ended_at)
    figures.worst_over_less_lag_s = max(figures.worst_over_less_lag_s, less_lag_s)
    if less_lag_s > GRACE_S:
        figures.violations["a call outlived its deadline"] += 1
        figures.examples.setdefault("a call outlived its deadline", f"{told}")


def _pages(folder: Path, figures: Figures) -> dict[str, Page]:
    pages: dict[str, Page] = defaultdict(Page)
    for call, _key, _amount, _number, _at, calm in verdicts.lines(folder / "entries"):
        pages[call].effects += 1
        pages[call].effects_later += calm
    for call, _number, _method, _path, key, body, trouble, calm in verdicts.lines(folder / "asked"):
        if call.endswith(" lookup"):
            figures.lookups += not calm
            continue
        page = pages[call]
        page.keys.add(key)
        if body:
            page.bodies.add(body)
        if calm:
            continue
        page.asked += 1
        figures.requests += 1
        figures.faulted += trouble != "healthy"
        figures.raced += trouble == "came after the end"
    return pages
