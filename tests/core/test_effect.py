from functools import reduce
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.classify import classify
from holdfast.core.effect import after_redirects, join_effects
from holdfast.outcome import Effect, Outcome
from holdfast.providers import FINIX
from holdfast.report import Classification

NONE: Final = Effect.NONE
IN_DOUBT: Final = Effect.IN_DOUBT
LANDED: Final = Effect.LANDED

DECLINED: Final = b'{"_embedded": {"errors": [{"code": "DECLINED", "failure_code": "GENERIC_DECLINE"}]}}'
UPSTREAM: Final = b'{"_embedded": {"errors": [{"code": "UPSTREAM_PROCESSOR_ERROR"}]}}'
REUSED: Final = b'{"_embedded": {"errors": [{"code": "X", "message": "idempotency_id was already used"}]}}'

LOST: Final = Classification(outcome=Outcome.RETRYABLE, effect=IN_DOUBT, reason="disconnected")
NOT_SENT: Final = Classification(outcome=Outcome.RETRYABLE, effect=NONE, reason="connect")


def joined(*answers: Classification, same_key: bool) -> Effect:
    """Join the effects of a call's attempts, one after the other."""
    return reduce(lambda earlier, answer: join_effects(earlier, answer, same_key=same_key), answers, NONE)


def after_doubt(status: int, body: bytes = b"", *, keyed: bool) -> Classification:
    """Classify what a POST is answered after an earlier attempt was lost."""
    return classify(status, method="POST", body=body, provider=FINIX, keyed=keyed, in_doubt=True)


@pytest.mark.parametrize(
    ("status", "body", "keyed", "unkeyed"),
    [
        (200, b"", LANDED, LANDED),
        (201, b"", LANDED, LANDED),
        (202, b"", LANDED, LANDED),
        (303, b"", LANDED, LANDED),
        (400, b"", NONE, IN_DOUBT),
        (402, DECLINED, NONE, IN_DOUBT),
        (422, b"", NONE, IN_DOUBT),
        (402, UPSTREAM, IN_DOUBT, IN_DOUBT),
        (400, REUSED, IN_DOUBT, IN_DOUBT),
        (422, REUSED, IN_DOUBT, IN_DOUBT),
        (409, b"", IN_DOUBT, IN_DOUBT),
        (302, b"", IN_DOUBT, IN_DOUBT),
        (307, b"", IN_DOUBT, IN_DOUBT),
        (401, b"", IN_DOUBT, IN_DOUBT),
        (403, b"", IN_DOUBT, IN_DOUBT),
        (404, b"", IN_DOUBT, IN_DOUBT),
        (405, b"", IN_DOUBT, IN_DOUBT),
        (408, b"", IN_DOUBT, IN_DOUBT),
        (410, b"", IN_DOUBT, IN_DOUBT),
        (413, b"", IN_DOUBT, IN_DOUBT),
        (425, b"", IN_DOUBT, IN_DOUBT),
        (429, b"", IN_DOUBT, IN_DOUBT),
        (500, b"", IN_DOUBT, IN_DOUBT),
        (501, b"", IN_DOUBT, IN_DOUBT),
        (503, b"", IN_DOUBT, IN_DOUBT),
        (521, b"", IN_DOUBT, IN_DOUBT),
    ],
)
def test_only_a_definitive_answer_under_the_same_key_settles_a_doubt(
    status: int, body: bytes, keyed: Effect, unkeyed: Effect
) -> None:
    """A rate limiter's 429 knows nothing of the lost attempt: "none" would let the caller pay again."""
    effects = (
        joined(LOST, after_doubt(status, body, keyed=True), same_key=True),
        joined(LOST, after_doubt(status, body, keyed=False), same_key=False),
    )

    assert effects == (keyed, unkeyed)


@pytest.mark.parametrize(
    ("statuses", "keyed", "unkeyed"),
    [
        ((), NONE, NONE),
        ((429, 429), NONE, NONE),
        ((429, 400), NONE, NONE),
        ((500,), IN_DOUBT, IN_DOUBT),
        ((500, 201), LANDED, LANDED),
        ((500, 429, 201), LANDED, LANDED),
        ((500, 429, 400), NONE, IN_DOUBT),
        ((500, 401, 422), NONE, IN_DOUBT),
        ((500, 400, 500), IN_DOUBT, IN_DOUBT),
        ((500, 400, 429), NONE, IN_DOUBT),
        ((201, 500), LANDED, LANDED),
        ((201, 409), LANDED, LANDED),
        ((201, 400), LANDED, LANDED),
        ((201, 422, 404), LANDED, LANDED),
    ],
)
def test_the_effect_of_a_call_is_joined_over_its_attempts(
    statuses: tuple[int, ...], keyed: Effect, unkeyed: Effect
) -> None:
    """One attempt that landed is a payment, whatever the attempts after it were told."""
    answers = [classify(status, method="POST") for status in statuses]

    effects = joined(*answers, same_key=True), joined(*answers, same_key=False)

    assert effects == (keyed, unkeyed)


