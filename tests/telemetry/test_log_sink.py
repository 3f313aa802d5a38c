"""Events as log lines: through structlog where the application configured it, else through ``logging``."""

import io
import json
import logging
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, ClassVar, Final

import pytest
import structlog
from tests.support import AT_ONCE, Behaviour, Peer, answer, failure, report, run, said
from tests.telemetry.test_events import check

from holdfast import PermanentFailureError, ResilientSession
from holdfast.core.redact import TEXT_LIMIT
from holdfast.telemetry.structlog import LogSink
from holdfast.testing import RecordingSink


@pytest.fixture(autouse=True)
def clean_structlog() -> Iterator[None]:
    """Begin and end with a structlog that nobody has configured."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


async def make_calls(*script: Behaviour, **options: Any) -> int:
    """Make one call."""
    async with Peer(*script) as peer, ResilientSession(peer.url, policy=AT_ONCE, **options) as session:
        return (await session.get("/pay")).status


def lines_of(text: str) -> list[dict[str, Any]]:
    """Read JSON lines."""
    return [json.loads(line) for line in text.splitlines()]


def configure(out: io.StringIO, wrapper: Any) -> None:
    """Configure structlog as applications do."""
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.JSONRenderer()],
        wrapper_class=wrapper,
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )


@pytest.mark.parametrize(
    ("wrapper", "expected"),
    [
        (structlog.make_filtering_bound_logger(logging.DEBUG), ["outbound.attempt", "outbound.call"]),
        (structlog.make_filtering_bound_logger(logging.INFO), ["outbound.call"]),
        (structlog.make_filtering_bound_logger(logging.ERROR), []),
        (structlog.BoundLogger, ["outbound.attempt", "outbound.call"]),
    ],
    ids=["debug", "info", "error", "BoundLogger"],
)
def test_a_configured_structlog_gets_the_events(
    wrapper: Any, expected: list[str], capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """An application that logs JSON would find our lines in another format, or twice."""
    out = io.StringIO()
    configure(out, wrapper)

    run(make_calls(answer()))

    assert [line["event"] for line in lines_of(out.getvalue())] == expected
    assert all(line["provider"] == "generic" for line in lines_of(out.getvalue()))
    assert (capsys.readouterr().out, caplog.records) == ("", [])


def test_a_structlog_over_logging_gets_the_events(caplog: pytest.LogCaptureFixture) -> None:
    """The most common set-up, structlog in front of the standard library, would lose our lines."""
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, structlog.stdlib.render_to_log_kwargs],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )

    with caplog.at_level(logging.INFO):
        run(make_calls(answer()))

    (record,) = caplog.records
    assert (record.message, record.levelno) == ("outbound.call", logging.INFO)


def test_structlog_may_be_configured_after_the_session_was_made() -> None:
    """A session made at import time would log nothing that the application wants to see."""
    out = io.StringIO()

    async def scenario() -> None:
        async with Peer(answer()) as peer, ResilientSession(peer.url) as session:
            configure(out, structlog.make_filtering_bound_logger(logging.INFO))
            await session.get("/pay")

    run(scenario())

    assert [line["event"] for line in lines_of(out.getvalue())] == ["outbound.call"]


def test_bound_context_stands_in_the_line() -> None:
    """The request id that the application bound would be missing from the call it caused."""
    out = io.StringIO()
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(out),
    )

    async def scenario() -> None:
        with structlog.contextvars.bound_contextvars(request_id="inbound-1"):
            await make_calls(answer())

    run(scenario())

    assert [line["request_id"] for line in lines_of(out.getvalue())] == ["inbound-1"]


OVER_LOGGING: Final[dict[str, Any]] = {
    "processors": [structlog.stdlib.filter_by_level, structlog.stdlib.render_to_log_kwargs],
    "wrapper_class": structlog.stdlib.BoundLogger,
    "logger_factory": structlog.stdlib.LoggerFactory(),
}


def turn_logging(level: int) -> None:
    """Change the level of the standard logger."""
    logging.getLogger("holdfast").setLevel(level)


def turn_structlog(level: int) -> None:
    """Change the level by configuring structlog anew."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))


