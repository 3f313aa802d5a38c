"""What the sandbox did, once per executed operation.

The ledger answers the one question a retrying client must never get wrong: did anything happen twice? A decline makes
a resource but moves nothing, so it is not written here; neither are reads and replays of a stored answer.
"""

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One operation that took effect."""

    sequence: int
    """Place in the ledger; the first entry is 1."""

    provider: str
    """``finix`` or ``fiant``."""

    operation: str
    """What was done, such as ``finix.transfer`` or ``fiant.deposit``."""

    key: str | None
    """Idempotency key that the endpoint honoured; None where the endpoint has no key or none was sent."""

    amount: float | None
    """Amount as the client sent it (an int stays an int); None for operations without one."""

    resource_id: str
    """Id of the resource that was made or changed."""

    reference: str | None
    """The client's own name for the call, from its ``X-Call`` header; None when not sent."""


class Ledger:
    """Append-only list of effects. Confined to one event loop."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        """Start an empty ledger."""
        self._entries: list[LedgerEntry] = []

    @property
    def count(self) -> int:
        """Number of effects so far."""
        return len(self._entries)

    def effects(self) -> tuple[LedgerEntry, ...]:
        """Give every effect, oldest first."""
        return tuple(self._entries)

    def by_key(self, key: str) -> tuple[LedgerEntry, ...]:
        """Give the effects made under one idempotency key, oldest first."""
        return tuple(entry for entry in self._entries if entry.key == key)

    def charged_twice(self) -> tuple[str, ...]:
        """Name every call that took effect more than once.

        Returns:
            Idempotency keys with more than one effect, then ``X-Call`` references with more than one effect that those
            keys do not already explain. Empty when nothing happened twice.
        """
        keys = Counter(entry.key for entry in self._entries if entry.key is not None)
        doubled = tuple(key for key, times in keys.items() if times > 1)
        references = Counter(
            entry.reference for entry in self._entries if entry.reference is not None and entry.key not in doubled
        )
        return doubled + tuple(reference for reference, times in references.items() if times > 1)

    def record(
        self,
        *,
        operation: str,
        resource_id: str,
        key: str | None = None,
        amount: float | None = None,
        reference: str | None = None,
    ) -> None:
        """Append one effect.

        Args:
            operation: What was done; the part before the first dot is the provider.
            resource_id: Id of the resource that was made or changed.
            key: Idempotency key that the endpoint honoured, if any.
            amount: Amount as the client sent it, if any.
            reference: The client's ``X-Call`` header, if sent.
        """
        entry = LedgerEntry(
            sequence=len(self._entries) + 1,
            provider=operation.partition(".")[0],
            operation=operation,
            key=key,
            amount=amount,
            resource_id=resource_id,
            reference=reference,
        )
        self._entries.append(entry)
