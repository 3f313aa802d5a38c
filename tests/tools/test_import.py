"""What ``import holdfast`` brings along; how long that takes is measured by ``make bench``."""

import json
import subprocess
import sys
from typing import Any, Final

import pytest

import holdfast
from holdfast import providers

LEFT_OUT: Final = frozenset(
    {
        *("aiohttp_web", "asgi", "blocking", "cli", "client_middleware", "core.problem", "engine.loop_thread"),
        *("providers.fiant", "providers.finix"),
        *("sandbox", "testing", "wsgi"),
    }
)
"""Ours that a session does without."""

BORROWED: Final = frozenset({"hmac"})
"""Modules of others that we import beyond those that aiohttp, structlog and backoff bring."""


def answered(code: str) -> Any:
    """Run code in a fresh interpreter, and give the JSON it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_the_import_brings_no_more_than_a_session_needs() -> None:
    """A command line tool or a cold function would pay for servers, screens and sandboxes at each start."""
    brought = answered(
        "import json, sys, aiohttp, structlog, backoff; known = set(sys.modules)\n"
        "import holdfast; print(json.dumps(sorted(set(sys.modules) - known)))"
    )

    ours = {name.removeprefix("holdfast.") for name in brought if name.startswith("holdfast.")}
    assert {"session", "core.classify"} <= ours
    assert ours & LEFT_OUT == set()
    assert {name for name in brought if not name.startswith("holdfast")} <= BORROWED


@pytest.mark.parametrize("way", ["from holdfast import *", f"from holdfast import {', '.join(holdfast.__all__)}"])
def test_every_public_name_can_be_imported(way: str) -> None:
    """A user would meet an error for a name that the documentation promises and that is imported late."""
    names = answered(f"import json\n{way}\nprint(json.dumps(list(globals())))")

    assert set(holdfast.__all__) <= set(names)


def test_the_package_lists_what_it_imports_late() -> None:
    """A user's editor and ``help`` would not know these names."""
    listed = answered("import holdfast, json; print(json.dumps(dir(holdfast)))")

    assert {*holdfast.__all__, "__version__"} <= set(listed)


def test_a_name_that_does_not_exist_is_refused_as_ever() -> None:
    """A user's ``hasattr`` would raise, or say yes."""
    with pytest.raises(AttributeError, match=r"^module 'holdfast' has no attribute 'Sesion'$"):
        holdfast.Sesion  # type: ignore[attr-defined]  # noqa: B018 - asking is the test


def test_a_providers_name_is_imported_when_it_is_asked_for() -> None:
    """A user of one API would pay for all, or find one missing."""
    names = answered("import json\nfrom holdfast.providers import *\nprint(json.dumps(list(globals())))")
    listed = answered("import json, holdfast.providers\nprint(json.dumps(dir(holdfast.providers)))")

    assert set(providers.__all__) <= set(names)
    assert set(providers.__all__) <= set(listed)
    with pytest.raises(AttributeError, match=r"^module 'holdfast.providers' has no attribute 'FINX'$"):
        providers.FINX  # type: ignore[attr-defined]  # noqa: B018 - asking is the test
