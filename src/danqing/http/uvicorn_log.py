"""Keeps out of the log what uvicorn wrongly says of a WebSocket that was refused with an HTTP answer.

ASGI allows such an answer and uvicorn sends it, but then misses the handshake, and logs an error for each: anybody
could fill the log.
"""

import logging
from contextvars import ContextVar

_MISSED = "ASGI callable returned without completing handshake"

websocket_refused: ContextVar[bool] = ContextVar("websocket_refused", default=False)
"""Set where one is refused; uvicorn logs in the same task, and so in the same context."""


def quieten_refusals() -> None:
    """For this process, whoever runs uvicorn. Doing it twice is fine."""
    logging.getLogger("uvicorn.error").addFilter(_is_worth_a_line)


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    return not (websocket_refused.get() and str(record.msg).startswith(_MISSED))
