"""`/health` in the shape that every mounted dialect's clients expect, and `/livez` and `/readyz` for orchestrators."""

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, create_model
from pydantic.fields import FieldInfo
from starlette.responses import JSONResponse

from danqing.core.errors import ModelNotReady
from danqing.core.types import PoolStatus
from danqing.http.dialect import DialectOptions, HealthPart
from danqing.http.joint_answer import CONFLICTS, join


class HealthRoutes:
    """`GET /health`: one object holding the fields of every dialect, put together by `joint_answer.join`.

    Where two dialects give one field different values, `conflicts` tells both, and the field has the value of the
    dialect that leads it (`HealthPart.leads`), or is left out. On its own port each dialect says what its vendor says.
    """

    def __init__(
        self, *, pool: Callable[[], PoolStatus], options: DialectOptions, parts: Mapping[str, HealthPart]
    ) -> None:
        """parts: by the dialect's name; at least one. Raises ValueError if two lead one field."""
        self._pool = pool
        self._options = options
        self._parts = parts
        self._leaders = _leaders(parts)

    def router(self) -> APIRouter:
        """The routes."""
        router = APIRouter(tags=["health"])
        router.add_api_route(
            "/health",
            self.health,
            methods=["GET"],
            response_model=_joint_model({name: part.model for name, part in self._parts.items()}, self._leaders),
            summary="Whether the server works",
        )
        return router

    async def health(self) -> JSONResponse:
        """Always 200 while the server runs; the fields tell whether a model is loaded."""
        pool = self._pool()
        fields = {dialect: part.fields(pool, self._options) for dialect, part in self._parts.items()}
        return JSONResponse(join(fields, self._leaders))


class ProbeRoutes:
    """For process managers; the same whatever dialects are mounted."""

    def __init__(self, *, pool: Callable[[], PoolStatus], draining: Callable[[], bool]) -> None:
        """draining: whether the server is about to end."""
        self._pool = pool
        self._draining = draining

    def router(self) -> APIRouter:
        """The routes."""
        router = APIRouter(tags=["health"])
        router.add_api_route("/livez", self.livez, methods=["GET"], summary="Whether the event loop answers")
        router.add_api_route("/readyz", self.readyz, methods=["GET"], summary="Whether jobs can be sent here")
        return router

    async def livez(self) -> JSONResponse:
        """200 as long as the event loop runs."""
        return JSONResponse({"live": True})

    async def readyz(self) -> JSONResponse:
        """200 once a worker has its models loaded, 503 before, while none has, and from the first request to stop; also
        while a start waits for a part that is away.

        Where workers are elsewhere: 200 also before the first one has come; 503 once the shared store was away a while.
        """
        if self._pool().is_ready and not self._draining():
            return JSONResponse({"ready": True})
        return JSONResponse(
            {"ready": False}, status_code=503, headers={"Retry-After": str(ModelNotReady.retry_after_s)}
        )


def _leaders(parts: Mapping[str, HealthPart]) -> dict[str, str]:
    """The dialect that leads each field that one leads."""
    leaders: dict[str, str] = {}
    for dialect, part in parts.items():
        for name in part.leads:
            if (other := leaders.setdefault(name, dialect)) != dialect:
                raise ValueError(f"{other} and {dialect} both lead the field {name} of /health")
    return leaders


def _joint_model(models: Mapping[str, type[BaseModel]], leaders: Mapping[str, str]) -> type[BaseModel]:
    """Describes what `join` makes of these. A field of several dialects may be any of theirs, or left out if none
    leads it.
    """
    if len(models) == 1:
        return next(iter(models.values()))
    declared: dict[str, dict[str, FieldInfo]] = {}
    for dialect, model in models.items():
        for name, field in model.model_fields.items():
            declared.setdefault(name, {})[dialect] = field
    fields: dict[str, Any] = {}
    for name, found in declared.items():
        first = next(iter(found.values())) if len(found) == 1 else found.get(leaders.get(name, ""))
        fields[name] = (Any, None) if first is None else (first.annotation, first)
    fields[CONFLICTS] = (dict[str, dict[str, Any]], {})
    return create_model("JointHealth", __config__=ConfigDict(extra="forbid"), **fields)
