"""Differences that stay: tests of aiohttp's own that end otherwise on a ``ResilientSession``, and why they may.

What is not in this table is a fault of ours until somebody has looked into it. A test that is in it and passes is named
in the output, so that the table does not outlive its reasons.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """One reason, and the tests that it explains."""

    reason: str
    sessions: tuple[str, ...]
    """The runs in which they differ."""

    tests: frozenset[str]
    """``file::name``, without parameters."""

    def explains(self, session: str, test: str) -> bool:
        """Say whether this is the reason why a test differs in a run."""
        return session in self.sessions and plain_name(test) in self.tests


def plain_name(test: str) -> str:
    """Take folder and parameters off a test's id."""
    return test.partition("[")[0].removeprefix("tests/")


VERBS: Final = ("GET", "OPTIONS", "HEAD", "POST", "PUT", "PATCH", "DELETE")

REVIEWED: Final = (
    Review(
        reason="The test replaces the private `ClientSession._request` and looks for its call before anything is "
        "awaited. aiohttp calls it at once, to get a coroutine; we call it at the first await, once for each attempt",
        sessions=("once", "default"),
        tests=frozenset(
            {f"test_client_session.py::test_http_{verb}" for verb in VERBS} | {"test_client_session.py::test_proxy_str"}
        ),
    ),
    Review(
        reason="The test wants aiohttp's hidden second send. With `max_attempts=1` one attempt is one request; with "
        "the default policy the test passes, by an attempt that is counted and reported",
        sessions=("once",),
        tests=frozenset(
            {
                "test_client_functional.py::test_file_upload_retry_persistent_connection",
                "test_client_functional.py::test_handle_keepalive_on_closed_connection",
                "test_test_utils.py::test_retry_persistent_connection_lowercase_method",
            }
        ),
    ),
    Review(
        reason="The test counts the sends of a GET that fails, or wants the first failure: the default policy sends a "
        "safe method again. With `max_attempts=1` the test passes",
        sessions=("default",),
        tests=frozenset(
            {
                "test_client_functional.py::test_connection_timeout_error",
                "test_client_functional.py::test_read_timeout_closes_connection",
                "test_client_middleware.py::test_client_middleware_blocks_connection_before_established",
                "test_proxy_functional.py::test_proxy_from_env_auth_scoped_to_redirect_selected_proxy",
                "test_proxy_functional.py::test_proxy_https_bad_response",
                "test_run_app.py::TestShutdown::test_shutdown_handler_cancellation_suppressed",
                "test_run_app.py::TestShutdown::test_shutdown_timeout_handler",
                "test_test_utils.py::test_disable_retry_persistent_connection",
                "test_web_server.py::test_raw_server_logs_invalid_method_second_request",
            }
        ),
    ),
    Review(
        reason="A session's `auth=` follows a redirect to another host in aiohttp; here no log-in goes to another "
        "origin",
        sessions=("once", "default"),
        tests=frozenset({"test_client_functional.py::test_auth_persist_on_redirect_to_other_host_with_global_auth"}),
    ),
)


def reason_for(session: str, test: str) -> str | None:
    """Give the reviewed reason why a test differs in a run; ``None`` where nobody has given one."""
    return next((review.reason for review in REVIEWED if review.explains(session, test)), None)


def out_of_date(session: str, differing: Iterable[str], known: Iterable[str]) -> list[str]:
    """Name the tests that are reviewed as differing in a run, are in this release, and do not differ."""
    reviewed = {test for review in REVIEWED if session in review.sessions for test in review.tests}
    return sorted(reviewed & {plain_name(test) for test in known} - {plain_name(test) for test in differing})
