"""The pictures of a request on their way to the Studio: checked one after another, removed if nobody took them over."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from starlette.datastructures import UploadFile

from danqing.core.images import StagedImage
from danqing.core.ports import ArtifactStore, ImageIntake
from danqing.dialects.genserve.schemas import IMAGE_NAMES, MAX_IMAGE_BYTES, GenerateRequest, ImageName
from danqing.http.base64_images import decode_base64_image
from danqing.http.uploads import stage_upload

StagedInputs = Mapping[ImageName, StagedImage]


class InputImages:
    """Brings in what a client sent, either way. The contexts raise InvalidImage or StorageFailure."""

    def __init__(self, *, intake: ImageIntake, artifacts: ArtifactStore) -> None:
        self._intake = intake
        self._artifacts = artifacts

    @asynccontextmanager
    async def from_texts(self, wire: GenerateRequest) -> AsyncGenerator[StagedInputs]:
        """Base64 of a JSON body; what was not taken over inside the context is removed after it."""
        async with self._staging() as staged:
            for name in IMAGE_NAMES:
                if text := getattr(wire, name):
                    content = await decode_base64_image(text, max_bytes=MAX_IMAGE_BYTES, parameter=name)
                    staged[name] = await self._intake.stage(content, parameter=name)
            yield staged

    @asynccontextmanager
    async def from_files(self, files: Mapping[ImageName, UploadFile]) -> AsyncGenerator[StagedInputs]:
        """Files of a form; as above."""
        async with self._staging() as staged:
            for name, upload in files.items():
                staged[name] = await stage_upload(
                    upload,
                    intake=self._intake,
                    artifacts=self._artifacts,
                    max_bytes=MAX_IMAGE_BYTES,
                    parameter=name,
                )
            yield staged

    @asynccontextmanager
    async def _staging(self) -> AsyncGenerator[dict[ImageName, StagedImage]]:
        staged: dict[ImageName, StagedImage] = {}
        try:
            yield staged
        finally:
            await self._intake.discard(tuple(staged.values()))
