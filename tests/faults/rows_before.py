"""Faults before a connection can carry the request: admission, DNS, connect, TLS, proxy."""

from socket import EAI_NONAME
from typing import Final

from aiohttp import ClientTimeout, Fingerprint
from tests.faults.certificates import certificates
from tests.faults.drivers import (
    send_closed,
    send_from_crowded_pool,
    send_with_open_circuit,
    send_without_connector,
)
from tests.faults.handlers import FIN, HANG, after_hello, healthy, holding, on_first_byte, proxy_says
from tests.faults.places import (
    NO_ANSWER,
    NoSockets,
    first_dead,
    refused,
    says,
    server,
    silent,
)
from tests.faults.rows import SHORT, SHORT_S, Ask, Differs, Row

from holdfast import Outcome

TLS_URL: Final = "https://pay.test/payments"
TLS: Final = Ask(url=TLS_URL)
PROXY: Final = Ask(url=TLS_URL, proxy="http://proxy.test:3128")

WRONG_VERSION: Final = bytes.fromhex("15 0303 0002 02 46")
"""A fatal ``protocol_version`` alert (RFC 8446 section 6.2)."""

NO_ALERT: Final = (
    "an asyncio server hangs up without an alert: what the client sees is T06 to the byte, and nothing was sent; "
    "where the alert comes, the verdict is final (flavour alert)"
)

ADMISSION: Final = (
    Row(
        id="L01",
        place=server(healthy),
        drive=send_with_open_circuit,
        seen=0,
        connects=0,
        attempts=0,
        outcome=Outcome.RETRYABLE,
        reason="circuit_open",
    ),
    Row(
        id="L03",
        place=server(healthy),
        ask=Ask(policy={"deadline": 1e-9}),
        seen=0,
        connects=0,
        attempts=0,
        outcome=Outcome.RETRYABLE,
        reason="deadline",
    ),
    Row(
        id="L04",
        place=server(holding()),
        ask=Ask(
            policy={"max_attempts": 2},
            timeout=ClientTimeout(connect=SHORT_S),
            connector=lambda _: {"limit": 1},
        ),
        drive=send_from_crowded_pool,
        seen=0,
        connects=None,
        reason="pool_wait",
    ),
    Row(id="L05", place=server(healthy), ask=Ask(url="http:///payments"), seen=0, connects=0, reason="invalid_url"),
    Row(id="L06", place=server(healthy), ask=Ask(url="ftp://pay.test/"), seen=0, connects=0, reason="invalid_url"),
    Row(id="L07", flavour="session", place=server(healthy), drive=send_closed, seen=0, connects=0),
    Row(id="L07", flavour="connector", place=server(healthy), drive=send_without_connector, seen=0, connects=0),
)

CONNECT: Final = (
    Row(id="D01", place=says(OSError(EAI_NONAME, "Name or service not known")), seen=0, connects=0, reason="dns"),
    Row(id="D03", place=says(NO_ANSWER), ask=Ask(policy=SHORT), seen=0, connects=0, reason="connect_timeout"),
    Row(id="D04", place=says([]), seen=0, connects=0, reason="dns"),
    Row(id="C01", place=refused, seen=0, connects=0, reason="connect"),
    Row(
        id="C02",
        place=silent,
        ask=Ask(policy={"max_attempts": 2}, timeout=ClientTimeout(sock_connect=SHORT_S)),
        seen=0,
        connects=0,
        reason="connect_timeout",
    ),
    Row(id="C03", place=silent, ask=Ask(policy=SHORT), seen=0, connects=0, reason="connect_timeout"),
    Row(
        id="C06",
        place=server(healthy),
        ask=Ask(connector=lambda attempts: {"socket_factory": NoSockets(attempts)}),
        seen=0,
        connects=0,
        reason="connect",
    ),
    Row(id="C07", place=first_dead(server(healthy))),
)

TLS_ROWS: Final = (
    Row(
        id="T03",
        place=server(healthy, lambda: certificates().expired),
        ask=TLS,
        seen=0,
        connects=0,
        reason="tls_certificate",
    ),
    Row(
        id="T04",
        place=server(healthy, lambda: certificates().good),
        ask=Ask(url=TLS_URL, client_tls=lambda: Fingerprint(bytes(32))),
        seen=0,
        reason="tls_certificate",
    ),
    Row(id="T06", place=server(on_first_byte(FIN)), ask=TLS, seen=0),
    Row(
        id="T07",
        place=server(on_first_byte(HANG)),
        ask=Ask(url=TLS_URL, policy=SHORT),
        seen=0,
        reason="connect_timeout",
    ),
    Row(id="T08", flavour="alert", place=server(after_hello(WRONG_VERSION)), ask=TLS, seen=0, reason="tls"),
    *(
        Row(
            id="T08",
            flavour=flavour,
            place=server(healthy, theirs),
            ask=Ask(url=TLS_URL, client_tls=ours),
            seen=0,
            connects=0,
            reason="connect",
            differs=(Differs(cases="G PK P U", final="failed_not_sent", retry=True, first="ok", why=NO_ALERT),),
        )
        for flavour, theirs, ours in (
            ("server_is_old", lambda: certificates().old, lambda: certificates().modern_client),
            ("client_is_old", lambda: certificates().modern, lambda: certificates().old_client),
        )
    ),
    Row(id="T09", place=server(healthy, lambda: certificates().demanding), ask=TLS, seen=0, connects=0),
    Row(id="T10", place=server(healthy, lambda: certificates().good), seen=0, connects=0),
    Row(id="T11", place=server(on_first_byte(HANG)), ask=Ask(url=TLS_URL, policy=SHORT), seen=0),
)

PROXY_ROWS: Final = (
    Row(id="X01", place=refused, ask=PROXY, seen=0, connects=0, reason="proxy"),
    Row(id="X02", place=server(proxy_says(502)), ask=PROXY, seen=0, reason="proxy_refused"),
    Row(id="X03", place=server(proxy_says(407)), ask=PROXY, seen=0),
)

ROWS: Final = (*ADMISSION, *CONNECT, *TLS_ROWS, *PROXY_ROWS)
