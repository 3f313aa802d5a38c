"""Ten bugs that a retrying payment client could have, each as one edit of our own source, and the tests that see it.

The text of an edit stands in its file exactly once; where it no longer does, the source has changed and the plant must
be fitted anew. Each bug leaves an ordinary success as it is: that is what makes it dangerous.
"""

from dataclasses import dataclass
from typing import Final

_RESEND: Final = "tests/session/test_resend.py::"
_VERDICTS: Final = "tests/session/test_verdicts.py::"
_DEADLINE: Final = "tests/session/test_deadline.py::"
_GAPS: Final = "tests/session/test_planted_gaps.py::"
_BODIES: Final = "tests/session/test_error_bodies.py::"
_CATALOGUE: Final = "tests/faults/test_catalogue.py::test_a_fault_ends_in_the_catalogues_verdict"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    """One edit that makes the package lie or pay twice."""

    name: str
    loses: str
    """What a user would lose by it."""

    file: str
    """Below ``middleware/holdfast``."""

    text: str
    """What is replaced; it stands in the file exactly once."""

    becomes: str
    caught_by: tuple[str, ...]
    """Tests, as pytest names them; every one of them fails under the bug."""


BUGS: Final = (
    Bug(
        name="a new key on each attempt",
        loses="The provider takes the retry for a second payment, and makes it.",
        file="transport/session_exchange.py",
        text="        asked, line, task = self.asked, self.asked.line, self.task\n",
        becomes="""\
        asked, line, task = self.asked, self.asked.line, self.task
        given = asked.options.get("headers") or {}
        for name in self.key_headers:
            if name in given:
                given[name] = f"{id(self):08x}-0000-4000-8000-{id(guard):012x}"
""",
        caught_by=(
            f"{_RESEND}test_a_keyed_payment_is_sent_again_with_the_same_key_and_body",
            f"{_CATALOGUE}[T09-PK-first]",
        ),
    ),
    Bug(
        name="an unkeyed POST sent again after a reset",
        loses="The peer may have acted before it reset the connection: the customer pays twice.",
        file="engine/call.py",
        text="        return self.keyed or self.method in self.provider.resend_methods\n",
        becomes="""\
        if self.reason == "connection_lost":
            return True
        return self.keyed or self.method in self.provider.resend_methods
""",
        caught_by=(
            f"{_RESEND}test_an_unkeyed_write_that_may_have_landed_is_sent_exactly_once",
            f"{_CATALOGUE}[T09-P-first]",
        ),
    ),
    Bug(
        name="the status of an exception taken for an answer",
        loses="A garbled answer to a payment that landed is told as a refusal, and the payment is made anew.",
        file="transport/faults.py",
        text="    row = next(row for row in _TABLE if isinstance(error, row.error) and row.only_if(error))\n",
        becomes="""\
    row = next(row for row in _TABLE if isinstance(error, row.error) and row.only_if(error))
    if isinstance(error, aiohttp.ClientResponseError) and error.status == 400:
        return Fault(_FINAL, Effect.NONE, "bad_request", error, bytes_sent=bytes_sent)
""",
        caught_by=(
            f"{_VERDICTS}test_a_malformed_response_is_doubt_and_never_a_refusal",
            f"{_CATALOGUE}[H07.word-PK-first]",
        ),
    ),
    Bug(
        name="aiohttp's hidden re-send left on",
        loses="One capture becomes two, with one attempt in the log.",
        file="transport/single_send.py",
        text="            raise HeldBackError(error) from None\n",
        becomes="            raise error from None\n",
        caught_by=(
            "tests/transport/test_single_send.py::test_aiohttps_hidden_resend_is_held_back",
            f"{_RESEND}test_a_client_that_was_given_sends_each_attempt_once",
        ),
    ),
    Bug(
        name="the body serialized anew between attempts",
        loses="The provider finds the key with another body: it refuses the retry, or pays twice.",
        file="transport/session_exchange.py",
        text="        asked, line, task = self.asked, self.asked.line, self.task\n",
        becomes="""\
        asked, line, task = self.asked, self.asked.line, self.task
        if self.body is not None and self.body.writes and self.body.content_type == "application/json":
            import json
            anew = json.dumps(json.loads(self.body.decode()), sort_keys=True).encode()
            self.body._source = aiohttp.payload.BytesPayload(anew, content_type="application/json")
""",
        caught_by=(
            f"{_GAPS}test_every_attempt_sends_the_callers_own_writing_of_a_document",
            f"{_RESEND}test_a_keyed_payment_is_sent_again_with_the_same_key_and_body",
        ),
    ),
    Bug(
        name="the verdict of the last attempt only",
        loses="A payment that landed, or may have, is told as not made because the retry was turned away.",
        file="engine/call.py",
        text="        self.outcome, self.reason, self.status = verdict.outcome, verdict.reason, verdict.status\n",
        becomes="""\
        self.outcome, self.reason, self.status = verdict.outcome, verdict.reason, verdict.status
        self.effect = verdict.effect
""",
        caught_by=(
            f"{_VERDICTS}test_an_earlier_doubt_is_not_settled_by_a_refusal_at_the_door",
            f"{_VERDICTS}test_what_landed_stays_landed_whatever_comes_after",
        ),
    ),
    Bug(
        name="the deadline on the wall clock",
        loses="A clock set back makes a call outlive its five minutes; one set forward ends it before it began.",
        file="session.py",
        text="now=asyncio.get_running_loop().time)\n",
        becomes='now=__import__("time").time)\n',
        caught_by=(f"{_DEADLINE}test_the_last_attempt_is_cut_to_what_is_left",),
    ),
    Bug(
        name="a pause shortened to fit the deadline",
        loses="The call comes back before the provider asked it to, all callers at once, and is locked out.",
        file="core/decide.py",
        text="    pause_s = _pause(situation)\n",
        becomes="    pause_s = min(_pause(situation), 0.9 * situation.deadline.left(situation.now))\n",
        caught_by=(
            f"{_DEADLINE}test_a_wait_the_server_asks_for_is_never_shortened",
            f"{_DEADLINE}test_retries_stop_before_a_pause_that_would_outlive_the_deadline",
        ),
    ),
    Bug(
        name="a discarded response neither released nor closed",
        loses="Every retry keeps a connection: after a bad hour the pool is empty and no payment leaves.",
        file="transport/exchange.py",
        text="            response.release() if response.content.at_eof() else response.close()\n",
        becomes="            response.content.at_eof()\n",
        caught_by=(f"{_BODIES}test_large_discarded_bodies_close_their_connection",),
    ),
    Bug(
        name="a cancellation swallowed",
        loses="A shutdown hangs, and a payment that was called off is sent again.",
        file="transport/exchange.py",
        text="        if not isinstance(error, Exception):\n            raise error\n",
        becomes="""\
        if not isinstance(error, Exception):
            return aiohttp.ServerDisconnectedError()
""",
        caught_by=(f"{_GAPS}test_a_cancelled_call_that_could_be_repeated_is_not",),
    ),
)

UNHARMED: Final = (
    "tests/session/test_surface.py::test_a_call_can_be_awaited_entered_and_made_a_task",
    "tests/session/test_surface.py::test_calls_in_flight_together_keep_their_verdicts_apart",
)
"""Ordinary successes: they pass under every bug, or the edit has broken the package instead of planting a bug."""
