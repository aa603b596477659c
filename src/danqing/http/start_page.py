"""What `/` answers: to a browser a page that says what runs here and how to ask for a picture, to others JSON."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from html import escape

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from danqing.core.studio import Studio
from danqing.http.dialect import Dialect

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1rem; }
pre { background: #8881; padding: 1rem; overflow-x: auto; }
:root { color-scheme: light dark; }
"""
_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Danqing 丹青</title>
<style>{style}</style></head>
<body>
<h1>Danqing 丹青</h1>
<p>Model: <strong>{model}</strong>, {state}.</p>
{dialects}
<p><a href="/docs">All endpoints, to read and to try</a> (<a href="/openapi.json">openapi.json</a>)</p>
</body>
</html>
"""
_DIALECT = "<h2>{title}</h2>\n<pre>{example}</pre>"


class StartPage:
    """`GET /` on the shared port: who asks for `text/html` gets the page, everybody else what the dialect that has a
    `root` says, or the page if none has.

    The page loads nothing from anywhere and runs no script.
    """

    def __init__(self, *, studio: Studio, dialects: Sequence[Dialect], public_url: str | None = None) -> None:
        """public_url: see `DialectOptions`."""
        self._studio = studio
        self._public_url = public_url
        self._dialects = dialects
        self._root = next((dialect.root for dialect in dialects if dialect.root is not None), None)
        style_hash = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
        self._policy = (
            f"default-src 'none'; style-src 'sha256-{style_hash}'; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'"
        )

    def router(self) -> APIRouter:
        """The route."""
        router = APIRouter()
        router.add_api_route("/", self.show, methods=["GET"], include_in_schema=False)
        return router

    async def show(self, request: Request) -> Response:
        """The address shown is the public one, or else the one that the browser used."""
        response = self._page(request) if self._root is None or _wants_page(request) else JSONResponse(self._root)
        response.headers["Vary"] = "Accept"
        return response

    def _page(self, request: Request) -> Response:
        url = (self._public_url or str(request.base_url)).rstrip("/")
        examples = [
            _DIALECT.format(title=escape(d.title), example=escape(d.curl_example.replace("{url}", url)))
            for d in self._dialects
            if d.curl_example
        ]
        page = _PAGE.format(
            style=_STYLE,
            model=escape(self._studio.catalogue.default().title),
            state="ready" if self._studio.pool_status().model_loaded else "still loading",
            dialects="\n".join(examples),
        )
        return HTMLResponse(page, headers={"Content-Security-Policy": self._policy})


class RootAnswer:
    """`GET /` on the port of a dialect that has a `root`."""

    def __init__(self, root: Mapping[str, object]) -> None:
        self._root = root

    def router(self) -> APIRouter:
        """The route."""
        router = APIRouter()
        router.add_api_route("/", self.show, methods=["GET"], include_in_schema=False)
        return router

    async def show(self) -> JSONResponse:
        """To a browser too, as the vendor's server does."""
        return JSONResponse(self._root)


def _wants_page(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")
