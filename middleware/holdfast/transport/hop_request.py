"""What one hop of a genuine session's request says of the call it belongs to, and the key put into it.

A middleware sees a finished request: its body is serialized, and no keyword of ours came with it.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
from aiohttp import hdrs
from aiohttp.payload import BytesPayload, Payload

from holdfast.core.idempotency import NO_KEY, KeyPlan, plan_key
from holdfast.engine.inbound import binding
from holdfast.providers.provider import SAFE_METHODS, KeySlot, Provider, below
from holdfast.transport.body import RequestBody

_NO_TIMER: Final = object()


def timer_of(request: aiohttp.ClientRequest) -> object:
    """Give what all hops and hidden re-sends of one request of the caller's share, and no other request has.

    aiohttp gives a middleware nothing public that lives as long as the caller's request (3.12.15 to 3.14.5). Where a
    release should have no timer there, each hop counts as a call of its own.
    """
    return getattr(request, "_timer", _NO_TIMER)


def is_websocket(request: aiohttp.ClientRequest) -> bool:
    """Say whether it opens a WebSocket, which is not a call (RFC 6455 section 4.1)."""
    return request.headers.get(hdrs.UPGRADE, "").lower() == "websocket"


def base_path_of(request: aiohttp.ClientRequest) -> str:
    """Give the path of the session's base address."""
    base = getattr(request.session, "_base_url", None)  # aiohttp has no public way to it
    return "" if base is None else str(base.path)


def plan_of(request: aiohttp.ClientRequest, provider: Provider) -> tuple[KeyPlan, Mapping[str, Any] | None]:
    """Choose the key of the call that this request begins.

    Returns:
        The plan, and the JSON object in the body: an empty one without a body, ``None`` where it is not known.

    Raises:
        ValueError: The caller's own key, in the header or the body, is malformed for this provider.
    """
    method, path = request.method, below(request.url.path, base_path_of(request))[1]
    slot = provider.slot_for(method, path)
    if (bound := binding()) is not None:
        slot = bound.seeded(slot, provider.name, f"{method} {path}")
    if slot is None and method in SAFE_METHODS:
        return NO_KEY, None
    wanted = slot is not None and (slot.json_field is not None or provider.lookup is not None)
    document = _document(request) if wanted else None
    try:
        plan = plan_key(
            slot, given=None, headers=request.headers, document=document, editable=_is_editable(request, document, slot)
        )
    except ValueError as error:
        raise ValueError(f"{provider.name} {method} {path}: {error}") from None
    return plan, document


async def made_ready(request: aiohttp.ClientRequest, plan: KeyPlan) -> RequestBody | None:
    """Put the key into the request, and wrap its body, where that can be done without closing it.

    Returns:
        The wrapped body; ``None`` where there is none or it is not made of bytes.
    """
    if plan.header is not None and plan.key is not None:
        request.headers[plan.header] = plan.key
    body = request.body
    if isinstance(body, RequestBody):
        return body
    if not isinstance(body, BytesPayload):
        return None
    wrapped = RequestBody(_with_key(body, plan))
    await request.update_body(wrapped)
    return wrapped


def _is_editable(request: aiohttp.ClientRequest, document: object, slot: KeySlot | None) -> bool:
    """Say whether the key can be put in front of the serialized object, where nothing stands in its field."""
    if slot is None or not isinstance(document, Mapping):
        return False
    return isinstance(request.body, BytesPayload | RequestBody) and slot.json_field not in document


def _document(request: aiohttp.ClientRequest) -> Mapping[str, Any] | None:
    body = request.body
    if not isinstance(body, Payload):
        return {}
    found = _parsed(body)
    return found if isinstance(found, Mapping) else None


def _parsed(body: Payload) -> object:
    if not isinstance(body, BytesPayload | RequestBody):
        return None
    try:
        return json.loads(body.decode())
    except (ValueError, RecursionError, TypeError):
        return None


def _with_key(body: BytesPayload, plan: KeyPlan) -> BytesPayload:
    """Put the key in front of a JSON object; the caller's bytes stay as they are."""
    found = _parsed(body) if plan.json_field is not None else None
    if not isinstance(found, Mapping) or plan.json_field is None or plan.json_field in found:
        return body
    opening, _, rest = body.decode().partition("{")
    field = f"{json.dumps(plan.json_field)}: {json.dumps(plan.key)}{', ' if found else ''}"
    return BytesPayload(f"{opening}{{{field}{rest}".encode(), content_type=body.content_type)
