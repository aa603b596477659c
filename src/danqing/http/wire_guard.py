"""uvicorn's two protocols with the limits that they lack: heads, silence before them, their number, unread answers.

What is refused here has reached no app, so it is told in plain text, or not at all.
"""

import asyncio
import weakref
from collections.abc import Callable
from typing import Any, cast

from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import CloseCode, Frame
from websockets.protocol import State

from danqing.http.body_limit import WHOLE_BODY
from danqing.http.frames import EXTENSION
from danqing.http.one_piece import OnePiece

MAX_HEAD_BYTES = 64 * 1024  # of a request's line, headers and trailers
MAX_HEADERS = 128
MAX_SILENT_BYTES = 4 * MAX_HEAD_BYTES  # from which nothing came: an endless header, or one chunk's endless extension
HEAD_TIMEOUT_S = 30.0  # for a whole head, from the moment that one is due
MAX_PIPELINED = 16  # requests that wait for the answers before theirs; more end the connection without a word
UNREAD_TIMEOUT_S = 60.0  # for a client to read this much of an answer, or what is left of it
MIN_READ_BYTES = 64 * 1024
_LOOKS = 10  # in that time
MAX_UNREAD_BYTES = 8 * 1024 * 1024  # of answers to a WebSocket's client that reads none
MAX_FRAGMENTS = 1024  # of a message

_REFUSAL = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: text/plain\r\nContent-Length: 35\r\n"
    b"Connection: close\r\n\r\nThe request's headers are too long."
)


class _HeadTooLarge(Exception):
    """Ends the parsing."""


class _TooManyRequests(Exception):
    """Ends it too."""


