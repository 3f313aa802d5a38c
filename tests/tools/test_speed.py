"""The benchmark ``make bench``: that its clients do the same work, its arithmetic, and what it wrote.

Clients that the extra ``bench`` brings are tested where it is installed: ``sh .ci/bootstrap bench``.
"""

import importlib.util
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from benchmarks.results import RESULTS
from benchmarks.speed import instructions, tables
from benchmarks.speed.adapters import ADAPTERS, BARE, Adapter
from benchmarks.speed.adapters.calls import by_hand, calls_of
from benchmarks.speed.adapters.plain import fetching, submitting
from benchmarks.speed.bars import verdicts
from benchmarks.speed.figures import JSON, Figures, Growth, Imports, InFlight, Ratio, by_case, key_of, ratios
from benchmarks.speed.memory import growth, in_flight
from benchmarks.speed.rounds import take_turns
from benchmarks.speed.scenarios import AGAIN, CALLS_PER_FAILURE, CREDENTIALS, KEY_FIELD, ORDER, SCENARIOS, TIMED
from benchmarks.speed.server import serving
from benchmarks.speed.worker import Stretch, Worker, command_for, make_calls, opened
from tests.support import Peer, answer, run

ON_ASYNCIO: Final = [name for name, adapter in ADAPTERS.items() if not adapter.uvloop]


