"""The check of the checker: every lie that a client could tell is planted once, and must be found."""

from collections.abc import Mapping
from typing import Any

import pytest
from tests.ledger.audit import CHECKS, Figures, Page, judge
from tests.ledger.plan import Kind
from tests.ledger.verdicts import Verdict


def told(**changes: Any) -> Verdict:
    """Make the honest verdict of a keyed charge that landed."""
    honest: dict[str, Any] = {"call": "1-1", "kind": Kind.KEYED, "effect": "landed", "outcome": "success"}
    honest |= {"proven_sent": 1, "deadline_s": 5.0, "elapsed_s": 0.1, "own_body": True}
    return Verdict(**{**honest, **changes})


def page(**changes: Any) -> Page:
    """Make the bank's page on it."""
    kept: dict[str, Any] = {"effects": 1, "asked": 1, "keys": {"key-1-1"}, "bodies": {"a"}, "told": 1}
    return Page(**{**kept, **changes})


PLANTED: Mapping[str, tuple[Verdict, Page]] = {
    "an effect was made twice": (told(), page(effects=2)),
    "a call had no verdict or two": (told(), page(told=2)),
    "a call had no outbound.call event or two": (told(events=0), page()),
    "landed, but not in the books": (told(), page(effects=0)),
    "none, but in the books": (told(effect="none", outcome="retryable"), page()),
    "a success that is not landed": (told(effect="in_doubt"), page()),
    "an effect of a GET": (told(kind=Kind.READ), page(keys={None})),
    "another call's body": (told(own_body=False), page()),
    "two keys for one call": (told(), page(keys={"key-1-1", "key-1-2"})),
    "two bodies for one call": (told(), page(bodies={"a", "b"})),
    "a request that was not reported": (told(), page(asked=2)),
    "a report of a request that was not made": (told(attempts=2, proven_sent=2), page()),
    "an attempt began after the deadline": (told(last_start_s=5.0), page()),
    "a call had no attempt": (told(attempts=0, proven_sent=0), page(asked=0)),
}


def test_an_honest_call_is_not_accused() -> None:
    """An audit that cries wolf would be turned off."""
    figures = Figures()

    judge(told(), page(), figures)

    assert (figures.calls, figures.violations) == (1, {})


@pytest.mark.parametrize("name", [name for name, _ in CHECKS])
def test_each_lie_is_found(name: str) -> None:
    """A check that cannot fail would promise users what nobody keeps."""
    figures = Figures()

    judge(*PLANTED[name], figures)

    assert name in figures.violations
