"""Writes what a run found as tables, for ``RESULTS.md`` and for the README. Pure, but for ``keep_between``."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from benchmarks.results import table
from benchmarks.speed.adapters import ADAPTERS, BARE
from benchmarks.speed.bars import ratio_of, verdicts
from benchmarks.speed.figures import Figures, key_of
from benchmarks.speed.memory import CALLS_IN_FLIGHT
from benchmarks.speed.scenarios import COUNTED, IN_FLIGHT, SCENARIOS, TIMED, Case

_NONE: Final = ""


def results(figures: Figures, command: str) -> list[str]:
    """Write the section of ``RESULTS.md``."""
    parts = [f"`{command}`. {figures.machine}", _HOW, "![CPU time and instructions per call](speed.svg)"]
    if figures.instructions:
        parts += ["Instructions per call, bare aiohttp in thousands and the others beside it:", _counted(figures)]
    else:
        parts.append("Instructions were not counted.")
    if figures.cpu:
        about = f"CPU time of the client per call beside bare aiohttp in the same round, median of {figures.rounds}"
        parts += [f"{about} rounds and range; bare aiohttp in microseconds:", _timed(figures)]
    if figures.in_flight or figures.growth:
        parts += ["Memory:", _memory(figures)]
    if (imports := figures.imports) is not None:
        after = f"`import aiohttp, structlog, backoff` takes {imports.dependencies_ms:.0f} ms of CPU, `import holdfast`"
        parts.append(f"{after} then {imports.holdfast_ms:.1f} ms ({imports.least_ms:.1f} to {imports.most_ms:.1f}).")
    return [*parts, "What it must show:", judged(figures)]


_HOW: Final = (
    "A bare `asyncio.Protocol` answers fixed bytes from a process and a core of its own. Every client has a process "
    "of its own too, reads the body, checks it, and after a 503 sends again without a pause: those that have no "
    "retry, as bare aiohttp and httpx, by a loop written by hand, and in that scenario only. Allocator of all: glibc "
    "with `MALLOC_TRIM_THRESHOLD_`, `MALLOC_MMAP_THRESHOLD_` and `MALLOC_TOP_PAD_` raised, so that none gives memory "
    "back between two calls; garbage collection as it is by default, and off while instructions are counted: it runs "
    "once in some 2 000 calls, for all alike. holdfast has all protections on. Its event, and the line, go through "
    "structlog: `add_log_level`, `TimeStamper()`, `JSONRenderer(serializer=orjson.dumps)`, a filtering logger and "
    "`BytesLoggerFactory(file)`; quiet is the same with the level at WARNING, so a 503 or a 422 is logged there too. "
    "holdfast calls Finix in the 422, and elsewhere any API."
)


def judged(figures: Figures) -> str:
    """Write each bar with its figure and verdict."""
    rows = [[each.bar, each.most, each.figure, "met" if each.met else "**missed**"] for each in verdicts(figures)]
    return table(["bar", "at most", "here", ""], *rows)


def readme(figures: Figures) -> str:
    """Write the README's table."""
    first, many = ((("get", at)) for at in IN_FLIGHT)
    others = [(name, at) for name, at in _counted_cases(figures) if name != "get" and at == IN_FLIGHT[0]]
    head = ["client", *(f"GET, {at} in flight" for at in IN_FLIGHT), *(SCENARIOS[name].title for name, _ in others)]
    head += [f"CPU time: GET, {at} in flight" for at in IN_FLIGHT]
    rows = []
    for name in _measured(figures):
        counted = [_counted_ratio(figures, case, name) for case in (first, many, *others)]
        timed = [_timed_ratio(figures, case, name) for case in (first, many)]
        rows.append([ADAPTERS[name].title, *counted, *timed])
    return "\n\n".join([table(head, *rows), *_readme_rest(figures)])


