"""A pretended Fiant under ``/v1``: transactions, their states, users.

A request id works once. Fiant stores no answer to replay: a second use is 409 whatever the body, and what became of the
first is asked with ``GET /v1/transactions/{requestId}``. An id is used up when a transaction was stored for it, which
a 400 and a 422 do not do.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

from holdfast.sandbox.ids import Ids
from holdfast.sandbox.ledger import Ledger
from holdfast.sandbox.messages import Answer, Document, Incoming, text_of
from holdfast.sandbox.routing import Route, Routes, Run

_REQUEST_ID: Final = "x-pti-request-id"
_REQUEST_ID_FORM: Final = re.compile(r"[a-z0-9_-]{3,64}")  # public-api.yaml, requestIdHeaderParam

# Path segment -> transactionType; in lower case also the name in the ledger.
KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "deposits": "DEPOSIT",
        "withdrawals": "WITHDRAWAL",
        "payments": "PAYMENT",
        "transfers": "TRANSFER",
        "trades": "TRADE",
        "mints": "MINT",
        "purchases": "PURCHASE",
        "sales": "SALE",
        "validations": "VALIDATION",
        "assessments": "ASSESSMENT",
    }
)

_ACCEPTED_AMOUNT: Final = 202
_FAILED_AMOUNT: Final = 402

# Amounts of our own choosing: Fiant documents none. The bodies are the three of its 422.
_BUSINESS_REFUSALS: Final[Mapping[float, Document]] = MappingProxyType(
    {
        4221: {"type": "MIN_INFO_MISSING", "code": 1001, "fields": ["FULL_NAME", "EMAIL_ADDRESS"]},
        4222: {"type": "MIN_ASSESSMENT_MISSING", "code": 1002, "assessment": {}},
        4223: {"type": "NO_ERROR", "code": 0},
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """A transaction about to be stored."""

    request_id: str
    transaction_type: str
    amount: float | None
    user: str


class Fiant:
    """The pretended provider. Confined to one event loop."""

    def __init__(self, ledger: Ledger, ids: Ids) -> None:
        """Open without any transaction.

        Args:
            ledger: Where effects are written.
            ids: Where names come from.
        """
        self._ledger = ledger
        self._ids = ids
        self._states: dict[str, Document] = {}
        self._users: dict[str, Document] = {}
        self._routes = Routes(
            Route(method="POST", template="/v1/users", run=self._add_user),
            Route(method="POST", template="/v1/users/assessments", run=self._transact("USER_ASSESSMENT"), keyed=True),
            *(
                Route(method="POST", template=f"/v1/transactions/{kind}", run=self._transact(name), keyed=True)
                for kind, name in KINDS.items()
            ),
            Route(method="GET", template="/v1/transactions/assessments/{id}", run=self._show),
            Route(method="GET", template="/v1/transactions/{id}", run=self._show),
            Route(method="DELETE", template="/v1/transactions/{id}", run=self._cancel),
        )

    def key_of(self, incoming: Incoming) -> str | None:
        """Read the request id where this endpoint needs one."""
        match = self._routes.find(incoming.method, incoming.path)
        return text_of(incoming.headers.get(_REQUEST_ID)) if match is not None and match.route.keyed else None

    def answer(self, incoming: Incoming) -> Answer:
        """Do what the request asks and say so."""
        match = self._routes.find(incoming.method, incoming.path)
        if match is not None:
            return match.route.run(incoming, match.id)
        if self._routes.knows(incoming.path):
            return _plain(405, "method not allowed")
        return _plain(404, "not found")

    def unwell(self, incoming: Incoming, status: int, headers: Mapping[str, str]) -> Answer:  # noqa: ARG002 - protocol
        """Answer 429 without a body, 500 and 503 with Fiant's plain error, having done nothing."""
        if status == 429:  # noqa: PLR2004 - an HTTP status
            return Answer(status=status, headers=headers)
        return _plain(status, "unexpected error")

    def _transact(self, transaction_type: str) -> Run:
        def run(incoming: Incoming, _: str) -> Answer:
            request_id = incoming.headers.get(_REQUEST_ID, "")
            if _REQUEST_ID_FORM.fullmatch(request_id) is None:
                return _invalid(f"Invalid header: '{_REQUEST_ID}' must match ^[a-z0-9_-]{{3,64}}$")
            if request_id in self._states:
                return _json(409, {"type": "ALREADY_IN_PROGRESS", "code": 1003})
            if incoming.document is None:
                return _invalid("Invalid body: not a JSON object")
            amount = incoming.document.get("amount")
            if isinstance(amount, bool) or not isinstance(amount, int | float | None) or (amount or 0) < 0:
                return _invalid("Invalid field: 'amount' must be greater than or equal to 0")
            refusal = None if amount is None else _BUSINESS_REFUSALS.get(amount)
            if refusal is not None:
                return _json(422, refusal)
            user = text_of(incoming.document.get("userId")) or "sandbox-user"
            order = _Order(request_id=request_id, transaction_type=transaction_type, amount=amount, user=user)
            return self._execute(incoming, order)

        return run

    def _execute(self, incoming: Incoming, order: _Order) -> Answer:
        if order.amount == _FAILED_AMOUNT:
            self._store(incoming, order, "REFUSED")
            return _plain(402, "request failed")
        identity = self._ids.dashed()
        self._store(incoming, order, "PENDING" if order.amount == _ACCEPTED_AMOUNT else "AUTHORIZED")
        self._ledger.record(
            operation=f"fiant.{order.transaction_type.lower()}",
            resource_id=identity,
            key=order.request_id,
            amount=order.amount,
            reference=incoming.reference,
        )
        if order.amount == _ACCEPTED_AMOUNT:
            return Answer(status=202)
        link = f"{incoming.origin}/v1/user/{order.user}/transactions/{identity}"
        return _json(201, {"id": identity, "link": link})

    def _store(self, incoming: Incoming, order: _Order, status: str) -> None:
        sent = incoming.document or {}
        refusal = {"providerResponseCode": "DO_NOT_HONOR", "providerResponseCategory": "SOFT_DECLINE"}
        self._states[order.request_id] = {
            "resourceType": "TRANSACTION_STATUS",
            "clientId": incoming.headers.get("x-pti-client-id", "sandbox"),
            "userId": order.user,
            "requestId": order.request_id,
            "status": status,
            "date": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "amount": order.amount,
            "currency": sent.get("currency", "USD"),
            "transactionType": order.transaction_type,
            "paymentStatusDetail": refusal if status == "REFUSED" else {},
        }

    def _show(self, _: Incoming, request_id: str) -> Answer:
        state = self._states.get(request_id)
        return _plain(404, "not found") if state is None else _json(200, state)

    def _cancel(self, incoming: Incoming, request_id: str) -> Answer:
        state = self._states.get(request_id)
        if state is None:
            return _plain(404, "not found")
        if state["status"] in {"PENDING", "AUTHORIZED"}:
            state["status"] = "CANCELED"
            self._ledger.record(operation="fiant.cancel", resource_id=request_id, reference=incoming.reference)
        return Answer(status=204)

    def _add_user(self, incoming: Incoming, _: str) -> Answer:
        if incoming.document is None:
            return _invalid("Invalid body: not a JSON object")
        identity = text_of(incoming.document.get("id"))
        if identity is None:
            return _invalid("Invalid field: 'id' must not be empty")
        if identity in self._users:
            return _plain(409, "User already exist")
        self._users[identity] = incoming.document
        self._ledger.record(operation="fiant.user", resource_id=identity, reference=incoming.reference)
        return _json(201, incoming.document)


def _json(status: int, document: Mapping[str, object]) -> Answer:
    return Answer(status=status, body=json.dumps(document, separators=(",", ":")).encode())


def _plain(status: int, message: str) -> Answer:
    """Shape ``unmanagedError`` of public-api.yaml."""
    return _json(status, {"error": message, "code": status})


def _invalid(message: str) -> Answer:
    """Shape ``invalidRequestError`` of public-api.yaml."""
    return _json(400, {"type": "INVALID_REQUEST", "code": 1000, "errors": [message]})
