"""The check of the checkers: ten bugs are planted one at a time, and the suite must see each of them."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.planted.bugs import BUGS, UNHARMED, Bug
from tests.planted.planting import ROOT, PlantError, catch, copy_package, is_of, planted, try_out
from tests.planted.table import selections


@pytest.mark.parametrize("bug", BUGS, ids=[bug.name for bug in BUGS])
def test_a_planted_bug_is_caught_by_every_test_named_for_it(bug: Bug, tmp_path: Path) -> None:
    """A test that cannot fail would promise users a safety that nobody keeps."""
    caught = catch(bug, tmp_path)

    assert [test for test in bug.caught_by if not any(is_of(name, test) for name in caught)] == []


def test_without_a_bug_the_same_tests_pass(tmp_path: Path) -> None:
    """Tests that fail on any copy would "catch" what users never had."""
    trial = try_out(copy_package(tmp_path), selections())

    assert trial.failed == {}
    assert [test for test in selections() if not any(is_of(name, test) for name in trial.passed)] == []


@pytest.mark.parametrize("source", ["", BUGS[0].text * 2], ids=["gone", "twice"])
def test_a_plant_that_no_longer_fits_says_so(source: str) -> None:
    """A bug that is no longer planted would be reported as caught, and users would lose that guard unseen."""
    with pytest.raises(PlantError, match=r"'a new key on each attempt' no longer fits: its text stands [02] times"):
        planted(source, BUGS[0])


def test_an_edit_that_breaks_every_call_is_no_planted_bug(tmp_path: Path) -> None:
    """Any test sees a package that does not work; that one sees a second payment would be left unproven."""
    broken = replace(BUGS[0], becomes="        raise ValueError\n")

    with pytest.raises(PlantError, match="'a new key on each attempt' breaks an ordinary success"):
        catch(broken, tmp_path)


def test_an_edit_that_cannot_be_imported_is_no_planted_bug(tmp_path: Path) -> None:
    """A typing mistake in a plant would be told as ten bugs caught."""
    broken = replace(BUGS[0], becomes="        (\n")

    with pytest.raises(PlantError, match="the trial proves nothing"):
        catch(broken, tmp_path)


def test_a_trial_that_hangs_is_no_catch(tmp_path: Path) -> None:
    """A hang names no test, so nobody would know which of them guards the user."""
    with pytest.raises(PlantError, match=r"not over after 0\.01 s"):
        try_out(copy_package(tmp_path), UNHARMED, limit_s=0.01)


def test_a_trial_of_the_installed_package_is_refused(tmp_path: Path) -> None:
    """Bugs planted in a copy that nobody imports would all seem harmless to users, or caught by chance."""
    elsewhere = tmp_path / "middleware"
    elsewhere.mkdir()

    with pytest.raises(PlantError, match="the tests would run against"):
        try_out(elsewhere, UNHARMED)


def test_the_package_itself_is_left_as_it_was(tmp_path: Path) -> None:
    """A plant that reached the source would be shipped to users."""
    module = ROOT / "middleware" / "holdfast" / BUGS[0].file
    before = module.read_text(encoding="utf-8")

    copy = copy_package(tmp_path, BUGS[0])

    assert module.read_text(encoding="utf-8") == before
    assert (copy / "holdfast" / BUGS[0].file).read_text(encoding="utf-8") != before
