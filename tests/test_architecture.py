"""The rules of the layout, read from the source without importing it.

Each rule is one function from sources to findings. One test per rule holds it against the package; the table
``PLANTED`` at the end holds every rule against a violation of its own, so that none can pass by looking at nothing.
"""

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGE: Final = ROOT / "middleware" / "holdfast"

Sources: TypeAlias = Mapping[str, str]
"""Text of each module by its name below the package: ``core.schedule``, ``core`` for its ``__init__``, and ``""``."""

Rule: TypeAlias = Callable[[Sources], list[str]]

FLOORS: Final[Mapping[str, int]] = {
    "outcome": 0,
    "policy": 0,
    "report": 0,
    "errors": 0,
    "protocols": 0,
    "values": 0,
    "core": 1,
    "providers": 1,
    "engine": 2,
    "transport": 2,
    "telemetry": 2,
    "journal": 2,
    "shared": 2,
    "session": 3,
    "client_middleware": 3,
    "blocking": 3,
    "asgi": 3,
    "wsgi": 3,
    "aiohttp_web": 3,
    "": 3,  # the package root offers what lies on floors 0 to 3, and no tools
    "testing": 4,
    "sandbox": 4,
    "cli": 4,
    "__main__": 4,
}

AIOHTTP_HOMES: Final = (
    "transport",
    "session",
    "blocking",
    "errors",
    "client_middleware",
    "aiohttp_web",
    "sandbox",
    "testing",
    "cli",
)
HOMES: Final[Mapping[str, tuple[str, ...]]] = {
    "aiohttp": AIOHTTP_HOMES,
    "multidict": AIOHTTP_HOMES,  # the types of aiohttp's headers ...
    "yarl": (*AIOHTTP_HOMES, "engine"),  # ... and addresses: parts of its interface, and plain values
    "structlog": ("telemetry.structlog", "cli"),
    "rich": ("cli",),
    "backoff": ("core.schedule",),
    "orjson": ("core.well_formed",),
}
"""Where each outside library may be imported; one that is not named here may be imported nowhere."""

LOWER_FLOORS_MAY_IMPORT: Final = frozenset(
    {
        ("errors", "aiohttp"),  # by contract our answer errors are aiohttp.ClientResponseError too,
        ("errors", "multidict"),  # which wants its headers
        ("errors", "yarl"),  # and its address as these
        ("core.schedule", "backoff"),  # pure generators: they neither sleep nor read a clock
        ("core.well_formed", "orjson"),  # bytes in, a value out; done without where it is not installed
    }
)

SHELLS: Final = frozenset({"session", "client_middleware", "blocking", "asgi", "wsgi", "aiohttp_web"})
SHELL_CHAIN: Final = frozenset({("wsgi", "blocking"), ("blocking", "session")})

MODULE_LINES: Final = 400
FUNCTION_LINES: Final = 60

IMPURE_LIBRARIES: Final = frozenset({"asyncio", "logging", "random", "secrets", "socket", "time"})
IMPURE_CALLS: Final = frozenset({"input", "open", "print"})
IMPURE_METHODS: Final = frozenset({"now", "open", "read_bytes", "read_text", "time", "today", "utcnow"})

FOLDERS: Final = frozenset({"benchmarks", "middleware", "tests"})


class Import(NamedTuple):
    """One import statement's target."""

    target: str
    """Full dotted name as written, a submodule resolved: ``holdfast.core.schedule`` or ``aiohttp``."""
    line: int
    runtime: bool
    """Whether it runs, and does not only serve the type checker."""


def read_package() -> Sources:
    """Read every module of the package."""
    sources: dict[str, str] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        sources[name] = path.read_text(encoding="utf-8")
    return sources


def imports_of(source: str, sources: Sources) -> Iterator[Import]:
    """List what a module imports, wherever in it the statement stands."""
    tree = ast.parse(source)
    typing_only = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
        for statement in branch.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        runtime = id(node) not in typing_only
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, runtime)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                submodule = f"{module}.{alias.name}"
                yield Import(submodule if inside(submodule) in sources else module, node.lineno, runtime)


def inside(target: str) -> str | None:
    """Name the module of ours that an import aims at; ``None`` for another's."""
    if target == "holdfast":
        return ""
    return target.removeprefix("holdfast.") if target.startswith("holdfast.") else None


