"""The studio's API as a dialect that the app can mount."""

from fastapi import APIRouter

from danqing.core.images import MAX_IMAGE_BYTES
from danqing.dialects.studio.errors import render_error
from danqing.dialects.studio.picture_names import FOLDER
from danqing.dialects.studio.routes import StudioRoutes
from danqing.http.dialect import Dialect, Services

MAX_BODY_BYTES = 4 * MAX_IMAGE_BYTES + 4 * 1024**2

_CURL_EXAMPLE = """\
curl -X POST {url}/studio/batches \\
  -F 'request={"prompt": "a red cat by a lake", "count": 2}'"""


def studio() -> Dialect:
    """The API that the studio page uses."""
    return Dialect(
        name="studio",
        title="Danqing Studio API",
        prefixes=("/studio",),
        build_router=_build_router,
        render_error=render_error,
        error_fields=None,
        health=None,
        max_body_bytes=MAX_BODY_BYTES,
        curl_example=_CURL_EXAMPLE,
        open_paths=(FOLDER,),
    )


def _build_router(services: Services) -> APIRouter:
    return StudioRoutes(services).router()
