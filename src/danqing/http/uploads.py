"""Pictures that arrive as files of a form: they go from the form's temporary file to the intake, disk to disk."""

import asyncio
import secrets
import shutil
from pathlib import Path
from typing import IO

from starlette.datastructures import UploadFile

from danqing.core.errors import InvalidImage, StorageFailure
from danqing.core.images import StagedImage
from danqing.core.ports import ArtifactStore, ImageIntake

_IN_MEMORY_BYTES = 1024 * 1024  # up to this the form kept the file in memory anyway
_COPY_BYTES = 1024 * 1024  # at a time


async def stage_upload(
    upload: UploadFile, *, intake: ImageIntake, artifacts: ArtifactStore, max_bytes: int, parameter: str
) -> StagedImage:
    """The checked picture. A large file is never in memory as a whole.

    parameter: its name in the client's request, for the message. Raises InvalidImage or StorageFailure.
    """
    size = upload.size or 0
    if size == 0:
        raise InvalidImage(f"{parameter} is an empty file.", parameter=parameter)
    if size > max_bytes:
        raise InvalidImage(
            f"{parameter} is larger than {max_bytes // 1024**2} MiB, which is what is taken.", parameter=parameter
        )
    if size <= _IN_MEMORY_BYTES:
        return await intake.stage(await upload.read(), parameter=parameter)
    copy = (await asyncio.to_thread(artifacts.staging)) / f"upload-{secrets.token_hex(16)}"
    try:
        await asyncio.to_thread(_copy, upload.file, copy)
        return await intake.stage(copy, parameter=parameter)
    finally:
        await asyncio.to_thread(copy.unlink, missing_ok=True)


def _copy(source: IO[bytes], target: Path) -> None:
    try:
        with target.open("xb") as file:
            shutil.copyfileobj(source, file, _COPY_BYTES)
    except OSError as exc:
        raise StorageFailure from exc
