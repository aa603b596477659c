"""Lets requests in: from welcome machines and pages, under the server's own names, with a key where one is needed.

Paths are judged by `route_path`, which is what routes are chosen by; never by the URL, which a Host header can bend.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from danqing.core.callers import Caller
from danqing.core.errors import DanqingError, Forbidden, InvalidRequest, Unauthorized, Unavailable
from danqing.core.tickets import Tickets
from danqing.http.callers import STATE_KEY, caller_of
from danqing.http.exchange import CORP, CROSS_ORIGIN, SAME_SITE, is_signed
from danqing.http.keys import Keys, key_in
from danqing.http.origins import GateRules, cors_headers, preflight_headers
from danqing.http.refusals import RefusalLog
from danqing.http.route_path import route_path
from danqing.http.tickets import LocalTickets
from danqing.http.uvicorn_log import websocket_refused

_log = structlog.get_logger(__name__)

HOUSE_OPEN_PATHS = ("/", "/health", "/livez", "/readyz", "/docs", "/openapi.json", "/web")
_POLICY_VIOLATION = 1008  # a WebSocket's close code
_UNAUTHORIZED, _FORBIDDEN = 401, 403


@dataclass(frozen=True, kw_only=True)
class GateParts:
    """What every app's gate works with; the same for all apps of a server, so that a ticket is good on each port."""

    keys: Keys
    rules: GateRules
    tickets: Tickets = field(default_factory=LocalTickets)
    refusals: RefusalLog = field(default_factory=RefusalLog)


class Gate:
    """ASGI middleware. Tells routes who calls (`callers.py`) and answers those that it does not let in.

    is_open: whether a path takes requests without a key while one is needed. answer_error: renders a refusal in the
    shape that the path's clients know.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        parts: GateParts,
        is_open: Callable[[str], bool],
        answer_error: Callable[[HTTPConnection, Exception], Awaitable[Response]],
    ) -> None:
        self._app = app
        self._keys = parts.keys
        self._rules = parts.rules
        self._tickets = parts.tickets
        self._refusals = parts.refusals
        self._is_open = is_open
        self._answer_error = answer_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            preflight = await self._let_in(scope)
        except DanqingError as refusal:
            await self._refuse(scope, receive, send, refusal)
            return
        if preflight is None and scope["type"] == "http" and caller_of(HTTPConnection(scope)) is None:
            send = self._noting(scope, send)  # an open path, which may ask for a key all the same
        await (preflight or self._app)(scope, receive, send)

    async def _let_in(self, scope: Scope) -> Response | None:
        """Notes the caller in the scope. Returns the whole answer to a preflight.

        Raises Forbidden, Unauthorized or InvalidRequest; Unavailable for a ticket that cannot be looked for just now.
        """
        headers = Headers(scope=scope)
        method: str | None = scope.get("method")
        self._rules.check_client(scope)
        self._rules.check_host(scope, headers)
        self._rules.check_origin(headers)
        check_query(scope)
        if method == "OPTIONS" and "access-control-request-method" in headers and self._rules.may_read(headers):
            return Response(status_code=204, headers=preflight_headers(headers))
        caller = await self._caller(scope, headers)
        if caller is not None:
            scope.setdefault("state", {})[STATE_KEY] = caller
        elif not self._is_open(route_path(scope)):
            raise Unauthorized
        return None

    async def _caller(self, scope: Scope, headers: Headers) -> Caller | None:
        by_key = self._keys.caller(key_in(headers))
        if (ticket := _ticket_in(scope)) is not None:
            try:
                bearer = await self._tickets.redeem(ticket)
            except Unavailable:
                if by_key is None:
                    raise
            else:  # the key that it was issued for may be revoked by now
                return bearer if bearer is not None and await self._keys.still_let_in_anywhere(bearer) else by_key
        return by_key

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, refusal: DanqingError) -> None:
        self._tell(scope, refusal)
        if scope["type"] == "websocket":
            websocket_refused.set(True)
            if "websocket.http.response" not in scope.get("extensions", {}):
                await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": refusal.code})
                return
        response = await self._answer_error(HTTPConnection(scope), refusal)
        await response(scope, receive, send)

    def _tell(self, scope: Scope, refusal: DanqingError) -> None:
        match refusal:
            case Unauthorized():
                self._refusals.note(scope, status=_UNAUTHORIZED, reason=_lacking(scope))
            case Forbidden():
                self._refusals.note(scope, status=_FORBIDDEN, reason=refusal.reason)
            case _ if scope["type"] == "websocket":
                _log.info("websocket_refused", code=refusal.code)
            case _:
                pass

    def _noting(self, scope: Scope, send: Send) -> Send:
        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == _UNAUTHORIZED:
                self._refusals.note(scope, status=_UNAUTHORIZED, reason=_lacking(scope))
            await send(message)

        return noted


def _ticket_in(scope: Scope) -> str | None:
    """Of a WebSocket; what else has one in its query is not let in by it."""
    if scope["type"] != "websocket":
        return None
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    return next(iter(query.get("ticket", ())), None)


def _lacking(scope: Scope) -> str:
    """Why nobody is known, for the log."""
    if key_in(Headers(scope=scope)) is not None:
        return "unknown_key"
    return "no_key" if _ticket_in(scope) is None else "stale_ticket"


def check_query(scope: Scope) -> None:
    """Not every database can store a NUL, or look for one. In a path it is a part of what is not found.

    Raises InvalidRequest.
    """
    if b"%00" in scope.get("query_string", b""):
        raise InvalidRequest("The address has a NUL character.")


class Cors:
    """ASGI middleware: lets a browser show answers, errors included, to pages of origins that are welcome.

    Pictures are also shown as part of such a page, and under an address that is signed as part of any; else only within
    pages of the same site.

    Outermost, so that no answer is without its headers.
    """

    def __init__(self, app: ASGIApp, *, rules: GateRules) -> None:
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope)
        origin, may_show = self._rules.may_read(asked), self._rules.may_show(asked)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.add_vary_header("Origin")
                if origin is not None:
                    headers.update(cors_headers(origin))
                if headers.get(CORP) == SAME_SITE and (may_show or is_signed(scope)):
                    headers[CORP] = CROSS_ORIGIN
            await send(message)

        await self._app(scope, receive, send_with_headers)


def is_below(path: str, roots: tuple[str, ...]) -> bool:
    """Whether path is one of roots, or lies below one. Nothing lies below "/"."""
    return any(path == root or (root != "/" and path.startswith(f"{root}/")) for root in roots)