def turn_subclass(level: int) -> None:
    """Change it likewise, to a class of the application's own."""

    class Own(structlog.make_filtering_bound_logger(level)):  # type: ignore[misc]
        def is_enabled_for(self, wanted: int) -> bool:
            return wanted >= level  # which structlog's own classes say since 25.1

    structlog.configure(wrapper_class=Own)


@pytest.mark.parametrize(
    ("configured", "given", "turn"),
    [
        (None, None, turn_logging),
        (None, logging.getLogger("holdfast"), turn_logging),
        ({**OVER_LOGGING, "cache_logger_on_first_use": True}, None, turn_logging),
        ({**OVER_LOGGING, "cache_logger_on_first_use": False}, None, turn_logging),
        ({"cache_logger_on_first_use": False}, None, turn_structlog),
        ({"cache_logger_on_first_use": False}, structlog.get_logger("holdfast"), turn_structlog),
        (
            {"cache_logger_on_first_use": True},
            structlog.wrap_logger(None, cache_logger_on_first_use=False),
            turn_structlog,
        ),
        ({"cache_logger_on_first_use": False}, None, turn_subclass),
    ],
    ids=["logging", "given", "kept over logging", "over logging", "structlog", "given proxy", "not kept", "subclass"],
)
def test_a_level_that_is_changed_while_calls_are_made_is_obeyed(configured: Any, given: Any, turn: Any) -> None:
    """An operator who turns debugging on in an incident would see nothing, or could not turn it off again."""
    if configured is not None:
        structlog.configure(**configured)
    sink = LogSink(given)
    wanted = []

    for level in (logging.INFO, logging.DEBUG, logging.ERROR, logging.INFO):
        turn(level)
        wanted.append([sink.enabled(each) for each in (logging.DEBUG, logging.INFO, logging.ERROR)])
    turn_logging(logging.NOTSET)

    assert wanted == [[False, True, True], [True, True, True], [False, False, True], [False, True, True]]


def test_a_logger_that_structlog_keeps_is_kept_with_its_level() -> None:
    """Our lines would follow another configuration than the application's own, which structlog no longer changes."""
    out, other = io.StringIO(), io.StringIO()
    configure(out, structlog.make_filtering_bound_logger(logging.INFO))
    structlog.configure(cache_logger_on_first_use=True)
    sink = LogSink()
    before = sink.enabled(logging.INFO)

    configure(other, structlog.make_filtering_bound_logger(logging.ERROR))
    after = sink.enabled(logging.INFO)
    sink.emit("outbound.call", logging.INFO, {"attempts": 1})

    assert (before, after, other.getvalue()) == (True, True, "")
    assert lines_of(out.getvalue()) == [{"attempts": 1, "event": "outbound.call", "level": "info"}]


@pytest.mark.parametrize("cached", [False, True])
def test_what_an_application_made_of_its_logger_is_asked_for_each_event(*, cached: bool) -> None:
    """A logger that looks at what it is told, to drop or to change it, would be passed over."""
    out = io.StringIO()

    class Own(structlog.make_filtering_bound_logger(logging.INFO)):  # type: ignore[misc]
        def info(self, event: str, **fields: Any) -> None:
            super().info(event, told=sorted(fields)[:2])

    configure(out, Own)
    structlog.configure(cache_logger_on_first_use=cached)

    run(make_calls(answer()))

    (line,) = lines_of(out.getvalue())
    assert line["told"] == ["attempts", "call_id"]


