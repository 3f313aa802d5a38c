"""What holdfast must show, by issue 7, and whether it did. Pure: figures in, verdicts out."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from benchmarks.speed.adapters import BARE
from benchmarks.speed.figures import Figures, key_of
from benchmarks.speed.scenarios import IN_FLIGHT

NEEDED: Final = (BARE, "aiohttp_retry", "holdfast_quiet", "holdfast_event", "holdfast_event_uvloop")
"""The clients without which a bar cannot be judged."""

_RATIOS: Final = (
    ("holdfast, quiet: GET", "get", "holdfast_quiet", 1.05),
    ("with one JSON event: GET", "get", "holdfast_event", 1.15),
    ("on uvloop with the event, beside bare aiohttp on asyncio: GET", "get", "holdfast_event_uvloop", 1.00),
    ("a 422, decoded and logged", "refused", "holdfast_event", 1.20),
)
_IN_FLIGHT_KB: Final = 2.0
_GROWTH_BYTES: Final = 1_000_000
_GROWTH_BLOCKS_PER_CALL: Final = 0.01
"""A leak of one object in a hundred calls; what remains below is the allocator's, and bare aiohttp has it too."""

_IMPORT_MS: Final = 40.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """One bar, the figure, and whether it is met."""

    bar: str
    most: str
    figure: str
    met: bool


def verdicts(figures: Figures) -> Iterator[Verdict]:
    """Judge every bar that was measured. Instructions decide where they were counted, else CPU time."""
    for bar, scenario, name, most in _RATIOS:
        for at in IN_FLIGHT:
            yield from _ratio(figures, f"{bar}, {at} in flight", key_of((scenario, at)), name, most)
    for at in IN_FLIGHT:
        yield from _below_rival(figures, at)
    yield from _memory(figures)
    if (imports := figures.imports) is not None:
        figure = f"{imports.holdfast_ms:.0f} ms"
        yield Verdict(
            "`import holdfast` after `import aiohttp, structlog, backoff`",
            f"{_IMPORT_MS:.0f} ms",
            figure,
            imports.holdfast_ms <= _IMPORT_MS,
        )


def ratio_of(figures: Figures, case: str, name: str) -> tuple[float | None, float | None]:
    """Find a client's instructions and its CPU time beside bare aiohttp's; ``None`` is not measured."""
    counts, turns = figures.instructions.get(case, {}), figures.cpu.get(case, {})
    counted = counts[name] / counts[BARE] if name in counts and BARE in counts else None
    return counted, turns[name].ratio if name in turns else None


def _ratio(figures: Figures, bar: str, case: str, name: str, most: float) -> Iterator[Verdict]:
    counted, timed = ratio_of(figures, case, name)
    decides = timed if counted is None else counted
    if decides is not None:
        yield Verdict(bar, f"{most:.2f}", _told(counted, timed), round(decides, 3) <= most)


def _below_rival(figures: Figures, at: int) -> Iterator[Verdict]:
    case = key_of(("get", at))
    ours, theirs = (ratio_of(figures, case, name) for name in ("holdfast_quiet", "aiohttp_retry"))
    which = 1 if ours[0] is None or theirs[0] is None else 0
    mine, rival = ours[which], theirs[which]
    if mine is not None and rival is not None:
        bar = f"holdfast, quiet, below aiohttp-retry: GET, {at} in flight"
        yield Verdict(bar, f"{rival:.3f}", f"{mine:.3f}", mine < rival)


def _memory(figures: Figures) -> Iterator[Verdict]:
    held, grown = figures.in_flight, figures.growth
    for name in ("holdfast_quiet", "holdfast_event"):
        if name in held and BARE in held:
            more = (held[name].traced - held[BARE].traced) / 1024
            bar = f"memory of a call in flight above bare aiohttp's: `{name}`"
            yield Verdict(bar, f"{_IN_FLIGHT_KB:.0f} KB", f"{more:.1f} KB", more <= _IN_FLIGHT_KB)
        if name in grown:
            each = grown[name]
            figure = f"{each.resident / 1e6:.1f} MB, {each.blocks} blocks"
            most = f"{_GROWTH_BYTES / 1e6:.0f} MB, {_GROWTH_BLOCKS_PER_CALL * each.calls:.0f} blocks"
            met = each.resident <= _GROWTH_BYTES and each.blocks <= _GROWTH_BLOCKS_PER_CALL * each.calls
            yield Verdict(f"growth over {each.calls} more calls, once warm: `{name}`", most, figure, met)


def _told(counted: float | None, timed: float | None) -> str:
    instructions = "not counted" if counted is None else f"{counted:.3f}"
    return instructions if timed is None else f"{instructions} (CPU {timed:.2f})"
