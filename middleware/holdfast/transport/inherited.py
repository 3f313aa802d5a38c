"""The headers by which an outbound request tells for which inbound one it is made, and how long that one will wait.

A header that the caller or the session sets already is left alone, and so is any in which the provider takes its
idempotency key. None follows a redirect to another origin, which it would tell of our callers.
"""

from collections.abc import Mapping, MutableMapping

from holdfast.core.inbound import written_seconds
from holdfast.engine.inbound import binding
from holdfast.values import dataclass


@dataclass(frozen=True, slots=True)
class InheritedHeaders:
    """Which headers of a call are inherited from an inbound request."""

    request_id: str
    request_id_header: str | None
    deadline_header: str | None

    @property
    def names(self) -> frozenset[str]:
        """Their names, in lower case."""
        return frozenset(name.lower() for name in (self.request_id_header, self.deadline_header) if name is not None)

    def put_into(self, headers: MutableMapping[str, str], seconds: float) -> None:
        """Set the headers of one attempt or lookup.

        Args:
            headers: Those of the request, looked up case-insensitively.
            seconds: After which nobody waits for this attempt any more: never more than what is left.
        """
        if self.request_id_header is not None:
            headers[self.request_id_header] = self.request_id
        if self.deadline_header is not None:
            headers[self.deadline_header] = written_seconds(seconds)


def inherited_headers(
    given: Mapping[str, str], defaults: Mapping[str, str], key_headers: frozenset[str]
) -> InheritedHeaders | None:
    """Say which headers a call inherits from the present inbound request; ``None`` outside of any.

    Args:
        given: Headers of the call, looked up case-insensitively.
        defaults: The session's own headers, likewise.
        key_headers: In lower case: headers in which the provider takes an idempotency key.
    """
    bound = binding()
    if bound is None:
        return None

    def unless_taken(name: str | None) -> str | None:
        return None if name is None or name.lower() in key_headers or name in given or name in defaults else name

    inbound = bound.inbound
    return InheritedHeaders(
        inbound.request_id, unless_taken(inbound.request_id_header), unless_taken(inbound.deadline_header)
    )
