import io
from dataclasses import replace
from typing import Any

import pytest

from holdfast.cli.demo import EXIT_CODES, conclude
from holdfast.cli.demo_tally import MadeCall, Tally, add_up, contradiction
from holdfast.cli.plain_screen import PlainScreen
from holdfast.outcome import Effect, Outcome, StopReason
from holdfast.report import CallReport
from holdfast.sandbox import Ledger

REPORT = CallReport(
    call_id="c1",
    provider="finix",
    operation="transfer",
    method="POST",
    url="http://127.0.0.1/transfers",
    outcome=Outcome.SUCCESS,
    effect=Effect.LANDED,
    reason="ok",
    stop_reason=StopReason.SUCCEEDED,
    attempts=(),
    idempotency_key="key-1",
    logrefs=(),
    errors=(),
    request_ids=(),
    elapsed_s=0.25,
    retry_after_s=None,
)
CALL = MadeCall(
    name="call-1",
    provider="finix",
    operation="transfer",
    method="POST",
    path="/transfers",
    amount=1000,
    report=REPORT,
    readable=True,
)


def ledger_with(*entries: dict[str, Any]) -> Ledger:
    """Write a ledger; each entry is a transfer of 1000 unless it says otherwise."""
    ledger = Ledger()
    for number, entry in enumerate(entries):
        ledger.record(**{"operation": "finix.transfer", "resource_id": f"TR{number}", "amount": 1000, **entry})
    return ledger


def reported(**changes: Any) -> MadeCall:
    """Make the call with another report."""
    return replace(CALL, report=replace(REPORT, **changes))


OWN = {"reference": "call-1", "key": "key-1"}
REFUSED = {"outcome": Outcome.PERMANENT_FAILURE, "effect": Effect.NONE, "stop_reason": StopReason.PERMANENT}
IN_DOUBT = {"outcome": Outcome.RETRYABLE, "effect": Effect.IN_DOUBT, "stop_reason": StopReason.ATTEMPTS_EXHAUSTED}


@pytest.mark.parametrize(
    ("call", "entries", "finding"),
    [
        (CALL, [OWN], None),
        (CALL, [{"reference": "call-0", "key": "key-1"}], None),  # the first use of the key, with the same body
        (CALL, [], "says landed, but the ledger has no such effect"),
        (CALL, [OWN | {"reference": "call-0", "amount": 999}], "says landed, but the ledger has no such effect"),
        (
            CALL,
            [OWN | {"reference": "call-0", "operation": "fiant.payment"}],
            "says landed, but the ledger has no such effect",
        ),
        (reported(**REFUSED), [], None),
        (reported(**REFUSED), [{"reference": "call-0", "key": "key-1"}], None),  # another call's effect
        (reported(**REFUSED), [OWN], "says nothing happened, but it is in the ledger"),
        (reported(**IN_DOUBT), [], None),
        (reported(**IN_DOUBT), [OWN], None),
        (reported(effect=Effect.IN_DOUBT), [OWN], "says success with effect in_doubt"),
        (replace(CALL, report=None), [OWN], "ended without a report"),
        (replace(CALL, readable=False), [OWN], "says success, but its body could not be read"),
        (replace(reported(reason="body_unreadable"), readable=False), [OWN], None),
    ],
)
def test_a_report_is_held_against_the_ledger(
    call: MadeCall, entries: list[dict[str, Any]], finding: str | None
) -> None:
    """A user would read "misreported 0" from a demo that cannot find a wrong report."""
    found = contradiction(call, ledger_with(*entries).effects())

    assert found == finding


def tally_of(call: MadeCall, *entries: dict[str, Any]) -> Tally:
    """Add up a demo of one call."""
    return add_up([call], ledger_with(*entries), [], elapsed_s=1.0)


def shown(tally: Tally) -> str:
    """Show a tally as the demo ends with it."""
    out = io.StringIO()
    conclude(PlainScreen(out), tally)
    return out.getvalue()


def test_an_honest_demo_ends_well() -> None:
    """A user's build would fail on a library that did nothing wrong."""
    tally = tally_of(CALL, OWN)

    assert (tally.honest, EXIT_CODES[tally.honest]) == (True, 0)
    assert shown(tally).endswith("\nNothing was charged twice, and every verdict was true.\n")


def test_a_second_charge_is_named_and_fails_the_demo() -> None:
    """A user would see a number and not the payment, and a build would go on."""
    tally = tally_of(CALL, OWN, OWN)

    assert (tally.honest, EXIT_CODES[tally.honest]) == (False, 1)
    assert "  charges made twice    1\n" in shown(tally)
    assert shown(tally).endswith("\ncharged twice: key-1\n")


def test_a_wrong_report_is_named_with_its_verdict_and_fails_the_demo() -> None:
    """A user could not tell which call was misreported, and why."""
    tally = tally_of(CALL)

    assert (tally.honest, EXIT_CODES[tally.honest]) == (False, 1)
    assert shown(tally).endswith(
        "\ncall-1 finix POST /transfers says landed, but the ledger has no such effect"
        " [success, landed, ok, succeeded; attempts: ]\n"
    )


def test_an_effect_that_no_call_made_fails_the_demo() -> None:
    """A user would not learn of a payment that the client sent behind the demo's back."""
    tally = tally_of(CALL, OWN, {"reference": None, "operation": "finix.capture"})

    assert tally.misreported == ("finix.capture TR1 is in the ledger, but no call made it",)


def test_doubt_is_counted_apart() -> None:
    """A user would take "in doubt" for a wrong verdict, or for a right one."""
    tally = tally_of(reported(**IN_DOUBT), OWN)

    assert tally.honest
    assert tally.to_dict()["effects"] == {
        "none": {"said": 0, "in_ledger": 0},
        "in_doubt": {"said": 1, "in_ledger": 1},
        "landed": {"said": 0, "in_ledger": 0},
    }
    assert "said in_doubt         1; 1 of them had landed, which the client did not claim to know" in shown(tally)
