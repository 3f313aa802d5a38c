"""Gives the benchmarks the one way in which they time a row."""

from collections.abc import Callable
from typing import Any

import pytest
from benchmarks.micro.rows import ROWS
from pytest_benchmark.fixture import BenchmarkFixture

Timed = Callable[..., Any]


@pytest.fixture
def timed(benchmark: BenchmarkFixture) -> Timed:
    """Time a row's function with these arguments, and give what it returned."""

    def time(row: str, *arguments: object, run: Callable[..., Any] | None = None, **named: object) -> Any:  # noqa: ANN401 - whatever it returns
        benchmark.extra_info["row"] = row
        return benchmark(run or ROWS[row].function, *arguments, **named)

    return time