class GuardedHttp(HttpToolsProtocol):
    """One connection. head_timeout_s, unread_timeout_s: see HEAD_TIMEOUT_S, UNREAD_TIMEOUT_S; for tests."""

    head_timeout_s = HEAD_TIMEOUT_S
    unread_timeout_s = UNREAD_TIMEOUT_S

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # Any: as uvicorn has it
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._head_bytes = 0
        self._head_lines = 0
        self._silent_bytes = 0
        self._too_large = False
        self._too_many = False
        self._head_due: asyncio.TimerHandle | None = None
        self._running: RequestResponseCycle | None = None  # `cycle` is the latest, which may wait for this one
        self._answer: OnePiece | None = None  # what it writes to
        self._unread_look: asyncio.TimerHandle | None = None
        self._unread_bytes = 0  # when it last went down
        self._looks_in_vain = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`; so for all below, or uvicorn's own."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None:
            self._answer.forget()
        self._head_came()
        self._stop_looking()
        self.pipeline.clear()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._silent_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing() or self.transport.get_protocol() is not self:  # it is a WebSocket's now
            return
        if self._silent_bytes > MAX_SILENT_BYTES:
            self._too_large = True
            self.send_400_response("")
        elif self._is_idle and self._head_due is None and self.timeout_keep_alive_task is None:
            self._expect_head()

    def handle_websocket_upgrade(self) -> None:
        self._write_what_waits()
        self._head_came()
        self._stop_looking()
        super().handle_websocket_upgrade()

    def on_message_begin(self) -> None:
        self._head_bytes = self._head_lines = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_lines += 1
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """What comes in one piece is parsed as a whole, whether reading is paused or not."""
        self._silent_bytes = 0
        self._head_came()
        if len(self.pipeline) >= MAX_PIPELINED:
            self._too_many = True
            raise _TooManyRequests
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._silent_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._silent_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._write_what_waits()
        super().on_response_complete()
        if self.pipeline and not self.transport.is_closing():
            self.flow.pause_reading()
        self._look_for_readers()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._look_for_readers()

    def send_400_response(self, msg: str) -> None:
        self._write_what_waits()
        if self._too_many:
            self.transport.abort()
        elif self._too_large:
            self.transport.write(_REFUSAL)
            self.transport.close()
        else:
            super().send_400_response(msg)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        self._answer = OnePiece(self.transport, self.loop)
        cycle.transport = self._answer
        cycle.scope["extensions"] = {WHOLE_BODY: _whole_body_of(cycle)}  # type: ignore[typeddict-item]
        super()._start_asgi_task(cycle, app)

    def _write_what_waits(self) -> None:
        """Of the answer under way, before anything comes after it."""
        if self._answer is not None:
            self._answer.flush()

    @property
    def _is_idle(self) -> bool:
        """Whether the next thing that is due is a head."""
        cycle = cast("RequestResponseCycle | None", self.cycle)  # None before the first one
        return cycle is None or cycle.response_complete

    def _count(self, more: int) -> None:
        self._head_bytes += more
        if self._head_bytes > MAX_HEAD_BYTES or self._head_lines > MAX_HEADERS:
            self._too_large = True
            raise _HeadTooLarge

    def _expect_head(self) -> None:
        self._head_due = self.loop.call_later(self.head_timeout_s, self._give_up)

    def _head_came(self) -> None:
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None

    def _give_up(self) -> None:
        self._head_due = None
        if not self.transport.is_closing():
            self.transport.close()

    def _look_for_readers(self) -> None:
        """Begins anew. That cannot go on for ever: nothing more is written while much is unread."""
        self._unread_bytes = self.transport.get_write_buffer_size()
        self._looks_in_vain = 0
        if self._unread_look is None and self._unread_bytes:
            self._unread_look = self.loop.call_later(self.unread_timeout_s / _LOOKS, self._look)

    def _look(self) -> None:
        self._unread_look = None
        unread = self.transport.get_write_buffer_size()
        if not unread:
            return
        if unread <= self._unread_bytes - MIN_READ_BYTES:
            self._unread_bytes, self._looks_in_vain = unread, 0
        else:
            self._looks_in_vain += 1
        if self._looks_in_vain >= _LOOKS:
            self.transport.abort()
        else:
            self._unread_look = self.loop.call_later(self.unread_timeout_s / _LOOKS, self._look)

    def _stop_looking(self) -> None:
        if self._unread_look is not None:
            self._unread_look.cancel()
            self._unread_look = None


def _whole_body_of(cycle: RequestResponseCycle) -> Callable[[], bool]:
    """Does not keep the cycle, which keeps this: each request would wait for a collection of garbage."""
    kept = weakref.ref(cycle)
    return lambda: (running := kept()) is not None and not running.more_body


class GuardedWebSocket(WebSocketsSansIOProtocol):
    """One connection. Has the extension of `frames`. unread_timeout_s: see UNREAD_TIMEOUT_S; for tests."""

    unread_timeout_s = UNREAD_TIMEOUT_S

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # Any: as uvicorn has it
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._last_read_due: asyncio.TimerHandle | None = None

    async def run_asgi(self) -> None:
        """See `asyncio.Protocol`, or uvicorn's own; so for all below."""
        self.scope["extensions"][EXTENSION] = {"write": self.write_frame}  # type: ignore[index]
        await super().run_asgi()
        self._expect_last_read()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self._expect_last_read()

    def connection_lost(self, exc: Exception | None) -> None:
        """A connection that ends without a close frame is told with code 1006, as RFC 6455, 7.1.5 has it; uvicorn's own
        says 1005, which a close frame without a code means.
        """
        if self.handshake_complete and self.conn.close_rcvd is None:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": int(CloseCode.ABNORMAL_CLOSURE)})
        super().connection_lost(exc)
        if self._last_read_due is not None:
            self._last_read_due.cancel()

    def write_frame(self, frame: bytes) -> bool:
        """A `frames.FrameWriter`. Each message is a single frame here, so none can get between the parts of another."""
        conn, transport = self.conn, self.transport
        if conn.state is not State.OPEN or conn.extensions or not self.writable.is_set() or transport.is_closing():
            return False
        transport.write(frame)
        return True

    def data_received(self, data: bytes) -> None:
        """Each ping is answered, so a client that sends them and reads nothing would fill the memory."""
        super().data_received(data)
        if self.transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
            self.transport.abort()

    def handle_cont(self, event: Frame) -> None:
        """Empty fragments count for nothing in a message's length."""
        super().handle_cont(event)
        if len(self.frames) > MAX_FRAGMENTS and not self.transport.is_closing():
            self.frames = []
            self.conn.fail(CloseCode.MESSAGE_TOO_BIG, "too many fragments")
            self.handle_parser_exception()

    def _expect_last_read(self) -> None:
        """A transport that is closed waits until all is read, and a client that does not read has no end."""
        if self._last_read_due is None and not self.disconnected:
            self._last_read_due = self.loop.call_later(self.unread_timeout_s, self.transport.abort)
