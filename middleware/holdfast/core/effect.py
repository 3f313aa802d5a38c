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
"""Redirects that send the request on as it was (RFC 9110 sections 15.4.8 and 15.4.9)."""

_CHANGE_POST: Final = frozenset({301, 302})

# Looked up once: a member of an enumeration costs more than a call of a function.
_NONE: Final = Effect.NONE
_IN_DOUBT: Final = Effect.IN_DOUBT
_LANDED: Final = Effect.LANDED
_PERMANENT_FAILURE: Final = Outcome.PERMANENT_FAILURE

SETTLING_REFUSALS: Final = frozenset({400, 402, 422})
"""Permanent refusals under the same key that settle an earlier doubt: nothing happened."""


def join_effects(earlier: Effect, answer: Classification, *, same_key: bool) -> Effect:
    """Join what is known of a call with what its newest attempt says.

    Args:
        earlier: The effect of all attempts before.
        answer: The newest attempt.
        same_key: Whether all attempts carried one idempotency key that the provider honours.
    """
    newest = answer.effect
    if earlier is _LANDED or newest is _LANDED:
        return _LANDED
    if newest is _IN_DOUBT or (earlier is _IN_DOUBT and not (same_key and _settles(answer))):
        return _IN_DOUBT
    return _NONE


def after_redirects(effect: Effect, statuses: tuple[int, ...], method: str) -> Effect:
    """Join the effect of an answer with the redirects that led to it.

    The first redirect that is not followed with the same request decides: 303 says that the request was taken in, 301
    and 302 do not say, and whatever answered after them answered another request (RFC 9110 section 15.4).

    Args:
        effect: What the final answer says.
        statuses: Statuses of the redirects, in order.
        method: Upper-case method of the call; aiohttp turns only a POST into a GET at 301 and 302.
    """
    sent_on = _SENT_ON if method == "POST" else _SENT_ON | _CHANGE_POST
    turned = next((status for status in statuses if status not in sent_on), None)
    if turned is None:
        return effect
    return _IN_DOUBT if turned in _CHANGE_POST else _LANDED


def _settles(answer: Classification) -> bool:
    return answer.outcome is _PERMANENT_FAILURE and answer.status in SETTLING_REFUSALS