class Shared(dict[str, Any]):
    """What is bound to any logger is bound to all of them."""

    bound: ClassVar[dict[str, Any]] = {}

    def __init__(self, *_: object, **new: Any) -> None:
        self.bound.update(new)
        super().__init__(self.bound)

    def update(self, *others: Any, **new: Any) -> None:
        self.bound.update(*others, **new)
        super().update(self.bound)

    def copy(self) -> dict[str, Any]:
        return dict(self.bound)


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("context", [dict, OrderedDict, Shared])
@pytest.mark.parametrize(
    "wrapper",
    [structlog.make_filtering_bound_logger(logging.INFO), structlog.stdlib.BoundLogger, structlog.BoundLogger],
)
def test_an_event_leaves_nothing_behind_in_the_logger(wrapper: Any, context: Any, *, cached: bool) -> None:
    """The reason of one customer's payment would stand in the line of the next one's."""
    out = io.StringIO()
    configure(out, wrapper)
    structlog.configure(cache_logger_on_first_use=cached, context_class=context)
    logger = structlog.get_logger("holdfast").bind(service="x", provider="mine")
    sink = LogSink(logger)

    sink.emit("outbound.call", logging.INFO, {"provider": "any", "status": 400, "reason": "x"})
    sink.emit("outbound.call", logging.INFO, {"status": 200, "provider": "any"})
    logger.info("own")

    Shared.bound.clear()
    assert out.getvalue().splitlines() == [
        '{"service": "x", "provider": "any", "status": 400, "reason": "x", "event": "outbound.call", "level": "info"}',
        '{"service": "x", "provider": "any", "status": 200, "event": "outbound.call", "level": "info"}',
        '{"service": "x", "provider": "mine", "event": "own", "level": "info"}',
    ]


def test_a_structlog_that_was_reset_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    """A test that puts structlog back would leave sessions behind that go on writing into its file."""
    out = io.StringIO()
    configure(out, structlog.make_filtering_bound_logger(logging.INFO))
    structlog.configure(cache_logger_on_first_use=True)
    sink = LogSink()
    sink.enabled(logging.INFO)
    sink.emit("outbound.call", logging.INFO, {"attempts": 1})

    structlog.reset_defaults()
    with caplog.at_level(logging.INFO, "holdfast"):
        sink.emit("outbound.call", logging.INFO, {"attempts": 2})

    assert [line["attempts"] for line in lines_of(out.getvalue())] == [1]
    assert [record.getMessage() for record in caplog.records] == ["outbound.call attempts=2"]


def test_capture_logs_works() -> None:
    """A user's own tests could not look at our events with structlog's own tool."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG))

    with structlog.testing.capture_logs() as captured:
        run(make_calls(answer(429), answer()))

    assert [(line["event"], line["log_level"]) for line in captured] == [
        ("outbound.attempt", "warning"),
        ("outbound.retry", "warning"),
        ("outbound.attempt", "debug"),
        ("outbound.call", "info"),
    ]


def test_an_unconfigured_structlog_prints_nothing(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A command-line tool's output would be mixed with debug lines of a library below it."""
    with caplog.at_level(logging.INFO, "holdfast"):
        run(make_calls(answer(429), answer()))

    assert capfd.readouterr().out == ""
    assert [record.name for record in caplog.records] == ["holdfast"] * 3
    assert [record.getMessage().split()[0] for record in caplog.records] == [
        "outbound.attempt",
        "outbound.retry",
        "outbound.call",
    ]


def test_a_standard_record_carries_the_fields(caplog: pytest.LogCaptureFixture) -> None:
    """A JSON formatter would have to parse our message text."""
    with caplog.at_level(logging.INFO, "holdfast"):
        run(make_calls(answer()))

    (record,) = caplog.records
    assert vars(record)["outcome"] == "success"
    assert 'outcome="success" effect="none" reason="ok" stop_reason="succeeded"' in record.getMessage()


def test_a_given_standard_logger_is_used(caplog: pytest.LogCaptureFixture) -> None:
    """The application that sorts its logs by name could not name ours."""
    logger = logging.getLogger("payments.outbound")

    with caplog.at_level(logging.WARNING, "payments.outbound"):
        run(make_calls(answer(400), sinks=[LogSink(logger)]))

    assert [(record.name, record.levelname) for record in caplog.records] == [("payments.outbound", "WARNING")] * 2


