"""Who may fetch a stored picture, and the answer that has it."""

import asyncio
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.types import Receive, Scope, Send

from danqing.core.callers import LOCAL, Caller
from danqing.core.errors import ArtifactNotFound
from danqing.core.ports import ArtifactStore
from danqing.core.types import Artifact
from danqing.http.callers import caller_of
from danqing.http.picture_links import PictureLinks

_CACHE = "private, max-age=86400, immutable"  # a job's picture never changes


class PictureResponse(FileResponse):
    """Always the whole picture: ranges of an image help nobody and have been a way to keep servers busy."""

    chunk_size = 1024 * 1024  # bytes read at a time, each in a thread

    def __init__(self, path: Path, *, media_type: str, filename: str) -> None:
        """path: from the artifact store, never from a client. filename: what a browser proposes to save it as."""
        super().__init__(
            path,
            media_type=media_type,
            filename=filename,
            content_disposition_type="inline",
            headers={"Cache-Control": _CACHE, "Accept-Ranges": "none"},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3."""
        headers = [(name, value) for name, value in scope["headers"] if name not in (b"range", b"if-range")]
        await super().__call__({**scope, "headers": headers}, receive, send)


def viewer_of(request: Request, links: PictureLinks, path: str) -> Caller:
    """In whose name the picture's job is to be looked up: who has the signed address of this (decoded) path sees it
    whosever it is, others what is theirs. Raises ArtifactNotFound for somebody who has neither signature nor key.
    """
    caller = LOCAL if links.opens(path, request.query_params) else caller_of(request)
    if caller is None:
        raise ArtifactNotFound
    return caller


async def picture_response(artifacts: ArtifactStore, artifact: Artifact, *, filename: str) -> PictureResponse:
    """Raises ArtifactNotFound if the file is gone."""
    path = await asyncio.to_thread(artifacts.path, artifact.name)
    return PictureResponse(path, media_type=artifact.media_type, filename=filename)
