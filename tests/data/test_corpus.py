import pytest
from tests.data.corpus import COPIES, NAMES, ORIGINALS, cases, load, path_of


@pytest.mark.parametrize("name", NAMES)
def test_our_copy_of_the_facts_is_the_original_byte_for_byte(name: str) -> None:
    """A stale copy would let a release pass whose verdicts contradict the newest facts."""
    original = ORIGINALS / name
    if not original.exists():
        pytest.skip("the originals do not lie beside this checkout")

    copy = (COPIES / name).read_bytes()

    assert copy == original.read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_the_original_is_preferred_and_the_copy_stands_in(name: str) -> None:
    """Someone with an sdist and nothing else must be able to run the suite."""
    expected = ORIGINALS / name if ORIGINALS.is_dir() else COPIES / name

    chosen = path_of(name)

    assert (chosen, path_of("no such file.json")) == (expected, COPIES / "no such file.json")


def test_the_facts_are_not_empty() -> None:
    """A truncated corpus would make every test over it pass by looking at nothing."""
    sizes = (len(cases()), len(load("faults.json")))

    assert sizes >= (98, 252)


def test_every_outcome_and_every_provider_has_its_cases() -> None:
    """An outcome without a case is one that nobody has checked against a real answer."""
    found = cases()

    covered = {case["expected_outcome"] for case in found}, {case["provider"] for case in found}

    assert covered == (
        {"success", "permanent_failure", "retryable", "idempotency_conflict"},
        {"finix", "fiant", "generic"},
    )
