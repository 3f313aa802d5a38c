"""Our ``dataclass`` beside the standard one: the same class body under both."""

import copy
import dataclasses
import pickle
import re
from collections.abc import Callable
from typing import Any, Final

import pytest

from holdfast import values
from holdfast.policy import Policy

PLAIN: Final = {"slots": True}
FROZEN: Final = {"slots": True, "frozen": True}
KEYWORDS: Final = {"slots": True, "frozen": True, "kw_only": True}


def made(decorate: Callable[..., Any], how: dict[str, bool], base: Any = object) -> Any:
    """Make the same class each time: defaults, a factory, a field that is not shown, and a check at birth."""

    class Wait(base):  # type: ignore[misc]
        """How long."""

        seconds: float
        reason: str | None = None
        seen: dict[str, int] = dataclasses.field(default_factory=dict, repr=False)

        def __post_init__(self) -> None:
            if self.seconds < 0:
                raise ValueError(f"seconds must not be negative, got {self.seconds!r}")

    return decorate(**how)(Wait)


def outcome_of(act: Callable[[], object]) -> object:
    """Give what an action returned, or how it failed."""
    try:
        return act()
    except Exception as error:  # noqa: BLE001 - compared
        # Addresses and the name of the test differ from class to class.
        return type(error), re.sub(r" at 0x\w+", "", str(error))


ACTS: Final[dict[str, Callable[[Any], object]]] = {
    "made with defaults": lambda kind: dataclasses.asdict(kind(seconds=1.0)),
    "made in order": lambda kind: dataclasses.asdict(kind(1.0, "busy")),
    "without what must be given": lambda kind: kind(),
    "with a word that is no field": lambda kind: kind(seconds=1.0, second=1),
    "made wrong": lambda kind: kind(seconds=-1.0),
    "two share nothing": lambda kind: kind(seconds=1.0).seen is kind(seconds=1.0).seen,
    "shown": lambda kind: repr(kind(seconds=1.0, reason="busy", seen={"a": 1})),
    "equal": lambda kind: kind(seconds=1.0, reason="busy") == kind(seconds=1.0, reason="busy"),
    "unequal in the last field": lambda kind: kind(seconds=1.0) == kind(seconds=1.0, seen={"a": 1}),
    "compared with a stranger": lambda kind: kind(seconds=1.0).__eq__(1.0),
    "hashed": lambda kind: hash(kind(seconds=1.0, seen=())) == hash(kind(seconds=1.0, seen=())),
    "hashed as its fields": lambda kind: hash(kind(seconds=1.0, seen=())) == hash((1.0, None, ())),
    "what cannot be hashed": lambda kind: hash(kind(seconds=1.0)),
    "a field set": lambda kind: setattr(kind(seconds=1.0), "seconds", 2.0),
    "a field deleted": lambda kind: delattr(kind(seconds=1.0), "seconds"),
    "copied": lambda kind: dataclasses.asdict(copy.copy(kind(seconds=1.0, seen={"a": 1}))),
    "replaced": lambda kind: dataclasses.asdict(dataclasses.replace(kind(seconds=1.0), reason="busy")),
    "replaced wrong": lambda kind: dataclasses.replace(kind(seconds=1.0), seconds=-1.0),
    "fields": lambda kind: [(field.name, field.default, field.kw_only) for field in dataclasses.fields(kind)],
    "slots": lambda kind: (kind.__slots__, hasattr(kind(seconds=1.0), "__dict__")),
    "matched": lambda kind: kind.__match_args__,
    "described": lambda kind: (kind.__doc__, kind.__name__, kind.__qualname__),
    "inherited": lambda kind: dataclasses.asdict(
        dataclasses.make_dataclass("Heir", [("more", int, 1)], bases=(kind,), frozen=True)(seconds=1.0)
    ),
    "inherited unfrozen": lambda kind: dataclasses.make_dataclass("Heir", [("more", int, 1)], bases=(kind,)).__name__,
}


@pytest.mark.parametrize("how", [PLAIN, FROZEN, KEYWORDS], ids=["plain", "frozen", "keyword-only"])
@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS.keys())
def test_a_value_is_what_the_standard_dataclass_would_be(act: Callable[[Any], object], how: dict[str, bool]) -> None:
    """A user's replace, pickle, hash or pattern would work on other dataclasses and fail on ours."""
    ours, standard = made(values.dataclass, how), made(dataclasses.dataclass, how)

    assert outcome_of(lambda: act(ours)) == outcome_of(lambda: act(standard))


def test_a_value_inherits_fields() -> None:
    """A transport's exchange would lose what its base is made with."""
    base: type = values.dataclass(slots=True)(type("Base", (), {"__annotations__": {"at": int}}))

    wait = made(values.dataclass, PLAIN, base)(1, 2.0)

    assert dataclasses.asdict(wait) == {"at": 1, "seconds": 2.0, "reason": None, "seen": {}}


def test_a_value_pickles() -> None:
    """A worker process would get a report that it cannot open, or none at all."""
    policy = Policy(max_attempts=2, deadline=10.0)

    assert pickle.loads(pickle.dumps(policy)) == policy  # noqa: S301 - our own
