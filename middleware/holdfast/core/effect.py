"""What a call did at the provider, joined over all its attempts.

An effect that landed stays landed. A doubt stays until an answer settles it: one that the provider gives only after it
has looked at the key. A refusal at the door (401, 403, 404, 429) says nothing about an earlier attempt.

Source: Stripe, "Low-level error handling" (a 4xx under the same key is the stored or definitive answer), and RFC 9110
section 15.5.2 (a 401 has not been applied, which is all it says).
"""

from typing import Final

from holdfast.outcome import Effect, Outcome
from holdfast.report import Classification

_SENT_ON: Final = frozenset({307, 308})

SETTLING_REFUSALS: Final = frozenset({400, 402, 422})
"""Permanent refusals under the same key that settle an earlier doubt: nothing happened."""


def join_effects(earlier: Effect, answer: Classification, *, same_key: bool) -> Effect:
    """Join what is known of a call with what its newest attempt says.

    Args:
        earlier: The effect of all attempts before.
        answer: The newest attempt.
        same_key: Whether all attempts carried one idempotency key that the provider honours.
    """
    if Effect.LANDED in (earlier, answer.effect):
        return Effect.LANDED
    if answer.effect is Effect.IN_DOUBT or (earlier is Effect.IN_DOUBT and not (same_key and _settles(answer))):
        return Effect.IN_DOUBT
    return Effect.NONE


def after_redirects(effect: Effect, statuses: tuple[int, ...]) -> Effect:
    """Join the effect of an answer with the redirects that led to it.

    307 and 308 send the request on as it was. 303 says that it was taken in. 301 and 302 do not say, and the request
    that followed was another one (RFC 9110 section 15.4).

    Args:
        effect: What the final answer says.
        statuses: Statuses of the redirects, in order.
    """
    if effect is Effect.LANDED or 303 in statuses:  # noqa: PLR2004 - RFC 9110 section 15.4.4
        return Effect.LANDED
    return effect if _SENT_ON.issuperset(statuses) else Effect.IN_DOUBT


def _settles(answer: Classification) -> bool:
    return answer.outcome is Outcome.PERMANENT_FAILURE and answer.status in SETTLING_REFUSALS
