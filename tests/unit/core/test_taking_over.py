"""Input images become a job's, or go again; one that several submits are busy with stays while one needs it."""

import hashlib
from pathlib import Path

import pytest

from danqing.blobs.local import LocalArtifactStore
from danqing.core.errors import ArtifactNotFound, StorageFailure
from danqing.core.images import StagedImage, ref_of
from danqing.core.taking_over import InputImages


class Folder:
    """A store, and staged pictures beside it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.store = LocalArtifactStore(root / "outputs")
        self.inputs = InputImages(self.store)
        self._count = 0

    def staged(self, content: bytes = b"a picture") -> StagedImage:
        self._count += 1
        path = self._root / f"staged-{self._count}"
        path.write_bytes(content)
        return StagedImage(path=path, sha256=hashlib.sha256(content).hexdigest(), width=8, height=8)

    def has(self, image: StagedImage) -> bool:
        try:
            self.store.path(ref_of(image).name)
        except ArtifactNotFound:
            return False
        return True


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


async def test_what_is_kept_stays(folder: Folder) -> None:
    image = folder.staged()
    async with folder.inputs.taken_over([image, image]) as inputs:
        assert folder.has(image)
        inputs.keep()
    assert folder.has(image)


async def test_what_nobody_kept_goes(folder: Folder) -> None:
    image = folder.staged()
    with pytest.raises(StorageFailure):
        async with folder.inputs.taken_over([image]):
            raise StorageFailure
    assert not folder.has(image)


async def test_what_was_there_before_stays(folder: Folder) -> None:
    async with folder.inputs.taken_over([folder.staged()]) as inputs:
        inputs.keep()
    again = folder.staged()
    async with folder.inputs.taken_over([again]):
        pass
    assert folder.has(again)
    assert again.path.exists()  # and the staged copy is still its caller's


async def test_of_two_submits_with_one_picture_one_that_is_accepted_is_enough(folder: Folder) -> None:
    image = folder.staged()
    # The one that came first is refused last
    async with folder.inputs.taken_over([image]), folder.inputs.taken_over([folder.staged()]) as second:
        second.keep()
    assert folder.has(image)


async def test_of_two_submits_with_one_picture_the_last_refused_takes_it_away(folder: Folder) -> None:
    image = folder.staged()
    async with folder.inputs.taken_over([image]):
        async with folder.inputs.taken_over([folder.staged()]):
            pass
        assert folder.has(image)
    assert not folder.has(image)


async def test_a_staged_file_that_is_gone_is_told_and_leaves_no_trace(folder: Folder) -> None:
    there, gone = folder.staged(b"there"), folder.staged(b"gone")
    gone.path.unlink()
    with pytest.raises(StorageFailure):
        async with folder.inputs.taken_over([there, gone]):
            pytest.fail("one of them is not there")
    assert not folder.has(there)
