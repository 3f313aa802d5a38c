"""What ``import holdfast`` adds to a service that has imported what it stands on already."""

import json
import os
import subprocess
import sys
from statistics import median
from typing import Final

from benchmarks.speed.figures import Imports

_CODE: Final = """
import time, json
begun = time.process_time()
import aiohttp, structlog, backoff
between = time.process_time()
import holdfast
print(json.dumps([between - begun, time.process_time() - between]))
"""


def measure_imports(processes: int) -> Imports:
    """Import in fresh processes, one after the other; the first only writes the byte code."""
    spent = [_once() for _ in range(processes + 1)][1:]
    dependencies, holdfast = ([1000 * seconds for seconds in column] for column in zip(*spent, strict=True))
    figures = (median(dependencies), median(holdfast), min(holdfast), max(holdfast))
    return Imports(*(round(figure, 1) for figure in figures))


def _once() -> list[float]:
    # Without leave to write byte code it would be compiled each time, as no service does.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    found = subprocess.run([sys.executable, "-c", _CODE], stdout=subprocess.PIPE, check=True, env=environment).stdout
    seconds: list[float] = json.loads(found)
    return seconds
