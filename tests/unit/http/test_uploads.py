"""Files of a form on their way to the intake: small ones from memory, large ones from disk to disk."""

import asyncio
import hashlib
import io
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from starlette.datastructures import UploadFile
from starlette.requests import Request

from danqing.blobs.local import LocalArtifactStore
from danqing.core.callers import Caller
from danqing.core.errors import DanqingError, InvalidImage, RequestTimeout
from danqing.core.images import StagedImage
from danqing.http.dialect import DialectOptions
from danqing.http.forms import FILE_IN_MEMORY_BYTES
from danqing.http.json_pictures import SentPicture
from danqing.http.uploads import MAX_JOB_PIXELS, Staging, stage_upload, staging
from danqing.http.waiting import ClientGone
from tests.dialects.house import House

MEBIBYTE = 1024 * 1024


class LookingIntake:
    """Remembers how it got its pictures; refuses them all if it is told to."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.given: list[bytes | Path] = []
        self.digests: list[str] = []
        self.owners: list[str] = []
        self._refuses = refuses

    async def stage(
        self, content: bytes | Path, *, parameter: str, owner: str = "", as_mask: bool = False
    ) -> StagedImage:
        self.given.append(content)
        self.digests.append(digest_of(content))
        self.owners.append(owner)
        if self._refuses:
            raise InvalidImage(parameter=parameter)
        return StagedImage(path=Path("staged"), sha256=self.digests[-1], width=1, height=1)

    async def discard(self, images: Sequence[StagedImage]) -> None:
        raise AssertionError


def digest_of(content: bytes | Path) -> str:
    return hashlib.sha256(content if isinstance(content, bytes) else content.read_bytes()).hexdigest()


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def an_upload(content: bytes) -> UploadFile:
    """As Starlette's form parser leaves it."""
    file = tempfile.SpooledTemporaryFile(max_size=MEBIBYTE)  # noqa: SIM115 - the upload closes it
    file.write(content)
    file.seek(0)
    return UploadFile(file, size=len(content), filename="a.png")  # pyright: ignore[reportArgumentType]


async def stage(upload: UploadFile, intake: LookingIntake, root: Path, max_bytes: int = 9 * MEBIBYTE) -> StagedImage:
    try:
        return await stage_upload(
            upload,
            intake=intake,
            artifacts=LocalArtifactStore(root),
            max_bytes=max_bytes,
            parameter="mask_image",
            owner="ann",
        )
    finally:
        await upload.close()


@pytest.mark.parametrize(
    ("size", "kind"), [(10, bytes), (FILE_IN_MEMORY_BYTES, bytes), (FILE_IN_MEMORY_BYTES + 1, Path), (7_000_000, Path)]
)
async def test_large_files_go_from_disk_to_disk(tmp_path: Path, size: int, kind: type) -> None:
    intake, content = LookingIntake(), bytes(range(256)) * (size // 256 + 1)

    await stage(an_upload(content[:size]), intake, tmp_path)

    assert isinstance(intake.given[0], kind)
    assert intake.digests == [digest_of(content[:size])]
    assert intake.owners == ["ann"]
    assert files_below(tmp_path) == []


async def test_a_refused_file_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InvalidImage):
        await stage(an_upload(bytes(2 * MEBIBYTE)), LookingIntake(refuses=True), tmp_path)

    assert files_below(tmp_path) == []


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (0, "mask_image is an empty file."),
        (3 * MEBIBYTE + 1, "mask_image is larger than 3 MiB, which is what is taken."),
    ],
)
async def test_what_is_never_looked_at(tmp_path: Path, size: int, message: str) -> None:
    intake = LookingIntake()

    with pytest.raises(InvalidImage) as caught:
        await stage(an_upload(bytes(size)), intake, tmp_path, max_bytes=3 * MEBIBYTE)

    assert (caught.value.public_message, caught.value.parameter, intake.given) == (message, "mask_image", [])


class SlowIntake(LookingIntake):
    """Takes one picture, and has not enough time for the second."""

    def __init__(self, first: Path) -> None:
        super().__init__()
        self.begun = asyncio.Event()
        self.given_up = False
        self._first = first

    async def stage(
        self, content: bytes | Path, *, parameter: str, owner: str = "", as_mask: bool = False
    ) -> StagedImage:
        staged = await super().stage(content, parameter=parameter, owner=owner)
        if len(self.given) == 1:
            self._first.write_bytes(b"a picture")
            return replace(staged, path=self._first)
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.given_up = True
        raise AssertionError

    async def discard(self, images: Sequence[StagedImage]) -> None:
        for image in images:
            await asyncio.to_thread(image.path.unlink)


