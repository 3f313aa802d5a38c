"""Classification and what follows from it."""

import json

from benchmarks.micro.conftest import Timed
from benchmarks.micro.examples import HEADERS, TRANSFERS, VND_ERROR

from holdfast import Classification, Effect, Outcome, Policy, StopReason
from holdfast.core.deadline import Deadline
from holdfast.core.decide import Retry, Situation, Stop
from holdfast.core.effect import join_effects

LATER = HEADERS | {"Retry-After": "Sun, 06 Nov 1994 08:49:40 GMT"}
POLICY = Policy()


def situation(outcome: Outcome) -> Situation:
    """Describe the first attempt of a call that may be repeated."""
    answer = Classification(outcome=outcome, effect=Effect.NONE, reason="ok", status=503)
    return Situation(
        answer=answer,
        attempt=1,
        policy=POLICY,
        deadline=Deadline(300.0),
        now=0.0,
        draw=0.5,
        may_repeat=True,
        replayable=True,
    )


def test_classify_200(timed: Timed) -> None:
    """What every call that succeeds pays for."""
    verdict = timed("classify: 200", 200, method="POST", headers=HEADERS)

    assert (verdict.outcome, verdict.effect) == (Outcome.SUCCESS, Effect.LANDED)


def test_classify_422(timed: Timed) -> None:
    """A refusal with its body read."""
    verdict = timed("classify: 422 with a vnd.error body", 422, method="POST", headers=HEADERS, body=VND_ERROR)

    assert verdict.logrefs == ("3fe8e6ab1e8cf44f", "3fe8e6ab1e8cf450")


def test_classify_429(timed: Timed) -> None:
    """A refusal that says when to come back."""
    verdict = timed("classify: 429 with Retry-After", 429, method="POST", headers=LATER)

    assert verdict.retry_after == 3.0


def test_classify_503(timed: Timed) -> None:
    """What each retry begins with."""
    verdict = timed("classify: 503", 503, method="GET", headers=HEADERS)

    assert verdict.outcome is Outcome.RETRYABLE


def test_decode_vnd_error(timed: Timed) -> None:
    """The greater part of a 422."""
    errors = timed("decode_errors: vnd.error, 2 errors, 0.6 KB", VND_ERROR)

    assert [error.field for error in errors] == ["amount", "fee"]


def test_decode_a_cut_body(timed: Timed) -> None:
    """What is salvaged of a document that does not parse."""
    errors = timed("decode_errors: cut in the middle", VND_ERROR[:300])

    assert errors[0].logref == "3fe8e6ab1e8cf44f"


def test_decode_html(timed: Timed) -> None:
    """A proxy's error page."""
    errors = timed("decode_errors: HTML", b"<html><body>502 Bad Gateway</body></html>")

    assert errors == ()


def test_a_success_is_json(timed: Timed) -> None:
    """A compressed answer of a provider whose bodies are read inside the attempt."""
    assert timed("is_json: 2.9 KB, with orjson", TRANSFERS) is True


def test_a_success_is_json_without_orjson(timed: Timed) -> None:
    """The same without the extra."""
    assert timed("is_json: 2.9 KB, without it", json.loads, TRANSFERS) is True


def test_no_wait_is_advised(timed: Timed) -> None:
    """What every answer but a success is asked."""
    assert timed("advised_wait: no such header", 422, HEADERS) is None


def test_a_wait_is_advised(timed: Timed) -> None:
    """Two dates, one of them the response's own."""
    assert timed("advised_wait: Retry-After and Date", 429, LATER) == 3.0


def test_no_quota_is_told(timed: Timed) -> None:
    """What every answer is asked."""
    assert timed("quota_wait: no such header", HEADERS) is None


def test_effects_are_joined(timed: Timed) -> None:
    """Once per attempt."""
    verdict = Classification(outcome=Outcome.SUCCESS, effect=Effect.LANDED, reason="ok", status=200)

    assert timed("join_effects", Effect.IN_DOUBT, verdict, same_key=True) is Effect.LANDED
    assert join_effects(Effect.NONE, verdict, same_key=False) is Effect.LANDED


def test_a_verdict_is_made(timed: Timed) -> None:
    """A frozen value with six fields."""
    verdict = timed("Classification: made", outcome=Outcome.RETRYABLE, effect=Effect.NONE, reason="busy", status=503)

    assert verdict.errors == ()


def test_decide_on_a_success(timed: Timed) -> None:
    """Once per call that succeeds."""
    assert timed("decide: success", situation(Outcome.SUCCESS)) == Stop(StopReason.SUCCEEDED)


def test_decide_on_a_refusal(timed: Timed) -> None:
    """Once per call that is refused."""
    assert timed("decide: permanent failure", situation(Outcome.PERMANENT_FAILURE)) == Stop(StopReason.PERMANENT)


def test_decide_to_retry(timed: Timed) -> None:
    """All conditions hold."""
    assert timed("decide: retry", situation(Outcome.RETRYABLE)) == Retry(0.25)


def test_a_pause(timed: Timed) -> None:
    """The arithmetic every retry pays for."""
    assert timed("pause_before", 5, POLICY, 0.5) == 2.0


def test_a_deadline_is_set(timed: Timed) -> None:
    """Once per call."""
    assert timed("deadline_after", 100.0, 300.0) == Deadline(400.0)


def test_an_attempt_is_limited(timed: Timed) -> None:
    """Once per attempt."""
    assert timed("Deadline.limits", Deadline(400.0), 100.0, None) == (300.0, 299.75)


def test_time_is_left(timed: Timed) -> None:
    """Wherever time is asked for."""
    assert timed("Deadline.left", Deadline(400.0), 100.0) == 300.0
