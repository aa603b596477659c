"""What `/` answers: to a browser the studio page, to others JSON. The page's files are under `/web`."""

from collections.abc import Mapping, Sequence
from html import escape

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from danqing.core.studio import Studio
from danqing.http.dialect import Dialect
from danqing.http.web_files import WebFiles, compressed, gzipped_if_smaller

FILES_AT = "/web"
# data: and blob: are pictures that the page itself made or was told.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_DIALECT = "<h2>{title}</h2>\n<pre>{example}</pre>"
_PRELOADED = (".js", ".mjs")
# What the first sight of the page does not need: its scripts fetch it afterwards, and the types never.
_LATER = (
    "later/",
    "lib/edges.js",
    "lib/metadata.js",
    "lib/png_texts.js",
    "lib/snippets.js",
    "state/keys.js",
    "state/machine.js",
    "state/types.js",
    "views/machine/",
)


class StartPage:
    """`GET /` on the shared port: who asks for `text/html` gets the page, everybody else what the dialect that has a
    `root` says, or the page if none has.

    The page loads nothing from anywhere else and runs no script but its own files. Where no script runs, it says how to
    ask for a picture.
    """

    def __init__(
        self,
        *,
        studio: Studio,
        dialects: Sequence[Dialect],
        public_url: str | None = None,
        files: WebFiles | None = None,
    ) -> None:
        """public_url: see `DialectOptions`. files: of the package, without."""
        self._studio = studio
        self._public_url = public_url
        self._dialects = dialects
        self._root = next((dialect.root for dialect in dialects if dialect.root is not None), None)
        self._files = files or WebFiles()
        self._template = self._files.files["index.html"].content.decode()

    def router(self) -> APIRouter:
        """The routes."""
        router = APIRouter(include_in_schema=False)
        router.add_api_route("/", self.show, methods=["GET"])
        router.add_api_route(f"{FILES_AT}/{{digest}}/{{name:path}}", self.file, methods=["GET"])
        return router

    async def show(self, request: Request) -> Response:
        """The address shown is the public one, or else the one that the browser used."""
        response = self._page(request) if self._root is None or _wants_page(request) else JSONResponse(self._root)
        response.headers["Vary"] = "Accept, Accept-Encoding"
        return response

    async def file(self, digest: str, name: str, request: Request) -> Response:
        """One of the page's files."""
        response = self._files.response(name, digest, request.headers)
        if response is None:
            raise HTTPException(status_code=404)
        return response

    def _page(self, request: Request) -> Response:
        url = (self._public_url or str(request.base_url)).rstrip("/")
        examples = [
            _DIALECT.format(title=escape(d.title), example=escape(d.curl_example.replace("{url}", url)))
            for d in self._dialects
            if d.curl_example
        ]
        at = f"{FILES_AT[1:]}/{self._files.digest}"
        preloads = [
            f'<link rel="modulepreload" href="{at}/{name}">'
            for name in self._files.files
            if name.endswith(_PRELOADED) and name not in ("theme.js", "app.js") and not name.startswith(_LATER)
        ]
        parts = {
            "at": at,
            "preloads": "\n".join(preloads),
            "model": escape(self._studio.catalogue.default().title),
            "state": "ready" if self._studio.pool_status().model_loaded else "still loading",
            "examples": "\n".join(examples),
        }
        page = self._template
        for name, text in parts.items():
            page = page.replace(f"<!--{name}-->", text)
        content = page.encode()
        headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
        return compressed(content, gzipped_if_smaller(content), "text/html; charset=utf-8", headers, request.headers)


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
