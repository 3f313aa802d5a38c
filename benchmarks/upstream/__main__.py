"""How far we are from a true drop-in: aiohttp's own client tests, run against our session.

Run it with ``make upstream``; it needs PyPI, and takes some ten minutes. The tests of the installed release of aiohttp
run three times: with its own session, which is the baseline of this machine; with ours and one attempt; and with ours
and the default policy, without its pauses. What passes on aiohttp's session and not on ours is run once more, alone,
and is a difference when it fails again. It fails when there is a difference that ``reviewed.py`` has no reason for.
"""

import argparse
import importlib.metadata
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Final

from benchmarks.results import keep, machine
from benchmarks.upstream.comparison import Difference, count_by_file, differences, explain, failing_on_both, suspects
from benchmarks.upstream.reviewed import out_of_date
from benchmarks.upstream.runs import Result, run, run_alone
from benchmarks.upstream.workshop import Workshop, furnish

SESSIONS: Final = {"once": "Policy(max_attempts=1)", "default": "Policy(backoff_base=0.0)"}
USED: Final = ("tests/test_client_functional.py", "tests/test_client_session.py", "tests/test_client_ws_functional.py")
"""A release that has these no more, or a baseline that cannot import them, is measured in vain."""


def main() -> int:
    """Furnish the workshop, run the tests, print the tables and keep them."""
    parser = argparse.ArgumentParser(prog="make upstream", description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, help="a folder to keep sources and interpreter in, for the next time")
    parser.add_argument("--only", nargs="+", metavar="FILE", help="test files, as tests/test_x.py; keeps no results")
    options = parser.parse_args()
    if options.work is not None:
        options.work.mkdir(parents=True, exist_ok=True)
        return measure(options.work.resolve(), options.only)
    with TemporaryDirectory(prefix="holdfast-upstream-") as folder:
        return measure(Path(folder), options.only)


def measure(folder: Path, only: list[str] | None) -> int:
    """Run and compare; give the exit status."""
    version = importlib.metadata.version("aiohttp")
    workshop = furnish(folder, version)
    plain = timed("plain", workshop, only)
    lost = [file for file in USED if only is None and not any(test.startswith(f"{file}::") for test in plain)]
    if lost:
        return refuse(f"aiohttp {version}: no test was run in {', '.join(lost)}; see what it has in their place")
    notes = said("Could not be installed for the tests", workshop.missing)
    runs: dict[str, dict[str, Result]] = {}
    found: list[Difference] = []
    for session in SESSIONS:
        ours = timed(session, workshop, only)
        if not any(result.sessions for result in ours.values()):
            return refuse(f"aiohttp {version}: no test made a session of ours; see how plugin.py puts it in place")
        again = suspects(plain, ours)
        runs[session] = ours | run_alone(workshop, session, again)
        differing = differences(session, plain, runs[session])
        found += differing
        tests = [one.test for one in differing]
        notes += said(f"Failed among others in the run `{session}`, and passed alone", sorted({*again} - {*tests}))
        stale = out_of_date(session, tests, plain)
        notes += said(f"Reviewed as different in the run `{session}`, and not different", stale)
    return report(version, plain, runs, found, notes, kept=only is None)


def refuse(why: str) -> int:
    """Say why nothing was measured, and give the exit status."""
    print(why, file=sys.stderr)
    return 2


def said(what: str, names: Sequence[str]) -> list[str]:
    """Write a line about some names, if there are any."""
    return [f"{what}: {', '.join(f'`{name}`' for name in names)}."] if names else []


def timed(session: str, workshop: Workshop, only: list[str] | None) -> dict[str, Result]:
    """Run all files, or some, and say how long it took."""
    begun = monotonic()
    results = run(workshop, session, only or workshop.test_files())
    print(f"{session}: {len(results)} tests, {monotonic() - begun:.0f} s", flush=True)
    return results


def report(
    version: str,
    plain: dict[str, Result],
    runs: dict[str, dict[str, Result]],
    found: list[Difference],
    notes: list[str],
    *,
    kept: bool,
) -> int:
    """Print the tables, keep them, and give the exit status."""
    policies = "; ".join(f"`{name}` is `{policy}`" for name, policy in SESSIONS.items())
    parts = [
        f"`make upstream`, tests of aiohttp {version} as released. {machine('yarl', 'multidict')} Runs: {policies}.",
        count_by_file(plain, runs),
        *notes,
        "Tests that pass on aiohttp's session and not on ours:",
        explain(found),
        "Tests that fail on aiohttp's own session here:",
        failing_on_both(plain),
    ]
    print("\n\n".join(parts))
    if kept:
        keep("upstream", "aiohttp's own client tests, run against our session", parts)
    unknown = [one for one in found if one.reason is None]
    for one in unknown:
        print(f"not reviewed: {one.session}: {one.test}: {one.cause}", file=sys.stderr)
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
