"""What one response means: its outcome, its effect, and a short stable reason.

A pure function over status, headers and body, held to every case of ``tests/data/classification.json``. The rows below
are read from the top, the first match wins, and the unknown falls to the cautious row at the end.

Class and permission to send again are two questions: a 500 on a POST without a key is ``retryable`` in class, and
``core.decide`` still refuses to send it again.

Sources: RFC 9110 section 15; Finix error codes; Fiant status codes; Stripe, "Low-level error handling".
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from holdfast.core.retry_after import ADVISING_HEADERS, advised_wait
from holdfast.outcome import Effect, Outcome
from holdfast.providers.generic import GENERIC
from holdfast.providers.provider import SAFE_METHODS, Provider
from holdfast.report import Classification, ErrorDetail

DECLINE_CODES: Final = frozenset({"DECLINED", "PAYMENT_DECLINED", "CALL_ISSUER", "CARD_DECLINED"})
"""Codes that make a 402 a decline, in upper case. Finix's page names the first only; its SDK tests assert the second
and its OpenAPI the third. The fourth is Stripe's and Square's."""

DECLINE_RESOURCES: Final = frozenset({"authorization", "transfer"})
"""Ids of these kinds in a 402 mean that the payment was tried and refused (Finix error codes page)."""

REASONS_BY_STATUS: Final[Mapping[int, str]] = {
    202: "accepted",
    304: "not_modified",
    400: "invalid_request",
    401: "unauthenticated",
    402: "payment_failed",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    407: "proxy_authentication_required",
    408: "request_timeout",
    409: "conflict",
    410: "gone",
    412: "precondition_failed",
    413: "content_too_large",
    415: "unsupported_media_type",
    422: "invalid_request",
    423: "locked",
    425: "too_early",
    429: "rate_limited",
    499: "client_closed_request",
    501: "not_implemented",
    502: "bad_gateway",
    503: "unavailable",
    504: "gateway_timeout",
    505: "http_version_not_supported",
    511: "network_authentication_required",
    521: "origin_down",
    522: "origin_timeout",
    523: "origin_unreachable",
    524: "origin_timeout",
    525: "origin_tls",
    526: "origin_tls",
    529: "overloaded",
}
REASONS_BY_HUNDRED: Final[Mapping[int, str]] = {
    1: "unexpected_status",
    2: "ok",
    3: "redirect",
    4: "client_error",
    5: "server_error",
}
REASONS: Final = frozenset(
    {
        *REASONS_BY_STATUS.values(),
        *REASONS_BY_HUNDRED.values(),
        # Rows of the table below.
        *("server_says_retry", "server_says_stop", "idempotency_conflict", "duplicate_transaction", "declined"),
        *("upstream_processor_error", "body_unreadable", "body_dropped"),
        # Rules of the providers we ship, and what their lookups find.
        *("invalid_field", "more_information_needed", "assessment_needed", "reconciled", "canceled", "unknown_state"),
        # Failures of the transport, from ``transport.faults``.
        *(
            "dns",
            "connect",
            "connect_timeout",
            "pool_wait",
            "tls",
            "tls_certificate",
            "proxy",
            "proxy_refused",
            "invalid_url",
        ),
        *("too_many_redirects", "bad_redirect", "timeout", "read_timeout", "disconnected", "connection_lost"),
        *("malformed_response", "payload_lost", "local_error", "cancelled", "deadline"),
        # Of the circuit: the state that refused a call, or that it came into.
        *("circuit_open", "circuit_half_open", "circuit_closed"),
    }
)
"""Every reason that a classification, an attempt or a call can carry. A user's own ``Rule`` may add its own."""

# Looked up once: a member of an enumeration costs more than a call of a function.
_SUCCESS: Final = Outcome.SUCCESS
_PERMANENT_FAILURE: Final = Outcome.PERMANENT_FAILURE
_RETRYABLE: Final = Outcome.RETRYABLE
_CONFLICT: Final = Outcome.IDEMPOTENCY_CONFLICT
_NONE: Final = Effect.NONE
_IN_DOUBT: Final = Effect.IN_DOUBT
_LANDED: Final = Effect.LANDED

_PERMANENT_5XX: Final = frozenset({501, 505, 506, 510, 511})
_RETRYABLE_4XX: Final = frozenset({408, 425, 429})
_NOTHING_DONE: Final = _PERMANENT_5XX | {307, 308, 521, 523, 525, 526}
"""Statuses outside 4xx that say the origin never worked on the request: RFC 9110 and, from 521 on, Cloudflare's pages.
Any other 3xx leaves it open, but for 303, which says that it was done (RFC 9110 section 15.4.4)."""

_SHOULD_RETRY: Final = "stripe-should-retry"
_SAID: Final = frozenset({"true", "false"})
_HEADERS_READ: Final = ADVISING_HEADERS | {_SHOULD_RETRY}

_DOUBTFUL_4XX: Final = frozenset({408, 499})
"""4xx that do not say whether the request was worked on."""


