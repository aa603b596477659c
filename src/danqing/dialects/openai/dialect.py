"""OpenAI's API as a dialect that the app can mount."""

from collections.abc import Mapping
from datetime import UTC, datetime

from fastapi import APIRouter

from danqing import __version__
from danqing.core.types import PoolStatus
from danqing.dialects.openai.errors import render_error
from danqing.dialects.openai.house_routes import HouseRoutes
from danqing.dialects.openai.picture_files import FOLDER
from danqing.dialects.openai.routes import ImageRoutes
from danqing.dialects.openai.schemas import Health
from danqing.dialects.openai.translate_out import timestamp
from danqing.http.dialect import Dialect, DialectOptions, HealthPart, Services

MAX_BODY_BYTES = 256 * 1024 * 1024  # all pictures of a request; see `uploads.py` for one

_CURL_EXAMPLE = """\
curl -X POST {url}/v1/images/generations \\
  -H "Content-Type: application/json" \\
  -d '{
    "prompt": "a beautiful landscape",
    "size": "1024x1024"
  }'"""


def openai() -> Dialect:
    """The OpenAI Images API, and that of the Qwen image editing server."""
    return Dialect(
        name="openai",
        title="OpenAI Images API",
        prefixes=("/v1/images", "/v1/models", "/v1/files", "/ready"),
        open_paths=("/ready", FOLDER),
        build_router=_build_router,
        render_error=render_error,
        error_fields=None,  # OpenAI's clients read the house's own `error`
        health=HealthPart(fields=_health, model=Health, leads=frozenset({"status"})),
        max_body_bytes=MAX_BODY_BYTES,
        curl_example=_CURL_EXAMPLE,
    )


def _build_router(services: Services) -> APIRouter:
    router = APIRouter(tags=["openai"])
    ImageRoutes(services).add_to(router)
    HouseRoutes(services).add_to(router)
    return router


def _health(_pool: PoolStatus, _options: DialectOptions) -> Mapping[str, object]:
    return Health(status="healthy", timestamp=timestamp(datetime.now(UTC)), version=__version__).model_dump()
