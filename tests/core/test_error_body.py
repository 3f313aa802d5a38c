import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.error_body import ERROR_BODY_LIMIT, ERRORS_LIMIT, decode_errors, logrefs_of
from holdfast.report import ErrorDetail

CORPUS = Path(__file__).parents[1] / "data" / "classification.json"
FINIX = "https://finix.sandbox-payments-api.com"
SURROGATE = chr(0xD800)


def short(value: object) -> str:
    """Name a case without its control characters and its 64 KiB."""
    return ascii(value[:32]) if isinstance(value, str | bytes) else type(value).__name__


def decode(document: object) -> tuple[ErrorDetail, ...]:
    """Decode a document as a provider would send it."""
    return decode_errors(json.dumps(document).encode())


def envelope(*errors: object) -> dict[str, object]:
    """Wrap errors as Finix and vnd.error do."""
    return {"total": len(errors), "_embedded": {"errors": list(errors)}}


def finix(code: str, message: str, self_path: str, **more: object) -> dict[str, object]:
    """Write an error as Finix does."""
    return {
        "logref": "3fe8e6ab",
        "message": message,
        "code": code,
        **more,
        "_links": {"self": {"href": FINIX + self_path}},
    }


def finix_detail(code: str, message: str, self_path: str, **more: Any) -> ErrorDetail:
    """Write what should be read from it."""
    return ErrorDetail(logref="3fe8e6ab", code=code, message=message, links={"self": FINIX + self_path}, **more)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            finix("BAD_REQUEST", "Malformed request. ", "/merchants"),
            finix_detail("BAD_REQUEST", "Malformed request. ", "/merchants"),
        ),
        (
            finix("DECLINED", "Transfer TRabc was declined", "/transfers", transfer="TRabc", failure_code="LOST_CARD")
            | {"failure_message": "Lost."},
            finix_detail(
                "DECLINED",
                "Transfer TRabc was declined",
                "/transfers",
                failure_code="LOST_CARD",
                failure_message="Lost.",
                resources={"transfer": "TRabc"},
            ),
        ),
        (
            finix("PAYMENT_DECLINED", "Transfer TRcap was declined", "/authorizations/AUabc", transfer="TRcap"),
            finix_detail(
                "PAYMENT_DECLINED",
                "Transfer TRcap was declined",
                "/authorizations/AUabc",
                resources={"transfer": "TRcap"},
            ),
        ),
        (
            finix("UPSTREAM_PROCESSOR_ERROR", "Upstream processor unavailable", "/transfers"),
            finix_detail("UPSTREAM_PROCESSOR_ERROR", "Upstream processor unavailable", "/transfers"),
        ),
        (
            finix("METHOD_NOT_ALLOWED", "Request method 'PATCH' not supported", "/transfers"),
            finix_detail("METHOD_NOT_ALLOWED", "Request method 'PATCH' not supported", "/transfers"),
        ),
        (
            finix("CONFLICT", "Entries [TR1] not found in settlement ST1", "/settlements/ST1/transfers"),
            finix_detail("CONFLICT", "Entries [TR1] not found in settlement ST1", "/settlements/ST1/transfers"),
        ),
        (
            finix("UNPROCESSABLE_ENTITY", "idempotency_id 7f1b was already used", "/transfers"),
            finix_detail("UNPROCESSABLE_ENTITY", "idempotency_id 7f1b was already used", "/transfers"),
        ),
        (
            {
                "logref": "0a1b2c3d4e5f6071",
                "message": "Unauthorized",
                "code": "UNKNOWN",
                "_links": {"self": {"href": FINIX + "/transfers"}, "source": {"href": FINIX + "/transfers"}},
            },
            ErrorDetail(
                logref="0a1b2c3d4e5f6071",
                code="UNKNOWN",
                message="Unauthorized",
                links={"self": FINIX + "/transfers", "source": FINIX + "/transfers"},
            ),
        ),
        (
            {
                "logref": "3fe8e6ab1e8cf44f",
                "message": "Authorization AUabc was declined",
                "code": "DECLINED",
                "authorization": "AUabc",
                "failure_code": "GENERIC_DECLINE",
                "failure_message": "Declined for an unknown reason.",
                "_links": {
                    "self": {"href": FINIX + "/authorizations"},
                    "authorization": {"href": FINIX + "/authorizations/AUabc"},
                },
            },
            ErrorDetail(
                logref="3fe8e6ab1e8cf44f",
                code="DECLINED",
                message="Authorization AUabc was declined",
                failure_code="GENERIC_DECLINE",
                failure_message="Declined for an unknown reason.",
                resources={"authorization": "AUabc"},
                links={"self": FINIX + "/authorizations", "authorization": FINIX + "/authorizations/AUabc"},
            ),
        ),
        (
            {
                "logref": "f423",
                "message": "Expiration year 1988 is expired",
                "code": "INVALID_FIELD",
                "field": "expiration_year",
                "_links": {"source": {"href": FINIX + "/payment_instruments"}},
            },
            ErrorDetail(
                logref="f423",
                code="INVALID_FIELD",
                message="Expiration year 1988 is expired",
                field="expiration_year",
                links={"source": FINIX + "/payment_instruments"},
            ),
        ),
        (
            {"logref": {"logref": "abc123"}, "message": "x", "code": "FORBIDDEN"},
            ErrorDetail(logref="abc123", code="FORBIDDEN", message="x"),
        ),
    ],
)
def test_a_finix_error_is_read_whole(error: object, expected: ErrorDetail) -> None:
    """A lost logref costs a support case its only handle; a lost decline marker makes a decline look transient."""
    compact, pretty = decode(envelope(error)), decode_errors(json.dumps(envelope(error), indent=2).encode())

    assert (compact, pretty) == ((expected,), (expected,))


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (
            {"type": "INVALID_REQUEST", "code": 1000, "errors": ["Invalid field: 'amount'", "Missing: 'currency'"]},
            ErrorDetail(code="INVALID_REQUEST", message="Invalid field: 'amount'; Missing: 'currency'"),
        ),
        (
            {"type": "MIN_INFO_MISSING", "code": 1001, "fields": ["FULL_NAME", "EMAIL_ADDRESS"]},
            ErrorDetail(code="MIN_INFO_MISSING", field="FULL_NAME,EMAIL_ADDRESS"),
        ),
        (
            {"type": "MIN_ASSESSMENT_MISSING", "code": 1002, "assessment": {}},
            ErrorDetail(code="MIN_ASSESSMENT_MISSING"),
        ),
        ({"type": "NO_ERROR", "code": 0}, ErrorDetail(code="NO_ERROR")),
        ({"type": "ALREADY_IN_PROGRESS", "code": 1003}, ErrorDetail(code="ALREADY_IN_PROGRESS")),
        ({"error": "User already exist", "code": 409}, ErrorDetail(code="409", message="User already exist")),
        ({"error": "not_found", "code": 404}, ErrorDetail(code="404", message="not_found")),
    ],
)
def test_fiants_type_is_the_code(document: object, expected: ErrorDetail) -> None:
    """Fiant's numbers are not unique: 2005 stands for two errors, so a rule on them would match the wrong one."""
    errors = decode(document)

    assert errors == (expected,)


