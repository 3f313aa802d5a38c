"""What a run found, as values, and as the JSON that tables and plot are made from."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final, Self

from benchmarks.speed.scenarios import Case

JSON: Final = Path(__file__).parents[1] / "speed.json"


@dataclass(frozen=True, slots=True)
class Ratio:
    """CPU time of a client per call, and beside bare aiohttp in the same round."""

    us: float
    """Median of the rounds, in microseconds."""

    ratio: float
    """Median of the rounds."""

    least: float
    most: float


@dataclass(frozen=True, slots=True)
class InFlight:
    """Memory of one call in flight, in bytes: its connection, its task, and what the client keeps of it."""

    traced: float
    """What Python's allocators have given out, by ``tracemalloc``; repeats to the byte."""

    resident: float
    """What the process has grown by."""


@dataclass(frozen=True, slots=True)
class Growth:
    """What more a process has at the end than after it was warm."""

    calls: int
    resident: int
    """Bytes."""

    blocks: int
    """Of Python's own allocator, by ``sys.getallocatedblocks``."""


@dataclass(frozen=True, slots=True)
class Imports:
    """CPU time in milliseconds, the median of fresh processes."""

    dependencies_ms: float
    """``import aiohttp, structlog, backoff``."""

    holdfast_ms: float
    """``import holdfast`` after that."""

    least_ms: float
    most_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Everything that was measured; what was not is empty. Cases are written ``scenario/calls in flight``."""

    machine: str
    rounds: int = 0
    cpu: dict[str, dict[str, Ratio]] = field(default_factory=dict)
    """Case, then client."""

    instructions: dict[str, dict[str, float]] = field(default_factory=dict)
    """Likewise; per call."""

    in_flight: dict[str, InFlight] = field(default_factory=dict)
    growth: dict[str, Growth] = field(default_factory=dict)
    imports: Imports | None = None

    def write(self, path: Path) -> None:
        """Keep it."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what was kept."""
        known: dict[str, Any] = json.loads(path.read_text())
        known["cpu"] = {
            case: {name: Ratio(**each) for name, each in found.items()} for case, found in known["cpu"].items()
        }
        known["in_flight"] = {name: InFlight(**each) for name, each in known["in_flight"].items()}
        known["growth"] = {name: Growth(**each) for name, each in known["growth"].items()}
        known["imports"] = None if known["imports"] is None else Imports(**known["imports"])
        return cls(**known)


def key_of(case: Case) -> str:
    """Write a case as it stands in the JSON."""
    return f"{case[0]}/{case[1]}"


def ratios(rounds: Mapping[str, Sequence[float]], bare: str) -> dict[str, Ratio]:
    """Compare clients with one of them, round by round: what slows one round down slows all in it.

    Args:
        rounds: Seconds per call in each round, by client.
        bare: The client to compare with.
    """
    found = {}
    for name, seconds in rounds.items():
        each = [ours / theirs for ours, theirs in zip(seconds, rounds[bare], strict=True)]
        found[name] = Ratio(round(median(seconds) * 1e6, 2), *(round(of(each), 4) for of in (median, min, max)))
    return found


def by_case(counts: Mapping[str, Mapping[Case, float]]) -> dict[str, dict[str, float]]:
    """Turn counts by client and case into counts by case and client, to whole instructions."""
    found: dict[str, dict[str, float]] = {}
    for name, cases in counts.items():
        for case, count in cases.items():
            found.setdefault(key_of(case), {})[name] = round(count)
    return found