def _readme_rest(figures: Figures) -> Iterator[str]:
    held, imports = figures.in_flight, figures.imports
    if "holdfast_quiet" in held and BARE in held and imports is not None:
        bare, more = (each / 1024 for each in (held[BARE].traced, held["holdfast_quiet"].traced - held[BARE].traced))
        yield (
            f"A call in flight takes {more:.1f} KB more than the {bare:.1f} KB of bare aiohttp, and `import holdfast` "
            f"{imports.holdfast_ms:.0f} ms of CPU after the {imports.dependencies_ms:.0f} ms of what it stands on."
        )


def keep_between(path: Path, name: str, content: str) -> None:
    """Put content between its markers in a document, which must have them."""
    path.write_text(put_between(path.read_text(), name, content))


def put_between(text: str, name: str, content: str) -> str:
    """Put content between its markers in a text.

    Raises:
        ValueError: The markers are not there.
    """
    first, last = f"<!-- {name} -->", f"<!-- /{name} -->"
    found = re.search(re.escape(first) + ".*" + re.escape(last), text, re.DOTALL)
    if found is None:
        raise ValueError(f"no {first} ... {last} to write the table between")
    return text.replace(found[0], f"{first}\n\n{content}\n\n{last}")


def _measured(figures: Figures) -> Iterator[str]:
    found = {name for by_name in (figures.cpu, figures.instructions) for case in by_name.values() for name in case}
    return (name for name in ADAPTERS if name in found)


def _counted_cases(figures: Figures) -> list[Case]:
    """Leave out what nobody was counted in: ``--check`` and older figures do without some cases."""
    return [case for case in COUNTED if key_of(case) in figures.instructions or case in TIMED]


def _head(cases: Sequence[Case]) -> list[str]:
    return ["client", *(f"{SCENARIOS[name].title}, {at}" for name, at in cases)]


def _counted(figures: Figures) -> str:
    rows, cases = [], _counted_cases(figures)
    for name in _measured(figures):
        cells = [_counted_ratio(figures, case, name) for case in cases]
        if name == BARE:
            cells = [_thousands(figures.instructions.get(key_of(case), {}).get(name)) for case in cases]
        rows.append([ADAPTERS[name].title, *cells])
    return table(_head(cases), *rows)


def _timed(figures: Figures) -> str:
    rows = []
    for name in _measured(figures):
        cells = []
        for case in TIMED:
            turns = figures.cpu.get(key_of(case), {}).get(name)
            if turns is None:
                cells.append(_NONE)
            elif name == BARE:
                cells.append(f"{turns.us:.0f} us")
            else:
                cells.append(f"{turns.ratio:.2f} ({turns.least:.2f} to {turns.most:.2f})")
        rows.append([ADAPTERS[name].title, *cells])
    return table(_head(TIMED), *rows)


def _memory(figures: Figures) -> str:
    head = ["client", f"KB of each of {CALLS_IN_FLIGHT} calls in flight, traced", "the same, resident"]
    more = next((each.calls for each in figures.growth.values()), 0)
    head += [f"grown over {more} more calls, once warm, MB", "the same, blocks"]
    rows = []
    for name in ADAPTERS:
        held, grown = figures.in_flight.get(name), figures.growth.get(name)
        if held is None and grown is None:
            continue
        flying = [_NONE] * 2 if held is None else [f"{held.traced / 1024:.2f}", f"{held.resident / 1024:.1f}"]
        kept = [_NONE] * 2 if grown is None else [f"{grown.resident / 1e6:.2f}", str(grown.blocks)]
        rows.append([ADAPTERS[name].title, *flying, *kept])
    return table(head, *rows)


def _counted_ratio(figures: Figures, case: Case, name: str) -> str:
    counted, _ = ratio_of(figures, key_of(case), name)
    return _NONE if counted is None else f"{counted:.2f}"


def _timed_ratio(figures: Figures, case: Case, name: str) -> str:
    _, timed = ratio_of(figures, key_of(case), name)
    return _NONE if timed is None else f"{timed:.2f}"


def _thousands(count: float | None) -> str:
    return _NONE if count is None else f"{count / 1000:.0f}k"