def test_a_single_vnd_error_is_read() -> None:
    """Spring writes the log id as a number, and support asks for it as it was shown."""
    document = {
        "message": "Validation failed",
        "path": "/username",
        "logref": 42,
        "_links": {
            "about": {"href": "http://x/u/1"},
            "describes": {"href": "http://x/d"},
            "help": [{"href": "http://x/h{?q}", "templated": True}, {"href": "http://x/other"}],
        },
    }

    errors = decode(document)

    assert errors == (
        ErrorDetail(
            logref="42",
            message="Validation failed",
            field="/username",
            links={"about": "http://x/u/1", "describes": "http://x/d", "help": "http://x/h{?q}"},
        ),
    )


def test_nested_vnd_errors_come_outer_then_inner() -> None:
    """The outer logref names the request, and support asks for that one first."""
    document = {
        "message": "Validation failed",
        "logref": 42,
        "_links": {"help": {"href": "http://x/h"}},
        "_embedded": {
            "errors": [
                {"message": "too short", "path": "/username", "_links": {"about": {"href": "http://x/u/1"}}},
                {"message": "deep", "logref": "43", "_embedded": {"errors": [{"logref": "44"}]}},
                {"message": "last", "logref": 42},
            ]
        },
    }

    errors = decode(document)

    assert errors == (
        ErrorDetail(logref="42", message="Validation failed", links={"help": "http://x/h"}),
        ErrorDetail(message="too short", field="/username", links={"about": "http://x/u/1"}),
        ErrorDetail(logref="43", message="deep"),
        ErrorDetail(logref="44"),
        ErrorDetail(logref="42", message="last"),
    )
    assert logrefs_of(errors) == ("42", "43", "44")


def test_a_bare_array_of_vnd_errors_is_read() -> None:
    """Spring HATEOAS 0.25 and older answer so; a decoder that expects an object would find nothing."""
    errors = decode([{"logref": "42", "message": "m"}, "noise", 7, {"logref": "43", "message": "n"}, {"id": 1}])

    assert errors == (ErrorDetail(logref="42", message="m"), ErrorDetail(logref="43", message="n"))


