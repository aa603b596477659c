"""Zimage as a dialect that the app can mount."""

from collections.abc import Mapping
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from danqing.core.types import PoolStatus
from danqing.dialects.zimage.errors import error_fields, render_error
from danqing.dialects.zimage.history_routes import HistoryRoutes
from danqing.dialects.zimage.picture_names import FOLDER
from danqing.dialects.zimage.routes import TaskRoutes
from danqing.http.dialect import Dialect, DialectOptions, HealthPart, Services

MAX_BODY_BYTES = 1024 * 1024

_CURL_EXAMPLE = """\
curl -X POST {url}/v1/images/generate \\
  -H "Content-Type: application/json" \\
  -d '{"prompt": "a cat sitting on the chair"}'

# task_id of the answer goes into the next line; its image_url is where the picture is once status is SUCCESS
curl {url}/v1/tasks/TASK_ID"""


class Health(BaseModel):
    """environment: what the operator calls this installation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Literal["ok"]
    environment: str


def zimage() -> Dialect:
    """The API of the Z-Image backend."""
    return Dialect(
        name="zimage",
        title="Z-Image API",
        prefixes=("/v1/images/generate", "/v1/tasks", "/v1/history", FOLDER),
        build_router=_build_router,
        render_error=render_error,
        error_fields=error_fields,
        health=HealthPart(fields=_health, model=Health),
        max_body_bytes=MAX_BODY_BYTES,
        curl_example=_CURL_EXAMPLE,
        open_paths=(FOLDER,),
        root={"message": "Z-Image API is running"},
    )


def _build_router(services: Services) -> APIRouter:
    router = APIRouter(tags=["zimage"])
    for routes in (TaskRoutes(services), HistoryRoutes(services)):
        routes.add_to(router)
    return router


def _health(_pool: PoolStatus, options: DialectOptions) -> Mapping[str, object]:
    return Health(status="ok", environment=options.environment).model_dump()
