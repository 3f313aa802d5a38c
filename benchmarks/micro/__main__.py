"""What each function of the core costs, and what it adds to a call: ``make micro``.

pytest-benchmark times each row of ``rows.py``, with its answer checked. The best round is kept, because other work on
the machine only adds. How often a call runs it is counted over real calls (``counting.py``).
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest
from benchmarks.micro.counting import CALLS, SCENARIOS, counts_of
from benchmarks.micro.rows import ROWS
from benchmarks.results import keep, machine, table

HERE: Final = Path(__file__).parent
TIMING: Final = (
    *("--benchmark-min-rounds=50", "--benchmark-max-time=0.3", "--benchmark-warmup=on"),
    *("--benchmark-warmup-iterations=100", "--benchmark-disable-gc"),
    *("--benchmark-columns=min,median", "--benchmark-sort=name", "-q", "-p", "no:cacheprovider"),
)


def timed_ns(arguments: list[str]) -> dict[str, float]:
    """Run the benchmarks, and give the nanoseconds of each row."""
    with TemporaryDirectory() as scratch:
        figures = Path(scratch) / "figures.json"
        code = pytest.main([str(HERE), *TIMING, f"--benchmark-json={figures}", *arguments])
        if code != 0:
            sys.exit(int(code))
        found = json.loads(figures.read_text())["benchmarks"]
    return {each["extra_info"]["row"]: each["stats"]["min"] * 1e9 for each in found}


def added(nanoseconds: float, times: float) -> str:
    """Say what a function adds to a call, in microseconds, and how often it runs."""
    return "" if times == 0 else f"{times * nanoseconds / 1000:.2f} ({times:g})"


def main() -> None:
    """Time, count, print the table and keep it."""
    nanoseconds = timed_ns(sys.argv[1:])
    if missing := ROWS.keys() ^ nanoseconds.keys():
        sys.exit(f"rows without a benchmark, or the other way round: {sorted(missing)}")
    counts = {name: counts_of(scenario) for name, scenario in SCENARIOS.items()}
    rows = [
        [f"`{row}`", f"{each:,.0f}".replace(",", " "), *(added(each, counts[name][row]) for name in SCENARIOS)]
        for row, each in ((row, nanoseconds[row]) for row in ROWS)
    ]
    note = (
        f"`make micro`. {machine('aiohttp', 'structlog', 'pytest-benchmark')} Nanoseconds of the best round. The other "
        "columns give the microseconds that it adds to one call, and in brackets how often the call runs it, counted "
        f"over {CALLS} calls with the default provider, `max_concurrency=10` and one JSON event each. A row includes "
        "what it calls, so the rows of a column do not add up: `classify` holds `decode_errors` and `advised_wait`."
    )
    parts = [note, table(["function", "ns", *SCENARIOS], *rows)]
    print("\n\n".join(parts))
    keep("micro", "What each function adds to a call", parts)


if __name__ == "__main__":
    main()
