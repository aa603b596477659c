"""`/docs`: every endpoint of the port, to read and to try, by Swagger UI from files of this package. Works offline.

`swagger_ui/` holds files of the npm package swagger-ui-dist, unchanged, with its licence.
"""

from html import escape
from pathlib import Path

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse

SWAGGER_UI_VERSION = "5.35.0"

_HERE = Path(__file__).parent
_FILES = {
    "swagger-ui-bundle.js": (_HERE / "swagger_ui" / "swagger-ui-bundle.js", "text/javascript"),
    "swagger-ui.css": (_HERE / "swagger_ui" / "swagger-ui.css", "text/css"),
    "start.js": (_HERE / "start.js", "text/javascript"),
}
_FILES_AT = f"/docs/{SWAGGER_UI_VERSION}"  # a later version has other addresses, so browsers may keep these for long
_FILES_CACHE = "public, max-age=604800"
# data: the icons of the style sheet; blob: pictures that a tried request answered with.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}: endpoints</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{at}/swagger-ui.css">
<script src="{at}/swagger-ui-bundle.js" defer></script>
<script src="{at}/start.js" defer></script></head>
<body><div id="swagger-ui"></div></body>
</html>
"""


class DocsPage:
    """The page and the files that it loads. title: of the port."""

    def __init__(self, *, title: str) -> None:
        self._page = _PAGE.format(title=escape(title), at=_FILES_AT)

    def router(self) -> APIRouter:
        """The routes."""
        router = APIRouter(include_in_schema=False)
        router.add_api_route("/docs", self.show, methods=["GET"])
        router.add_api_route(f"{_FILES_AT}/{{name}}", self.file, methods=["GET"])
        return router

    async def show(self) -> HTMLResponse:
        """Runs only scripts of this server."""
        return HTMLResponse(self._page, headers={"Content-Security-Policy": _POLICY})

    async def file(self, name: str) -> FileResponse:
        """One of the few that there are."""
        if name not in _FILES:
            raise HTTPException(status_code=404)
        path, media_type = _FILES[name]
        return FileResponse(path, media_type=media_type, headers={"Cache-Control": _FILES_CACHE})