@pytest.mark.parametrize(
    ("logref", "expected"),
    [
        ("abc", "abc"),
        (42, "42"),
        (-1.50, "-1.5"),
        ({"logref": "abc"}, "abc"),
        ({"logref": 7}, "7"),
        ("a\nb\u001b[31mforged log line", "ab[31mforged log line"),
        (SURROGATE + "a", "a"),
        ("é🚀", "é🚀"),
        ("x" * 60000, "x" * 256),
        ("", None),
        ("\n", None),
        (None, None),
        (True, None),
        ([], None),
        ({}, None),
        ({"logref": {"logref": "x"}}, None),
    ],
    ids=short,
)
def test_a_logref_becomes_one_harmless_text(logref: object, expected: str | None) -> None:
    """It goes into every log line of the failure, so a forged one must not be able to write a line of its own."""
    errors = decode(envelope({"logref": logref, "message": "m"}))

    assert errors == (ErrorDetail(logref=expected, message="m"),)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        pytest.param(
            {"type": "https://x.test/idempotency", "title": "Key is used", "detail": "Other payload."},
            [ErrorDetail(code="https://x.test/idempotency", message="Key is used: Other payload.")],
            id="problem details, IETF idempotency draft",
        ),
        pytest.param(
            {"title": "Not Found", "status": 404, "instance": "/logs/17"},
            [ErrorDetail(logref="/logs/17", message="Not Found")],
            id="problem details without type",
        ),
        pytest.param(
            {"type": "about:blank", "detail": "gone"}, [ErrorDetail(message="gone")], id="problem details, about:blank"
        ),
        pytest.param({"type": "https://x.test/p"}, [ErrorDetail(code="https://x.test/p")], id="problem type alone"),
        pytest.param(
            {"status": 422, "errorCode": "14_006", "errorType": "validation", "message": "bad", "pspReference": "8535"},
            [ErrorDetail(logref="8535", code="14_006", message="bad")],
            id="Adyen classic",
        ),
        pytest.param(
            {
                "type": "https://docs.adyen.com/errors/validation",
                "title": "Invalid",
                "status": 422,
                "detail": "Two fields.",
                "requestId": "1W1UI15PLVGC9V8O",
                "errorCode": "30_011",
                "invalidFields": [{"name": "a", "value": "4111", "message": "no"}, {"name": "b"}, {"name": 5}, {}, "x"],
            },
            [ErrorDetail(logref="1W1UI15PLVGC9V8O", code="30_011", message="Invalid: Two fields.", field="a,b,5")],
            id="Adyen problem details",
        ),
        pytest.param(
            {
                "error": {
                    "type": "card_error",
                    "code": "card_declined",
                    "decline_code": "insufficient_funds",
                    "message": "Declined.",
                    "param": "source",
                    "charge": "ch_1",
                    "doc_url": "https://stripe.com/docs/error-codes/card-declined",
                    "request_log_url": "https://dashboard.stripe.com/logs/req_1?t=1700000000",
                    "payment_intent": {"id": "pi_1", "client_secret": "pi_1_secret_x"},
                    "network_decline_code": "51",
                }
            },
            [
                ErrorDetail(
                    logref="req_1",
                    code="card_declined",
                    message="Declined.",
                    failure_code="insufficient_funds",
                    field="source",
                    resources={"charge": "ch_1"},
                    links={"request_log": "https://dashboard.stripe.com/logs/req_1?t=1700000000"},
                )
            ],
            id="Stripe decline",
        ),
        pytest.param(
            {"error": {"type": "idempotency_error", "message": "Keys can only be reused with the same parameters."}},
            [ErrorDetail(code="idempotency_error", message="Keys can only be reused with the same parameters.")],
            id="Stripe key reuse",
        ),
        pytest.param(
            {"error": {"type": "idempotency_error", "code": 400, "message": "m", "request_log_url": "req_1"}},
            [ErrorDetail(code="400", message="m: idempotency_error")],
            id="idempotency in a type that a number displaces",
        ),
        pytest.param(
            {"error": "invalid_grant", "error_description": "Code expired"},
            [ErrorDetail(code="invalid_grant", message="Code expired")],
            id="OAuth",
        ),
        pytest.param(
            {
                "error": {
                    "code": 409,
                    "type": "invalid_state",
                    "message": "Already created",
                    "request_id": "9aac",
                    "documentation_url": "https://x",
                    "errors": [
                        {
                            "reason": "idempotent_creation_conflict",
                            "message": "Already created",
                            "links": {"conflicting_resource_id": "PM1", "note": "free text"},
                        }
                    ],
                }
            },
            [
                ErrorDetail(logref="9aac", code="409", message="Already created"),
                ErrorDetail(
                    code="idempotent_creation_conflict",
                    message="Already created",
                    resources={"conflicting_resource_id": "PM1"},
                ),
            ],
            id="GoCardless conflict",
        ),
        pytest.param(
            {
                "error": {
                    "code": 503,
                    "message": "try later",
                    "status": "UNAVAILABLE",
                    "details": [{"retryDelay": "3s"}],
                }
            },
            [ErrorDetail(code="UNAVAILABLE", message="try later")],
            id="Google",
        ),
        pytest.param(
            {"errors": [{"category": "PAYMENT_METHOD_ERROR", "code": "CARD_DECLINED", "detail": "No.", "field": "x"}]},
            [ErrorDetail(code="CARD_DECLINED", message="No.", field="x")],
            id="Square",
        ),
        pytest.param(
            {"errors": [{"category": "API_ERROR"}, {}, {"unknown": "free text"}]},
            [ErrorDetail(code="API_ERROR")],
            id="Square, category only",
        ),
        pytest.param(
            {
                "errors": [
                    {
                        "id": "e-1",
                        "status": "422",
                        "code": "invalid",
                        "title": "Invalid",
                        "detail": "bad",
                        "source": {"pointer": "/data/attributes/amount"},
                        "links": {"about": "http://x", "type": {"href": "types/1"}, "next": None},
                        "meta": {"free": "text"},
                    },
                    {"id": 7, "source": {"parameter": "page"}},
                ]
            },
            [
                ErrorDetail(
                    logref="e-1",
                    code="invalid",
                    message="Invalid: bad",
                    field="/data/attributes/amount",
                    links={"about": "http://x", "type": "types/1"},
                ),
                ErrorDetail(logref="7", field="page"),
            ],
            id="JSON:API",
        ),
        pytest.param(
            {"request_id": "0HL80", "error_type": "request_invalid", "error_codes": ["amount_invalid", "cvv_invalid"]},
            [
                ErrorDetail(logref="0HL80", code="amount_invalid", message="request_invalid"),
                ErrorDetail(logref="0HL80", code="cvv_invalid", message="request_invalid"),
            ],
            id="Checkout.com",
        ),
        pytest.param(
            {"request_id": "0HL80", "error_type": "processing_error", "error_codes": []},
            [ErrorDetail(logref="0HL80", code="processing_error")],
            id="Checkout.com without codes",
        ),
        pytest.param(
            {
                "code": "ValidationError",
                "message": "See embedded errors.",
                "_embedded": {"errors": [{"code": "Required", "message": "Name.", "path": "/name", "_links": {}}]},
            },
            [
                ErrorDetail(code="ValidationError", message="See embedded errors."),
                ErrorDetail(code="Required", message="Name.", field="/name"),
            ],
            id="Dwolla",
        ),
        pytest.param(
            {
                "timestamp": "2026-01-01T00:00:00.000+00:00",
                "status": 500,
                "error": "Internal Server Error",
                "path": "/transfers",
                "requestId": "4b1c-1",
                "trace": "java.lang.IllegalStateException: secret",
            },
            [ErrorDetail(logref="4b1c-1", message="Internal Server Error")],
            id="Spring Boot",
        ),
        pytest.param(
            {"status": 404, "error": "Forbidden", "message": "Access denied", "path": "/a"},
            [ErrorDetail(message="Forbidden: Access denied")],
            id="Spring Boot with a message",
        ),
        pytest.param(
            {"error_type": "ITEM_ERROR", "error_code": "ITEM_LOGIN", "error_message": "Log in.", "request_id": "HNTD"},
            [ErrorDetail(logref="HNTD", code="ITEM_LOGIN", message="Log in.")],
            id="Plaid",
        ),
        pytest.param(
            {"request_id": "r-1", "errors": [{"message": "a"}, {"message": "b", "logref": "own"}]},
            [ErrorDetail(logref="r-1", message="a"), ErrorDetail(logref="own", message="b")],
            id="a wrapper's log id belongs to what it wraps",
        ),
        pytest.param(
            {"type": "error", "request_id": "r-1", "error": {"type": "overloaded_error"}},
            [ErrorDetail(logref="r-1", code="overloaded_error")],
            id="a log id beside the error object",
        ),
        pytest.param(
            {"id": "TR1", "type": "DEBIT", "state": "FAILED", "failure_code": "DO_NOT_HONOR", "failure_message": "No."},
            [ErrorDetail(failure_code="DO_NOT_HONOR", failure_message="No.")],
            id="a resource that failed",
        ),
        pytest.param(
            {"message": "echo", "authorization": "Basic c2VjcmV0Og==", "transfer": {"id": "TR1"}, "charge": "Bearer x"},
            [ErrorDetail(message="echo")],
            id="an echoed header is not a resource",
        ),
        pytest.param(
            {"message": "m", "_links": {"self": [], "help": {"title": "x"}, "about": None, "next": 5}, "links": [1]},
            [ErrorDetail(message="m")],
            id="links that lead nowhere",
        ),
    ],
)
def test_each_familys_errors_are_read(document: object, expected: list[ErrorDetail]) -> None:
    """An API we have no profile for would be a bare status code, and its conflicts plain failures."""
    errors = decode(document)

    assert errors == tuple(expected)


