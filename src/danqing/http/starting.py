"""What answers on a server's ports while it starts: probes at once, everybody else once the server is there.

Where the start waits for a part that is away, everybody else is told so instead, in his dialect's shape.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from danqing.core.errors import Unavailable
from danqing.core.types import PoolStatus
from danqing.http.dialect import Dialect, DialectOptions
from danqing.http.errors import ErrorDesk
from danqing.http.health import HealthRoutes, ProbeRoutes
from danqing.http.route_path import route_path

STARTING = "The server is starting, and waits for its database or its store of pictures; try again in a moment."
_PROBES = ("/livez", "/readyz")


class StartingApp:
    """ASGI, for one port. Until `become` it answers by itself; then the server's own app does.

    waiting: returns once the start waits for something; nobody else's request is held up from then on.
    """

    def __init__(
        self,
        *,
        dialects: Sequence[Dialect],
        alone: bool,
        options: DialectOptions,
        waiting: Callable[[], Awaitable[object]],
    ) -> None:
        """dialects: of the port; alone: it speaks only its one."""
        self._desk = ErrorDesk(dialects=tuple(dialects), alone=alone)
        self._waiting = waiting
        self._probes = () if alone else _PROBES
        self._there = asyncio.Event()
        self._app: ASGIApp | None = None
        self._interim = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
        if not alone:
            self._interim.include_router(ProbeRoutes(pool=PoolStatus, draining=lambda: False).router())
        if parts := {dialect.name: dialect.health for dialect in dialects if dialect.health is not None}:
            self._interim.include_router(HealthRoutes(pool=PoolStatus, options=options, parts=parts).router())
        self._interim.add_exception_handler(HTTPException, self._refuse)

    def become(self, app: ASGIApp) -> None:
        """The server is there, and this is its app."""
        self._app = app
        self._there.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3."""
        if self._app is None and route_path(scope) not in self._probes:
            await self._until_there_or_waiting()
        if self._app is not None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._refuse_websocket(scope, receive, send)
        else:
            await self._interim(scope, receive, send)

    async def _until_there_or_waiting(self) -> None:
        tasks = [asyncio.ensure_future(self._there.wait()), asyncio.ensure_future(self._waiting())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    async def _refuse(self, request: HTTPConnection, _error: Exception) -> Response:
        return await self._desk.answer(request, Unavailable(STARTING))

    async def _refuse_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1013, "reason": Unavailable.code})  # try again later
            return
        response = await self._desk.answer(HTTPConnection(scope), Unavailable(STARTING))
        await response(scope, receive, send)