def loadable(name: str) -> Adapter:
    """Give an adapter, or skip the test where the distribution that it needs is not installed."""
    adapter = ADAPTERS[name]
    if adapter.needs is not None and importlib.util.find_spec(adapter.needs.replace("-", "_")) is None:
        pytest.skip(f"{adapter.needs} is not installed: sh .ci/bootstrap bench")
    return adapter


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Serve all tests of this file."""
    with serving() as server:
        yield server.url


@pytest.mark.parametrize("name", ADAPTERS)
def test_every_client_gets_the_same_answers(name: str, url: str) -> None:
    """A client that gives up where the others send again would look cheaper than it is."""
    adapter = loadable(name)

    with opened(adapter, url) as (runner, sends):
        for scenario in SCENARIOS.values():  # each checks every answer
            runner.run(make_calls(sends[scenario.name], scenario, Stretch(scenario.name, 2, 2 * CALLS_PER_FAILURE)))
        answers = [runner.run(sends[scenario.name]()) for scenario in SCENARIOS.values()]

    assert answers == [(scenario.status, scenario.body) for scenario in SCENARIOS.values()]


@pytest.mark.parametrize("name", ON_ASYNCIO)
def test_every_client_sends_the_same_requests(name: str) -> None:
    """A client with a smaller body, or without the key, would look cheaper than it is."""
    adapter = loadable(name)

    async def scenario() -> Peer:
        async with Peer(answer(200)) as peer, adapter.opener()(peer.url, 10) as sends:
            for each in SCENARIOS:
                await sends[each]()
        return peer

    peer = run(scenario())
    plain, charge, _, transfer, authorized = peer.seen
    order = transfer.document
    made = order.pop(KEY_FIELD)

    assert peer.lines == [f"{each.method} {each.path}" for each in SCENARIOS.values()]
    assert (charge.document, len(charge.headers["idempotency-key"])) == (ORDER, 36)
    assert (order, len(made)) == (ORDER, 36)
    assert ("authorization" in plain.headers, authorized.headers["authorization"]) == (False, *CREDENTIALS.values())


def test_every_tenth_call_meets_one_failure(url: str) -> None:
    """Clients that met fewer failures than others would look cheaper than they are."""

    async def scenario() -> tuple[list[int], list[tuple[int, bytes]]]:
        seen = []
        async with aiohttp.ClientSession() as session:
            fetch = fetching(session.get)

            async def watched(address: str) -> tuple[int, bytes]:
                answer = await fetch(address)
                seen.append(answer[0])
                return answer

            send = calls_of(fetch, submitting(session.post), url, authorized=fetch, retrying=by_hand(watched))["flaky"]
            return seen, [await send() for _ in range(2 * CALLS_PER_FAILURE)]

    seen, answers = run(scenario())

    assert seen == ([200] * (CALLS_PER_FAILURE - 1) + [AGAIN, 200]) * 2
    assert answers == [(200, SCENARIOS["flaky"].body)] * 2 * CALLS_PER_FAILURE


def test_a_wrong_answer_ends_the_measurement(url: str) -> None:
    """A fast wrong answer is not a result."""
    wanted = replace(SCENARIOS["get"], body=b"something else")

    with opened(ADAPTERS[BARE], url) as (runner, sends), pytest.raises(AssertionError, match="wanted"):
        runner.run(make_calls(sends["get"], wanted, Stretch("get", 1, 1)))


@pytest.mark.parametrize(("name", "lines"), [("holdfast_event", 5), ("holdfast_quiet", 0)])
def test_the_event_is_a_line_of_json_and_quiet_writes_none(name: str, lines: int, url: str, tmp_path: Path) -> None:
    """The price of an event that is not written would be the price of nothing."""
    pytest.importorskip("orjson", reason="sh .ci/bootstrap bench")
    log = tmp_path / "log"

    with Worker.started(command_for(name, url, log)) as worker:
        spent = worker.do(Stretch("get", 1, 5))
    written: list[dict[str, Any]] = [json.loads(line) for line in log.read_text().splitlines()]
    said = [(each["event"], each["level"], each["status"]) for each in written]

    assert said == [("outbound.call", "info", 200)] * lines
    assert spent.cpu_s > 0


def test_a_refusal_is_decoded_and_logged(url: str, tmp_path: Path) -> None:
    """The price of the error path would be the price of a status."""
    pytest.importorskip("orjson", reason="sh .ci/bootstrap bench")
    log = tmp_path / "log"

    with Worker.started(command_for("holdfast_event", url, log)) as worker:
        worker.do(Stretch("refused", 1, 1))
    said: dict[str, Any] = json.loads(log.read_text().splitlines()[-1])

    assert (said["event"], said["provider"], said["logref"]) == ("outbound.call", "finix", "3fe8e6ab1e8cf44f")
    assert (said["error_codes"], said["status"], len(said["idempotency_key"])) == (["INVALID_FIELD"], 422, 36)


def test_clients_take_turns_in_processes_of_their_own() -> None:
    """A round that compared a client with another round's baseline would show the machine's mood."""
    found = take_turns([BARE, "passthrough"], [("get", 1)], rounds=2)

    assert found["get/1"].keys() == {BARE, "passthrough"}
    assert found["get/1"][BARE] == replace(found["get/1"][BARE], ratio=1.0, least=1.0, most=1.0)
    assert 0.3 < found["get/1"]["passthrough"].ratio < 3.0


def test_ratios_are_taken_round_by_round() -> None:
    """The ratio of two medians would hide that both were slow in the same round."""
    seconds = {"bare": [100e-6, 200e-6, 400e-6], "ours": [110e-6, 210e-6, 480e-6]}

    found = ratios(seconds, "bare")

    assert found == {"bare": Ratio(200.0, 1.0, 1.0, 1.0), "ours": Ratio(210.0, 1.1, 1.05, 1.2)}


def test_instructions_of_a_call_are_the_difference_of_two_stretches(tmp_path: Path) -> None:
    """What a stretch costs by itself, and what lies between two of them, is no call's."""
    warm, short, long = instructions.plan(ADAPTERS[BARE], ("get", 1))
    for number, total in enumerate((9_999, warm * 7_000, 55, 123 + short * 700, 66, 123 + long * 700), start=1):
        (tmp_path / f"out.{number}").write_text(f"part: {number}\nsummary: {total}\ntotals: {total}\n")

    found = instructions.read_counts(tmp_path, ADAPTERS[BARE], [("get", 1)])

    assert found == {("get", 1): 700.0}
    assert by_case({BARE: found}) == {"get/1": {BARE: 700}}


def test_a_count_that_was_cut_short_is_an_error(tmp_path: Path) -> None:
    """A file that callgrind did not end would read as no instructions at all."""
    for number in range(1, 7):
        (tmp_path / f"out.{number}").write_text("version: 1\n")

    with pytest.raises(ValueError, match="callgrind did not end well"):
        instructions.read_counts(tmp_path, ADAPTERS[BARE], [("get", 1)])


def test_a_call_in_flight_weighs_what_its_connection_weighs_at_least() -> None:
    """A measurement taken before the calls were in flight would show nothing."""
    traced = in_flight(ADAPTERS[BARE], 40, traced=True)

    assert 2_000 < traced < 100_000


