"""What a provider says went wrong, read from the body of its answer.

Bytes in, ``ErrorDetail`` values out. It knows the shapes of vnd.error, RFC 9457 problem details, Finix, Fiant, Stripe,
Adyen, GoCardless, Google, Square, JSON:API, Checkout.com, Dwolla, OAuth and Spring Boot, by the members they have and
not by the content type, which proxies get wrong. It never raises, whatever the bytes, and takes under 5 ms for them.
Only the members in the tables below are read: a body holds what nobody may log. Proof:
``tests/core/test_error_body.py``.

vnd.error: https://github.com/blongden/vnd.error. Problem details: RFC 9457. Finix: error codes page. Fiant:
public-api.yaml of provenancetech/pti-docs.
"""

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Final, TypeAlias

from holdfast.core.lenient_json import read, records
from holdfast.core.redact import TEXT_LIMIT, clean, masked
from holdfast.report import ErrorDetail, logrefs_of

__all__ = ["ERRORS_LIMIT", "ERROR_BODY_LIMIT", "decode_errors", "logrefs_of"]

ERROR_BODY_LIMIT: Final = 65536
"""Bytes of an error body that are looked at."""

ERRORS_LIMIT: Final = 32
"""Errors kept of one body."""

_OBJECTS_LIMIT: Final = 2 * ERRORS_LIMIT  # visited: wrappers hold errors without being one
_LIST_LIMIT: Final = ERRORS_LIMIT
_LINKS_LIMIT: Final = 16
_NAME_LIMIT: Final = 64

_Object: TypeAlias = dict[str, object]

# Most specific first, in every table.
_LOGREFS: Final = (
    "logref",  # vnd.error, Finix
    "pspReference",  # Adyen classic
    "requestId",  # Adyen problem details, Spring Boot WebFlux
    "request_id",  # GoCardless, Checkout.com, Plaid
)
_CODES: Final = ("code", "errorCode", "error_code")  # everybody; Adyen; Plaid
_ENUMS: Final = ("type", "status")  # Fiant; Google, whose status is a word only inside of ``error``
_FALLBACK_CODES: Final = (
    "reason",  # GoCardless and Google, in their lists
    "error_type",  # Checkout.com
    "type",  # RFC 9457, Stripe
    "errorType",  # Adyen classic
    "category",  # Square
)
_FAILURE_CODES: Final = ("failure_code", "decline_code")  # Finix; Stripe
_FIELDS: Final = ("field", "param")  # Finix, Square, GoCardless; Stripe
_MESSAGES: Final = (
    "title",  # RFC 9457, JSON:API
    "error",  # Spring Boot, Fiant; a code for OAuth, see ``_code``
    "message",  # vnd.error, Finix, Stripe, Adyen, Google, Dwolla
    "detail",  # RFC 9457, JSON:API, Square
    "error_description",  # OAuth
    "error_message",  # Plaid
)
_RESOURCES: Final = ("authorization", "transfer", "charge")  # Finix, Finix, Stripe
_LINKS: Final = ("_links", "links")  # HAL; JSON:API and GoCardless
_NESTING: Final = frozenset({"error", "errors", "_embedded"})

# What makes an object an error where nothing round it says so. The second table holds only where there is no ``id``:
# resources have titles and codes too.
_MARKS: Final = frozenset(
    {
        *("message", "error", "failure_code", "failure_message"),
        *("errorCode", "error_code", "error_type", "error_description", "error_message"),
    }
)
_MARKS_WITHOUT_ID: Final = frozenset({"code", "title", "detail", "instance"})

_READ: Final = frozenset(
    {"id", "path", *_LOGREFS, *_CODES, *_ENUMS, *_FALLBACK_CODES, *_FAILURE_CODES, *_FIELDS, *_MESSAGES}
    | _MARKS
    | _MARKS_WITHOUT_ID
)
"""Members whose text is read; the tables above choose among them."""

