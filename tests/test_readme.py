"""The README is run, not believed."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
README: Final = ROOT / "README.md"
TIMEOUT_S: Final = 60.0


def python_blocks(markdown: str) -> list[tuple[int, str]]:
    """List the python blocks of a text, each with the line number of its first line."""
    return [
        (markdown.count("\n", 0, match.start("code")) + 1, match["code"])
        for match in re.finditer(r"^```python[^\n]*\n(?P<code>.*?)^```$", markdown, flags=re.MULTILINE | re.DOTALL)
    ]


def make_commands(markdown: str) -> set[str]:
    """Find the targets of the make commands that a text names, in shell blocks and between backticks."""
    blocks = re.findall(r"^```(?:sh|shell|bash|console)\n(.*?)^```$", markdown, flags=re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```.*?^```$", "", markdown, flags=re.MULTILINE | re.DOTALL)
    code = "\n".join([*blocks, *re.findall(r"`([^`\n]+)`", prose)])
    return set(re.findall(r"(?:^|\$ |&& )make ([a-z-]+)", code, flags=re.MULTILINE))


def make_targets(makefile: str) -> set[str]:
    """List the targets that a Makefile declares as commands."""
    return set(" ".join(re.findall(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)).split()) & set(
        re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE)
    )


BLOCKS: Final = python_blocks(README.read_text(encoding="utf-8")) if README.exists() else []


def test_the_readme_shows_code() -> None:
    """A user would have nothing to copy, and the test below would pass by running nothing."""
    assert README.exists()
    assert BLOCKS


@pytest.mark.parametrize(("line", "code"), BLOCKS, ids=[f"line-{line}" for line, _ in BLOCKS])
def test_a_readme_block_runs_as_it_stands(line: int, code: str, tmp_path: Path) -> None:
    """A user who copies a block would find that it fails, warns or hangs."""
    script = tmp_path / f"readme_line_{line}.py"
    script.write_text(code, encoding="utf-8")

    done = subprocess.run(
        [sys.executable, "-W", "error", script.name],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )

    assert done.returncode == 0, f"README.md line {line}:\n{done.stdout}\n{done.stderr}"
    assert not re.search("Traceback|Exception ignored|Warning", done.stderr), done.stderr


def test_the_make_commands_of_the_readme_exist() -> None:
    """A user's first command would answer "No rule to make target"."""
    named = make_commands(README.read_text(encoding="utf-8"))

    targets = make_targets((ROOT / "Makefile").read_text(encoding="utf-8"))

    assert {"demo", "test"} <= named
    assert named <= targets


def test_a_block_is_found_with_its_line() -> None:
    """A user's failing block would be reported at another place, or be missed."""
    text = "# Title\n\n```python\na = 1\n\nb = 2\n```\n\n```sh\nmake demo\n```\n```python\nc = 3\n```\n"

    blocks = python_blocks(text)

    assert blocks == [(4, "a = 1\n\nb = 2\n"), (13, "c = 3\n")]


def test_a_make_command_is_found_in_shell_and_in_prose() -> None:
    """A user could follow a command that no test had looked at."""
    text = "Run `make demo`, or\n```sh\ncd holdfast && make test\nmake lint\n$ make types\n```\nWe\nmake sure."

    commands = make_commands(text)

    assert commands == {"demo", "lint", "test", "types"}
