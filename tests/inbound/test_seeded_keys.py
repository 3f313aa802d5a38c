"""A caller's retry of a request makes the same keys at the provider, and nobody else does."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

import pytest
from tests.support import AT_ONCE, Peer, answer, run

from holdfast import KeySlot, Provider, ResilientSession, inherited_key
from holdfast.engine.inbound import InboundSettings, bound, read_inbound
from holdfast.providers import FIANT, FINIX, GENERIC

SECRET: Final = b"0123456789abcdef"
PAYMENT: Final = {"amount": 1000, "currency": "USD", "merchant": "MU1", "source": "PI1"}

Handler = Callable[[ResilientSession], Awaitable[object]]


def settings(**options: Any) -> InboundSettings:
    """Settings with the derivation on; the caller's scope is what the request's source holds."""
    usual: dict[str, Any] = {"secret": SECRET, "scope": lambda source: source["tenant"]}
    return InboundSettings(**usual | options)


async def _served(
    handler: Handler, provider: Provider, key: str | None, taken: InboundSettings, source: Any
) -> list[str | None]:
    headers = {} if key is None else {"idempotency-key": key}
    async with Peer(answer(201)) as peer:
        async with ResilientSession(peer.url, provider=provider, policy=AT_ONCE) as session:
            with bound(read_inbound(headers, settings=taken, arrived=time.monotonic(), source=source)):
                await handler(session)
        place = provider.key_slots[0]
        if place.header is not None:
            return [seen.headers.get(place.header.lower()) for seen in peer.seen]
        return [seen.document.get(place.json_field) for seen in peer.seen]


def keys_of(
    handler: Handler,
    *,
    provider: Provider = FINIX,
    key: str | None = "order-7",
    tenant: str | None = "t-1",
    taken: InboundSettings | None = None,
) -> list[str | None]:
    """Serve one inbound request with this handler, as if in a process of its own; give the keys that went out."""
    return run(_served(handler, provider, key, taken or settings(), {"tenant": tenant}))


def charging(**options: Any) -> Handler:
    """Make a handler that charges once."""
    return lambda session: session.post("/transfers", json=PAYMENT, **options)


async def charge_and_refund(session: ResilientSession) -> None:
    """Make three calls of two operations."""
    await session.post("/transfers", json=PAYMENT, operation="charge")
    await session.post("/transfers/TR1/reversals", json=PAYMENT, operation="refund")
    await session.post("/transfers", json=PAYMENT, operation="charge")


@pytest.mark.parametrize(
    ("provider", "path"), [(FINIX, "/transfers"), (FIANT, "/transactions/deposits")], ids=["finix", "fiant"]
)
def test_a_callers_retry_makes_the_same_key(provider: Provider, path: str) -> None:
    """The card would be charged again whenever our caller did not hear our answer."""
    handler: Handler = lambda session: session.post(path, json=PAYMENT)  # noqa: E731 - closes over the path

    first, retry = keys_of(handler, provider=provider), keys_of(handler, provider=provider)

    assert first == retry
    assert isinstance(first[0], str)


def test_all_calls_of_a_request_have_keys_of_their_own_and_a_retry_repeats_them() -> None:
    """The second payment of a request would be taken for the first, and never made."""
    first, retry = keys_of(charge_and_refund), keys_of(charge_and_refund)

    assert first == retry
    assert len(set(first)) == 3


@pytest.mark.parametrize(
    "other",
    [
        {"tenant": "t-2"},
        {"key": "order-8"},
        {"taken": settings(secret=SECRET[::-1])},
        {"provider": replace(FINIX, name="finix-eu")},
    ],
    ids=["tenant", "inbound key", "secret", "provider"],
)
def test_another_caller_request_secret_or_provider_makes_another_key(other: dict[str, Any]) -> None:
    """One tenant could use up, or be answered with, another one's payment."""
    mine, theirs = keys_of(charging()), keys_of(charging(), **other)

    assert mine != theirs


def test_the_operation_names_the_key_and_the_endpoint_where_there_is_none() -> None:
    """Two kinds of call to one endpoint would change places when their order changes."""
    named = [keys_of(charging(operation=name)) for name in ("charge", "tip")]
    unnamed = keys_of(charging())

    assert len({key for keys in (*named, unnamed) for key in keys}) == 3


def test_an_order_of_operations_that_changes_changes_no_key() -> None:
    """A retry that refunds first would refund under the charge's key."""

    async def refund_first(session: ResilientSession) -> None:
        await session.post("/transfers/TR1/reversals", json=PAYMENT, operation="refund")
        await session.post("/transfers", json=PAYMENT, operation="charge")
        await session.post("/transfers", json=PAYMENT, operation="charge")

    charge, refund, again = keys_of(charge_and_refund)

    assert keys_of(refund_first) == [refund, charge, again]


def test_labels_keep_keys_apart_in_any_order() -> None:
    """Two charges made at once would swap their keys on a retry, and each be answered with the other's."""

    def handler(*labels: str) -> Handler:
        async def charge(session: ResilientSession) -> None:
            for label in labels:
                await session.post("/transfers", json=PAYMENT, idempotency_key=inherited_key(label))

        return charge

    one_way, other_way = keys_of(handler("item 1", "item 2")), keys_of(handler("item 2", "item 1"))

    assert one_way == other_way[::-1]
    assert len(set(one_way)) == 2


