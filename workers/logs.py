"""Logs: structlog, JSON lines in services, readable colours on a terminal; always on standard error."""

import logging
import sys
import traceback
from typing import Any

import structlog


def in_words(error: BaseException) -> str:
    """Say an error in a line, for people and for the store: its kind and its text, without where it came from."""
    return "".join(traceback.format_exception_only(error)).strip()


def configure(*, level: str = "info", as_json: bool | None = None) -> None:
    """Set up logging for this process. JSON unless standard error is a terminal."""
    plain = not sys.stderr.isatty() if as_json is None else as_json
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if plain
        # Not the default tracebacks: they print the local variables, secrets among them.
        else [structlog.dev.ConsoleRenderer(colors=True, exception_formatter=structlog.dev.plain_traceback)]
    )
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        foreign_pre_chain=shared,
    )
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [stream]
    root.setLevel(logging.WARNING)
