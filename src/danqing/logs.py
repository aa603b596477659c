"""How log lines look, for our own events and for those of libraries alike. All go to standard error."""

import logging
import sys
from dataclasses import dataclass
from typing import Literal

import structlog
from structlog.typing import Processor


@dataclass(frozen=True, kw_only=True)
class LogStyle:
    """shape: console for people, json for machines, auto: console if standard error is a terminal. Picklable."""

    shape: Literal["auto", "console", "json"]
    level: str


def configure_logging(style: LogStyle) -> None:
    """Sets up structlog and the standard library's logging for this process. Call it once, at its start."""
    console = style.shape == "console" or (style.shape == "auto" and sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)  # locals hold prompts
    last: list[Processor] = (
        [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)]
        if console
        else [structlog.processors.ExceptionRenderer(tracebacks), structlog.processors.JSONRenderer(ensure_ascii=False)]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)  # of libraries only what is wrong
    logging.getLogger("danqing").setLevel(style.level.upper())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
