import json
import re
import signal
from importlib.resources import files
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from tests.cli.running import TIMEOUT_S, WITHOUT_RICH, run, run_on_terminal, running

from holdfast.cli.demo_plan import DECK_SIZE, plan

LOGFMT = re.compile(r'level=[a-z]+ event=outbound\.[a-z.]+( [a-z_]+=([^\s"=]+|"[^"]*"))+')


def schema() -> Draft202012Validator:
    """Load the shipped schema of the log events."""
    text = (files("holdfast.telemetry") / "events.schema.json").read_text(encoding="utf-8")
    return Draft202012Validator(json.loads(text))


def test_the_demo_ends_with_nothing_charged_twice_and_nothing_misreported() -> None:
    """A user would be shown a library that pays twice or lies; and a script could not read what it saw."""
    done = run("demo", "--json")

    lines: list[dict[str, Any]] = [json.loads(line) for line in done.out.splitlines()]
    *events, summary = lines
    validator = schema()
    calls = [event for event in events if event["event"] == "outbound.call"]
    assert (done.code, done.err) == (0, "")
    assert [error.message for event in events for error in validator.iter_errors(event)] == []
    assert summary["event"] == "demo.summary"
    assert (summary["charged_twice"], summary["misreported"], summary["misreports"]) == (0, 0, [])
    assert (summary["calls"], len(calls)) == (60, 60)
    assert sum(summary["outcomes"].values()) == 60
    assert sum(effect["said"] for effect in summary["effects"].values()) == 60
    assert summary["attempts"] == sum(event["event"] == "outbound.attempt" for event in events)
    assert summary["effects"]["landed"]["said"] == summary["effects"]["landed"]["in_ledger"] > 0
    assert summary["effects"]["none"]["in_ledger"] == 0
    assert sum(summary["faults"].values()) > 0


def test_the_demo_without_a_terminal_is_a_log_and_a_table() -> None:
    """A user who pipes the demo into a file would find escape codes in it, or no table."""
    done = run("demo", "--calls", "30")

    first, *log = done.out.split("\n\n")[0].splitlines()
    table = done.out.split("\n\n")[1]
    assert (done.code, done.err) == (0, "")
    assert first == "30 calls to a sandbox on this machine, which fails 25% of all requests (seed 7)."
    assert [line for line in log if not LOGFMT.fullmatch(line)] == []
    assert "  calls                 30: " in table
    assert "  charges made twice    0\n  outcomes misreported  0\n" in table
    assert table.endswith("\nNothing was charged twice, and every verdict was true.\n")


def test_the_demo_on_a_terminal_shows_progress_and_colour() -> None:
    """A user would look at a still screen and think that it hangs."""
    done = run_on_terminal("demo", "--calls", "20")

    assert done.code == 0
    assert "20/20" in done.out
    assert "\x1b[33mwarning outbound." in done.out
    assert "charges made twice" in done.out
    assert done.out.count("\x1b[?25l") == done.out.count("\x1b[?25h") > 0, "the cursor is hidden and shown again"


def test_the_demo_on_a_terminal_works_without_rich() -> None:
    """A user who installed the wheel alone would be told to install something else first."""
    done = run_on_terminal("demo", "--calls", "20", command=WITHOUT_RICH)

    assert done.code == 0
    assert "\x1b" not in done.out
    assert "level=info event=outbound.call" in done.out
    assert "  charges made twice    0\r\n  outcomes misreported  0\r\n" in done.out


def test_the_demo_ends_when_every_request_fails() -> None:
    """A user who turns the faults all the way up would wait for ever, or see the library guess."""
    done = run("demo", "--json", "--calls", "12", "--faults", "1")

    summary = json.loads(done.out.splitlines()[-1])
    assert (done.code, done.err) == (0, "")
    assert (summary["calls"], summary["charged_twice"], summary["misreported"]) == (12, 0, 0)
    assert summary["slowest_call_s"] < 10.5


def test_an_interrupted_demo_says_so_in_one_line() -> None:
    """A user who has seen enough would get a traceback for Ctrl-C."""
    with running("demo", "--json", "--calls", "5000") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)

        _, err = process.communicate(timeout=TIMEOUT_S)

    assert (process.returncode, err) == (130, "holdfast: interrupted\n")


def test_a_reader_that_has_had_enough_ends_the_demo_quietly() -> None:
    """A user of ``holdfast demo | head -1`` would get a warning per event, and wait for the rest of the calls."""
    with running("demo", "--json", "--calls", "5000") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()

        code = process.wait(TIMEOUT_S)
        err = process.stderr.read()

    assert (code, err) == (1, "")


@pytest.mark.parametrize("calls", [1, 2, 7, 60, 300])
def test_a_seed_gives_the_same_calls_each_time(calls: int) -> None:
    """A user could not show a colleague what he saw."""
    stories = plan(7, calls)

    assert sum(len(story) for story in stories) == calls
    assert stories == plan(7, calls)


def test_another_seed_gives_other_calls() -> None:
    """A user who tries another seed would see the same demo."""
    assert plan(7, 60) != plan(8, 60)


def test_the_usual_demo_shows_every_story() -> None:
    """A user would not see the one case he came for."""
    assert DECK_SIZE <= 60
