"""Turbo as a dialect that the app can mount."""

from collections.abc import Mapping

from fastapi import APIRouter

from danqing.core.types import PoolStatus
from danqing.dialects.turbo.errors import error_fields, render_error
from danqing.dialects.turbo.routes import TurboRoutes
from danqing.dialects.turbo.schemas import Envelope, Health
from danqing.dialects.turbo.translate_out import from_health
from danqing.http.dialect import Dialect, DialectOptions, HealthPart, Services

MAX_BODY_BYTES = 1024 * 1024

_CURL_EXAMPLE = """\
curl -X POST {url}/api/generate \\
  -H "Content-Type: application/json" \\
  -d '{
    "prompt": "A beautiful sunset over the ocean",
    "height": 1024,
    "width": 1024,
    "num_inference_steps": 9
  }'

# data.task_id of the answer goes into the next line; it saves the picture once the task is completed
curl {url}/api/result/TASK_ID --output result.png"""


def turbo() -> Dialect:
    """The API of the Z-Image-Turbo Flask server."""
    return Dialect(
        name="turbo",
        title="Z-Image-Turbo API",
        prefixes=("/api", "/health"),
        build_router=_build_router,
        render_error=render_error,
        error_fields=error_fields,
        health=HealthPart(fields=_health, model=Envelope[Health]),
        max_body_bytes=MAX_BODY_BYTES,
        curl_example=_CURL_EXAMPLE,
    )


def _build_router(services: Services) -> APIRouter:
    return TurboRoutes(
        studio=services.studio, artifacts=services.artifacts, key_lifetime=services.options.submit_key_lifetime
    ).router()


def _health(pool: PoolStatus, options: DialectOptions) -> Mapping[str, object]:
    return Envelope(code=200, message="success", data=from_health(pool)).model_dump()