@pytest.mark.parametrize("status", [400, 402, 422])
@pytest.mark.parametrize("outcome", [Outcome.RETRYABLE, Outcome.IDEMPOTENCY_CONFLICT, Outcome.SUCCESS])
def test_a_refusal_settles_only_as_a_permanent_failure(status: int, outcome: Outcome) -> None:
    """A 422 that means "this key was there before" is the strongest hint that the lost attempt worked."""
    answer = Classification(outcome=outcome, effect=NONE, reason="any", status=status)

    effect = join_effects(IN_DOUBT, answer, same_key=True)

    assert effect is IN_DOUBT


@pytest.mark.parametrize(("earlier", "expected"), [(NONE, NONE), (IN_DOUBT, IN_DOUBT), (LANDED, LANDED)])
@pytest.mark.parametrize("same_key", [True, False])
def test_an_attempt_that_was_never_sent_changes_nothing(
    earlier: Effect,
    expected: Effect,
    same_key: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """A refused connection says nothing about the attempt before it, which had reached the server."""
    effect = join_effects(earlier, NOT_SENT, same_key=same_key)

    assert effect is expected


ANSWERS: Final = st.builds(
    Classification,
    outcome=st.sampled_from(Outcome),
    effect=st.sampled_from(Effect),
    reason=st.just("any"),
    status=st.none() | st.sampled_from([200, 307, 400, 401, 402, 404, 409, 422, 429, 500]),
)


@given(st.lists(ANSWERS, max_size=6), ANSWERS, st.lists(ANSWERS, max_size=6), st.booleans())
def test_landed_stays_landed(
    before: list[Classification],
    answer: Classification,
    after: list[Classification],
    same_key: bool,  # noqa: FBT001 - drawn by hypothesis
) -> None:
    """Were it forgotten, a payment that was made would be reported as none."""
    landed = Classification(outcome=answer.outcome, effect=LANDED, reason="any", status=answer.status)

    effect = joined(*before, landed, *after, same_key=same_key)

    assert effect is LANDED


@given(st.lists(ANSWERS, max_size=8))
def test_without_a_key_the_effect_never_shrinks(answers: list[Classification]) -> None:
    """Without a key each attempt is a payment of its own: a later refusal takes no earlier doubt away."""
    order = [NONE, IN_DOUBT, LANDED]

    effects = [joined(*answers[:count], same_key=False) for count in range(len(answers) + 1)]

    assert all(order.index(before) <= order.index(after) for before, after in pairwise(effects))
    assert effects[-1] is max([NONE, *(answer.effect for answer in answers)], key=order.index)


@given(st.lists(ANSWERS, max_size=8))
def test_a_key_only_ever_settles_doubts(answers: list[Classification]) -> None:
    """A key must not make a landed payment disappear, nor find a doubt where there is none."""
    pair = joined(*answers, same_key=True), joined(*answers, same_key=False)

    assert pair in {(NONE, NONE), (IN_DOUBT, IN_DOUBT), (LANDED, LANDED), (NONE, IN_DOUBT)}


@pytest.mark.parametrize(
    ("effect", "statuses", "method", "expected"),
    [
        (NONE, (), "POST", NONE),
        (IN_DOUBT, (), "POST", IN_DOUBT),
        (LANDED, (), "POST", LANDED),
        (NONE, (307,), "POST", NONE),
        (NONE, (308, 307), "POST", NONE),
        (IN_DOUBT, (307,), "POST", IN_DOUBT),
        (LANDED, (308,), "POST", LANDED),
        (NONE, (303,), "POST", LANDED),
        (IN_DOUBT, (303,), "POST", LANDED),
        (NONE, (307, 303), "POST", LANDED),
        (NONE, (303, 302), "POST", LANDED),
        (NONE, (301,), "POST", IN_DOUBT),
        (NONE, (302,), "POST", IN_DOUBT),
        (NONE, (307, 302), "POST", IN_DOUBT),
        (IN_DOUBT, (302,), "POST", IN_DOUBT),
        (LANDED, (302,), "POST", IN_DOUBT),
        (LANDED, (302, 303), "POST", IN_DOUBT),
        (NONE, (302,), "PUT", NONE),
        (LANDED, (301,), "PUT", LANDED),
        (NONE, (303,), "PUT", LANDED),
    ],
)
def test_a_page_behind_a_redirect_does_not_speak_for_the_first_server(
    effect: Effect, statuses: tuple[int, ...], method: str, expected: Effect
) -> None:
    """A 302 turns the payment into a GET: neither the 404 nor the 200 of that page says a thing about the payment."""
    joined_effect = after_redirects(effect, statuses, method)

    assert joined_effect is expected