def _is_2xx(status: int) -> bool:
    return 200 <= status <= 299  # noqa: PLR2004 - RFC 9110 section 15.3


_Errors = tuple[ErrorDetail, ...]


def _name_idempotency(errors: _Errors, key_words: tuple[str, ...]) -> bool:
    for error in errors:
        for text in (error.code, error.message, error.field):
            if text is None:
                continue
            if text == "ALREADY_IN_PROGRESS":
                return True
            lowered = text.lower()
            for word in key_words:
                if word in lowered:
                    return True
    return False


def _are_a_decline(errors: _Errors, _: tuple[str, ...]) -> bool:
    return any(
        error.failure_code is not None
        or (error.code is not None and error.code.upper() in DECLINE_CODES)
        or not DECLINE_RESOURCES.isdisjoint(error.resources)
        for error in errors
    )


def _have_code(errors: _Errors, code: str) -> bool:
    for error in errors:  # noqa: SIM110 - any() would make a generator for the one error there is as a rule
        if code in (error.code, error.failure_code):
            return True
    return False


def _known_before(keyed: bool, in_doubt: bool) -> bool:  # noqa: FBT001 - one column of the table
    return keyed or in_doubt


class _Row(NamedTuple):
    """All of it must hold; what is ``None`` always does."""

    statuses: frozenset[int] | None
    should_retry: str | None
    before: Callable[[bool, bool], bool] | None
    """Of the call: whether it is keyed, and whether it is in doubt."""

    errors: Callable[[_Errors, tuple[str, ...]], bool] | None
    """Of the body, with the words that name the key."""

    outcome: Outcome
    reason: str
    """Of "" it is the one that belongs to the status."""


# The first seven conditions of the design's table. What a 2xx means is ``classified_success``'s to say.
_ROWS: Final[tuple[_Row, ...]] = (
    # Stripe: the server knows best. Never on a success.
    _Row(None, "true", None, None, _RETRYABLE, "server_says_retry"),
    _Row(None, "false", None, None, _PERMANENT_FAILURE, "server_says_stop"),
    _Row(frozenset({304}), None, None, None, _SUCCESS, ""),  # RFC 9110 section 15.4.5
    # Calling a duplicate "failed" makes the caller pay twice; calling a conflict a duplicate costs one lookup.
    _Row(frozenset({409}), None, _known_before, None, _CONFLICT, "idempotency_conflict"),
    _Row(frozenset({409}), None, None, None, _PERMANENT_FAILURE, ""),
    # Stripe answers 400 to a re-used key, Finix and the IETF draft 422.
    _Row(frozenset({400, 422}), None, _known_before, _name_idempotency, _CONFLICT, "idempotency_conflict"),
    # Right after our own in-doubt attempt, the recent payment with this amount and card is very probably ours.
    _Row(
        frozenset({402}),
        None,
        lambda _, in_doubt: in_doubt,
        lambda errors, _: _have_code(errors, "DUPLICATE_TRANSACTION"),
        _CONFLICT,
        "duplicate_transaction",
    ),
    # Card networks fine merchants for repeated declines; the shortest advised wait (Mastercard MAC 24) is an hour.
    _Row(frozenset({402}), None, None, _are_a_decline, _PERMANENT_FAILURE, "declined"),
    # Finix: "errors caused by 3rd-party services".
    _Row(
        frozenset({402}),
        None,
        None,
        lambda errors, _: _have_code(errors, "UPSTREAM_PROCESSOR_ERROR"),
        _RETRYABLE,
        "upstream_processor_error",
    ),
)


@lru_cache(maxsize=256)
def _rows_for(status: int, should_retry: str | None, keyed: bool, in_doubt: bool) -> tuple[_Row, ...]:  # noqa: FBT001
    """Give the rows that only the errors of a body decide between; the last of them may need none.

    A reason of "" is filled in.
    """
    return tuple(
        row if row.reason else row._replace(reason=_reason_of(status))
        for row in _ROWS
        if (row.statuses is None or status in row.statuses)
        and (row.should_retry is None or row.should_retry == should_retry)
        and (row.before is None or row.before(keyed, in_doubt))
    )


def classify(
    status: int,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    provider: Provider = GENERIC,
    keyed: bool = False,
    in_doubt: bool = False,
) -> Classification:
    """Say what one response means.

    Args:
        status: Status code of a real response, 100 to 999.
        method: Request method, in any case.
        headers: Response headers; names are looked up case-insensitively.
        body: The first 64 KiB of the body, or less.
        provider: Whose rules and error bodies these are.
        keyed: Whether the request carried an idempotency key that the provider honours on that endpoint.
        in_doubt: Whether an earlier attempt of the same call may have landed.

    Returns:
        Outcome, effect of this attempt, reason, advised wait in seconds, and the errors in the body. It never raises
        on anything that came from the network.
    """
    if _is_2xx(status):
        return classified_success(status, method)
    errors = _decoded(provider, body)
    should_retry = advised_s = None
    if headers and not _HEADERS_READ.isdisjoint(map(str.lower, headers)):  # most answers have none of them
        should_retry, advised_s = _should_retry(headers), advised_wait(status, headers)
    if not errors and advised_s is None:
        return _unexplained(status, should_retry, method, keyed, in_doubt)
    outcome, reason = _outcome(status, should_retry, errors, provider, keyed=keyed, in_doubt=in_doubt)
    return Classification(
        outcome=outcome,
        effect=effect_of(status, method, outcome, in_doubt=in_doubt),
        reason=reason,
        status=status,
        retry_after=advised_s,
        errors=errors,
    )


