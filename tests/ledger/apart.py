"""One run in a process of its own, so that nothing of the test runner's counts as left over or takes its time.

Coverage is not measured there: it would halve the rate, and every line is reached by other tests too.
"""

import asyncio
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

from tests.ledger.plan import POLICIES
from tests.ledger.running import ROOT, Run, run_holdfast

CALM_POLICIES: Final = (replace(POLICIES[0], deadline=60.0, attempt_timeout=30.0),)
"""Patience that no busy machine exhausts."""


def run_apart(seed: int, calls: int, folder: Path) -> Run:
    """Make the calls of one seed; below 0, nothing goes wrong."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COV_CORE")}
    kept = {name: value for name, value in kept.items() if not name.startswith("COVERAGE_PROCESS")}
    command = [sys.executable, "-m", "tests.ledger.apart", str(seed), str(calls), str(folder)]
    subprocess.run(command, cwd=ROOT, env=kept, check=True, timeout=300)
    run = pickle.loads((folder / "run").read_bytes())  # noqa: S301 - our own file
    assert isinstance(run, Run)
    return run


def main() -> None:
    """Make the calls, and leave the run in its folder."""
    seed, calls, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    policies = POLICIES if seed >= 0 else CALM_POLICIES
    run = asyncio.run(run_holdfast(seed, calls, folder, policies))
    (folder / "run").write_bytes(pickle.dumps(run))


if __name__ == "__main__":
    main()
