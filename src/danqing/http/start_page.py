"""The page a browser gets at `/`: that Danqing runs, which model it has, and how to ask for a picture."""

import base64
import hashlib
from collections.abc import Sequence
from html import escape

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse

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
<p>All endpoints: <a href="/openapi.json">openapi.json</a></p>
</body>
</html>
"""
_DIALECT = "<h2>{title}</h2>\n<pre>{example}</pre>"


class StartPage:
    """`GET /`. Loads nothing from anywhere, runs no script."""

    def __init__(self, *, studio: Studio, dialects: Sequence[Dialect]) -> None:
        self._studio = studio
        self._dialects = dialects
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

    async def show(self, request: Request) -> HTMLResponse:
        """The address shown is the one the browser used."""
        url = f"{request.url.scheme}://{request.url.netloc}"
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