def test_growth_counts_only_what_comes_after_the_warm_up() -> None:
    """What a client fills once, such as its caches, is no leak."""
    found = growth(ADAPTERS[BARE], warm=100, calls=300)

    assert found.calls == 200
    assert abs(found.blocks) < 2_000


def figures(count: float = 1_050.0, cpu: float = 1.2, traced: float = 4_048.0, import_ms: float = 40.0) -> Figures:
    """Give the figures of a run in which holdfast, quiet, costs this much, and bare aiohttp 1 000."""
    turns = {BARE: Ratio(100.0, 1.0, 1.0, 1.0), "holdfast_quiet": Ratio(100.0 * cpu, cpu, cpu, cpu)}
    return Figures(
        machine="a machine",
        rounds=3,
        cpu={"get/1": turns},
        instructions={"get/1": {BARE: 1_000.0, "aiohttp_retry": 1_070.0, "holdfast_quiet": count}},
        in_flight={BARE: InFlight(2_000.0, 0.0), "holdfast_quiet": InFlight(traced, 0.0)},
        growth={"holdfast_event": Growth(180_000, 1_000_000, 1_800)},
        imports=Imports(500.0, import_ms, 38.0, 41.0),
    )


def test_a_bar_is_met_up_to_its_limit() -> None:
    """A table that says "missed" of what is met, or the other way round, is worth nothing."""
    met = [(each.bar, each.figure, each.met) for each in verdicts(figures())]

    assert met == [
        ("holdfast, quiet: GET, 1 in flight", "1.050 (CPU 1.20)", True),
        ("holdfast, quiet, below aiohttp-retry: GET, 1 in flight", "1.050", True),
        ("memory of a call in flight above bare aiohttp's: `holdfast_quiet`", "2.0 KB", True),
        ("growth over 180000 more calls, once warm: `holdfast_event`", "1.0 MB, 1800 blocks", True),
        ("`import holdfast` after `import aiohttp, structlog, backoff`", "40 ms", True),
    ]


def test_a_bar_is_missed_beyond_its_limit() -> None:
    """Likewise, and each bar by itself."""
    beyond = replace(
        figures(count=1_080.0, traced=4_060.0, import_ms=40.5),
        growth={"holdfast_event": Growth(180_000, 0, 1_801)},
    )

    assert [each.met for each in verdicts(beyond)] == [False] * 5


def test_cpu_time_decides_where_nothing_was_counted() -> None:
    """On a machine without valgrind the bar is still judged, and says by what."""
    timed = replace(figures(), instructions={}, in_flight={}, growth={}, imports=None)

    assert [(each.figure, each.met) for each in verdicts(timed)] == [("not counted (CPU 1.20)", False)]


def test_figures_are_read_as_they_were_written(tmp_path: Path) -> None:
    """The tables are made from the JSON, so that anybody can make others from it."""
    path = tmp_path / "speed.json"

    figures().write(path)

    assert Figures.read(path) == figures()


def test_the_table_goes_between_its_markers_and_nowhere_else() -> None:
    """A README whose other words the benchmark eats would have to be written twice."""
    text = "before\n<!-- speed -->\nold\n<!-- /speed -->\nafter\n"

    assert tables.put_between(text, "speed", "new") == "before\n<!-- speed -->\n\nnew\n\n<!-- /speed -->\nafter\n"
    with pytest.raises(ValueError, match="no <!-- other -->"):
        tables.put_between(text, "other", "new")


def test_the_tables_say_what_the_kept_figures_say() -> None:
    """A figure that was mended by hand, in the README or in the results, is a lie."""
    kept = Figures.read(JSON)
    readme, results = (path.read_text() for path in (JSON.parents[1] / "README.md", RESULTS))
    parts = tables.results(kept, "make bench")

    assert tables.put_between(readme, "speed", tables.readme(kept)) == readme
    assert "\n\n".join(["<!-- speed -->", "## What a call costs", *parts, "<!-- /speed -->"]) in results


def test_the_kept_figures_are_of_every_client_and_case() -> None:
    """A client that is left out of a run is left out of the comparison."""
    kept = Figures.read(JSON)
    gets = {f"get/{at}" for at in (1, 64)}
    cases: Mapping[str, set[str]] = {name: set(found) for name, found in kept.cpu.items()}

    assert cases == {key_of(case): set(ADAPTERS) for case in TIMED}
    assert {case for case, found in kept.instructions.items() if set(found) == set(ADAPTERS)} == gets
