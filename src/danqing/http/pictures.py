"""Who may fetch a stored picture, and the answer that has it."""

import asyncio
import os
from functools import partial
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from danqing.core.callers import LOCAL, Caller
from danqing.core.errors import ArtifactNotFound
from danqing.core.ports import ArtifactStore
from danqing.core.threads import in_thread_to_its_end
from danqing.core.types import Artifact
from danqing.http.callers import caller_of
from danqing.http.exchange import CORP, SAME_SITE, note_signed
from danqing.http.picture_links import PictureLinks

_PIECE_BYTES = 1024 * 1024  # read at a time, each in a thread
_CACHE = "private, max-age=86400, immutable"  # a job's picture never changes


class PictureResponse(Response):
    """Always the whole picture: ranges of an image help nobody and have been a way to keep servers busy.

    The file is open already, so that it is sent whole though somebody removes it meanwhile. It is closed at the end.
    """

    def __init__(self, file: BinaryIO, *, media_type: str, filename: str) -> None:
        """file: a stored picture's. filename: what a browser proposes to save it as; of the server's own making."""
        self._file = file
        found = os.fstat(file.fileno())
        super().__init__(
            headers=picture_headers(filename)
            | {
                "Content-Length": str(found.st_size),
                "ETag": f'"{found.st_mtime_ns:x}-{found.st_size:x}"',
                "Cache-Control": _CACHE,
                "Accept-Ranges": "none",
            },
            media_type=media_type,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3."""
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while piece := await asyncio.to_thread(self._file.read, _PIECE_BYTES):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            self._file.close()


def picture_headers(filename: str) -> dict[str, str]:
    """That every picture is sent with. filename: as above; of plain letters, digits, hyphens and dots."""
    return {"Content-Disposition": f'inline; filename="{filename}"', CORP: SAME_SITE}


def viewer_of(request: Request, links: PictureLinks, path: str) -> Caller:
    """In whose name the picture's job is to be looked up: who has the signed address of this (decoded) path sees it
    whosever it is, others what is theirs. Raises ArtifactNotFound for somebody who has neither signature nor key.
    """
    if links.opens(path, request.query_params):
        if links.are_signed:
            note_signed(request)
        return LOCAL
    caller = caller_of(request)
    if caller is None:
        raise ArtifactNotFound
    return caller


def read_picture(artifacts: ArtifactStore, name: str) -> bytes:
    """The whole file. Raises ArtifactNotFound, also for one that goes while it is looked for. Blocking."""
    with _opened(artifacts, name) as file:
        return file.read()


async def picture_response(artifacts: ArtifactStore, artifact: Artifact, *, filename: str) -> PictureResponse:
    """Raises ArtifactNotFound if the file is gone."""
    file = await in_thread_to_its_end(partial(_opened, artifacts, artifact.name))
    return PictureResponse(file, media_type=artifact.media_type, filename=filename)


def _opened(artifacts: ArtifactStore, name: str) -> BinaryIO:
    try:
        return artifacts.path(name).open("rb")
    except FileNotFoundError as exc:  # gone since it was looked for
        raise ArtifactNotFound from exc
