"""`/health` in the shape that every mounted dialect's clients expect, and `/livez` and `/readyz` for orchestrators."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, create_model
from pydantic.fields import FieldInfo
from starlette.responses import JSONResponse

from danqing.core.errors import ModelNotReady
from danqing.core.studio import Studio
from danqing.http.dialect import HealthPart
from danqing.http.joint_answer import CONFLICTS, join


class HealthRoutes:
    """`GET /health`: one object holding the fields of every dialect, put together by `joint_answer.join`.

    Where two dialects give one field different values, neither is passed off as the other's: the field is left out, and
    `conflicts` tells both. On its own port each dialect says what its vendor says.
    """

    def __init__(self, *, studio: Studio, parts: Mapping[str, HealthPart]) -> None:
        """parts: by the dialect's name; at least one."""
        self._studio = studio
        self._parts = parts

    def router(self) -> APIRouter:
        """The routes."""
        router = APIRouter(tags=["health"])
        router.add_api_route(
            "/health",
            self.health,
            methods=["GET"],
            response_model=_joint_model([part.model for part in self._parts.values()]),
            summary="Whether the server works",
        )
        return router

    async def health(self) -> JSONResponse:
        """Always 200 while the server runs; the fields tell whether a model is loaded."""
        pool = self._studio.pool_status()
        return JSONResponse(join({dialect: part.fields(pool) for dialect, part in self._parts.items()}))


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
        """200 once a worker has its models loaded, 503 before, while none has, and from the first request to stop."""
        if self._studio.pool_status().model_loaded and not self._studio.is_draining:
            return JSONResponse({"ready": True})
        return JSONResponse(
            {"ready": False}, status_code=503, headers={"Retry-After": str(ModelNotReady.retry_after_s)}
        )


def _joint_model(models: list[type[BaseModel]]) -> type[BaseModel]:
    """Describes what `join` makes of these. A field of several dialects may be any of theirs, or left out."""
    if len(models) == 1:
        return models[0]
    declared: dict[str, list[FieldInfo]] = {}
    for model in models:
        for name, field in model.model_fields.items():
            declared.setdefault(name, []).append(field)
    fields: dict[str, Any] = {
        name: (found[0].annotation, found[0]) if len(found) == 1 else (Any, None) for name, found in declared.items()
    }
    fields[CONFLICTS] = (dict[str, dict[str, Any]], {})
    return create_model("JointHealth", __config__=ConfigDict(extra="forbid"), **fields)
