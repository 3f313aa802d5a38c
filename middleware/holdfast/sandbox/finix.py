"""A pretended Finix: routing, authentication, idempotency and the simple resources.

Payments proper are in `finix_payments`. A repeated ``idempotency_id`` with the same JSON gets the stored answer byte
for byte, a decline too; with other JSON it gets 422. Uniqueness holds per endpoint, as Finix's guide says. Answers
that made nothing (400, 401, 404, 422) do not use up the id.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final

from holdfast.sandbox.finix_desk import Desk
from holdfast.sandbox.finix_payments import Payments
from holdfast.sandbox.finix_shapes import IDENTITY, INSTRUMENT, KINDS, MERCHANT, Kind
from holdfast.sandbox.ids import Ids
from holdfast.sandbox.ledger import Ledger
from holdfast.sandbox.messages import Answer, Incoming, text_of
from holdfast.sandbox.routing import Match, Route, Routes, Run

_REQUEST_ID: Final = "X-Request-ID"
_REQUEST_ID_DIGITS: Final = 31  # as in the example of Finix's page on API logs
_STORED: Final = frozenset({HTTPStatus.CREATED, HTTPStatus.PAYMENT_REQUIRED})
_GATEWAY_PAGE: Final = b"<html>\r\n<body>\r\n<h1>503 Service Temporarily Unavailable</h1>\r\n</body>\r\n</html>\r\n"

# Status, code and message of answers that no operation gives.
_UNWELL: Final = {
    429: ("TOO_MANY_REQUESTS", "Rate limit reached"),
    500: ("SERVER_ERROR", "Internal error"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """What one idempotency id answered."""

    fingerprint: str
    answer: Answer


class Finix:
    """The pretended provider. Confined to one event loop."""

    def __init__(self, ledger: Ledger, ids: Ids) -> None:
        """Open without any resource.

        Args:
            ledger: Where effects are written.
            ids: Where names come from.
        """
        self._desk = Desk(ids)
        self._ids = ids
        self._ledger = ledger
        self._stored: dict[tuple[str, str], _Stored] = {}
        payments = Payments(self._desk, ledger)
        self._routes = Routes(
            Route(method="POST", template="/transfers", run=payments.transfer, keyed=True),
            Route(method="POST", template="/authorizations", run=payments.authorize, keyed=True),
            Route(method="POST", template="/transfers/{id}/reversals", run=payments.reverse, keyed=True),
            Route(method="PUT", template="/authorizations/{id}", run=payments.settle),
            Route(method="GET", template="/transfers/{id}/reversals", run=payments.reversals),
            *(Route(method="POST", template=f"/{kind.collection}", run=self._create(kind)) for kind in _SIMPLE),
            *(Route(method="GET", template=f"/{kind.collection}", run=self._list(kind)) for kind in KINDS),
            *(Route(method="GET", template=f"/{kind.collection}/{{id}}", run=self._show(kind)) for kind in KINDS),
        )

    def key_of(self, incoming: Incoming) -> str | None:
        """Read ``idempotency_id`` where this endpoint honours it."""
        match = self._routes.find(incoming.method, incoming.path)
        if match is None or not match.route.keyed or incoming.document is None:
            return None
        return text_of(incoming.document.get("idempotency_id"))

    def answer(self, incoming: Incoming) -> Answer:
        """Do what the request asks and say so."""
        return self._named(self._decide(incoming))

    def unwell(self, incoming: Incoming, status: int, headers: Mapping[str, str]) -> Answer:
        """Answer 429 or 500 in Finix's envelope, and 503 as a gateway's page, having done nothing."""
        if status not in _UNWELL:
            return self._named(Answer(status=status, body=_GATEWAY_PAGE, content_type="text/html", headers=headers))
        code, message = _UNWELL[status]
        return self._named(replace(self._desk.problem(incoming, status, code, message), headers=headers))

    def _named(self, answer: Answer) -> Answer:
        return replace(answer, headers={**answer.headers, _REQUEST_ID: self._ids.digits(_REQUEST_ID_DIGITS)})

    def _decide(self, incoming: Incoming) -> Answer:
        scheme = incoming.headers.get("Authorization", "Basic").partition(" ")[0]
        if scheme.lower() != "basic":
            return self._desk.problem(incoming, 401, "UNKNOWN", "Unauthorized")
        match = self._routes.find(incoming.method, incoming.path)
        if match is None:
            return self._unrouted(incoming)
        if incoming.document is None and incoming.method != "GET":
            return self._desk.problem(incoming, 400, "BAD_REQUEST", "Malformed request. ")
        return self._once(incoming, match) if match.route.keyed else match.route.run(incoming, match.id)

    def _unrouted(self, incoming: Incoming) -> Answer:
        if not self._routes.knows(incoming.path):
            return self._desk.absent(incoming, incoming.path)
        message = f"Request method '{incoming.method}' not supported"
        return self._desk.problem(incoming, 405, "METHOD_NOT_ALLOWED", message)

    def _once(self, incoming: Incoming, match: Match) -> Answer:
        sent = (incoming.document or {}).get("idempotency_id")
        key = text_of(sent)
        if key is None:
            return match.route.run(incoming, match.id) if sent is None else self._desk.wrong(incoming, "idempotency_id")
        fingerprint = f"{incoming.path}\n{json.dumps(incoming.document, sort_keys=True)}"
        stored = self._stored.get((match.route.template, key))
        if stored is None:
            answer = match.route.run(incoming, match.id)
            if answer.status in _STORED:
                self._stored[match.route.template, key] = _Stored(fingerprint=fingerprint, answer=answer)
            return answer
        if stored.fingerprint != fingerprint:
            message = f"idempotency_id {key} was already used with a different request"
            return self._desk.problem(incoming, 422, "UNPROCESSABLE_ENTITY", message)
        return stored.answer

    def _create(self, kind: Kind) -> Run:
        def run(incoming: Incoming, _: str) -> Answer:
            resource = self._desk.new(kind, incoming)
            self._ledger.record(
                operation=f"finix.{kind.singular}", resource_id=str(resource["id"]), reference=incoming.reference
            )
            return self._desk.shown(resource, HTTPStatus.CREATED)

        return run

    def _list(self, kind: Kind) -> Run:
        return lambda incoming, _: self._desk.listed(incoming, kind)

    def _show(self, kind: Kind) -> Run:
        def run(incoming: Incoming, identity: str) -> Answer:
            resource = self._desk.find(kind, identity)
            return self._desk.absent(incoming, identity) if resource is None else self._desk.shown(resource)

        return run


_SIMPLE: Final = (MERCHANT, IDENTITY, INSTRUMENT)
