"""How an application writes its log here: JSON lines to a file, after structlog's own guide to performance."""

from pathlib import Path

import structlog


def log_to(path: Path, level: int) -> None:
    """Configure structlog to write what is of this level or above."""
    import orjson  # noqa: PLC0415 - the tests run without the extra `bench`, and load this module

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(),
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.BytesLoggerFactory(path.open("ab")),
        cache_logger_on_first_use=True,
    )