def test_a_given_structlog_logger_is_used_with_what_is_bound_to_it() -> None:
    """The application's own bound values would be lost on exactly the lines that leave the house."""
    out = io.StringIO()
    configure(io.StringIO(), structlog.BoundLogger)
    logger = structlog.wrap_logger(
        structlog.PrintLogger(out),
        processors=[structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    ).bind(service="shop")

    run(make_calls(answer(), sinks=[LogSink(logger)]))

    assert [(line["event"], line["service"]) for line in lines_of(out.getvalue())] == [("outbound.call", "shop")]


def test_a_raising_processor_costs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A bug in the application's log set-up would turn payments made into payments failed."""

    def fail(*_: object) -> Any:
        raise LookupError

    structlog.configure(processors=[fail], wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG))

    with caplog.at_level(logging.WARNING, "holdfast"):
        assert run(make_calls(answer())) == 200

    assert "sink LogSink failed with LookupError" in caplog.text


SHAPES: Final = {
    "embedded": ({"total": 1, "_embedded": {"errors": [{"logref": "L1", "message": "m"}]}}, ["L1"]),
    "single": ({"logref": "L1", "message": "m"}, ["L1"]),
    "nested": ({"logref": "L0", "message": "m", "_embedded": {"errors": [{"logref": "L1"}]}}, ["L0", "L1"]),
    "array": ([{"logref": "L1", "message": "m"}, {"logref": "L2", "message": "m"}], ["L1", "L2"]),
    "integer": ({"logref": 42, "message": "m"}, ["42"]),
    "object": ({"_embedded": {"errors": [{"logref": {"logref": "L1"}, "message": "m"}]}}, ["L1"]),
    "repeated": ([{"logref": "L1", "message": "m"}, {"logref": "L1", "message": "n"}], ["L1"]),
    "many": ([{"logref": f"L{n}", "message": "m"} for n in range(100)], [f"L{n}" for n in range(32)]),
    "empty": ({"logref": "", "message": "m"}, []),
    "none": ({"message": "m"}, []),
}


@pytest.mark.parametrize(("body", "expected"), SHAPES.values(), ids=SHAPES)
def test_every_logref_stands_in_event_and_report(body: Any, expected: list[str]) -> None:
    """The one string that the provider's support asks for would be lost."""
    sink = RecordingSink()

    async def scenario() -> tuple[str, ...]:
        async with Peer(said(400, body)) as peer, ResilientSession(peer.url, sinks=[sink]) as session:
            return report(await session.get("/")).logrefs

    logrefs = run(scenario())

    check(sink)
    for event in (*sink.named("outbound.call"), *sink.named("outbound.attempt")):
        assert event.get("logrefs", []) == expected
        assert event.get("logref") == (expected[0] if expected else None)
    assert list(logrefs) == expected


@pytest.mark.parametrize(
    "evil",
    [
        "a\nb\r\nc",
        "\x1b[2J\x1b]0;owned\x07",
        "\x00\x7f\x9b",
        "\u202eevil\u2066",
        "\u2028line",
        "\ud800",
        "x" * 2**20,
        "\n" * 2**16,
        "%s%n{0}",
    ],
    ids=["lines", "escape", "nul", "bidi", "separator", "surrogate", "megabyte", "newlines", "format"],
)
def test_a_hostile_value_does_no_harm(evil: str, caplog: pytest.LogCaptureFixture) -> None:
    """A provider, or whoever stands in between, could forge log lines or fill the disk."""
    sink = RecordingSink()
    body = {"logref": evil, "code": evil, "message": evil, "failure_code": evil}

    async def scenario() -> BaseException:
        behaviour = said(402, body, x_request_id=evil[:1000] if evil.isprintable() else "id-1")
        async with Peer(behaviour) as peer, ResilientSession(peer.url, sinks=[sink, LogSink()]) as session:
            return await failure(session.get("/", raise_for_status=True))

    with caplog.at_level(logging.DEBUG, "holdfast"):
        error = run(scenario())

    check(sink)
    assert isinstance(error, PermanentFailureError)
    texts = [record.getMessage() for record in caplog.records] + [str(error), repr(error)]
    assert len(texts) > 2
    for text in texts:
        assert len(text) < 16 * TEXT_LIMIT
        assert text.isprintable()
        text.encode()
