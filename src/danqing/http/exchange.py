"""What every HTTP exchange gets: an id, safe headers, HEAD like GET, a log line, an answer even to a fault of ours."""

import time
import uuid
from collections.abc import Awaitable, Callable
from typing import cast

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_log = structlog.get_logger(__name__)

CORP = "Cross-Origin-Resource-Policy"
SAME_SITE, CROSS_ORIGIN = "same-site", "cross-origin"
# Answers are data, never pages; the start page sets a policy of its own, and pictures say where they may be shown.
_SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "Referrer-Policy": "no-referrer",
    CORP: "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Permitted-Cross-Domain-Policies": "none",
    "Cache-Control": "no-store",
}
_LOGGED_PATH_CHARS = 200


_SIGNED = "signed_picture"  # in the scope's state


def note_signed(request: HTTPConnection) -> None:
    """What is answered may be shown in any page: the address itself is the leave."""
    request.scope.setdefault("state", {})[_SIGNED] = True


def is_signed(scope: Scope) -> bool:
    """See `note_signed`."""
    return bool(scope.get("state", {}).get(_SIGNED))


class Exchange:
    """Outermost ASGI middleware. answer_error turns an exception that nobody handled into a response."""

    def __init__(
        self, app: ASGIApp, *, answer_error: Callable[[HTTPConnection, Exception], Awaitable[Response]]
    ) -> None:
        self._app = app
        self._answer_error = answer_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex
        reply = _Reply(send, request_id=request_id, head=scope["method"] == "HEAD")
        asked = {**scope, "method": "GET"} if reply.head else scope
        began = time.perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._run(asked, receive, reply)
            finally:
                _log_exchange(scope["method"], asked, reply.status, time.perf_counter() - began)

    async def _run(self, scope: Scope, receive: Receive, reply: "_Reply") -> None:
        try:
            await self._app(scope, receive, reply.send)
        except Exception as exc:  # the top of a request: whatever it is, the client gets an answer
            if reply.status is not None:
                raise  # an answer has begun; the server closes the connection
            response = await self._answer_error(HTTPConnection(scope), exc)
            await response(scope, receive, reply.send)


class _Reply:
    """Passes an answer on with the safe headers; without its body if it answers HEAD."""

    def __init__(self, send: Send, *, request_id: str, head: bool) -> None:
        self._send = send
        self._request_id = request_id
        self.head = head
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(raw=cast("list[tuple[bytes, bytes]]", message.setdefault("headers", [])))
            for name, value in _SAFE_HEADERS.items():
                headers.setdefault(name, value)
            headers["X-Request-Id"] = self._request_id
        elif self.head and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await self._send(message)


def _log_exchange(method: str, scope: Scope, status: int | None, seconds: float) -> None:
    """Reading that went well is told at level debug only: clients poll."""
    route = getattr(scope.get("route"), "path", None) or scope["path"][:_LOGGED_PATH_CHARS]
    quiet = method in ("GET", "HEAD") and status is not None and status < 400
    write = _log.debug if quiet else _log.info
    write("http_request", method=method, route=route, status=status, ms=round(seconds * 1000, 2))