def a_request(gone: asyncio.Event) -> Request:
    async def receive() -> dict[str, object]:
        await gone.wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http", "headers": [], "state": {"caller": Caller(owner="ann")}}, receive)


@asynccontextmanager
async def staging_at(root: Path, intake: LookingIntake, gone: asyncio.Event, time_s: float) -> AsyncIterator[Staging]:
    house = House(root, options=DialectOptions(request_timeout_s=time_s))
    async with staging(a_request(gone), replace(house.services, intake=intake)) as pictures:
        yield pictures


@pytest.mark.parametrize(("time_s", "error"), [(600.0, ClientGone), (3.0, RequestTimeout)])
async def test_who_leaves_or_waits_too_long_leaves_nothing(tmp_path: Path, time_s: float, error: type) -> None:
    # Given a request whose first picture is there, and whose second takes long
    intake, gone, root = SlowIntake(tmp_path / "first"), asyncio.Event(), tmp_path / "outputs"
    uploads = [an_upload(bytes(10)), an_upload(bytes(3 * MEBIBYTE))]

    async def stage_two() -> None:
        async with staging_at(root, intake, gone, time_s) as pictures:
            for upload in uploads:
                await pictures.upload(upload, parameter="image")

    asking = asyncio.create_task(stage_two())
    await intake.begun.wait()
    assert len(files_below(tmp_path)) == 2

    # When the client hangs up, or its time is over
    if error is ClientGone:
        gone.set()
    with pytest.raises(error):
        await asking
    for upload in uploads:
        await upload.close()

    assert intake.given_up
    assert files_below(tmp_path) == []


@pytest.mark.parametrize("way", ["file", "sent"])
async def test_a_picture_that_no_job_takes_over_is_removed(tmp_path: Path, way: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6)).save(buffer, "PNG")
    house, file = House(tmp_path), an_upload(buffer.getvalue())

    with pytest.raises(DanqingError):
        async with staging(a_request(asyncio.Event()), house.services) as pictures:
            if way == "file":
                image = await pictures.upload(file, parameter="image")
            else:
                sent = tmp_path / "sent"
                sent.write_bytes(buffer.getvalue())
                image = await pictures.sent(SentPicture(path=sent), parameter="image")
                sent.unlink()
            assert (image.width, image.height) == (8, 6)
            assert files_below(tmp_path) == [image.path]
            raise DanqingError

    await file.close()
    assert files_below(tmp_path) == []


class LargeIntake(LookingIntake):
    """Whatever comes is a picture of a quarter of what a request may have."""

    async def stage(
        self, content: bytes | Path, *, parameter: str, owner: str = "", as_mask: bool = False
    ) -> StagedImage:
        staged = await super().stage(content, parameter=parameter, owner=owner)
        return replace(staged, width=MAX_JOB_PIXELS // 4, height=1)

    async def discard(self, images: Sequence[StagedImage]) -> None:
        assert len(images) == len(self.given)


async def test_all_pictures_of_a_request_have_a_limit_together(tmp_path: Path) -> None:
    house, intake = House(tmp_path), LargeIntake()
    services = replace(house.services, intake=intake)
    sent = SentPicture(path=tmp_path / "sent")
    sent.path.write_bytes(b"x")

    async with staging(a_request(asyncio.Event()), services) as pictures:
        for _ in range(4):
            await pictures.sent(sent, parameter="image")
        with pytest.raises(InvalidImage, match="All images of the request together have more than 200 megapixels"):
            await pictures.sent(sent, parameter="mask")


async def test_what_was_no_base64_is_not_even_staged(tmp_path: Path) -> None:
    intake, refusal = LookingIntake(), InvalidImage("image_url is no picture.", parameter="image_url")
    house = House(tmp_path)
    async with staging(a_request(asyncio.Event()), replace(house.services, intake=LargeIntake())) as pictures:
        with pytest.raises(InvalidImage) as caught:
            sent = SentPicture(path=tmp_path / "none", name="image_url", refusal=refusal)
            await pictures.sent(sent, parameter="images[0].image_url")
    assert caught.value.public_message == "images[0].image_url is no picture."
    assert (caught.value.parameter, intake.given) == ("images[0].image_url", [])
