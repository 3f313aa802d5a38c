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
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import groupby, islice
from operator import itemgetter
from typing import Final, NamedTuple, TypeAlias

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
_SALVAGE_LIMIT: Final = 512

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

# What makes an object an error where nothing round it says so. The second table holds only where there is no ``id``:
# resources have titles and codes too.
_MARKS: Final = (
    "message",
    "error",
    "failure_code",
    "failure_message",
    "errorCode",
    "error_code",
    "error_type",
    "error_description",
    "error_message",
)
_MARKS_WITHOUT_ID: Final = ("code", "title", "detail", "instance")

_ENUM: Final = re.compile(r"[A-Z][A-Z0-9_]*[A-Z][A-Z0-9_]*")
_NUMBER: Final = re.compile(r"-?[0-9.]+")
_OAUTH_CODE: Final = re.compile(r"[a-z][a-z0-9_.]*|[A-Z][A-Z0-9_]+")
_RESOURCE_ID: Final = re.compile(r"[A-Za-z0-9_.:\-]+")  # an id, never an Authorization header that was echoed
_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://|/")

# Numbers stay text, so that neither 5 000 digits nor NaN can do harm; raw control characters in strings are tolerated.
_DECODER: Final = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str, strict=False)


class _Node(NamedTuple):
    content: _Object
    known: bool
    """Whether it stands where only errors stand: in an ``errors`` list, or as the value of ``error``."""
    logref: str | None
    """The log id of a wrapper that is no error itself."""


def decode_errors(body: bytes) -> tuple[ErrorDetail, ...]:
    """Read the errors that a body describes.

    Args:
        body: Any bytes. UTF-8, UTF-16 and UTF-32 are recognised, with or without a byte order mark; what is none of
            them is read as latin-1. Only the first 64 KiB are looked at.

    Returns:
        At most 32 errors, outer before inner, in the order of the document. Empty for HTML, text, a bare value, and a
        resource that has no error member. Of a document that is cut or malformed, what can be salvaged.
    """
    text = _text(body[:ERROR_BODY_LIMIT]).lstrip("\ufeff \t\r\n")
    if not text.startswith(("{", "[")):
        return ()
    try:
        document = _DECODER.raw_decode(text)[0]
    except (ValueError, RecursionError):
        return tuple(islice(_salvaged(text), ERRORS_LIMIT))
    roots = [_Node(each, known=False, logref=None) for each in _objects_in(document)]
    return tuple(islice(_errors_below(roots), ERRORS_LIMIT))


def _text(body: bytes) -> str:
    encoding = json.detect_encoding(body)
    try:
        return body.decode(encoding)
    except UnicodeDecodeError as bad:
        if bad.end == len(body):  # cut inside a character
            return body[: bad.start].decode(encoding)
        return body.decode("latin-1").replace("\0", "")


def _errors_below(roots: list[_Node]) -> Iterator[ErrorDetail]:
    """Walk outer before inner, without recursion and within a fixed number of objects."""
    waiting = roots[::-1]
    for _ in range(_OBJECTS_LIMIT):
        if not waiting:
            return
        node = waiting.pop()
        errors = _errors_of(node) if node.known or _is_error(node.content) else []
        yield from errors
        inherited = None if errors else _logref(node)
        waiting.extend([_Node(each, known=True, logref=inherited) for each in _inner(node.content)][::-1])


def _inner(content: _Object) -> Iterator[_Object]:
    embedded = content.get("_embedded")
    yield from _objects_in(content.get("error"))
    yield from _objects_in(content.get("errors"))
    if isinstance(embedded, dict):
        yield from _objects_in(embedded.get("errors"))