@pytest.mark.parametrize(
    "document",
    [
        {
            "id": "TR1",
            "state": "SUCCEEDED",
            "failure_code": None,
            "failure_message": None,
            "type": "DEBIT",
            "messages": [],
        },
        {"id": "AUabc", "state": "SUCCEEDED", "transfer": "TRcap"},
        {"id": "36dbe68f", "link": "https://api.staging.fiant.io/v1/user/u1/transactions/36dbe68f"},
        {
            "resourceType": "TRANSACTION_STATUS",
            "requestId": "r1",
            "status": "REFUSED",
            "paymentStatusDetail": {"x": "Y"},
        },
        {"_embedded": {"transfers": [{"id": "TR1", "failure_code": "X"}]}, "_links": {}, "page": {"limit": 10}},
        {"pspReference": "8535", "resultCode": "Authorised"},
        {"id": "book_1", "title": "Crime and Punishment", "code": "USD", "type": "https://schema.org/Book"},
        {"id": "x", "errors": [], "error": None, "error_codes": [], "_embedded": []},
        {"name": "free", "type": "card"},
        {"_embedded": {"errors": "text"}},
        {},
        [],
        [[{"logref": "x"}]],
        ["text", 1, None],
        "text",
        42,
        None,
        True,
    ],
    ids=ascii,
)
def test_what_describes_no_error_yields_none(document: object) -> None:
    """A paid transfer would be logged with an error beside it, and somebody would refund it."""
    errors = decode(document)

    assert errors == ()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n",
        b'<html><script>{"logref":"x"}</script></html>',
        b"upstream connect error",
        b"NaN",
        b"-",
        b"{",
        b"[",
        b"{}",
        b'{"logref"',
        b'{"total" : 1, "_embedded" : { "errors" : [ { "logref" : "abc',
        b'{"logref": 42',
        b'{"logref": "a\\q"',
        b'{"message": null,',
        b'{"id": "TR1", "state": "FAILED", "failure_code": "X", "message": "m", "tags": {',
        b"\xff\xfe\x00",
        b"\x00" * 64,
    ],
    ids=short,
)
def test_what_cannot_be_read_yields_none(body: bytes) -> None:
    """A proxy's HTML page or half an identifier must neither raise nor pass for the provider's word."""
    errors = decode_errors(body)

    assert errors == ()


