import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.cli.running import COMMAND, TIMEOUT_S, WITHOUT_RICH, run, run_on_terminal

from holdfast.cli import main

DECLINED = {
    "total": 1,
    "_embedded": {
        "errors": [
            {
                "logref": "4b1cad27",
                "code": "DECLINED",
                "message": "was declined",
                "transfer": "TR1",
                "failure_code": "INSUFFICIENT_FUNDS",
            }
        ]
    },
}


def explained(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Run ``explain --json`` in this process."""
    code = main(["explain", *arguments, "--json"])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    answer: dict[str, Any] = json.loads(out)
    return answer


def test_a_decline_is_explained_in_full(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A user on call would not see that the card was refused, nor what to quote to the provider."""
    body = tmp_path / "body.json"
    body.write_text(json.dumps(DECLINED))

    code = main(["explain", "402", "--provider", "finix", "--method", "post", "--keyed", "--body", str(body)])

    assert code == 0
    assert capsys.readouterr().out == (
        "\n"
        "402 from finix to a POST with an idempotency key\n"
        "  outcome        permanent_failure: sending the same request again cannot help\n"
        "  effect         none: nothing changed at the provider\n"
        "  reason         declined\n"
        "  sent again     no, permanent: the same request would fail again\n"
        "  advised wait   none\n"
        "  logrefs        4b1cad27\n"
        "  error codes    DECLINED\n"
        "  failure codes  INSUFFICIENT_FUNDS\n"
    )


def test_json_holds_the_whole_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    """A script that asks for JSON would get less than the text shows."""
    answer = explained(
        capsys, "503", "--provider", "fiant", "--method", "POST", "--keyed", "--header", "Retry-After: 30"
    )

    assert answer == {
        "status": 503,
        "provider": "fiant",
        "method": "POST",
        "keyed": True,
        "in_doubt": False,
        "outcome": "retryable",
        "effect": "in_doubt",
        "call_effect": "in_doubt",
        "reason": "unavailable",
        "sent_again": True,
        "stop_reason": None,
        "pause_max_s": 37.5,
        "advised_wait_s": 30.0,
        "logrefs": [],
        "error_codes": [],
        "failure_codes": [],
    }


@pytest.mark.parametrize(
    ("arguments", "sent_again", "stop_reason", "pause_max_s"),
    [
        ("200", False, "succeeded", None),
        ("404", False, "permanent", None),
        ("500", True, None, 0.5),
        ("500 --method POST", False, "unsafe_to_resend", None),
        ("500 --method POST --keyed", True, None, 0.5),
        ("500 --method PUT", True, None, 0.5),
        ("500 --method PUT --provider finix", False, "unsafe_to_resend", None),
        ("429 --method POST", True, None, 0.5),
        ("429 --method POST --in-doubt", False, "unsafe_to_resend", None),
        ("429 --method POST --in-doubt --keyed", True, None, 1.0),
        ("409 --method POST --keyed", False, "conflict", None),
        ("503 --header Retry-After:301", False, "retry_after_too_long", None),
    ],
)
def test_explain_says_whether_it_would_be_sent_again(
    arguments: str,
    sent_again: bool,  # noqa: FBT001 - a column of the table
    stop_reason: str | None,
    pause_max_s: float | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A user would learn the class of an answer, but not what the library does with it."""
    answer = explained(capsys, *arguments.split())
    code = main(["explain", *arguments.split()])

    assert (answer["sent_again"], answer["stop_reason"], answer["pause_max_s"]) == (
        sent_again,
        stop_reason,
        pause_max_s,
    )
    line = next(line for line in capsys.readouterr().out.splitlines() if "sent again" in line)
    assert code == 0
    assert ("yes, " if sent_again else f"no, {stop_reason}: ") in line


def test_the_call_stays_in_doubt_where_an_answer_does_not_settle_it(capsys: pytest.CaptureFixture[str]) -> None:
    """A user would take a 429 for proof that nothing happened, though an attempt before it may have landed."""
    answer = explained(capsys, "429", "--method", "POST", "--keyed", "--in-doubt")
    main(["explain", "429", "--method", "POST", "--keyed", "--in-doubt"])

    assert (answer["effect"], answer["call_effect"]) == ("none", "in_doubt")
    assert "  effect of the call  in_doubt: it may or may not have happened\n" in capsys.readouterr().out


def test_repeated_headers_are_combined(capsys: pytest.CaptureFixture[str]) -> None:
    """A user who pastes all headers of a response would have one of them silently dropped."""
    answer = explained(
        capsys, "429", "--header", "RateLimit: a;r=0;t=9", "--header", "ratelimit: b;r=1;t=2", "--header", "X: y"
    )

    assert answer["advised_wait_s"] == 9.0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [("200", 0), ("404", 3), ("503", 4), ("409 --method POST --keyed", 5)],
)
def test_the_exit_code_tells_the_outcome_only_when_asked(
    arguments: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A script under ``set -e`` would end at every failure that it asks about, or could not branch on one."""
    plain = main(["explain", *arguments.split()])
    asked = main(["explain", *arguments.split(), "--exit-code"])

    assert (plain, asked) == (0, code)
    assert capsys.readouterr().err == ""


def test_the_body_can_be_piped_in() -> None:
    """A user could not write ``curl ... | holdfast explain 402 --body -``."""
    done = run("explain", "402", "--provider", "finix", "--body", "-", "--json", stdin=json.dumps(DECLINED).encode())

    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out)["logrefs"] == ["4b1cad27"]


def test_a_body_without_end_is_read_to_64_kib() -> None:
    """A user who pipes in a log by mistake would wait for ever."""
    with subprocess.Popen(
        [*COMMAND, "explain", "500", "--body", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        process.stdin.write(b"x" * 65536)
        process.stdin.flush()  # and it stays open

        code = process.wait(TIMEOUT_S)

    assert code == 0


@pytest.mark.parametrize(
    ("file", "why"),
    [("missing", "No such file or directory"), (".", "Is a directory")],
)
def test_an_unreadable_body_gets_one_line(
    file: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A user who mistypes a file name would get a traceback, or a verdict on an empty body."""
    path = str(tmp_path / file)

    code = main(["explain", "402", "--body", path])

    assert (code, *capsys.readouterr()) == (1, "", f"holdfast: explain: cannot read {path}: {why}\n")


@pytest.mark.parametrize(
    ("redirection", "code", "err"),
    [
        (">&-", 0, ""),
        (">/dev/full", 1, "holdfast: No space left on device\n"),
        ("--body - <&-", 1, "holdfast: explain: --body - needs standard input, which is closed\n"),
    ],
)
def test_lost_streams_do_not_end_in_a_traceback(redirection: str, code: int, err: str) -> None:
    """A user of cron or of a full disk would get twenty lines of Python."""
    shell = f'exec "$@" {redirection}'

    done = subprocess.run(
        ["/bin/sh", "-c", shell, "sh", *COMMAND, "explain", "402"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )

    assert (done.returncode, done.stderr) == (code, err)


def test_what_an_old_terminal_cannot_show_is_escaped(tmp_path: Path) -> None:
    """A user with an ASCII locale would get an UnicodeEncodeError in place of the verdict."""
    body = tmp_path / "body.json"
    body.write_text('{"code": "ABGELEHNT_\u00dc", "logref": "1"}', encoding="utf-8")

    done = subprocess.run(
        [*COMMAND, "explain", "400", "--body", str(body)],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        timeout=TIMEOUT_S,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, b"")
    assert b"ABGELEHNT_\\xdc" in done.stdout


@pytest.mark.parametrize("command", [COMMAND, WITHOUT_RICH], ids=["rich", "no rich"])
def test_a_terminal_shows_the_same_words_with_and_without_rich(command: Sequence[str]) -> None:
    """A user who did not install the extra would be told less."""
    done = run_on_terminal("explain", "503", "--method", "POST", "--header", "Retry-After: 30", command=tuple(command))

    words = run("explain", "503", "--method", "POST", "--header", "Retry-After: 30").out.split()
    assert done.code == 0
    assert [word for word in words if word not in done.out] == []
    assert ("\x1b[" in done.out) is (command == COMMAND)
