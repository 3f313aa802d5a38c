"""The cautious profile for an API that we know nothing about.

Sources: RFC 9110 sections 9.2.1, 9.2.2 and 15; draft-ietf-httpapi-idempotency-key-header-07.
"""

from typing import Final

from holdfast.providers.provider import ANY, IDEMPOTENT_METHODS, KeySlot, Provider

GENERIC: Final = Provider(
    name="generic",
    # An unknown server may ignore a key, so none is made: it counts as honoured only where the caller sends one.
    key_slots=(KeySlot(ANY, ANY, header="Idempotency-Key"),),
    resend_methods=IDEMPOTENT_METHODS,
    request_id_header=("X-Request-ID", "Request-Id"),
    sources=(
        "https://www.rfc-editor.org/rfc/rfc9110#section-9.2.2",
        "https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-idempotency-key-header",
    ),
)
"""Plain HTTP: PUT and DELETE may be repeated, POST and PATCH only under the caller's own key."""