@pytest.mark.parametrize(
    "body",
    [
        '{"logref":"1","message":"é 🚀"}'.encode("utf-8-sig"),
        '{"logref":"1","message":"é 🚀"}'.encode("utf-16"),
        '{"logref":"1","message":"é 🚀"}'.encode("utf-16-le"),
        '{"logref":"1","message":"é 🚀"}'.encode("utf-16-be"),
        '{"logref":"1","message":"é 🚀"}'.encode("utf-32"),
        '\r\n\t {"logref":"1","message":"é 🚀"}\n\x00 trailing'.encode(),
        b'{"logref":"1","message":"\\u00e9 \\ud83d\\ude80"}',
        b'{"logref":"1","message":"\xc3\xa9 \xf0\x9f\x9a\x80\x01\n"}',
        b'{"logref":"1","message":"\\ud800\xc3\xa9 \xf0\x9f\x9a\x80\\udfff"}',
    ],
    ids=short,
)
def test_the_encoding_does_not_matter(body: bytes) -> None:
    """Content types lie, and a byte order mark is enough to make a plain parser give up."""
    errors = decode_errors(body)

    assert errors == (ErrorDetail(logref="1", message="é 🚀"),)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"logref":"1","message":"é"}'.encode("latin-1"), "é"),
        (b'{"logref":"1","message":"\xed\xa0\x80!"}', "í\u00a0!"),
        ('{"logref":"1","message":"x'.encode("utf-16-le") + b"\x00\xd8" + '"}'.encode("utf-16-le"), "xØ"),
    ],
)
def test_bytes_in_no_encoding_still_give_their_logref(body: bytes, expected: str) -> None:
    """One stray byte in a message must not cost the identifier beside it."""
    errors = decode_errors(body)

    assert errors == (ErrorDetail(logref="1", message=expected),)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(
            b'{ "_embedded" : { "errors" : [ { "logref" : "a1", "message" : "m \\"q\\" \\u00e9", "code" : "X" }, '
            b'{ "code" : 7 , "logref" : "a2", "mess',
            [ErrorDetail(logref="a1", code="X", message='m "q" é'), ErrorDetail(logref="a2", code="7")],
            id="cut inside the second error",
        ),
        pytest.param(
            b'{"logref":"a1","transfer":"TR1","failure_code":"LOST_CARD","_links":{"self":{"href":"http',
            [ErrorDetail(logref="a1", failure_code="LOST_CARD", resources={"transfer": "TR1"})],
            id="decline markers before the cut",
        ),
        pytest.param(
            b'{"error":{"type":"idempotency_error","message":"Keys can',
            [],
            id="a type alone is no error",
        ),
        pytest.param(
            b'{"type":"ALREADY_IN_PROGRESS","code":1003,"x":',
            [ErrorDetail(code="ALREADY_IN_PROGRESS")],
            id="Fiant",
        ),
        pytest.param(b'{"id":"x","logref":"a1",', [ErrorDetail(logref="a1")], id="a logref beside an id"),
        pytest.param(b'{"logref":"a1",}', [ErrorDetail(logref="a1")], id="trailing comma"),
        pytest.param('{\'x\': 1, "logref":"é'.encode() + b'"', [ErrorDetail(logref="é")], id="not JSON at all"),
        pytest.param('{"logref":"a1","message":"é'.encode()[:-1], [ErrorDetail(logref="a1")], id="cut in a character"),
        pytest.param(
            b'{"message":"\\"logref\\":\\"forged\\"","logref":"a1"',
            [ErrorDetail(logref="a1", message='"logref":"forged"')],
            id="a quoted key is text",
        ),
    ],
)
def test_a_cut_document_gives_what_it_still_holds(body: bytes, expected: list[ErrorDetail]) -> None:
    """A connection lost in the error body would lose the logref, which is needed most just then."""
    errors = decode_errors(body)

    assert errors == tuple(expected)


