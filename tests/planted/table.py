"""Prints which test catches which planted bug: ``python -m tests.planted.table``, or ``make planted``."""

import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.planted.bugs import BUGS, UNHARMED, Bug
from tests.planted.planting import PlantError, catch, copy_package, try_out

_AT_A_TIME: Final = 2


def selections() -> tuple[str, ...]:
    """Name every test that is said to catch a bug, and the ordinary successes, each once."""
    return tuple(dict.fromkeys((*(test for bug in BUGS for test in bug.caught_by), *UNHARMED)))


def lines_of(number: int, bug: Bug, caught: dict[str, str]) -> list[str]:
    """Write one bug's part of the table."""
    head = [f"{number:2}  {bug.name}  ({bug.file})", f"    {bug.loses}"]
    if len(caught) < len(bug.caught_by):
        head.append(f"    NOT CAUGHT by all of {', '.join(bug.caught_by)}")
    for test, words in caught.items():
        head += [f"    caught by {test}", f"              {words}"]
    return head


def main() -> int:
    """Try the package as it is, then every bug; give the number of bugs that not every named test caught."""
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(_AT_A_TIME) as pool:
        folder = Path(scratch)
        as_it_is = pool.submit(try_out, copy_package(folder / "as-it-is"), selections())
        trials = [pool.submit(catch, bug, folder / f"bug-{number}") for number, bug in enumerate(BUGS, 1)]
        if as_it_is.result().failed:
            raise PlantError(f"these fail without any bug: {as_it_is.result().failed}")
        missed = 0
        for number, (bug, trial) in enumerate(zip(BUGS, trials, strict=True), 1):
            caught = trial.result()
            missed += len(caught) < len(bug.caught_by)
            sys.stdout.write("\n".join([*lines_of(number, bug, caught), "", ""]))
            sys.stdout.flush()
    sys.stdout.write(f"{len(BUGS) - missed} of {len(BUGS)} planted bugs caught by every test named for them\n")
    return missed


if __name__ == "__main__":
    sys.exit(main())