@pytest.mark.parametrize("provider", [FINIX, GENERIC], ids=["finix", "generic"])
def test_the_callers_own_key_wins(provider: Provider) -> None:
    """An application that keeps keys of its own would lose them to ours."""
    keys = keys_of(charging(idempotency_key="mine"), provider=provider)

    assert keys == ["mine"]


def test_a_key_in_the_body_wins() -> None:
    """A payment would go out under two keys, or under the wrong one."""
    keys = keys_of(lambda session: session.post("/transfers", json={**PAYMENT, "idempotency_id": "mine"}))

    assert keys == ["mine"]


def test_a_server_that_may_ignore_keys_gets_one_only_by_the_applications_own_word() -> None:
    """A stranger's header would make us send a charge again to a server that has never heard of keys."""
    by_itself = keys_of(charging(), provider=GENERIC)
    on_request = keys_of(
        lambda session: session.post("/charges", json=PAYMENT, idempotency_key=inherited_key("charge")),
        provider=GENERIC,
    )

    assert by_itself == [None]
    assert isinstance(on_request[0], str)


def test_a_key_fits_the_providers_pattern() -> None:
    """Each payment of a keyed request would be refused for its key."""
    slot = KeySlot("POST", "/transfers", header="Acme-Key", make_key=lambda: "1" * 20, pattern="[0-9]{20}")
    acme = Provider(name="acme", key_slots=(slot,))

    first, retry = keys_of(charging(), provider=acme), keys_of(charging(), provider=acme)

    assert first == retry != ["1" * 20]


def test_a_pattern_that_nothing_fits_gets_a_made_key_and_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    """The payment would fail, or the user would never learn that a retry charges twice."""
    slot = KeySlot("POST", "/transfers", header="Acme-Key", make_key=lambda: "made", pattern="[a-z]{4}")
    acme = Provider(name="acme", key_slots=(slot,))
    taken = settings()

    keys = [keys_of(charging(), provider=acme, taken=taken) for _ in range(2)]

    assert keys == [["made"], ["made"]]
    assert [record.getMessage() for record in caplog.records] == [
        "holdfast: no idempotency keys are derived from inbound ones: no form of them fits the pattern [a-z]{4}"
    ]


def test_a_request_without_a_key_gets_fresh_ones() -> None:
    """Two payments of one tenant would be taken for one."""
    first, second = keys_of(charging(), key=None), keys_of(charging(), key=None)

    assert first != second


OFF: Final[list[tuple[dict[str, Any], int, str]]] = [
    ({"secret": None, "scope": None}, logging.INFO, "the middleware was given no secret= and no scope="),
    ({"secret": None}, logging.WARNING, "the middleware was given no secret="),
    ({"scope": None}, logging.WARNING, "the middleware was given no scope="),
    (
        {"scope": lambda _: None},
        logging.WARNING,
        "scope= gave NoneType for the caller of a request with a key",
    ),
    ({"scope": lambda _: ""}, logging.WARNING, "scope= gave an empty str for the caller of a request with a key"),
    ({"scope": lambda _: 7}, logging.WARNING, "scope= gave int for the caller of a request with a key"),
]


@pytest.mark.parametrize(("options", "level", "why"), OFF, ids=[row[2] for row in OFF])
def test_where_no_key_can_be_derived_one_is_made_and_the_log_says_why_once(
    options: dict[str, Any], level: int, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The user would believe in a protection that is not there."""
    caplog.set_level(logging.DEBUG, "holdfast")
    taken = settings(**options)

    keys = [keys_of(charging(), taken=taken) for _ in range(3)]
    told = [record for record in caplog.records if "derived" in record.getMessage()]

    assert len({key for (key,) in keys}) == 3
    assert [(record.levelno, record.getMessage()) for record in told] == [
        (level, f"holdfast: no idempotency keys are derived from inbound ones: {why}")
    ]


def test_the_caller_is_asked_for_when_the_application_knows_him() -> None:
    """Middleware runs before the login that it needs, so the feature would be off in every real application."""
    asked = []

    async def log_in_then_charge(session: ResilientSession) -> None:
        source["tenant"] = "t-1"
        await session.post("/transfers", json=PAYMENT)
        await session.post("/transfers", json=PAYMENT)

    def scope(known: Any) -> str | None:
        asked.append(dict(known))
        return str(known["tenant"])

    source: dict[str, str] = {}
    late = run(_served(log_in_then_charge, FINIX, "order-7", settings(scope=scope), source))

    assert asked == [{"tenant": "t-1"}]
    assert late[:1] == keys_of(charging())


def test_calls_made_at_once_have_the_same_keys_again_on_a_retry() -> None:
    """Five payments made in parallel would become ten."""

    async def at_once(session: ResilientSession) -> None:
        await asyncio.gather(*(session.post("/transfers", json=PAYMENT) for _ in range(5)))

    first, retry = keys_of(at_once), keys_of(at_once)

    assert sorted(map(str, first)) == sorted(map(str, retry))
    assert len(set(first)) == 5


def test_a_label_means_nothing_outside_of_a_request() -> None:
    """A job would fail, or all jobs would share a key."""
    assert inherited_key("item 1") is None


def test_a_label_must_be_text() -> None:
    """Two ids that print alike would share a key."""
    label: Any = 7

    with pytest.raises(TypeError, match="label must be a str, got int"):
        inherited_key(label)
