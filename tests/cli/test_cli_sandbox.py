import json
import shlex
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator

import pytest
from tests.cli.running import TIMEOUT_S, run, running


def post(url: str, body: str) -> dict[str, object]:
    """Send JSON and read JSON."""
    request = urllib.request.Request(  # noqa: S310 - loopback
        url, body.encode(), {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310 - loopback
        answer: dict[str, object] = json.loads(response.read())
    return answer


def stop(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str]:
    """Send a signal, and give the exit code and what was still printed to standard output."""
    process.send_signal(number)
    out, _ = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, out


@pytest.fixture
def sandbox() -> Iterator[subprocess.Popen[str]]:
    """Start a sandbox without faults."""
    with running("sandbox", "--faults", "0") as process:
        yield process


def first_line(process: subprocess.Popen[str]) -> str:
    """Read the address that the sandbox prints."""
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_sandbox_answers_until_it_is_stopped(sandbox: subprocess.Popen[str], number: signal.Signals) -> None:
    """A script could not read the address, or Ctrl-C and a container's stop would look like a crash."""
    url = first_line(sandbox)
    made = post(f"{url}/transfers", '{"merchant": "MU1", "currency": "USD", "amount": 1000}')

    ended = stop(sandbox, number)

    assert made["amount"] == 1000
    assert ended == (0, "")


def test_the_command_it_suggests_works(sandbox: subprocess.Popen[str]) -> None:
    """A user who pastes the first command he sees would get an error."""
    first_line(sandbox)
    assert sandbox.stderr is not None
    hint = sandbox.stderr.readline()
    curl = shlex.split(sandbox.stderr.readline())

    made = post(curl[2], curl[-1])

    assert hint == ("0% of the requests fail (seed 7). Finix is at the root, Fiant under /v1. Ctrl-C stops it. Try:\n")
    assert curl[:2] == ["curl", "-s"]
    assert made["idempotency_id"] == "order-7"


def test_a_port_in_use_gets_one_line() -> None:
    """A user who starts a second sandbox would get a traceback that does not name the port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        done = run("sandbox", "--port", str(port))

    assert done == (1, "", f"holdfast: sandbox: port {port} is in use; --port 0 picks a free one\n")


def test_the_port_asked_for_is_the_port_served() -> None:
    """A user who configured an address in his service would find nothing there."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    with running("sandbox", "--port", str(port)) as process:
        url = first_line(process)
        ended = stop(process, signal.SIGINT)

    assert (url, ended) == (f"http://127.0.0.1:{port}", (0, ""))