_SALVAGED: Final = frozenset(
    {"id", "failure_message", *_LOGREFS, *_CODES, *_FALLBACK_CODES, *_FAILURE_CODES, *_FIELDS, *_MESSAGES}
    | {*_RESOURCES, *_MARKS, *_MARKS_WITHOUT_ID}
)
"""Members that are looked for in a document that does not parse."""

_ENUM: Final = re.compile(r"[A-Z][A-Z0-9_]*[A-Z][A-Z0-9_]*")
_NUMERIC: Final = frozenset("-.0123456789")
_NUMBER: Final = re.compile(r"-?[0-9.]+")
_OAUTH_CODE: Final = re.compile(r"[a-z][a-z0-9_.]*|[A-Z][A-Z0-9_]+")
_RESOURCE_ID: Final = re.compile(r"[A-Za-z0-9_.:\-]+")  # an id, never an Authorization header that was echoed
_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://|/")

_OPENINGS: Final = ("{", "[")

_Node: TypeAlias = tuple[_Object, dict[str, str], bool, str | None]
"""An object; of its members in ``_READ`` those that are texts, cleaned, and not empty; whether it stands where only
errors stand: in an ``errors`` list, or as the value of ``error``; the log id of a wrapper that is no error itself."""


def decode_errors(body: bytes) -> tuple[ErrorDetail, ...]:
    """Read the errors that a body describes.

    Args:
        body: Any bytes. UTF-8, UTF-16 and UTF-32 are recognised, with or without a byte order mark; what is none of
            them is read as latin-1. Only the first 64 KiB are looked at.

    Returns:
        At most 32 errors, outer before inner, in the order of the document. Empty for HTML, text, a bare value, and a
        resource that has no error member. Of a document that is cut or malformed, what can be salvaged.
    """
    text = _text(body[:ERROR_BODY_LIMIT])
    if not text.startswith(_OPENINGS):
        text = text.lstrip("\ufeff \t\r\n")
        if not text.startswith(_OPENINGS):
            return ()
    try:
        document = read(text)
    except (ValueError, RecursionError):
        return tuple(islice(_salvaged(text), ERRORS_LIMIT))
    return _errors_below(_objects_in(document))


def _text(body: bytes) -> str:
    if body.isascii() and b"\0" not in body:  # without a mark and without a NUL it is none of the wide encodings
        return body.decode("ascii")
    encoding = json.detect_encoding(body)
    try:
        return body.decode(encoding)
    except UnicodeDecodeError as bad:
        if bad.end == len(body):  # cut inside a character
            return body[: bad.start].decode(encoding)
        return body.decode("latin-1").replace("\0", "")


def _errors_below(roots: list[_Object]) -> tuple[ErrorDetail, ...]:
    """Walk outer before inner, without recursion and within a fixed number of objects."""
    found: list[ErrorDetail] = []
    waiting: list[tuple[_Object, bool, str | None]] = []
    for root in reversed(roots):
        waiting.append((root, False, None))  # noqa: PERF401 - before Python 3.12 a comprehension is a call
    for _ in range(_OBJECTS_LIMIT):
        if not waiting or len(found) >= ERRORS_LIMIT:
            break
        content, known, logref = waiting.pop()
        node = content, _texts_of(content), known, logref
        errors = _errors_of(node) if known or _is_error(node) else None
        if errors:
            found += errors
        if not _NESTING.isdisjoint(content) and (inner := _inner(content)):
            inherited = None if errors else _logref(node)
            for each in reversed(inner):
                waiting.append((each, True, inherited))  # noqa: PERF401 - as above
    return tuple(found[:ERRORS_LIMIT])


def _texts_of(content: _Object) -> dict[str, str]:
    """Clean each text that is read once, however many tables name it."""
    texts: dict[str, str] = {}
    for key, value in content.items():
        if key in _READ and isinstance(value, str):
            # What is so is clean, and to be told so by ``clean`` would cost more than all the rest here.
            text = value if len(value) <= TEXT_LIMIT and value.isprintable() else clean(value)
            if text:
                texts[key] = text
    return texts