def _decoded(provider: Provider, body: bytes) -> tuple[ErrorDetail, ...]:
    try:
        return provider.decode_errors(body) if body else ()
    except Exception:  # noqa: BLE001 - a user's own decoder that fails must not lose the answer
        return ()


@lru_cache(maxsize=256)
def _unexplained(status: int, should_retry: str | None, method: str, keyed: bool, in_doubt: bool) -> Classification:  # noqa: FBT001
    """Classify an answer of which neither body nor headers say more: one look-up."""
    outcome, reason = _outcome(status, should_retry, (), GENERIC, keyed=keyed, in_doubt=in_doubt)
    effect = effect_of(status, method, outcome, in_doubt=in_doubt)
    return Classification(outcome=outcome, effect=effect, reason=reason, status=status)


@lru_cache(maxsize=256)
def effect_of(status: int, method: str, outcome: Outcome, *, in_doubt: bool) -> Effect:
    """Say what one answered attempt did at the provider.

    Args:
        status: Status code of a real response.
        method: Request method, in any case; a safe one never has an effect.
        outcome: The outcome the response was given.
        in_doubt: Whether an earlier attempt of the same call may have landed.
    """
    if method.upper() in SAFE_METHODS:
        return _NONE
    if _is_2xx(status) or status == 303:  # noqa: PLR2004 - RFC 9110 section 15.4.4
        return _LANDED
    if _leaves_doubt(status, outcome, in_doubt=in_doubt):
        return _IN_DOUBT
    return _NONE


def _leaves_doubt(status: int, outcome: Outcome, *, in_doubt: bool) -> bool:
    if not 400 <= status <= 499:  # noqa: PLR2004 - 3xx, 5xx, and numbers that no registry knows
        return status not in _NOTHING_DONE
    retryable_402 = status == 402 and outcome is _RETRYABLE  # noqa: PLR2004
    return status in _DOUBTFUL_4XX or retryable_402 or (in_doubt and outcome is _CONFLICT)


def unreadable_success(status: int, method: str, *, keyed: bool, provider: Provider) -> Classification:
    """Say what a success means whose body was lost on the way.

    The status line of a real response suffices: a payment landed. It is fetched again only where that cannot pay
    twice, by a safe method or under a key for which the provider replays its answer.
    """
    safe = method.upper() in SAFE_METHODS
    again = safe or (keyed and provider.replays_answer)
    return Classification(
        outcome=_RETRYABLE if again else _SUCCESS,
        effect=_NONE if safe else _LANDED,
        reason="body_unreadable",
        status=status,
    )


def bodiless_success(status: int, method: str) -> Classification:
    """Classify a 2xx to a redirected request whose body stayed behind: what was asked for was never said there."""
    safe = method.upper() in SAFE_METHODS
    return Classification(
        outcome=_PERMANENT_FAILURE,
        effect=_NONE if safe else _IN_DOUBT,
        reason="body_dropped",
        status=status,
    )


@lru_cache(maxsize=256)
def classified_success(status: int, method: str) -> Classification:
    """Classify a 2xx that nothing else is known of: one look-up."""
    effect = _NONE if method.upper() in SAFE_METHODS else _LANDED
    return Classification(outcome=_SUCCESS, effect=effect, reason=_reason_of(status), status=status)


def _outcome(
    status: int, should_retry: str | None, errors: _Errors, provider: Provider, *, keyed: bool, in_doubt: bool
) -> tuple[Outcome, str]:
    for row in _rows_for(status, should_retry, keyed, in_doubt):
        if row.errors is None or row.errors(errors, provider.key_words):
            return row.outcome, row.reason
    if errors:
        for rule in provider.rules:
            if rule.status == status and _have_code(errors, rule.code):
                return rule.outcome, rule.reason
    return _by_status(status)


@lru_cache(maxsize=256)
def _by_status(status: int) -> tuple[Outcome, str]:
    retryable = status in _RETRYABLE_4XX or (500 <= status <= 599 and status not in _PERMANENT_5XX)  # noqa: PLR2004
    return _RETRYABLE if retryable else _PERMANENT_FAILURE, _reason_of(status)


def _reason_of(status: int) -> str:
    return REASONS_BY_STATUS.get(status) or REASONS_BY_HUNDRED.get(status // 100, "unexpected_status")


def _should_retry(headers: Mapping[str, str]) -> str | None:
    for name in headers:
        if name.lower() == _SHOULD_RETRY:
            said = headers[name].strip().lower()
            return said if said in _SAID else None
    return None
