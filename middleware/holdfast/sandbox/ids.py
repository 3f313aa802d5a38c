"""Names for resources, errors and requests: unique, unguessable-looking, and the same for the same seed.

Deterministic so that two runs with one seed can be compared line by line.
"""

import uuid
from hashlib import blake2b


class Ids:
    """A seeded source of unique names. Confined to one event loop."""

    __slots__ = ("_made", "_seed")

    def __init__(self, seed: int) -> None:
        """Start the sequence of one seed."""
        self._seed = seed
        self._made = 0

    def digits(self, length: int) -> str:
        """Make a hexadecimal name.

        Args:
            length: Number of digits, at most 64; below 16 a repeat becomes likely.
        """
        self._made += 1
        return blake2b(f"{self._seed}:{self._made}".encode(), digest_size=32).hexdigest()[:length]

    def dashed(self) -> str:
        """Make a name in the form of a UUID."""
        return str(uuid.UUID(hex=self.digits(32)))
