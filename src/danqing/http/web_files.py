"""The files of the studio page, read once: each with its media type, its ETag and a gzipped copy."""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import Response

WEB_FOLDER = Path(__file__).parents[1] / "web"
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}
_FOR_LONG = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"
# An icon may style itself, and do nothing else.
_FILE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"


@dataclass(frozen=True, kw_only=True)
class WebFile:
    """content: as it is; gzipped: smaller, or None where it would not be."""

    media_type: str
    content: bytes
    gzipped: bytes | None
    etag: str


class WebFiles:
    """All files of a folder that a page may load. digest: changes whenever one of them does."""

    def __init__(self, folder: Path = WEB_FOLDER) -> None:
        self._files = _read(folder)
        whole = "".join(f"{name}\0{file.etag}\0" for name, file in sorted(self._files.items()))
        self.digest = hashlib.sha256(whole.encode()).hexdigest()[:12]

    @property
    def files(self) -> Mapping[str, WebFile]:
        """By path below the folder."""
        return self._files

    def response(self, name: str, digest: str, asked: Headers) -> Response | None:
        """digest: of the address. One of another version gets today's file, which is not to be kept. None: no such
        file.
        """
        file = self._files.get(name)
        if file is None:
            return None
        headers = {
            "Cache-Control": _FOR_LONG if digest == self.digest else _ASK_AGAIN,
            "ETag": file.etag,
            "Vary": "Accept-Encoding",
            "Content-Security-Policy": _FILE_POLICY,
        }
        if file.etag in asked.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return compressed(file.content, file.gzipped, file.media_type, headers, asked)


def compressed(
    content: bytes, gzipped: bytes | None, media_type: str, headers: Mapping[str, str], asked: Headers
) -> Response:
    """The gzipped copy to who takes it."""
    if gzipped is None or "gzip" not in asked.get("accept-encoding", ""):
        return Response(content, media_type=media_type, headers=dict(headers))
    return Response(gzipped, media_type=media_type, headers={**headers, "Content-Encoding": "gzip"})


def gzipped_if_smaller(content: bytes) -> bytes | None:
    """None where that is not smaller."""
    packed = gzip.compress(content, 9, mtime=0)
    return packed if len(packed) < len(content) else None


def _read(folder: Path) -> dict[str, WebFile]:
    return {
        path.relative_to(folder).as_posix(): _file(path.read_bytes(), _MEDIA_TYPES[path.suffix])
        for path in sorted(folder.rglob("*"))
        if path.suffix in _MEDIA_TYPES and path.is_file()
    }


def _file(content: bytes, media_type: str) -> WebFile:
    digest = hashlib.sha256(content).hexdigest()[:32]
    return WebFile(media_type=media_type, content=content, gzipped=gzipped_if_smaller(content), etag=f'"{digest}"')