@pytest.mark.parametrize("nest", ['{"error":', '{"errors":[', "[", '{"_embedded":{"errors":[', '{"x":'])
@pytest.mark.parametrize("depth", [50, 10_000])
def test_nesting_has_no_power_over_the_stack(nest: str, depth: int) -> None:
    """A RecursionError out of an error body would end the call with neither verdict nor report."""
    body = '{"logref":"a1","error":' + nest * depth

    errors = decode_errors(body.encode())

    assert errors == (ErrorDetail(logref="a1"),)


def test_a_deep_and_closed_document_is_walked_to_a_bound() -> None:
    """Errors in errors without end are an attack on the log, not information."""
    document: dict[str, object] = {"logref": "0"}
    for level in range(1, 200):
        document = {"logref": str(level), "error": document}

    errors = decode(document)

    assert errors == tuple(ErrorDetail(logref=str(level)) for level in range(199, 199 - ERRORS_LIMIT, -1))


@pytest.mark.parametrize("number", ["9" * 5000, "-" + "1" * 5000 + ".5e99999", "NaN", "-Infinity", "1e400"])
def test_numbers_stay_text(number: str) -> None:
    """Python refuses integers of 5 000 digits with a ValueError, which would swallow the whole error."""
    errors = decode_errors(f'{{"logref":{number},"x":{number},"message":"m"}}'.encode())

    assert errors == (ErrorDetail(logref=number[:256], message="m"),)


def test_only_the_first_64_kib_are_looked_at() -> None:
    """A 1 MB body must cost no more than the limit, and what stands before the cut must still be found."""
    body = b'{"logref":"a1","message":"' + b"m" * 1024 * 1024 + b'","code":"LATE"}'

    errors = decode_errors(body)

    assert (len(body) > ERROR_BODY_LIMIT, errors) == (True, (ErrorDetail(logref="a1"),))


def test_a_logref_of_a_megabyte_is_no_identifier() -> None:
    """Half of an identifier finds the wrong case, so one that the limit cuts is dropped."""
    errors = decode({"logref": "x" * 1024 * 1024})

    assert errors == ()


@pytest.mark.parametrize("cut", [None, -1])
def test_at_most_32_errors_are_kept_in_order(cut: int | None) -> None:
    """A validation answer with a thousand errors must not become a log event of a megabyte."""
    body = json.dumps(envelope(*[{"logref": number} for number in range(100)])).encode()[:cut]

    errors = decode_errors(body)

    assert errors == tuple(ErrorDetail(logref=str(number)) for number in range(ERRORS_LIMIT))