def _inner(content: _Object) -> list[_Object]:
    embedded = content.get("_embedded")
    listed = _objects_in(embedded.get("errors")) if isinstance(embedded, dict) else []
    if "error" not in content and "errors" not in content:
        return listed
    return [*_objects_in(content.get("error")), *_objects_in(content.get("errors")), *listed]


def _errors_of(node: _Node) -> list[ErrorDetail]:
    """Turn one object into its error; Checkout.com's into one for each of its codes."""
    content, texts, _, _ = node
    error_codes = _texts_in(content["error_codes"]) if "error_codes" in content else []
    links, resources = _links_and_resources(content)
    code = _code(node)
    failure_message = texts.get("failure_message")
    error = ErrorDetail(
        logref=_logref(node),
        code=code,
        message=_message(node, [code, *error_codes]),
        failure_code=_first(texts, _FAILURE_CODES),
        failure_message=masked(failure_message) if failure_message else None,
        field=_field(node),
        resources=resources,
        links=links,
    )
    if not error_codes:
        return [error] if _says_something(error) else []
    return [_with_code(error, each) for each in error_codes]


def _says_something(error: ErrorDetail) -> bool:
    """Say whether an error holds more than links."""
    return bool(
        error.logref
        or error.code
        or error.message
        or error.failure_code
        or error.failure_message
        or error.field
        or error.resources
    )


def _with_code(error: ErrorDetail, code: str) -> ErrorDetail:
    message = error.message or error.code  # error_type: it says which kind of code this is
    return ErrorDetail(logref=error.logref, code=code, message=message, resources=error.resources, links=error.links)


def _is_error(node: _Node) -> bool:
    """Tell an error from a resource, which may hold the same members, but null."""
    content, texts, _, _ = node
    if "logref" in content or not _MARKS.isdisjoint(texts):
        return True
    if ("error_codes" in content and _texts_in(content["error_codes"])) or (
        "errors" in content and _texts_in(content["errors"])
    ):
        return True
    if not texts or "id" in content:
        return False
    return not _MARKS_WITHOUT_ID.isdisjoint(texts) or "://" in texts.get("type", "")


def _logref(node: _Node) -> str | None:
    content, texts, known, inherited = node
    if "logref" in texts:
        return texts["logref"]
    if "logref" in content:
        nested = content["logref"]
        if isinstance(nested, dict):  # Finix's OpenAPI declares it so
            return _scalar(nested.get("logref"))
    own = _first(texts, _LOGREFS) if texts else None
    if own is None and "request_log_url" in content:
        own = _last_segment(content["request_log_url"])
    if own is None:
        own = texts.get("instance")
    if own is None and known:
        own = texts.get("id")  # JSON:API
    return own or inherited


def _code(node: _Node) -> str | None:
    content, texts, known, _ = node
    code = _first(texts, _CODES)
    # Its type is a kind: Finix's transfers have DEBIT.
    resource = code is None and "id" in content and not known
    if not resource and (code is None or (code[0] in _NUMERIC and _NUMBER.fullmatch(code))):
        for key in _ENUMS if known else _ENUMS[:1]:
            word = texts.get(key)
            if word is not None and _ENUM.fullmatch(word):
                return word
    if code is not None:
        return code
    error = texts.get("error")
    if error is not None and _OAUTH_CODE.fullmatch(error):
        return error
    fallback = None if resource else _first(texts, _FALLBACK_CODES if known else _FALLBACK_CODES[1:])
    return None if fallback == "about:blank" else fallback


def _message(node: _Node, codes: list[str | None]) -> str | None:
    """Join the texts, so that whoever searches them for a word finds it, and each keeps its share of the length."""
    content, texts, _, _ = node
    found: list[str] = []
    for key in _MESSAGES:
        if key in texts:
            found.append(texts[key])  # noqa: PERF401 - as above
    if "errors" in content:
        found.append("; ".join(_texts_in(content["errors"])))  # Fiant
    # A type that names the key must not be lost to a numeric code: classify looks for it.
    if "type" in texts and "idempot" in texts["type"].lower():
        found.append(texts["type"])
    if len(found) > 1:
        found = list(dict.fromkeys(found))
    said: list[str] = []
    for text in found:
        if text and text not in codes:
            said.append(masked(text))  # noqa: PERF401 - as above
    return _joined(said) if said else None


