"""What every HTTP exchange gets: an id, safe headers, HEAD like GET, a log line, an answer even to a fault of ours.

The id is the client's `X-Request-ID`, if it has one that fits into a log, and else a new one.
"""

import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, cast

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_log = structlog.get_logger(__name__)


def _raw(headers: Mapping[str, str]) -> tuple[tuple[bytes, bytes], ...]:
    """As ASGI has them."""
    return tuple((name.lower().encode(), value.encode()) for name, value in headers.items())


CORP = "Cross-Origin-Resource-Policy"
SAME_SITE, CROSS_ORIGIN = "same-site", "cross-origin"
# Answers are data, never pages; the start page sets a policy of its own, and pictures say where they may be shown.
_SAFE_HEADERS = _raw(
    {
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
        "Referrer-Policy": "no-referrer",
        CORP: "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "X-Permitted-Cross-Domain-Policies": "none",
        "Cache-Control": "no-store",
    }
)
UNMATCHED = "unmatched"  # instead of a route: what a client wrote is no business of logs and figures
_LOGGED_PATH_CHARS = 200
_SANE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=-]{0,127}")


_SIGNED = "signed_picture"  # in the scope's state
_NO_BODY = "danqing.no_body"  # in the scope


def wants_no_body(scope: Scope) -> bool:
    """Whether a body is not sent anyway, so that one that takes work need not be made."""
    return bool(scope.get(_NO_BODY))


def note_signed(request: HTTPConnection) -> None:
    """What is answered may be shown in any page: the address itself is the leave."""
    request.scope.setdefault("state", {})[_SIGNED] = True


def is_signed(scope: Scope) -> bool:
    """See `note_signed`."""
    return bool(scope.get("state", {}).get(_SIGNED))


class ExchangeInHand(Protocol):
    """What a witness keeps of an exchange, or of a WebSocket connection, while it lasts."""

    def ended(self, *, route: str | None, status: int | None, seconds: float, received: int, sent: int) -> None:
        """It is over. route: the template of its path; None: no route was found. status: None: no answer began.

        received, sent: bytes of the bodies. Of a WebSocket connection only seconds is told.
        """
        ...


class ExchangeWitness(Protocol):
    """Hears of all exchanges and WebSocket connections. Must not block, and must not raise."""

    def began(self, scope: Scope) -> ExchangeInHand:
        """One begins, in the task that answers it and that calls `ended`."""
        ...


class Exchange:
    """Outermost ASGI middleware. answer_error turns an exception that nobody handled into a response."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        answer_error: Callable[[HTTPConnection, Exception], Awaitable[Response]],
        witnesses: Sequence[ExchangeWitness] = (),
    ) -> None:
        self._app = app
        self._answer_error = answer_error
        self._witnesses = witnesses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3."""
        if scope["type"] == "http":
            await self._exchange(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._connection(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _exchange(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = request_id_of(Headers(scope=scope))
        reply = _Reply(send, request_id=request_id, head=scope["method"] == "HEAD")
        asked = {**scope, "method": "GET", _NO_BODY: True} if reply.head else scope
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        began = time.perf_counter()
        bound = structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            in_hand = [witness.began(scope) for witness in self._witnesses]
            try:
                await self._run(asked, counted, reply)
            finally:
                seconds, route = time.perf_counter() - began, _route_of(asked)
                if route is None:
                    _log.debug("no_route", path=scope["path"][:_LOGGED_PATH_CHARS])
                _log_exchange(scope["method"], route or UNMATCHED, reply.status, seconds)
                for each in reversed(in_hand):
                    each.ended(route=route, status=reply.status, seconds=seconds, received=received, sent=reply.sent)
        finally:
            structlog.contextvars.reset_contextvars(**bound)

    async def _connection(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=request_id_of(Headers(scope=scope))):
            in_hand = [witness.began(scope) for witness in self._witnesses]
            try:
                await self._app(scope, receive, send)
            finally:
                seconds = time.perf_counter() - began
                for each in reversed(in_hand):
                    each.ended(route=_route_of(scope), status=None, seconds=seconds, received=0, sent=0)

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
        self.sent = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = cast("list[tuple[bytes, bytes]]", message.setdefault("headers", []))
            present = {name.lower() for name, _ in headers}
            headers += [header for header in _SAFE_HEADERS if header[0] not in present]
            MutableHeaders(raw=headers)["X-Request-Id"] = self._request_id
        elif message["type"] == "http.response.body":
            if self.head:
                message = {**message, "body": b""}
            self.sent += len(message.get("body", b""))
        await self._send(message)


def request_id_of(headers: Headers) -> str:
    """The client's, if it gave exactly one that is short and has nothing in it that a log would have to escape."""
    given = headers.getlist("x-request-id")
    return given[0] if len(given) == 1 and _SANE_ID.fullmatch(given[0]) else secrets.token_hex(16)


def _route_of(scope: Scope) -> str | None:
    return getattr(scope.get("route"), "path", None)


def _log_exchange(method: str, route: str, status: int | None, seconds: float) -> None:
    """Reading that went well is told at level debug only: clients poll."""
    quiet = method in ("GET", "HEAD") and status is not None and status < 400
    write = _log.debug if quiet else _log.info
    write("http_request", method=method, route=route, status=status, ms=round(seconds * 1000, 2))