def test_title_and_detail_both_stay_searchable_when_they_are_long() -> None:
    """A title of 300 letters would push out the detail that names the key: a duplicate would pass for a failure."""
    errors = decode({"title": "t" * 300, "detail": "Idempotency-Key reused " + "d" * 300})

    assert errors == (ErrorDetail(message="t" * 127 + ": " + ("Idempotency-Key reused " + "d" * 300)[:127]),)


def test_long_values_are_cut_and_many_links_are_not_kept() -> None:
    """What a provider sends decides neither the size of a log event nor that of a report."""
    error = {
        "logref": "l" * 300,
        "code": "C" * 300,
        "message": "m" * 300,
        "failure_code": "f" * 300,
        "failure_message": "g" * 300,
        "fields": ["n" * 200, "o" * 200],
        "transfer": "T" * 300,
        "_links": {f"{number:02}" + "r" * 300: {"href": "/" + "h" * 300} for number in range(40)},
    }

    errors = decode(error)

    assert errors == (
        ErrorDetail(
            logref="l" * 256,
            code="C" * 256,
            message="m" * 256,
            failure_code="f" * 256,
            failure_message="g" * 256,
            field="n" * 200 + "," + "o" * 55,
            resources={"transfer": "T" * 256},
            links={f"{number:02}" + "r" * 62: "/" + "h" * 255 for number in range(16)},
        ),
    )


def test_every_body_of_the_corpus_gives_its_logrefs() -> None:
    """The corpus is what the providers document: one logref lost here is lost in every user's log."""
    bodies = {case["body"] for case in json.loads(CORPUS.read_text(encoding="utf-8"))}

    found = {body: logrefs_of(errors) for body in bodies if (errors := decode_errors(body.encode()))}

    own = {body: written for body in bodies if (written := logrefs_written_in(body))}
    assert len(own) > 20
    assert {body: logrefs for body, logrefs in found.items() if "logref" in body} == own
    assert {logref for body, logrefs in found.items() if "logref" not in body for logref in logrefs} == {
        "req_1",
        "e-1",
        "8535",
        "4b1c-1",
    }


def logrefs_written_in(body: str) -> tuple[str, ...]:
    """Find every ``logref`` by walking the document plainly, as a second opinion."""
    found: dict[str, None] = {}

    def walk(value: object) -> None:
        if isinstance(value, dict):
            if "logref" in value:
                found["".join(each for each in str(value["logref"]) if each.isprintable())] = None
            for each in value.values():
                walk(each)
        elif isinstance(value, list):
            for each in value:
                walk(each)

    try:
        walk(json.loads(body))
    except ValueError:
        return ()
    return tuple(found)


KEYS = st.sampled_from(
    [
        *("logref", "code", "message", "type", "title", "detail", "error", "errors", "error_codes", "_embedded", "id"),
        *("_links", "links", "href", "fields", "invalidFields", "name", "source", "pointer", "path", "status"),
        *("request_log_url", "authorization", "failure_code", "instance"),
    ]
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())) | KEYS,
    lambda inner: st.lists(inner) | st.dictionaries(KEYS | st.text(), inner),
    max_leaves=60,
)


@given(JSON_VALUES | st.fixed_dictionaries({"_embedded": st.fixed_dictionaries({"errors": JSON_VALUES})}))
def test_no_json_makes_it_raise_or_leave_its_bounds(document: object) -> None:
    """An odd type in a known member would raise in the middle of a payment whose effect is in doubt."""
    errors = decode(document)

    assert_bounded(errors)


@given(JSON_VALUES.map(lambda value: json.dumps(value).encode()), st.integers(0, 400))
def test_no_cut_makes_it_raise_or_leave_its_bounds(body: bytes, length: int) -> None:
    """Connections break anywhere."""
    errors = decode_errors(body[:length])

    assert_bounded(errors)


@given(st.binary() | st.binary().map(b"{".__add__) | st.binary().map(b'{"logref":"'.__add__))
def test_no_bytes_make_it_raise_or_leave_their_bounds(body: bytes) -> None:
    """The body is the network's word, whatever the content type says."""
    errors = decode_errors(body)

    assert_bounded(errors)


