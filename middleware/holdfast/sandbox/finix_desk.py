"""Finix's shelves and counter: resources are kept here, found again, and put into answers.

No payment rule lives here.
"""

from collections.abc import Callable
from typing import Final

from holdfast.sandbox.finix_shapes import KINDS, Decline, Kind, envelope, error, page, payment, printed, self_link
from holdfast.sandbox.ids import Ids
from holdfast.sandbox.messages import Answer, Document, Incoming

_ID_DIGITS: Final = 22
_LOGREF_DIGITS: Final = 32
_PAGE: Final = 20
_LARGEST_PAGE: Final = 100  # https://docs.finix.com/.../pagination


class Desk:
    """Every Finix resource there is. Confined to one event loop."""

    def __init__(self, ids: Ids) -> None:
        """Start with empty shelves.

        Args:
            ids: Where names come from.
        """
        self._ids = ids
        self._shelves: dict[str, dict[str, Document]] = {kind.collection: {} for kind in KINDS}

    def new(self, kind: Kind, incoming: Incoming) -> Document:
        """Keep a resource made of the very fields that were sent."""
        identity = self._identity(kind)
        href = f"{incoming.origin}/{kind.collection}/{identity}"
        return self._keep(kind, {**(incoming.document or {}), "id": identity, "_links": self_link(href)})

    def new_payment(self, kind: Kind, incoming: Incoming, amount: int, decline: Decline | None) -> Document:
        """Keep a transfer or an authorization, FAILED when there is a decline."""
        return self._keep(kind, payment(kind, self._identity(kind), incoming, amount, decline))

    def find(self, kind: Kind, identity: str) -> Document | None:
        """Find a resource; None when there is none."""
        return self._shelves[kind.collection].get(identity)

    def shown(self, resource: Document, status: int = 200) -> Answer:
        """Answer with a resource."""
        return Answer(status=status, body=printed(resource))

    def listed(self, incoming: Incoming, kind: Kind, keep: Callable[[Document], bool] | None = None) -> Answer:
        """Answer with a page, newest first.

        Args:
            incoming: Its query may hold ``idempotency_id``, ``limit`` and ``after_cursor``.
            kind: What is listed.
            keep: Leaves out what it answers False for.
        """
        limit = incoming.query.get("limit", str(_PAGE))
        if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:9]) <= _LARGEST_PAGE:
            return self.wrong(incoming, "limit")
        rows = [row for row in reversed(self._shelves[kind.collection].values()) if keep is None or keep(row)]
        key = incoming.query.get("idempotency_id")
        if key is not None:
            rows = [row for row in rows if row.get("idempotency_id") == key]
        cursor = incoming.query.get("after_cursor")
        after = next((place for place, row in enumerate(rows, 1) if row["id"] == cursor), 0)
        return self.shown(page(kind, incoming, rows[after:], int(limit)))

    def error(self, incoming: Incoming, code: str, message: str) -> Document:
        """Shape one error with a ``logref`` of its own."""
        return error(self._ids.digits(_LOGREF_DIGITS), code, message, incoming.here)

    def problem(self, incoming: Incoming, status: int, code: str, message: str) -> Answer:
        """Answer with one error."""
        return self.problems(status, self.error(incoming, code, message))

    def problems(self, status: int, *errors: Document) -> Answer:
        """Answer with errors."""
        return Answer(status=status, body=printed(envelope(errors)))

    def wrong(self, incoming: Incoming, *fields: str) -> Answer:
        """Answer that fields are missing or invalid, one error for each."""
        errors = ({**self.error(incoming, "INVALID_FIELD", f"{name} is invalid"), "field": name} for name in fields)
        return self.problems(422, *errors)

    def absent(self, incoming: Incoming, identity: str) -> Answer:
        """Answer that there is no such thing."""
        return self.problem(incoming, 404, "NOT_FOUND", f"{identity} was not found")

    def _identity(self, kind: Kind) -> str:
        return kind.prefix + self._ids.digits(_ID_DIGITS)

    def _keep(self, kind: Kind, resource: Document) -> Document:
        self._shelves[kind.collection][str(resource["id"])] = resource
        return resource