def outside(target: str) -> str | None:
    """Name the third-party library that an import aims at; ``None`` for ours and the standard library's."""
    library = target.partition(".")[0]
    return None if library in {"", "holdfast"} or library in sys.stdlib_module_names else library


def floor_of(module: str) -> int | None:
    """Look up a module's floor by the first part of its name; ``None`` when the table has none."""
    return FLOORS.get(module.partition(".")[0])


def lives_in(module: str, homes: tuple[str, ...]) -> bool:
    """Tell whether a module is one of these, or lies in one."""
    return any(module == home or module.startswith(f"{home}.") for home in homes)


def shown(module: str) -> str:
    """Name a module as a finding does."""
    return module or "__init__"


def modules_without_floor(sources: Sources) -> list[str]:
    """Find modules that the table of floors does not know."""
    return [f"{shown(module)} has no floor" for module in sources if floor_of(module) is None]


def upward_imports(sources: Sources) -> list[str]:
    """Find imports from a higher floor, those for the type checker included."""
    return [
        f"{shown(module)}:{found.line} imports {found.target}, which is above it"
        for module, source in sources.items()
        for found in imports_of(source, sources)
        if (target := inside(found.target)) is not None and (floor_of(target) or 0) > (floor_of(module) or 0)
    ]


def import_cycles(sources: Sources) -> list[str]:
    """Find modules that reach themselves through imports that run."""
    edges = {
        module: {
            target
            for found in imports_of(source, sources)
            if found.runtime and (target := inside(found.target)) is not None
        }
        for module, source in sources.items()
    }

    def reached_from(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = list(edges[start])
        while waiting:
            module = waiting.pop()
            if module not in seen:
                seen.add(module)
                waiting.extend(edges.get(module, ()))
        return seen

    return [f"{shown(module)} imports itself in a circle" for module in sources if module in reached_from(module)]


def libraries_on_lower_floors(sources: Sources) -> list[str]:
    """Find third-party imports on floors 0 and 1."""
    return [
        f"{module}:{found.line} imports {library}"
        for module, source in sources.items()
        if floor_of(module) in {0, 1}
        for found in imports_of(source, sources)
        if (library := outside(found.target)) and (module, library) not in LOWER_FLOORS_MAY_IMPORT
    ]


def libraries_away_from_home(sources: Sources) -> list[str]:
    """Find third-party imports outside the library's home, and libraries that have none."""
    return [
        f"{shown(module)}:{found.line} imports {library}"
        for module, source in sources.items()
        for found in imports_of(source, sources)
        if (library := outside(found.target)) and not lives_in(module, HOMES.get(library, ()))
    ]


def shells_that_import_shells(sources: Sources) -> list[str]:
    """Find imports between shells, apart from wsgi -> blocking -> session."""
    return [
        f"{module}:{found.line} imports {found.target}"
        for module, source in sources.items()
        if module in SHELLS
        for found in imports_of(source, sources)
        if (target := inside(found.target)) in SHELLS and target != module and (module, target) not in SHELL_CHAIN
    ]


def root_imports(sources: Sources) -> list[str]:
    """Find imports from the package root, and relative ones, which hide where a name comes from."""
    return [
        f"{shown(module)}:{found.line} imports {found.target}"
        for module, source in sources.items()
        for found in imports_of(source, sources)
        if found.target == "holdfast" or found.target.startswith(".")
    ]


def long_modules(sources: Sources) -> list[str]:
    """Find modules above the cap."""
    return [
        f"{shown(module)} has {lines} lines"
        for module, source in sources.items()
        if (lines := len(source.splitlines())) > MODULE_LINES
    ]


def long_functions(sources: Sources) -> list[str]:
    """Find functions above the cap, docstring included."""
    return [
        f"{shown(module)}:{node.lineno} {node.name} has {lines} lines"
        for module, source in sources.items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES
    ]


def impure_decisions(sources: Sources) -> list[str]:
    """Find what waits, reads a clock, draws, logs, prints or opens on floor 1."""
    decisions = {module: source for module, source in sources.items() if floor_of(module) == 1}
    findings = [
        f"{module}:{found.line} imports {found.target}"
        for module, source in decisions.items()
        for found in imports_of(source, sources)
        if found.target.partition(".")[0] in IMPURE_LIBRARIES
    ]
    for module, source in decisions.items():
        for node in ast.walk(ast.parse(source)):
            match node:
                case ast.Await() | ast.AsyncFunctionDef() | ast.AsyncFor() | ast.AsyncWith():
                    findings.append(f"{module}:{node.lineno} waits")
                case ast.Call(func=ast.Name(id=name)) if name in IMPURE_CALLS:
                    findings.append(f"{module}:{node.lineno} calls {name}")
                case ast.Call(func=ast.Attribute(attr=name)) if name in IMPURE_METHODS:
                    findings.append(f"{module}:{node.lineno} calls {name}")
    return findings


def undescribed_modules(sources: Sources) -> list[str]:
    """Find modules without a docstring."""
    return [
        f"{shown(module)} has no docstring"
        for module, source in sources.items()
        if not ast.get_docstring(ast.parse(source))
    ]


@pytest.fixture(scope="module")
def package() -> Sources:
    """Give the sources of the package, once and not empty."""
    sources = read_package()
    assert {"outcome", "core", "core.schedule"} <= sources.keys(), "the package was not found"
    return sources


def test_every_module_stands_on_a_floor(package: Sources) -> None:
    """A module that no rule covers could bring back whatever the rules keep out."""
    findings = modules_without_floor(package)

    assert findings == []


def test_imports_point_down(package: Sources) -> None:
    """A user who needs one decision, such as ``retry_after``, would have to load sessions and sockets with it."""
    findings = upward_imports(package)

    assert findings == []


def test_no_module_imports_itself_in_a_circle(package: Sources) -> None:
    """A user would get an ImportError that depends on which submodule the program happens to import first."""
    findings = import_cycles(package)

    assert findings == []


def test_vocabulary_and_decisions_need_only_the_standard_library(package: Sources) -> None:
    """A user could no longer reason about a verdict, or test with it, without the HTTP stack."""
    findings = libraries_on_lower_floors(package)

    assert findings == []


def test_each_outside_library_has_one_home(package: Sources) -> None:
    """A user without the extras would find that ``import holdfast`` asks for a library that was never installed."""
    findings = libraries_away_from_home(package)

    assert findings == []


def test_shells_do_not_import_each_other(package: Sources) -> None:
    """A user of the ASGI middleware would pay for, and depend on, the WSGI one and its thread."""
    findings = shells_that_import_shells(package)

    assert findings == []


def test_nothing_inside_imports_from_the_package_root(package: Sources) -> None:
    """A user who imports a submodule first would meet a half-loaded package."""
    findings = root_imports(package)

    assert findings == []


def test_modules_stay_below_the_cap(package: Sources) -> None:
    """A user who reads the source to learn why a payment was sent again would not find the place."""
    findings = long_modules(package)

    assert findings == []


def test_functions_stay_below_the_cap(package: Sources) -> None:
    """A user who follows a traceback would land in a function that does not fit on a screen."""
    findings = long_functions(package)

    assert findings == []


def test_decisions_have_no_effects(package: Sources) -> None:
    """A user could not replay yesterday's verdict: it would hang on the clock, on chance or on what was on disk."""
    findings = impure_decisions(package)

    assert findings == []


def test_every_module_says_what_it_is_for(package: Sources) -> None:
    """A user who calls ``help`` on a module would see a list of names and no reason."""
    findings = undescribed_modules(package)

    assert findings == []


def test_the_repository_has_three_folders() -> None:
    """A user who unpacks the source would have to guess which folder is the package and which is left over."""
    git = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode != 0 or not listing.stdout:
        pytest.skip("not a git checkout, so nothing tells what belongs to it")

    folders = {path.partition("/")[0] for path in listing.stdout.splitlines() if "/" in path}

    assert {folder for folder in folders if not folder.startswith(".")} <= FOLDERS


def function_of(lines: int) -> str:
    """Write a function that is so many lines long."""
    return "def long():\n" + "    pass\n" * (lines - 1)


PLANTED: Final[list[tuple[Rule, dict[str, str], list[str]]]] = [
    (modules_without_floor, {"utils": "", "core.utils": ""}, ["utils has no floor"]),
    (
        upward_imports,
        {"core.decide": "from holdfast import session", "session": "import holdfast.core.decide"},
        ["core.decide:1 imports holdfast.session, which is above it"],
    ),
    (
        upward_imports,
        {"policy": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from holdfast.core.decide import Stop"},
        ["policy:3 imports holdfast.core.decide, which is above it"],
    ),
    (
        upward_imports,
        {"": "from holdfast.testing import VirtualTimeLoop", "session": "def f():\n    import holdfast.cli"},
        [
            "__init__:1 imports holdfast.testing, which is above it",
            "session:2 imports holdfast.cli, which is above it",
        ],
    ),
    (
        import_cycles,
        {
            "core.a": "from holdfast.core import b",
            "core.b": "import holdfast.core.c",
            "core.c": "from holdfast.core.a import x",
            "core.d": "import typing\nif typing.TYPE_CHECKING:\n    from holdfast.core.e import x",
            "core.e": "from holdfast.core.d import x",
        },
        [f"core.{name} imports itself in a circle" for name in "abc"],
    ),
    (
        libraries_on_lower_floors,
        {
            "errors": "import aiohttp",
            "policy": "import aiohttp",
            "core.decide": "from backoff import expo\nimport math",
        },
        ["policy:1 imports aiohttp", "core.decide:1 imports backoff"],
    ),
    (
        libraries_away_from_home,
        {
            "transport.exchange": "import aiohttp.web",
            "engine.call": "from aiohttp import ClientSession",
            "telemetry.structlog": "import structlog",
            "telemetry.otel": "import structlog",
            "cli.demo": "import requests",
        },
        ["engine.call:1 imports aiohttp", "telemetry.otel:1 imports structlog", "cli.demo:1 imports requests"],
    ),
    (
        shells_that_import_shells,
        {
            "wsgi": "import holdfast.blocking\nimport holdfast.asgi",
            "blocking": "from holdfast.session import ResilientSession",
            "session": "from holdfast import blocking",
            "asgi": "",
        },
        ["wsgi:2 imports holdfast.asgi", "session:1 imports holdfast.blocking"],
    ),
    (
        root_imports,
        {
            "cli": "from holdfast import __version__",
            "core.a": "from holdfast import policy\nfrom . import b",
            "policy": "",
            "sandbox": "import holdfast as h",
        },
        ["cli:1 imports holdfast", "core.a:2 imports .", "sandbox:1 imports holdfast"],
    ),
    (long_modules, {"": "\n" * 401, "policy": "\n" * 400}, ["__init__ has 401 lines"]),
    (long_functions, {"a": function_of(61), "b": function_of(60)}, ["a:1 long has 61 lines"]),
    (
        impure_decisions,
        {"core.a": "import time\nfrom random import random\nimport re", "providers.b": "import logging.config"},
        ["core.a:1 imports time", "core.a:2 imports random", "providers.b:1 imports logging.config"],
    ),
    (
        impure_decisions,
        {
            "core.a": "async def f():\n    await g()",
            "core.b": "open('x')\nprint('x')",
            "core.c": "datetime.now()\ndt.datetime.utcnow()\nloop.time()",
            "engine.d": "async def f():\n    print(await g())",
        },
        [
            "core.a:1 waits",
            "core.a:2 waits",
            "core.b:1 calls open",
            "core.b:2 calls print",
            "core.c:1 calls now",
            "core.c:2 calls utcnow",
            "core.c:3 calls time",
        ],
    ),
    (undescribed_modules, {"": "x = 1", "policy": '"""Why."""'}, ["__init__ has no docstring"]),
]


@pytest.mark.parametrize(
    ("rule", "sources", "expected"), PLANTED, ids=[f"{rule.__name__}-{i}" for i, (rule, _, _) in enumerate(PLANTED)]
)
def test_each_rule_finds_a_planted_violation(rule: Rule, sources: Sources, expected: list[str]) -> None:
    """A rule that cannot fail would promise users a structure that nobody keeps."""
    findings = rule(sources)

    assert findings == expected


def test_every_rule_has_a_planted_violation() -> None:
    """A rule added without proof of its own could be looking at nothing."""
    rules = {
        function
        for function in globals().values()
        if callable(function) and getattr(function, "__annotations__", {}) == {"sources": Sources, "return": list[str]}
    }

    assert rules == {rule for rule, _, _ in PLANTED}
