"""Lets a failed check in ``judge.py`` show its values."""

import pytest

pytest.register_assert_rewrite("tests.faults.judge")
