"""Holds the tests' ends with our session against their ends with aiohttp's, test by test, and writes the tables."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.results import table
from benchmarks.upstream.reviewed import plain_name, reason_for
from benchmarks.upstream.runs import Result

MISSING: Final = Result(outcome="failed", cause="the test was not run to its end", sessions=0)
COLUMNS: Final = ("pass on both", "fail on ours only", "fail on aiohttp too", "skipped")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A test that passes on aiohttp's session, and not on ours."""

    session: str
    """The run: which policy."""

    test: str
    cause: str
    reason: str | None
    """Why it may; ``None`` where nobody has looked."""


def suspects(plain: Mapping[str, Result], ours: Mapping[str, Result]) -> list[str]:
    """Name the tests that pass on aiohttp's session, and not on ours."""
    return [test for test in plain if _end(plain[test], ours.get(test, MISSING)) == "fail on ours only"]


def differences(session: str, plain: Mapping[str, Result], ours: Mapping[str, Result]) -> list[Difference]:
    """Give the same, with what was raised and the reviewed reason."""
    return [
        Difference(session=session, test=test, cause=ours.get(test, MISSING).cause, reason=reason_for(session, test))
        for test in suspects(plain, ours)
    ]


def count_by_file(plain: Mapping[str, Result], runs: Mapping[str, Mapping[str, Result]]) -> str:
    """Write a row for each file of tests and each run."""
    rows: list[Sequence[object]] = [("file", "run", "tests", "of which made a session of ours", *COLUMNS)]
    files = sorted({test.partition("::")[0] for test in plain})
    for session, ours in runs.items():
        rows.append(_row("**all**", session, plain, ours))
        rows += [_row(f"`{file.removeprefix('tests/')}`", session, _of(file, plain), ours) for file in files]
    return table(*rows)


def explain(found: Sequence[Difference]) -> str:
    """Write a row for each reason and run, and for each cause that has none."""
    rows: list[Sequence[object]] = [("run", "why", "tests")]
    groups: dict[tuple[str, str], Counter[str]] = {}
    for one in sorted(found, key=lambda one: (one.reason is not None, one.session)):
        why = one.reason or f"**not reviewed**: `{one.cause}`"
        groups.setdefault((one.session, why.replace("|", "\\|")), Counter())[plain_name(one.test)] += 1
    rows += [(session, why, _names(tests)) for (session, why), tests in groups.items()]
    return table(*rows)


def failing_on_both(plain: Mapping[str, Result]) -> str:
    """Name what fails on this machine whatever the session is, with what was raised."""
    rows: list[Sequence[object]] = [("test", "raised")]
    failing = {test: result for test, result in plain.items() if result.outcome not in {"passed", "skipped"}}
    rows += [(f"`{test.removeprefix('tests/')}`", f"`{result.cause}`") for test, result in failing.items()]
    return table(*rows)


def _end(plain: Result, ours: Result) -> str:
    if plain.outcome == "skipped":
        return "skipped"
    if plain.outcome != "passed":
        return "fail on aiohttp too"
    return "pass on both" if ours.outcome == "passed" else "fail on ours only"


def _row(name: str, session: str, plain: Mapping[str, Result], ours: Mapping[str, Result]) -> list[object]:
    ends = Counter(_end(result, ours.get(test, MISSING)) for test, result in plain.items())
    with_session = sum(ours.get(test, MISSING).sessions > 0 for test in plain)
    return [name, session, len(plain), with_session, *(ends[column] for column in COLUMNS)]


def _of(file: str, results: Mapping[str, Result]) -> dict[str, Result]:
    return {test: result for test, result in results.items() if test.partition("::")[0] == file}


def _names(tests: Counter[str]) -> str:
    return ", ".join(f"`{name}`" + (f" ({count})" if count > 1 else "") for name, count in sorted(tests.items()))