def assert_bounded(errors: tuple[ErrorDetail, ...]) -> None:
    """Hold errors to what any of them may be: few, short, and one line each."""
    texts = [
        text
        for error in errors
        for text in (
            *(error.logref, error.code, error.message, error.failure_code, error.failure_message, error.field),
            *error.links,
            *error.links.values(),
            *error.resources.values(),
        )
        if text is not None
    ]
    assert len(errors) <= ERRORS_LIMIT
    assert all(type(text) is str and len(text) <= 256 and len(text.splitlines()) <= 1 for text in texts)
    assert all(text.encode() is not None for text in texts)


def filled(unit: str | bytes, head: str = "", tail: str = "") -> bytes:
    """Repeat a unit until the body has 64 KiB."""
    each = unit if isinstance(unit, bytes) else unit.encode()
    return head.encode() + each * ((ERROR_BODY_LIMIT - len(head) - len(tail)) // len(each)) + tail.encode()


@pytest.mark.parametrize(
    "body",
    [
        filled("1,", "[", "1]"),
        filled("NaN,", "[", "1]"),
        filled("{},", "[", "1]"),
        filled("[],", '{"errors":[', "1]}"),
        filled('{"a":1},', '{"errors":[', "1]}"),
        filled('{"error":{}},', '{"errors":[', "1]}"),
        filled('{"logref":1},', "[", "1]"),
        filled('"m",', '{"errors":[', '""]}'),
        filled("\\u0001", '{"logref":"', '"}'),
        filled("\\ud800", '{"logref":"', '"}'),
        filled("\x01", '{"logref":"', '"}'),
        filled("[", "{"),
        filled('{"a":', ""),
        filled('{"error":', ""),
        filled('"', "{"),
        filled('"e', "{"),
        filled('"error_', "{"),
        filled('"ee":', "{"),
        filled('"error_":', "{"),
        filled('"logref":', "{"),
        filled('"logref":"', "{"),
        filled('\\"logref":"', "{"),
        filled('"logref"' + " " * 99, "{"),
        filled('"logref":1' + " " * 99, "{"),
        filled('"logref":"\\', "{"),
        filled("\\", '{"logref":"'),
        filled("1", '{"logref":'),
        filled('"logref":1,', "{"),
        filled('"logref":"\\u0001\\q",', "{"),
        filled('"id":"x","code":"y",', "{"),
        filled(" ", ""),
        filled("\n", "{"),
        filled(b"\xed\xa0\x80", "{"),
        filled(b"\x00\xd8", "{\0"),
        filled(b"\x00\xd8\x00\x00", "{\0\0\0"),
        filled(b"\xff", "{"),
        filled('"a%d":{"href":"/"},', '{"message":"m","_links":{', '"b":1}}'),
    ],
    ids=short,
)
def test_no_64_kib_take_5_ms(body: bytes) -> None:
    """The decoder runs on the event loop: a hostile body would delay every other payment in the process."""
    errors = decode_errors(body)

    elapsed = min(timed(body) for _ in range(20))
    assert_bounded(errors)
    assert ERROR_BODY_LIMIT - 200 < len(body) <= ERROR_BODY_LIMIT
    assert elapsed < (0.005 if sys.gettrace() is None else 0.020)  # coverage's tracer takes its share


def timed(body: bytes) -> float:
    """Measure one decoding in seconds."""
    begun = time.process_time()
    decode_errors(body)
    return time.process_time() - begun


def test_no_message_carries_the_card_number_that_it_repeats() -> None:
    """Reports are pickled and kept, and a kept card number is a breach."""
    body = (
        b'{"message": "Card 4111111111111111 refused", "failure_message": "4111 1111 1111 1111", "failure_code": "X"}'
    )

    (error,) = decode_errors(body)

    assert (error.message, error.failure_message) == ("Card [card number] refused", "[card number]")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            {"code": "A", "_links": {"se\x1blf": {"href": "https://e.test/\x1ba"}}, "transfer": "TR\x001"},
            ErrorDetail(code="A", links={"self": "https://e.test/a"}, resources={"transfer": "TR1"}),
        ),
        ({"code": "-1", "type": "NOT_FOUND"}, ErrorDetail(code="NOT_FOUND")),
        ({"code": ".5", "type": "NOT_FOUND"}, ErrorDetail(code="NOT_FOUND")),
        ({"code": "A", "title": "no", "detail": "no"}, ErrorDetail(code="A", message="no")),
        ({"code": "A", "errors": ["x" * 200] * 2}, ErrorDetail(code="A", message=("x" * 200 + "; " + "x" * 54))),
    ],
    ids=["control characters", "negative number", "fraction", "said twice", "one long text"],
)
def test_a_text_is_made_safe_wherever_it_stands(body: dict[str, object], expected: ErrorDetail) -> None:
    """A short cut for texts that are in order must not let one through that is not."""
    errors = decode_errors(json.dumps(body).encode())

    assert errors == (expected,)
