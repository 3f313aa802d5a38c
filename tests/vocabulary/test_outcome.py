import json

import pytest

import holdfast
from holdfast.outcome import Effect, Outcome, StopReason


def test_the_four_outcomes_keep_their_words() -> None:
    """Dashboards, alerts and callers' ``match`` statements are written against these words."""
    words = {outcome.name: outcome.value for outcome in Outcome}

    assert words == {
        "SUCCESS": "success",
        "PERMANENT_FAILURE": "permanent_failure",
        "RETRYABLE": "retryable",
        "IDEMPOTENCY_CONFLICT": "idempotency_conflict",
    }


def test_the_three_effects_keep_their_words() -> None:
    """A fourth word for "maybe" would slip through every caller's handling of doubt."""
    words = {effect.name: effect.value for effect in Effect}

    assert words == {"NONE": "none", "IN_DOUBT": "in_doubt", "LANDED": "landed"}


def test_the_stop_reasons_keep_their_words() -> None:
    """The word is what people search their logs for, years back."""
    words = {reason.name: reason.value for reason in StopReason}

    assert words == {
        "SUCCEEDED": "succeeded",
        "RECONCILED": "reconciled",
        "PERMANENT": "permanent",
        "CONFLICT": "conflict",
        "UNSAFE_TO_RESEND": "unsafe_to_resend",
        "BODY_NOT_REPLAYABLE": "body_not_replayable",
        "ATTEMPTS_EXHAUSTED": "attempts_exhausted",
        "DEADLINE": "deadline",
        "RETRY_AFTER_TOO_LONG": "retry_after_too_long",
        "BUDGET_EXHAUSTED": "budget_exhausted",
        "CIRCUIT_OPEN": "circuit_open",
        "CANCELLED": "cancelled",
    }


@pytest.mark.parametrize("word", [*Outcome, *Effect, *StopReason])
def test_a_word_is_the_same_in_text_log_and_json(word: Outcome | Effect | StopReason) -> None:
    """``Outcome.SUCCESS`` in one log line and ``success`` in the next cannot be counted together."""
    spellings = {str(word), f"{word}", json.loads(json.dumps(word)), word.value}

    assert spellings == {word.value}


def test_the_package_gives_out_the_same_vocabulary() -> None:
    """A second ``Outcome`` under another path would never be ``is`` the one in a report."""
    given_out = (holdfast.Outcome, holdfast.Effect, holdfast.StopReason)

    assert given_out == (Outcome, Effect, StopReason)
