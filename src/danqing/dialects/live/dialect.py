"""Live as a dialect that the app can mount."""

from fastapi import APIRouter

from danqing.dialects.live.errors import render_error
from danqing.dialects.live.outbox import OutboxLimits
from danqing.dialects.live.routes import HEALTH_PATH, SOCKET_PATH, LiveRoutes
from danqing.dialects.live.translate_out import IMAGE_PATH
from danqing.http.dialect import Dialect, Services

MAX_BODY_BYTES = 64 * 1024  # no path takes a body

_CURL_EXAMPLE = """\
# jobs are made over the WebSocket at {url}/api/ws; this fetches the picture that a job's result names
curl {url}/api/image/FILENAME --output picture.png"""


def live(limits: OutboxLimits | None = None) -> Dialect:
    """The API of the Z-Image-Turbo server with live progress. limits: of what is held for a slow reader."""

    def build_router(services: Services) -> APIRouter:
        return LiveRoutes(services=services, limits=limits or OutboxLimits()).router()

    return Dialect(
        name="live",
        title="Z-Image-Turbo live API",
        prefixes=(SOCKET_PATH, IMAGE_PATH, HEALTH_PATH),
        build_router=build_router,
        render_error=render_error,
        error_fields=None,
        health=None,
        max_body_bytes=MAX_BODY_BYTES,
        curl_example=_CURL_EXAMPLE,
        open_paths=(IMAGE_PATH, HEALTH_PATH),
    )
