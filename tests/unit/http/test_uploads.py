"""Files of a form on their way to the intake: small ones from memory, large ones from disk to disk."""

import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from starlette.datastructures import UploadFile

from danqing.blobs.local import LocalArtifactStore
from danqing.core.errors import InvalidImage
from danqing.core.images import StagedImage
from danqing.http.uploads import stage_upload

MEBIBYTE = 1024 * 1024


class LookingIntake:
    """Remembers how it got its pictures; refuses them all if it is told to."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.given: list[bytes | Path] = []
        self.digests: list[str] = []
        self._refuses = refuses

    async def stage(self, content: bytes | Path, *, parameter: str) -> StagedImage:
        self.given.append(content)
        self.digests.append(digest_of(content))
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
            upload, intake=intake, artifacts=LocalArtifactStore(root), max_bytes=max_bytes, parameter="mask_image"
        )
    finally:
        await upload.close()


@pytest.mark.parametrize(("size", "kind"), [(10, bytes), (MEBIBYTE, bytes), (MEBIBYTE + 1, Path), (7_000_000, Path)])
async def test_large_files_go_from_disk_to_disk(tmp_path: Path, size: int, kind: type) -> None:
    intake, content = LookingIntake(), bytes(range(256)) * (size // 256 + 1)

    await stage(an_upload(content[:size]), intake, tmp_path)

    assert isinstance(intake.given[0], kind)
    assert intake.digests == [digest_of(content[:size])]
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
