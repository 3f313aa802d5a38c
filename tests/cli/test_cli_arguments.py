from collections.abc import Sequence

import pytest
from tests.cli.running import run

from holdfast.cli import main

BAD: list[tuple[Sequence[str], str]] = [
    ([], "holdfast: COMMAND must be one of demo, explain, sandbox; --help says more"),
    (["dance"], "holdfast: COMMAND must be one of demo, explain, sandbox, got 'dance'"),
    (["explain"], "holdfast: explain: the following arguments are required: STATUS"),
    (["explain", "abc"], "holdfast: explain: STATUS must be a number from 100 to 999, got 'abc'"),
    (["explain", "99"], "holdfast: explain: STATUS must be a number from 100 to 999, got '99'"),
    (["explain", "1000"], "holdfast: explain: STATUS must be a number from 100 to 999, got '1000'"),
    (["explain", "4_02"], "holdfast: explain: STATUS must be a number from 100 to 999, got '4_02'"),
    (["explain", "9" * 30], f"holdfast: explain: STATUS must be a number from 100 to 999, got '{'9' * 30}'"),
    (["explain", "4\n02"], "holdfast: explain: STATUS must be a number from 100 to 999, got '4\\n02'"),
    (
        ["explain", "402", "--provider", "stripe"],
        "holdfast: explain: --provider must be one of finix, fiant, generic, got 'stripe'",
    ),
    (
        ["explain", "402", "--method", "P T"],
        "holdfast: explain: --method must be a request method such as POST, got 'P T'",
    ),
    (["explain", "402", "--header", "X"], "holdfast: explain: --header must look like 'Retry-After: 30', got 'X'"),
    (
        ["explain", "402", "--header", "a b: c"],
        "holdfast: explain: --header must look like 'Retry-After: 30', got 'a b: c'",
    ),
    (["explain", "402", "--body"], "holdfast: explain: --body expected one argument"),
    (["explain", "402", "--prov", "finix"], "holdfast: unrecognized arguments: --prov finix"),
    (["explain", "402", "a\nb"], "holdfast: unrecognized arguments: ab"),
    (["sandbox", "--port", "65536"], "holdfast: sandbox: --port must be a number from 0 to 65535, got '65536'"),
    (["sandbox", "--port", "-1"], "holdfast: sandbox: --port must be a number from 0 to 65535, got '-1'"),
    (["sandbox", "--faults", "1.1"], "holdfast: sandbox: --faults must be a number from 0 to 1, got '1.1'"),
    (["sandbox", "--faults", "nan"], "holdfast: sandbox: --faults must be a number from 0 to 1, got 'nan'"),
    (["sandbox", "--seed", "x"], "holdfast: sandbox: --seed must be a number from 0 to 9223372036854775807, got 'x'"),
    (["demo", "--calls", "0"], "holdfast: demo: --calls must be a number from 1 to 100000, got '0'"),
    (["demo", "--faults", "half"], "holdfast: demo: --faults must be a number from 0 to 1, got 'half'"),
    (["demo", "--seed", "-7"], "holdfast: demo: --seed must be a number from 0 to 9223372036854775807, got '-7'"),
    (["demo", "more"], "holdfast: unrecognized arguments: more"),
]


@pytest.mark.parametrize(("arguments", "line"), BAD, ids=[" ".join(arguments) or "none" for arguments, _ in BAD])
def test_a_bad_argument_gets_one_line(arguments: Sequence[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A user would have to find what is wrong in a traceback or in a page of usage."""
    code = main(arguments)

    assert (code, *capsys.readouterr()) == (2, "", f"{line}\n")


def test_a_bad_argument_ends_the_process_with_2() -> None:
    """A script could not tell a typing error in its own call from an answer."""
    done = run("explain", "abc")

    assert done == (2, "", "holdfast: explain: STATUS must be a number from 100 to 999, got 'abc'\n")


@pytest.mark.parametrize("command", ["", "demo", "explain", "sandbox"])
def test_help_names_the_exit_codes(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A user who scripts the command would have to find its exit codes by trial."""
    code = main([*command.split(), "--help"])

    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    assert "exit codes: 0 " in out
    assert f"usage: holdfast {command}".rstrip() in out
