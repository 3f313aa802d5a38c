"""Which core a process runs on, where the system lets us choose, and how many files it may open."""

import os
import sys

if sys.platform == "linux":

    def two_cpus() -> tuple[int, int] | None:
        """Name a core for the server and one for the client; ``None`` where there are not two."""
        cpus = sorted(os.sched_getaffinity(0))
        return (cpus[0], cpus[1]) if len(cpus) > 1 else None

    def keep_to(cpu: int | None) -> None:
        """Run this process on one core only; ``None`` leaves it where it is."""
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})

else:

    def two_cpus() -> tuple[int, int] | None:
        """Name none: only Linux lets a process choose."""
        return None

    def keep_to(cpu: int | None) -> None:
        """Leave this process where it is."""


try:
    import resource
except ImportError:  # Windows, which has no such limit

    def open_many_files() -> None:
        """Do nothing."""

else:

    def open_many_files() -> None:
        """Let this process open as many files as the system permits it, for thousands of connections."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