def _joined(said: list[str]) -> str:
    if len(said) == 1:
        return said[0][:TEXT_LIMIT]
    room = TEXT_LIMIT - 2 * (len(said) - 1)
    if sum(map(len, said)) > room:
        said = [text[: room // len(said)] for text in said]
    return ": ".join(said)


def _field(node: _Node) -> str | None:
    content, texts, known, _ = node
    found = _first(texts, _FIELDS)
    if found is not None:
        return found
    source = content.get("source")
    if isinstance(source, dict):  # JSON:API
        return _scalar(source.get("pointer")) or _scalar(source.get("parameter"))
    names = _texts_in(content.get("fields"))  # Fiant
    if "invalidFields" in content:  # Adyen
        names += [name for each in _objects_in(content["invalidFields"]) if (name := _scalar(each.get("name")))]
    if names:
        return clean(",".join(names))
    # vnd.error's JSON pointer; Spring Boot's path is that of the request.
    return texts.get("path") if known or "logref" in content else None


def _links_and_resources(content: _Object) -> tuple[dict[str, str], dict[str, str]]:
    links: dict[str, str] = {}
    resources: dict[str, str] = {}
    for key in _RESOURCES:
        if key in content and (resource := _resource_id(content[key])):
            resources[key] = resource
    for member in _LINKS:
        relations = content.get(member)
        if not isinstance(relations, dict):
            continue
        for name, value in islice(relations.items(), _LINKS_LIMIT):
            relation = name if len(name) <= _NAME_LIMIT and name.isprintable() else clean(name, _NAME_LIMIT)
            if address := _address(value):
                links[relation] = address
            elif member == "links" and (each := _resource_id(value)):  # GoCardless: {"conflicting_resource_id": "PM1"}
                resources[relation] = each
    if "request_log_url" in content and (address := _address(content["request_log_url"])):
        links["request_log"] = address
    return links, resources


def _address(value: object) -> str | None:
    """Read a link: an address, an object with ``href``, or a list of these, of which the first counts."""
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, dict):
        return _scalar(value.get("href"))
    text = _scalar(value)
    return text if text is not None and _ADDRESS.match(text) else None


def _resource_id(value: object) -> str | None:
    text = _scalar(value)
    return text if text is not None and _RESOURCE_ID.fullmatch(text) else None


def _last_segment(value: object) -> str | None:
    address = _address(value)
    return address.partition("?")[0].partition("#")[0].rpartition("/")[2] or None if address else None


def _scalar(value: object) -> str | None:
    """Clean a text; numbers are texts already. Anything else, and an empty text, is nothing."""
    if not isinstance(value, str):
        return None
    text = value if len(value) <= TEXT_LIMIT and value.isprintable() else clean(value)  # as in ``_texts_of``
    return text or None


def _first(texts: dict[str, str], keys: tuple[str, ...]) -> str | None:
    for key in keys:
        if key in texts:
            return texts[key]
    return None


def _objects_in(value: object) -> list[_Object]:
    if isinstance(value, dict):
        return [value]
    return [each for each in value[:_LIST_LIMIT] if isinstance(each, dict)] if isinstance(value, list) else []


def _texts_in(value: object) -> list[str]:
    if not isinstance(value, list):
        return []
    return [text for each in value[:_LIST_LIMIT] if (text := _scalar(each)) is not None]


def _salvaged(text: str) -> Iterator[ErrorDetail]:
    for content in islice(records(text, _SALVAGED), _OBJECTS_LIMIT):
        # The cut may have taken what tells a failed resource from an error, so an id without a logref is a resource.
        node = content, _texts_of(content), False, None
        if _is_error(node) and ("id" not in content or "logref" in content):
            yield from _errors_of(node)
