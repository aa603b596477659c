"""Who may fetch a stored picture, and the answer that has it."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from danqing.core.callers import LOCAL, Caller
from danqing.core.errors import ArtifactNotFound, Unauthorized
from danqing.core.open_picture import OpenPicture
from danqing.core.picture_ports import CLIENT_URL_S, ArtifactStore
from danqing.core.types import Artifact
from danqing.http.callers import caller_of
from danqing.http.errors import LinkExpired
from danqing.http.exchange import CORP, SAME_SITE, note_signed, wants_no_body
from danqing.http.picture_links import PictureLinks

_CACHE = "private, max-age=86400, immutable"  # a job's picture never changes
_REDIRECT_CACHE = f"private, max-age={CLIENT_URL_S // 2}"  # or browsers would fetch every picture again each time


class PictureResponse(Response):
    """Always the whole picture: ranges of an image help nobody and have been a way to keep servers busy.

    It is open already, and closed at the end. Where the store fails in the middle the connection is broken off, so that
    no client takes half a picture for a whole one: the Content-Length has told how much there is.
    """

    def __init__(self, picture: OpenPicture, *, media_type: str, filename: str) -> None:
        """filename: what a browser proposes to save it as; of the server's own making."""
        self._picture = picture
        super().__init__(
            headers=picture_headers(filename)
            | {
                "Content-Length": str(picture.size_bytes),
                "ETag": f'"{picture.version}"',
                "Cache-Control": _CACHE,
                "Accept-Ranges": "none",
            },
            media_type=media_type,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3."""
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if wants_no_body(scope) or not await self._all_sent(send):
                await send({"type": "http.response.body", "body": b""})
        finally:
            self._picture.close()

    async def _all_sent(self, send: Send) -> bool:
        """False where the answer has no end yet: there was less to read than its size, or nothing to send. The last
        piece ends it, so that nobody reads once more to find that there is no more.
        """
        left = self._picture.size_bytes
        while left > 0 and (piece := await self._picture.read()):
            left -= len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": left > 0})
        return left <= 0 < self._picture.size_bytes


def picture_headers(filename: str) -> dict[str, str]:
    """That every picture is sent with. filename: as above; of plain letters, digits, hyphens and dots."""
    return {"Content-Disposition": f'inline; filename="{filename}"', CORP: SAME_SITE}


def viewer_of(request: Request, links: PictureLinks, path: str) -> Caller:
    """In whose name the picture's job is to be looked up: who has the signed address of this (decoded) path sees it
    whosever it is, others what is theirs. Raises ArtifactNotFound for somebody who has neither signature nor key.
    """
    viewer = _viewer(request, links, path)
    if viewer is None:
        raise ArtifactNotFound
    return viewer


def known_viewer(request: Request, links: PictureLinks, path: str) -> Caller:
    """As `viewer_of`, for clients that are told what they lack, whether there is such a picture or not: raises
    Unauthorized for somebody who has neither signature nor key, LinkExpired if the signature was good once.
    """
    viewer = _viewer(request, links, path)
    if viewer is None:
        raise LinkExpired if links.had_opened(path, request.query_params) else Unauthorized
    return viewer


def _viewer(request: Request, links: PictureLinks, path: str) -> Caller | None:
    if links.opens(path, request.query_params):
        if links.are_signed:
            note_signed(request)
        return LOCAL
    return caller_of(request)


async def read_picture(artifacts: ArtifactStore, name: str) -> bytes:
    """The whole picture. Raises ArtifactNotFound, also for one that goes while it is looked for; StorageFailure."""
    picture = await artifacts.open(name)
    try:
        content = bytearray()
        while len(content) < picture.size_bytes and (piece := await picture.read()):
            content += piece
        return bytes(content)
    finally:
        picture.close()


async def picture_response(
    artifacts: ArtifactStore, artifact: Artifact, *, filename: str, through_server: bool = False
) -> Response:
    """The picture, or the way to where it lies if clients fetch it there. To be asked for once it is certain that the
    caller may see it: whoever learns that address may. through_server: for clients that load from this server only.

    Raises ArtifactNotFound if it is gone, or StorageFailure.
    """
    url = None if through_server else await artifacts.client_url(artifact.name)
    if url is not None:
        headers = {"Cache-Control": _REDIRECT_CACHE, CORP: SAME_SITE}
        return RedirectResponse(url, status_code=307, headers=headers)
    picture = await artifacts.open(artifact.name)
    return PictureResponse(picture, media_type=artifact.media_type, filename=filename)
