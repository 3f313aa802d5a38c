"""Finix's payment rules: transfer, authorize, capture, void, reverse.

Amounts that the real sandbox declines are declined here (`finix_shapes.DECLINES`): the FAILED resource is kept, as
Finix keeps it, and nothing is written to the ledger.
"""

from holdfast.sandbox.finix_desk import Desk
from holdfast.sandbox.finix_shapes import AUTHORIZATION, CAPTURE_DECLINED, DECLINES, TRANSFER, Kind, declined
from holdfast.sandbox.ledger import Ledger
from holdfast.sandbox.messages import Answer, Document, Incoming, text_of


class Payments:
    """Everything that moves or holds money. Confined to one event loop."""

    def __init__(self, desk: Desk, ledger: Ledger) -> None:
        """Wire the rules to what they change.

        Args:
            desk: Keeps the resources.
            ledger: Where effects are written.
        """
        self._desk = desk
        self._ledger = ledger

    def transfer(self, incoming: Incoming, _: str) -> Answer:
        """Answer ``POST /transfers``."""
        return self._pay(incoming, TRANSFER)

    def authorize(self, incoming: Incoming, _: str) -> Answer:
        """Answer ``POST /authorizations``."""
        return self._pay(incoming, AUTHORIZATION)

    def settle(self, incoming: Incoming, identity: str) -> Answer:
        """Answer ``PUT /authorizations/{id}``: void, capture, or new tags."""
        authorization = self._desk.find(AUTHORIZATION, identity)
        if authorization is None:
            return self._desk.absent(incoming, identity)
        sent = incoming.document or {}
        if sent.get("void_me") is True:
            return self._void(incoming, authorization)
        if "capture_amount" in sent:
            return self._capture(incoming, authorization, _cents(sent["capture_amount"]))
        if "tags" not in sent:
            return self._desk.wrong(incoming, "capture_amount")
        authorization["tags"] = sent["tags"]
        return self._desk.shown(authorization)

    def reverse(self, incoming: Incoming, identity: str) -> Answer:
        """Answer ``POST /transfers/{id}/reversals``."""
        original = self._desk.find(TRANSFER, identity)
        if original is None:
            return self._desk.absent(incoming, identity)
        amount = _cents((incoming.document or {}).get("refund_amount"))
        if amount is None:
            return self._desk.wrong(incoming, "refund_amount")
        if original["state"] != "SUCCEEDED" or original["type"] == "REVERSAL":
            return self._out_of_order(incoming, f"Transfer {identity} cannot be reversed")
        left = (_cents(original["amount"]) or 0) - (_cents(original.get("amount_reversed")) or 0)
        if amount > left:
            return self._desk.wrong(incoming, "refund_amount")
        original["amount_reversed"] = (_cents(original["amount"]) or 0) - left + amount
        reversal = self._desk.new_payment(TRANSFER, incoming, amount, None)
        reversal.update({"type": "REVERSAL", "parent_transfer": identity})
        reversal.update({name: original[name] for name in ("currency", "merchant", "source")})
        self._record(incoming, "finix.reversal", reversal, amount)
        return self._desk.shown(reversal, 201)

    def reversals(self, incoming: Incoming, identity: str) -> Answer:
        """Answer ``GET /transfers/{id}/reversals``."""
        if self._desk.find(TRANSFER, identity) is None:
            return self._desk.absent(incoming, identity)
        return self._desk.listed(incoming, TRANSFER, lambda row: row.get("parent_transfer") == identity)

    def _pay(self, incoming: Incoming, kind: Kind) -> Answer:
        sent = incoming.document or {}
        amount = _cents(sent.get("amount"))
        faulty = [name for name in ("merchant", "currency") if text_of(sent.get(name)) is None]
        if amount is None or faulty:
            return self._desk.wrong(incoming, *faulty, *(["amount"] if amount is None else []))
        decline = DECLINES.get(amount)
        resource = self._desk.new_payment(kind, incoming, amount, decline)
        if decline is not None:
            message = f"{kind.noun} {resource['id']} was declined"
            error = self._desk.error(incoming, "DECLINED", message)
            return self._desk.problems(402, declined(error, kind, resource, incoming.origin))
        self._record(incoming, f"finix.{kind.singular}", resource, amount)
        return self._desk.shown(resource, 201)

    def _void(self, incoming: Incoming, authorization: Document) -> Answer:
        spent = _spent(authorization)
        if spent is not None:
            return self._out_of_order(incoming, f"Authorization {authorization['id']} {spent}")
        authorization.update({"is_void": True, "void_state": "SUCCEEDED"})
        self._record(incoming, "finix.void", authorization, _cents(authorization["amount"]))
        return self._desk.shown(authorization)

    def _capture(self, incoming: Incoming, authorization: Document, amount: int | None) -> Answer:
        spent = _spent(authorization)
        if spent is not None:
            return self._out_of_order(incoming, f"Authorization {authorization['id']} {spent}")
        if amount is None or amount > (_cents(authorization["amount"]) or 0):
            return self._desk.wrong(incoming, "capture_amount")
        decline = DECLINES[CAPTURE_DECLINED] if amount == CAPTURE_DECLINED else None
        transfer = self._desk.new_payment(TRANSFER, incoming, amount, decline)
        transfer.update({name: authorization[name] for name in ("currency", "merchant", "source")})
        if decline is not None:
            error = self._desk.error(incoming, "PAYMENT_DECLINED", f"Transfer {transfer['id']} was declined")
            return self._desk.problems(402, {**error, "transfer": transfer["id"]})
        authorization.update({"transfer": transfer["id"], "captured_amount": amount})
        self._record(incoming, "finix.capture", transfer, amount)
        return self._desk.shown(authorization)

    def _out_of_order(self, incoming: Incoming, message: str) -> Answer:
        return self._desk.problem(incoming, 422, "UNPROCESSABLE_ENTITY", message)

    def _record(self, incoming: Incoming, operation: str, resource: Document, amount: int | None) -> None:
        self._ledger.record(
            operation=operation,
            resource_id=str(resource["id"]),
            key=text_of(resource["idempotency_id"]) if incoming.method == "POST" else None,
            amount=amount,
            reference=incoming.reference,
        )


def _cents(value: object) -> int | None:
    """Read an amount: a whole number from zero up; None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _spent(authorization: Document) -> str | None:
    """Say why an authorization can be neither captured nor voided; None when it can."""
    if authorization["state"] != "SUCCEEDED":
        return "was declined"
    if authorization["is_void"]:
        return "was already voided"
    return None if authorization["transfer"] is None else "was already captured"
