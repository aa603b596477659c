"""`/health` in the shape that every mounted dialect's clients expect, and `/livez` and `/readyz` for orchestrators."""

from collections.abc import Callable, Mapping, Sequence

from fastapi import APIRouter
from starlette.responses import JSONResponse

from danqing.core.errors import ModelNotReady
from danqing.core.studio import Studio
from danqing.core.types import PoolStatus
from danqing.http.dialect import Dialect

HealthFields = Callable[[PoolStatus], Mapping[str, object]]


class HealthRoutes:
    """`GET /health`: one object holding the fields of every dialect; their names must not clash."""

    def __init__(self, *, studio: Studio, contributions: Sequence[HealthFields]) -> None:
        self._studio = studio
        self._contributions = contributions

    def router(self) -> APIRouter:
        """The routes."""
        router = APIRouter(tags=["health"])
        router.add_api_route("/health", self.health, methods=["GET"], summary="Whether the server works")
        return router

    async def health(self) -> JSONResponse:
        """Always 200 while the server runs; the fields tell whether a model is loaded."""
        pool = self._studio.pool_status()
        return JSONResponse({name: value for fields in self._contributions for name, value in fields(pool).items()})


class ProbeRoutes:
    """For process managers; the same whatever dialects are mounted."""

    def __init__(self, *, studio: Studio) -> None:
        self._studio = studio

    def router(self) -> APIRouter:
        """The routes."""
        router = APIRouter(tags=["health"])
        router.add_api_route("/livez", self.livez, methods=["GET"], summary="Whether the event loop answers")
        router.add_api_route("/readyz", self.readyz, methods=["GET"], summary="Whether a worker can make pictures")
        return router

    async def livez(self) -> JSONResponse:
        """200 as long as the event loop runs."""
        return JSONResponse({"live": True})

    async def readyz(self) -> JSONResponse:
        """200 once a worker has its models loaded, 503 before and while none has."""
        if self._studio.pool_status().model_loaded:
            return JSONResponse({"ready": True})
        return JSONResponse(
            {"ready": False}, status_code=503, headers={"Retry-After": str(ModelNotReady.retry_after_s)}
        )


def health_contributions(dialects: Sequence[Dialect]) -> list[HealthFields]:
    """The health fields of those dialects that have any."""
    return [dialect.health for dialect in dialects if dialect.health is not None]
