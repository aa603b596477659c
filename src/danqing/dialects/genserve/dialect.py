"""GenServe as a dialect that the app can mount."""

from fastapi import APIRouter

from danqing.core.images import MAX_IMAGE_BYTES
from danqing.dialects.genserve.errors import render_error
from danqing.dialects.genserve.routes import GenServeRoutes
from danqing.dialects.genserve.schemas import IMAGE_NAMES
from danqing.http.dialect import Dialect, Services

# As many pictures as a request can have, as base64, and something for the rest of the request.
MAX_BODY_BYTES = len(IMAGE_NAMES) * (MAX_IMAGE_BYTES + 2) // 3 * 4 + 4 * 1024**2

_CURL_EXAMPLE = """\
curl -X POST "{url}/generate" \\
     -H "Content-Type: application/json" \\
     -d '{
       "prompt": "A beautiful sunset over mountains",
       "mode": "text2img",
       "height": 1024,
       "width": 1024,
       "num_inference_steps": 50,
       "cfg": 3.5,
       "seed": 42
     }'"""


def genserve() -> Dialect:
    """The GenServe API."""
    return Dialect(
        name="genserve",
        title="GenServe API",
        prefixes=("/generate", "/status", "/models"),
        build_router=_build_router,
        render_error=render_error,
        error_fields=None,
        health=None,
        max_body_bytes=MAX_BODY_BYTES,
        curl_example=_CURL_EXAMPLE,
    )


def _build_router(services: Services) -> APIRouter:
    return GenServeRoutes(services).router()
