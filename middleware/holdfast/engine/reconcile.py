"""Find out what became of an in-doubt call, by asking the provider under its key.

A lookup is a GET: it changes nothing, and a few are made while time is left. An absent record is no proof that nothing
happened, because the request may still be on its way; the call then stays in doubt, and can be looked up again later.
"""

from collections.abc import Awaitable, Callable, Mapping
from math import inf
from typing import Any, Final
from urllib.parse import urlsplit

from holdfast.core.classify import classify
from holdfast.core.deadline import Deadline
from holdfast.core.schedule import pause_before
from holdfast.engine.runtime import Runtime
from holdfast.outcome import Effect, Outcome
from holdfast.policy import Policy
from holdfast.protocols import Answer, Fault
from holdfast.providers.provider import Finding, Lookup, LookupTarget, below, unversioned
from holdfast.values import dataclass

ABSENT_ANSWERS: Final = 3
"""How often the provider may say that it does not know the call, before the doubt is left standing."""

MOST_LOOKUPS: Final = 8
"""How often one reconciliation asks, unanswered lookups included."""

LOOKUP_TIMEOUT_S: Final = 30.0
"""Seconds for one lookup: a read is answered "typically in under one second" (Finix error codes page)."""

Ask = Callable[[str, float, float], Awaitable[Answer | Fault]]
"""GET an absolute address within a total and a connect limit, in seconds."""

NOT_FOUND: Final = Finding(Effect.IN_DOUBT)


class _CannotAskError(Exception):
    """Ends a reconciliation whose lookups cannot be sent, as from a closed session."""


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """How to look one call up."""

    lookup: Lookup
    target: LookupTarget
    base_url: str
    """Scheme, user-info, host, port, base path and version, to which the lookup's path is added."""

    first_path: str


def reconciliation(
    lookup: Lookup | None,
    *,
    method: str,
    url: str,
    base_path: str,
    key: str | None,
    outcome: Outcome,
    sent: Mapping[str, Any] | None,
) -> Reconciliation | None:
    """Prepare the lookup of one call; ``None`` where none can tell what became of it.

    Args:
        lookup: The request's own lookup, or the provider's.
        method: Method of the call in doubt.
        url: Its absolute address.
        base_path: Path of the session's base address.
        key: Its idempotency key; a lookup of the caller's own may do without.
        outcome: Its outcome so far.
        sent: Its JSON body, an empty object where it had none; ``None`` when that is not known.
    """
    # A conflict may mean that the key stands for another payment: only a record that can be held against what was sent
    # is then proof of anything.
    if outcome is Outcome.IDEMPOTENCY_CONFLICT and sent is None:
        return None
    if lookup is None:
        return None
    place = urlsplit(url)
    prefix, path = below(place.path, base_path)
    target = LookupTarget(method, path, key or "", sent or {})
    try:
        first = lookup.path_for(target)
    except Exception:  # noqa: BLE001 - as with the reader below: the failure that led here must reach the caller
        return None
    if first is None:
        return None
    version = path[: len(path) - len(unversioned(path))]
    # User-info included: it is how the call itself was authenticated, and this address is never logged.
    return Reconciliation(lookup, target, f"{place.scheme}://{place.netloc}{prefix}{version}", first)


async def look_up(
    plan: Reconciliation, ask: Ask, runtime: Runtime, policy: Policy, deadline: Deadline
) -> tuple[Finding, Answer | None]:
    """Ask until a finding settles the doubt, or tries or time run out.

    Returns:
        What was found, and the answer that shows it, for the caller to read: the resource itself, or the list it stands
        in where the resource could not be had.
    """
    absent = 0
    listed: tuple[Finding, Answer | None] = NOT_FOUND, None
    for number in range(1, MOST_LOOKUPS + 1):
        try:
            finding, answer = await _ask_once(plan, ask, runtime, policy, deadline)
        except _CannotAskError:
            break
        if finding.outcome is not None and finding.next_path is None:
            return finding, answer
        if finding.outcome is not None:
            listed = finding, answer
        absent += answer is not None and finding.outcome is None
        pause_s = pause_before(number + 1, policy, runtime.draw())
        if absent == ABSENT_ANSWERS or number == MOST_LOOKUPS or not deadline.allows(pause_s, runtime.now()):
            break
        await runtime.sleep(pause_s)
    return listed


async def _ask_once(
    plan: Reconciliation, ask: Ask, runtime: Runtime, policy: Policy, deadline: Deadline
) -> tuple[Finding, Answer | None]:
    finding, answer = await _read(plan, plan.first_path, ask, runtime, policy, deadline)
    if finding.next_path is None:
        return finding, answer
    nearer, resource = await _read(plan, finding.next_path, ask, runtime, policy, deadline)
    return (nearer, resource) if nearer.outcome is not None else (finding, answer)


async def _read(
    plan: Reconciliation, path: str, ask: Ask, runtime: Runtime, policy: Policy, deadline: Deadline
) -> tuple[Finding, Answer | None]:
    total_s, connect_s = deadline.limits(runtime.now(), min(LOOKUP_TIMEOUT_S, policy.attempt_timeout or inf))
    if total_s <= 0:
        return NOT_FOUND, None
    got = await ask(plan.base_url + path, total_s, connect_s)
    if isinstance(got, Fault) and got.outcome is Outcome.PERMANENT_FAILURE:
        raise _CannotAskError
    if isinstance(got, Fault) or got.unreadable or classify(got.status).outcome is Outcome.RETRYABLE:
        return NOT_FOUND, None
    try:
        return plan.lookup.read(plan.target, got.status, got.body), got
    except Exception:  # noqa: BLE001 - a caller's own reader that fails leaves the doubt, and loses nothing
        return NOT_FOUND, None
