"""Which calls the demo makes: short stories of one to three calls, dealt from a shuffled deck.

Pure data: the same seed and number give the same calls. The fields of each body are those the providers document; the
amounts that are refused are the ones the sandbox refuses.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

PLACE: Final = "{id}"
"""In a path: the id of the resource that the story's first call made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One call of a story."""

    provider: str
    """``finix``, ``fiant`` or ``generic``."""

    operation: str
    """Low-cardinality name for log lines, such as ``capture``."""

    method: str
    path: str
    """Below the provider's base address; may hold `PLACE`."""

    instead: str = ""
    """Path to read, with GET, when the first call of the story made nothing that `PLACE` could stand for."""

    json: Mapping[str, Any] | None = None
    amount: int | None = None
    """The amount in the body, to find the call in the ledger."""

    key: str | None = None
    """The caller's own idempotency key; ``None`` leaves it to the provider's rules."""


Story = tuple[Step, ...]


def plan(seed: int, calls: int) -> list[Story]:
    """Deal stories until there are so many calls; the last story is cut short where it would exceed them.

    Args:
        seed: The same seed deals the same stories.
        calls: Number of calls in all, at least 1.
    """
    dealt = []
    left = calls
    for story in _deal(random.Random(seed), seed):  # noqa: S311 - a repeatable plan, not a secret
        dealt.append(story[:left])
        left -= len(dealt[-1])
        if left == 0:
            break
    return dealt


def _deal(draw: random.Random, seed: int) -> Iterator[Story]:
    number = 0
    while True:
        deck = [story for story, times in _DECK for _ in range(times)]
        draw.shuffle(deck)
        for story in deck:
            number += 1
            # Within what both providers allow as a key: [a-z0-9_-]{3,64}.
            yield story(draw.randrange(5_000, 80_000), f"demo-{seed}-{number}")


def _finix(operation: str, path: str, amount: int, *, key: str | None = None, **more: Any) -> Step:  # noqa: ANN401 - JSON
    body = {"merchant": "MUdemo", "source": "PIdemo", "currency": "USD", "amount": amount, **more}
    return Step(provider="finix", operation=operation, method="POST", path=path, json=body, amount=amount, key=key)


def _transfer(amount: int, key: str | None = None) -> Step:
    return _finix("transfer", "/transfers", amount, key=key)


def _reversal(amount: int) -> Step:
    return Step(
        provider="finix",
        operation="reversal",
        method="POST",
        path=f"/transfers/{PLACE}/reversals",
        instead="/transfers",
        json={"refund_amount": amount},
        amount=amount,
    )


def _settle(operation: str, body: Mapping[str, Any], amount: int) -> Step:
    return Step(
        provider="finix",
        operation=operation,
        method="PUT",
        path=f"/authorizations/{PLACE}",
        instead="/authorizations",
        json=body,
        amount=amount,
    )


def _authorized(amount: int, then: Step) -> Story:
    return (_finix("authorization", "/authorizations", amount), then)


def _capture(amount: int) -> Step:
    return _settle("capture", {"capture_amount": amount}, amount)


def _fiant(operation: str, amount: int, *, key: str | None = None) -> Step:
    body = {"userId": "user-demo", "currency": "USD", "amount": amount}
    path = f"transactions/{operation}s"
    return Step(provider="fiant", operation=operation, method="POST", path=path, json=body, amount=amount, key=key)


def _read(provider: str, path: str) -> Step:
    return Step(provider=provider, operation="read", method="GET", path=path)


def _create(provider: str, path: str, body: Mapping[str, Any]) -> Story:
    return (Step(provider=provider, operation="create", method="POST", path=path, json=body),)


def _without(step: Step, field: str) -> Step:
    return replace(step, json={name: value for name, value in (step.json or {}).items() if name != field})


# Story by amount and key, and how often it lies in the deck. Refused amounts: sandbox.finix_shapes, sandbox.fiant.
_DECK: Final[tuple[tuple[Callable[[int, str], Story], int], ...]] = (
    # Finix
    (lambda amount, _: (_transfer(amount),), 4),
    (lambda amount, _: (_transfer(amount), _reversal(amount)), 1),
    (lambda amount, _: (_transfer(amount), _reversal(amount // 2), _reversal(amount // 4)), 1),
    (lambda amount, _: _authorized(amount, _capture(amount)), 2),
    (lambda amount, _: _authorized(amount, _capture(102)), 1),
    (lambda amount, _: _authorized(amount, _settle("void", {"void_me": True}, amount)), 1),
    (lambda _, __: (_transfer(193),), 1),
    (lambda _, __: (_transfer(889_987),), 1),
    (lambda _, __: (_finix("authorization", "/authorizations", 102),), 1),
    (lambda amount, _: (_without(_transfer(amount), "currency"),), 1),
    (lambda amount, key: (_transfer(amount, key), _transfer(amount, key)), 1),  # asked for twice: made once
    (lambda amount, key: (_transfer(amount, key), _transfer(amount + 1, key)), 1),  # another body: a conflict
    (lambda _, __: (_read("finix", "/merchants"),), 1),
    (lambda _, __: (_read("finix", "/transfers/TRnone"),), 1),
    (lambda _, __: _create("finix", "/merchants", {"processor": "DUMMY_V1"}), 1),
    # Fiant
    (lambda amount, _: (_fiant("deposit", amount),), 3),
    (lambda amount, _: (_fiant("payment", amount),), 2),
    (lambda amount, _: (_fiant("withdrawal", amount),), 1),
    (lambda _, __: (_fiant("deposit", 202),), 1),  # accepted, not finished
    (lambda _, __: (_fiant("payment", 402),), 1),
    (lambda _, __: (_fiant("deposit", 4221),), 1),
    (lambda _, __: (_fiant("deposit", 4222),), 1),
    (lambda amount, key: (_fiant("deposit", amount, key=key), _fiant("deposit", amount, key=key)), 1),
    (lambda amount, key: (_fiant("payment", amount, key=key), _fiant("payment", amount + 1, key=key)), 1),
    (lambda amount, key: (_fiant("payment", amount, key=key), _read("fiant", f"transactions/{key}")), 1),
    (lambda _, key: _create("fiant", "users", {"id": key}), 1),
    # A server that nothing is known of
    (lambda _, __: (_read("generic", "/merchants"),), 2),
    (lambda _, __: (_read("generic", "/payment_instruments"),), 1),
    (lambda _, __: (_read("generic", "/nothing"),), 1),
)

DECK_SIZE: Final = sum(len(story(10_000, "demo-key")) * times for story, times in _DECK)
"""Calls in one deck: so many calls show every story once."""
