"""Events to the log: through structlog where the application has configured it, else through ``logging``.

An unconfigured structlog prints debug lines to standard output, so it is used only once ``structlog.configure`` was
called, which this library never does. The standard logger is ``holdfast``; fields stand in the message as
``key=value`` and on the record as attributes, for JSON formatters.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

import structlog
from structlog import get_context, is_configured  # bound here: the module's own __getattr__ makes each look-up dear

_stdlib: Final = logging.getLogger("holdfast")
_METHODS: Final = {
    logging.DEBUG: "debug",
    logging.INFO: "info",
    logging.WARNING: "warning",
    logging.ERROR: "error",
}
_ASKS: Final = ("is_enabled_for", "isEnabledFor")

_LEAST: Final[Mapping[type, int]] = {
    structlog.make_filtering_bound_logger(level): level for level in (logging.NOTSET, *_METHODS, logging.CRITICAL)
}
"""structlog's own classes, each with the level it begins at, which never changes."""

_PLAIN: Final = frozenset({*_LEAST, structlog.stdlib.BoundLogger})
"""Classes whose methods lay keywords over what is bound, hand both to the processors, and do no more with either."""


class LogSink:
    """Writes each event as one log line. Safe to share between threads.

    Args:
        logger: A structlog logger, or a standard ``logging.Logger``; ``None`` follows the application's configuration.
    """

    __slots__ = ("_ask", "_bound", "_given", "_least", "_structlog")

    def __init__(self, logger: Any = None) -> None:  # noqa: ANN401 - structlog loggers share no type
        """Take the application's logger, or find one at each event."""
        self._given = logger
        self._structlog = structlog.get_logger("holdfast")
        # Kept, once they are known, where nothing that is configured later changes them.
        self._bound: Any = None
        self._least: int | None = None
        self._ask: Callable[[int], object] | None = None

    def enabled(self, level: int) -> bool:
        """Say whether the logger wants events of this level; one that cannot tell is taken to want all."""
        least = self._least
        if least is not None:
            return level >= least
        ask = self._ask or self._question()
        return bool(ask(level))

    def _question(self) -> Callable[[int], object]:
        """Find what says so, and keep it where the logger is kept."""
        logger = self._logger()
        if isinstance(logger, logging.Logger):
            return logger.isEnabledFor
        if logger is self._structlog and self._bound is None:
            config = structlog.get_config()
            least = _LEAST.get(config["wrapper_class"])
            if least is not None and not config["cache_logger_on_first_use"]:
                return least.__le__  # which is all that a logger made for this question would say
        bound = self._bound_of(logger)
        kept, least = bound is self._bound, _LEAST.get(type(bound))
        if least is not None:
            self._least = least if kept else None
            return least.__le__
        # Asked of the class, because structlog.BoundLogger makes a logging method of any name it is asked for.
        name = _asks_of(type(bound))
        ask: Callable[[int], object] = getattr(bound, name) if name else _yes
        self._ask = ask if kept else None
        return ask

    def emit(self, event: str, level: int, fields: dict[str, Any]) -> None:
        """Write one event."""
        bound = self._bound if is_configured() else None
        if bound is None:
            logger = self._logger()
            if isinstance(logger, logging.Logger):
                logger.log(level, "%s %s", event, _Pairs(fields), extra=fields)
                return
            bound = self._bound_of(logger)
        if "inbound_request_id" not in fields or "request_id" in fields:
            _write(bound, event, level, fields)
            return
        # In an event ``request_id`` is the provider's. Where it gave none, the inbound request's, which the
        # application's merge_contextvars would fill in, must not pass for it: it stands under its own name.
        with logged_request_id(None):
            _write(bound, event, level, fields)

    def _logger(self) -> Any:  # noqa: ANN401 - as above
        if self._given is not None:
            return self._given
        return self._structlog if is_configured() else _stdlib

    def _bound_of(self, logger: Any) -> Any:  # noqa: ANN401 - as above
        """Give the logger that a lazy one stands for, and keep it where structlog was told to keep it too."""
        bound = logger if _asks_of(type(logger)) else logger.bind()
        if bound is logger or (structlog.get_config()["cache_logger_on_first_use"] and logger.bind() is bound):
            self._bound = bound
        return bound


def _write(bound: Any, event: str, level: int, fields: dict[str, Any]) -> None:  # noqa: ANN401 - as above
    if type(bound) in _PLAIN:
        # structlog packs and unpacks keywords on each of three floors, one by one; what is bound it copies whole.
        own = bound.bind()
        context = get_context(own)
        if type(context) is dict:  # another one may be shared with other loggers
            context.update(fields)
            own.log(level, event)
            return
    getattr(bound, _METHODS[level])(event, **fields)


def _asks_of(kind: type) -> str | None:
    return next((name for name in _ASKS if hasattr(kind, name)), None)


def _yes(level: int) -> bool:
    del level
    return True


@contextmanager
def logged_request_id(request_id: str | None) -> Iterator[None]:
    """Hold ``request_id`` in structlog's context variables for the time of a block; ``None`` hides what is there."""
    # The Ellipsis is how structlog itself marks a variable as unbound.
    tokens = structlog.contextvars.bind_contextvars(request_id=... if request_id is None else request_id)
    try:
        yield
    finally:
        # What is left behind by a stopping loop is closed in another context, where nothing was ever bound.
        with suppress(ValueError):
            structlog.contextvars.reset_contextvars(**tokens)


class _Pairs:
    """Fields as ``key=value`` words, rendered only where a handler formats the line."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields

    def __str__(self) -> str:
        return " ".join(f"{name}={json.dumps(value)}" for name, value in self._fields.items())
