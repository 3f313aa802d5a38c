"""The facts of the project that tests are held to: the newest where they lie beside the repository, else our copies."""

import json
from pathlib import Path
from typing import Any, Final, TypedDict

COPIES: Final = Path(__file__).resolve().parent
ORIGINALS: Final = COPIES.parents[2] / "shared" / "data"
NAMES: Final = ("classification.json", "faults.json")


class Case(TypedDict):
    """One response of ``classification.json`` and the class it belongs to."""

    provider: str
    method: str
    had_idempotency_key: bool
    earlier_attempt_in_doubt: bool
    status: int
    headers: dict[str, str]
    body: str
    expected_outcome: str
    why: str


def path_of(name: str) -> Path:
    """Prefer the original to the copy."""
    original = ORIGINALS / name
    return original if original.exists() else COPIES / name


def load(name: str) -> Any:
    """Read one file of facts."""
    return json.loads(path_of(name).read_text(encoding="utf-8"))


def cases() -> list[Case]:
    """Read every case of the classification corpus."""
    found: list[Case] = load("classification.json")
    return found


def case_id(case: Case) -> str:
    """Name a case by everything its class depends on but the body."""
    words = (
        case["provider"],
        case["method"],
        str(case["status"]),
        "keyed" if case["had_idempotency_key"] else "",
        "in_doubt" if case["earlier_attempt_in_doubt"] else "",
        case["expected_outcome"],
    )
    return "-".join(word for word in words if word)


def logrefs_written_in(body: str) -> tuple[str, ...]:
    """Find every ``logref`` of a JSON body by walking it plainly: a second opinion that shares no code with ours."""
    try:
        document = json.loads(body)
    except ValueError:
        return ()
    found: dict[str, None] = {}
    _walk(document, found)
    return tuple(found)


def _walk(value: object, found: dict[str, None]) -> None:
    children: list[object] = value if isinstance(value, list) else []
    if isinstance(value, dict):
        logref = value.get("logref")
        if isinstance(logref, str | int):
            found["".join(letter for letter in str(logref) if letter.isprintable())] = None
        children = list(value.values())
    for child in children:
        _walk(child, found)
