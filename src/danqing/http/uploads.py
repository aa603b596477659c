"""The pictures of a request on their way to a job: checked by the intake, removed again if no job took them over.

Files of a form go from the form's temporary file to the intake, disk to disk.
"""

import asyncio
import math
import secrets
import shutil
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

from starlette.datastructures import UploadFile
from starlette.requests import Request

from danqing.core.errors import InvalidImage, StorageFailure
from danqing.core.images import MAX_IMAGE_BYTES, StagedImage
from danqing.core.picture_ports import ArtifactStore, ImageIntake
from danqing.core.sentences import says
from danqing.core.threads import in_thread_to_its_end
from danqing.http.callers import known_caller
from danqing.http.dialect import Services
from danqing.http.forms import FILE_IN_MEMORY_BYTES
from danqing.http.json_pictures import SentPicture
from danqing.http.waiting import while_connected

MAX_JOB_PIXELS = 200_000_000  # of all pictures of a job: what a worker may have to hold at once
_COPY_BYTES = 1024 * 1024  # at a time


class Staging:
    """Brings in the pictures of one request, in its owner's turn. Use `staging`.

    All methods raise InvalidImage, StorageFailure or TooBusy; RequestTimeout or ClientGone if the client's time is up
    before the picture is there.
    """

    def __init__(self, request: Request, services: Services, *, max_pixels: float) -> None:
        self._request = request
        self._max_pixels = max_pixels
        self._intake = services.intake
        self._artifacts = services.artifacts
        self._owner = known_caller(request).owner
        self._ends = asyncio.get_running_loop().time() + services.options.request_timeout_s
        self._staged: list[StagedImage] = []
        self._pixels = 0

    async def bring(self, picture: UploadFile | SentPicture, *, parameter: str) -> StagedImage:
        """Either of both below."""
        if isinstance(picture, SentPicture):
            return await self.sent(picture, parameter=parameter)
        return await self.upload(picture, parameter=parameter)

    async def upload(self, upload: UploadFile, *, parameter: str, as_mask: bool = False) -> StagedImage:
        """A file of a form. parameter: its name in the client's request, for the message. as_mask: as `ImageIntake`
        has it.
        """

        async def stage() -> StagedImage:
            return await stage_upload(
                upload,
                intake=self._intake,
                artifacts=self._artifacts,
                parameter=parameter,
                owner=self._owner,
                as_mask=as_mask,
            )

        return await self._in_time(stage, parameter)

    async def sent(self, picture: SentPicture, *, parameter: str, as_mask: bool = False) -> StagedImage:
        """A picture of a JSON body. The rest as above."""
        if (refusal := picture.refused(parameter)) is not None:
            raise refusal

        async def stage() -> StagedImage:
            return await self._intake.stage(picture.path, parameter=parameter, owner=self._owner, as_mask=as_mask)

        return await self._in_time(stage, parameter)

    async def _in_time(self, stage: Callable[[], Coroutine[None, None, StagedImage]], parameter: str) -> StagedImage:
        async def stage_and_note() -> StagedImage:
            image = await stage()
            self._staged.append(image)  # here, so that none is lost of which nobody learns any more
            self._pixels += image.width * image.height
            if self._pixels > self._max_pixels:
                raise InvalidImage(says("pictures_too_large", most=f"{self._max_pixels / 1e6:g}"), parameter=parameter)
            return image

        left_s = self._ends - asyncio.get_running_loop().time()
        return await while_connected(self._request, stage_and_note(), timeout_s=max(0.0, left_s))

    async def discard(self) -> None:
        """Those that no job took over."""
        await self._intake.discard(self._staged)


@asynccontextmanager
async def staging(request: Request, services: Services, *, together: bool = True) -> AsyncGenerator[Staging]:
    """For the time in which a request's jobs are submitted. The request's body must have been read.

    together: whether a job may have all of its pictures; else each picture is a job's own.
    """
    pictures = Staging(request, services, max_pixels=MAX_JOB_PIXELS if together else math.inf)
    try:
        yield pictures
    finally:
        await asyncio.shield(pictures.discard())


async def stage_upload(
    upload: UploadFile,
    *,
    intake: ImageIntake,
    artifacts: ArtifactStore,
    parameter: str,
    owner: str,
    max_bytes: int = MAX_IMAGE_BYTES,
    as_mask: bool = False,
) -> StagedImage:
    """The checked picture. A large file is never in memory as a whole.

    Raises InvalidImage, StorageFailure or TooBusy.
    """
    size = upload.size or 0
    if size == 0:
        raise InvalidImage(says("picture_empty", parameter=parameter), parameter=parameter)
    if size > max_bytes:
        raise InvalidImage(
            says("picture_too_many_bytes", parameter=parameter, most=max_bytes // 1024**2), parameter=parameter
        )
    if size <= FILE_IN_MEMORY_BYTES:
        return await intake.stage(await upload.read(), parameter=parameter, owner=owner, as_mask=as_mask)
    copy = (await asyncio.to_thread(artifacts.staging)) / f"upload-{secrets.token_hex(16)}"
    try:
        await in_thread_to_its_end(lambda: _copy(upload.file, copy))
        return await intake.stage(copy, parameter=parameter, owner=owner, as_mask=as_mask)
    finally:
        await in_thread_to_its_end(lambda: copy.unlink(missing_ok=True))


def _copy(source: IO[bytes], target: Path) -> None:
    try:
        with target.open("xb") as file:
            shutil.copyfileobj(source, file, _COPY_BYTES)
    except OSError as exc:
        raise StorageFailure from exc
