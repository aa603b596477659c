"""Keeps out of the log what uvicorn says of clients' doings as if they were the server's: anybody could fill the log.

A WebSocket may be refused with an HTTP answer, which uvicorn sends, but then misses the handshake, and logs an error. A
message that is no UTF-8 it logs with a traceback.
"""

import logging
from contextvars import ContextVar

_MISSED = "ASGI callable returned without completing handshake"
_NO_TEXT = "Invalid UTF-8 sequence received from client"

websocket_refused: ContextVar[bool] = ContextVar("websocket_refused", default=False)
"""Set where one is refused; uvicorn logs in the same task, and so in the same context."""


def quieten_refusals() -> None:
    """For this process, whoever runs uvicorn. Doing it twice is fine."""
    logging.getLogger("uvicorn.error").addFilter(_is_worth_a_line)


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    message = str(record.msg)
    return not (message.startswith(_NO_TEXT) or (websocket_refused.get() and message.startswith(_MISSED)))