def _errors_of(node: _Node) -> list[ErrorDetail]:
    """Turn one object into its error; Checkout.com's into one for each of its codes."""
    content = node.content
    error_codes = _texts_in(content.get("error_codes"))
    links, resources = _links_and_resources(content)
    code = _code(node)
    error = ErrorDetail(
        logref=_logref(node),
        code=code,
        message=_message(content, {code, *error_codes}),
        failure_code=_first(content, _FAILURE_CODES),
        failure_message=masked(_scalar(content.get("failure_message")) or "") or None,
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


def _is_error(content: _Object) -> bool:
    """Tell an error from a resource, which may hold the same members, but null."""
    if "logref" in content or _texts_in(content.get("error_codes")) or _texts_in(content.get("errors")):
        return True
    if _first(content, _MARKS) is not None:
        return True
    if "id" in content:
        return False
    return _first(content, _MARKS_WITHOUT_ID) is not None or "://" in (_scalar(content.get("type")) or "")


def _logref(node: _Node) -> str | None:
    content = node.content
    nested = content.get("logref")
    if isinstance(nested, dict):  # Finix's OpenAPI declares it so
        return _scalar(nested.get("logref"))
    own = _first(content, _LOGREFS) or _last_segment(content.get("request_log_url")) or _scalar(content.get("instance"))
    if own is None and node.known:
        own = _scalar(content.get("id"))  # JSON:API
    return own or node.logref


def _code(node: _Node) -> str | None:
    content = node.content
    code = _first(content, _CODES)
    resource = code is None and "id" in content and not node.known  # its type is a kind: Finix's transfers have DEBIT
    if not resource and (code is None or _NUMBER.fullmatch(code)):
        for key in _ENUMS if node.known else _ENUMS[:1]:
            word = _scalar(content.get(key))
            if word is not None and _ENUM.fullmatch(word):
                return word
    error = _scalar(content.get("error"))
    if code is None and error is not None and _OAUTH_CODE.fullmatch(error):
        return error
    fallback = None if resource else _first(content, _FALLBACK_CODES if node.known else _FALLBACK_CODES[1:])
    return code or (None if fallback == "about:blank" else fallback)


def _message(content: _Object, codes: set[str | None]) -> str | None:
    """Join the texts, so that whoever searches them for a word finds it, and each keeps its share of the length."""
    found = [_scalar(content[key]) for key in _MESSAGES if key in content]
    if "errors" in content:
        found.append("; ".join(_texts_in(content["errors"])))  # Fiant
    kind = _scalar(content.get("type"))
    if kind is not None and "idempot" in kind.lower():  # must not be lost to a numeric code: classify looks for it
        found.append(kind)
    texts = [masked(text) for text in dict.fromkeys(found) if text and text not in codes]
    if not texts:
        return None
    room = TEXT_LIMIT - 2 * (len(texts) - 1)
    if sum(map(len, texts)) > room:
        texts = [text[: room // len(texts)] for text in texts]
    return clean(": ".join(texts))


def _field(node: _Node) -> str | None:
    content = node.content
    found = _first(content, _FIELDS)
    if found is not None:
        return found
    source = content.get("source")
    if isinstance(source, dict):  # JSON:API
        return _first(source, ("pointer", "parameter"))
    names = _texts_in(content.get("fields"))  # Fiant
    if "invalidFields" in content:  # Adyen
        names += [name for each in _objects_in(content["invalidFields"]) if (name := _scalar(each.get("name")))]
    if names:
        return clean(",".join(names))
    # vnd.error's JSON pointer; Spring Boot's path is that of the request.
    return _scalar(content.get("path")) if node.known or "logref" in content else None


def _links_and_resources(content: _Object) -> tuple[dict[str, str], dict[str, str]]:
    links: dict[str, str] = {}
    resources: dict[str, str] = {
        key: each for key in _RESOURCES if key in content and (each := _resource_id(content[key]))
    }
    for member in ("_links", "links"):  # HAL; JSON:API and GoCardless
        relations = content.get(member)
        for name, value in islice(relations.items(), _LINKS_LIMIT) if isinstance(relations, dict) else ():
            relation = clean(name, 64)
            if address := _address(value):
                links[relation] = address
            elif member == "links" and (each := _resource_id(value)):  # GoCardless: {"conflicting_resource_id": "PM1"}
                resources[relation] = each
    if address := _address(content.get("request_log_url")):
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
    return clean(value) or None if isinstance(value, str) else None


def _first(content: Mapping[str, object], keys: tuple[str, ...]) -> str | None:
    for key in keys:
        if key in content and (text := _scalar(content[key])) is not None:
            return text
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
    for content in islice(_records(text), _OBJECTS_LIMIT):
        # The cut may have taken what tells a failed resource from an error, so an id without a logref is a resource.
        if _is_error(content) and ("id" not in content or "logref" in content):
            yield from _errors_of(_Node(content, known=False, logref=None))


@cache
def _member() -> re.Pattern[str]:
    """Match a member of text or number in a document that does not parse. Compiled for the first of these.

    Linear: every key holds a bare quote, so the string of one match ends at the latest in the next key, and possessive
    repeats give nothing back. Looking ahead for a key, and by first letter for which, halves the worst body's time.
    """
    names = {"id", "failure_message", *_LOGREFS, *_CODES, *_FALLBACK_CODES, *_FAILURE_CODES, *_FIELDS, *_MESSAGES}
    names |= {*_RESOURCES, *_MARKS, *_MARKS_WITHOUT_ID}
    by_letter = groupby(sorted(names), itemgetter(0))
    known = "|".join(f"{letter}(?:{'|'.join(name[1:] for name in same)})" for letter, same in by_letter)
    value = r'"(?:[^"\\]++|\\.)*+"|-?[0-9]++(?=\s*+[,}\]])'
    return re.compile(rf'"(?=[A-Za-z_]++"\s*+:)({known})"\s*+:\s*+({value})', re.DOTALL)


def _records(text: str) -> Iterator[_Object]:
    """Read the known members of a document that does not parse; one that comes again begins the next record."""
    content: _Object = {}
    for match in islice(_member().finditer(text), _SALVAGE_LIMIT):
        name, value = match[1], match[2]
        if name in content:
            yield content
            content = {}
        try:
            content[name] = _DECODER.raw_decode(value)[0]
        except ValueError:  # an escape that JSON does not know
            continue
    yield content
