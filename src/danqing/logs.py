"""How log lines look, for our own events and for those of libraries alike. All go to standard error.

`line` is how seed 004's server writes, with its wording for what it tells too, in local time:
`2025-11-26 10:00:00 - image_edit_server - INFO - text`.

Values may come from strangers (the path of a request, say), so no character of them that is not printable reaches a
terminal or ends a line: it is written as its escape.
"""

import json
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from typing import Literal, TextIO

import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger


@dataclass(frozen=True, kw_only=True)
class LogStyle:
    """shape: console for people, json for machines, line for who reads seed 004's, auto: console if standard error is a
    terminal, else json. Picklable.
    """

    shape: Literal["auto", "console", "json", "line"]
    level: str


# They warn, as soon as they are imported, of what concerns nobody who does not use them: kernels for other GPUs, say.
CHATTERERS = ("torchao", "torch.utils._pytree", "diffusers.quantizers")


def configure_logging(style: LogStyle) -> None:
    """Sets up structlog and the standard library's logging for this process. Call it once, at its start."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                *_lines(style),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)  # of libraries only what is wrong
    for chatterer in CHATTERERS:
        logging.getLogger(chatterer).setLevel(logging.ERROR)
    logging.getLogger("danqing").setLevel(style.level.upper())
    structlog.configure(
        processors=[
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(style.level),
        cache_logger_on_first_use=True,
    )


def _lines(style: LogStyle) -> list[Processor]:
    without_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if style.shape == "line":
        return [structlog.processors.format_exc_info, _as_line]
    if style.shape == "console" or (style.shape == "auto" and sys.stderr.isatty()):
        return [without_meta, *_console_lines()]
    return [without_meta, *_json_lines()]


def _console_lines() -> list[Processor]:
    renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_write_traceback)
    return [_make_printable, renderer]


def _json_lines() -> list[Processor]:
    tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)  # locals hold prompts
    return [
        structlog.processors.ExceptionRenderer(tracebacks),
        structlog.processors.JSONRenderer(serializer=_json),
    ]


SERVER_NAME = "image_edit_server"  # what seed 004's server calls itself


def _as_line(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> str:
    """`time - name - LEVEL - text`, and a traceback below it, indented."""
    record: logging.LogRecord = event_dict["_record"]
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
    name = SERVER_NAME if record.name.split(".")[0] == "danqing" else record.name
    fields = {field: value for field, value in event_dict.items() if field not in _NO_FIELDS}
    text = _as_seed_004_says(record, str(event_dict["event"]), fields) or _plainly(str(event_dict["event"]), fields)
    further = [str(event_dict[part]) for part in ("stack", "exception") if part in event_dict]
    below = "".join("\n    " + _indented(text) for text in further)
    return f"{moment} - {_escaped(name)} - {record.levelname} - {_escaped(text)}{below}"


_NO_FIELDS = ("_record", "_from_structlog", "event", "level", "logger", "timestamp", "stack", "exception")


def _as_seed_004_says(record: logging.LogRecord, event: str, fields: EventDict) -> str | None:
    """What its server tells in so many words; None for all else."""
    if not record.name.startswith("danqing."):
        return None
    what, _, happened = event.rpartition("_")
    kind = what.replace("_", " ")
    match happened, fields:
        case "loading", {"source": source} if what == "model":
            return f"Loading model from {source}..."
        case "loaded", _ if what == "model":
            return "Model loaded successfully"
        case "requested", {"n": n}:
            prompt = f"prompt={fields['prompt']!r}, " if "prompt" in fields else ""
            return f"Processing {kind} request: {prompt}n={n}"
        case "completed", {"seconds": float(seconds), "generated": generated}:
            return f"{kind.capitalize()} completed in {seconds:.2f}s, generated {generated} image(s)"
        case _:
            return None


def _plainly(event: str, fields: EventDict) -> str:
    """`event name=value name='a value'`."""
    return " ".join((event, *(f"{name}={_as_value(value)}" for name, value in fields.items())))


def _as_value(value: object) -> str:
    text = str(value)
    return text if text and text.isprintable() and not set(text) & set(" '\"=") else repr(value)


class _Shown:
    """Text that the console renderer takes over as it is."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _make_printable(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """Escapes in every value; in a stack, line ends stay."""
    for name, value in event_dict.items():
        if name in ("stack", "exception"):
            event_dict[name] = _indented(f"\n{value}").removeprefix("\n")
        elif name != "exc_info" and not (isinstance(value, str) and value.isprintable()):
            text = value if name == "event" and isinstance(value, str) else repr(value)
            event_dict[name] = _Shown(_escaped(text))
    return event_dict


def _write_traceback(stream: TextIO, exc_info: ExcInfo) -> None:
    text = StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    stream.write(_indented(text.getvalue()))


def _indented(text: str) -> str:
    """With only its line ends left, and each further line indented: none of them can pass for a line of the log."""
    return "\n    ".join(_escaped(line) for line in text.split("\n"))


def _escaped(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _json(fields: object, *, default: Callable[[object], object]) -> str:
    """Escapes also what JSON allows raw but a terminal or a line reader acts on, such as U+0085."""
    line = json.dumps(fields, default=default, ensure_ascii=False)
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)
