"""`GET /metrics` for Prometheus: on the shared port for whoever sees everybody's jobs, and on a port of its own."""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from danqing.core.errors import Forbidden
from danqing.http.callers import known_caller
from danqing.http.errors import render_jointly
from danqing.http.gate import Gate, GateParts
from danqing.http.keys import Keys
from danqing.http.origins import GateRules

PATH = "/metrics"
_EXAMPLE = """# HELP danqing_workers Workers by state.
# TYPE danqing_workers gauge
danqing_workers{state="ready"} 1.0
"""


class MetricsRoute:
    """read: the page as of now. content_type: of the page."""

    def __init__(self, *, read: Callable[[], Awaitable[bytes]], content_type: str) -> None:
        self._read = read
        self._content_type = content_type

    def router(self) -> APIRouter:
        """The route for the shared port."""
        router = APIRouter(tags=["health"])
        router.add_api_route(
            PATH,
            self.for_known_callers,
            methods=["GET"],
            response_class=Response,
            responses={200: {"content": {"text/plain": {"example": _EXAMPLE}}, "description": "All figures."}},
            summary="Figures of this process, for Prometheus",
        )
        return router

    async def for_known_callers(self, request: Request) -> Response:
        """In Prometheus' text format. Where keys are needed, only for the administrator's."""
        if not known_caller(request).sees_all:
            raise Forbidden("The figures of the server are for its administrator.")
        return await self.answer(request)

    async def answer(self, _request: Request) -> Response:
        """The page."""
        return Response(await self._read(), headers={"Content-Type": self._content_type, "Cache-Control": "no-store"})


def build_metrics_app(route: MetricsRoute, *, rules: GateRules) -> ASGIApp:
    """A port of its own that answers `/metrics`, needs no key, and tells `/livez`; nothing else is there."""

    async def livez(_request: Request) -> Response:
        return JSONResponse({"live": True})

    async def refuse(_connection: HTTPConnection, error: Exception) -> Response:
        return render_jointly(error, ())

    return Starlette(
        routes=[Route(PATH, route.answer), Route("/livez", livez)],
        middleware=[
            Middleware(
                Gate,
                parts=GateParts(keys=Keys(enabled=False), rules=rules),
                is_open=lambda _path: True,
                answer_error=refuse,
            )
        ],
    )
