"""What goes wrong with one request: a table, and a draw that depends on the seed, the call and the request's number.

The same table serves the loopback bank and the simulated one, so that both judge the library by the same rows. Nothing
here acts.
"""

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from hashlib import blake2b
from itertools import accumulate
from typing import Final


class When(Enum):
    """When the request takes effect."""

    NEVER = auto()
    NOW = auto()
    LATE = auto()
    """After a caller of ordinary patience has given the attempt up."""


class Cut(Enum):
    """How much of the answer gets out."""

    WHOLE = auto()
    NOTHING = auto()
    STATUS_LINE = auto()
    HEADERS = auto()
    MALFORMED = auto()
    SHORT_BODY = auto()
    SHORT_CHUNK = auto()


class Ending(Enum):
    """What becomes of the connection."""

    KEPT = auto()
    FIN = auto()
    RST = auto()
    IDLE_FIN = auto()
    """Closed a moment after the answer, in a race with the next request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One row: what becomes of a request, its answer and its connection."""

    name: str
    share: int
    """Of a thousand requests."""

    effect: When = When.NOW
    status: int = 200
    """200 stands for the answer that belongs to the request, which may be a refusal."""

    cut: Cut = Cut.WHOLE
    ending: Ending = Ending.KEPT
    answers_late: bool = False
    reads_body: bool = True

    @property
    def is_fault(self) -> bool:
        """Whether anything goes wrong at all."""
        return self.name != "healthy"


def _before_and_after(name: str, share: int, cut: Cut, ending: Ending = Ending.FIN) -> list[Trouble]:
    return [
        Trouble(name=f"{name}, before effect", share=share, effect=When.NEVER, cut=cut, ending=ending),
        Trouble(name=f"{name}, after effect", share=share, effect=When.NOW, cut=cut, ending=ending),
    ]


def _status(status: int, share: int, effect: When) -> Trouble:
    moment = "after" if effect is When.NOW else "before"
    return Trouble(name=f"status {status}, {moment} effect", share=share, effect=effect, status=status)


TROUBLES: Final[Sequence[Trouble]] = (
    Trouble(name="healthy", share=633),
    Trouble(name="closed unread", share=15, effect=When.NEVER, cut=Cut.NOTHING, ending=Ending.RST, reads_body=False),
    *_before_and_after("closed", 20, Cut.NOTHING),
    *_before_and_after("reset", 20, Cut.NOTHING, Ending.RST),
    *_before_and_after("cut in the status line", 10, Cut.STATUS_LINE),
    *_before_and_after("cut in the headers", 10, Cut.HEADERS),
    *_before_and_after("malformed head", 10, Cut.MALFORMED),
    Trouble(name="short body", share=15, cut=Cut.SHORT_BODY, ending=Ending.FIN),
    Trouble(name="short chunk", share=15, cut=Cut.SHORT_CHUNK, ending=Ending.FIN),
    *(_status(status, 8, effect) for status in (500, 502, 503, 504) for effect in (When.NEVER, When.NOW)),
    _status(408, 10, When.NEVER),
    _status(429, 15, When.NEVER),
    _status(409, 8, When.NEVER),
    Trouble(name="slow answer", share=20, answers_late=True),
    Trouble(name="late arrival", share=15, effect=When.LATE, answers_late=True),
    Trouble(name="never worked on", share=10, effect=When.NEVER, status=503, answers_late=True),
    Trouble(name="dropped while idle", share=40, ending=Ending.IDLE_FIN),
)

HEALTHY: Final = TROUBLES[0]

_STEPS: Final = list(accumulate(row.share for row in TROUBLES))


def draw(*parts: object) -> float:
    """Draw a number in ``[0, 1)`` that depends on nothing but its arguments."""
    digest = blake2b("\x1f".join(map(str, parts)).encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big") / 2**56


def trouble_of(seed: int, call: str, number: int) -> Trouble:
    """Choose what becomes of one request.

    Args:
        seed: Of the whole run.
        call: Identifier of the call, the same on each of its requests.
        number: Of this request among the call's; the first is 1.
    """
    return TROUBLES[bisect(_STEPS, draw(seed, call, number) * _STEPS[-1])]
