"""Reading the pictures that requests start from."""

from pathlib import Path

import pytest

from danqing.blobs.local import LocalArtifactStore
from danqing.core.errors import ArtifactNotFound, StorageFailure
from danqing.core.images import ImageRef
from danqing.workers.input_images import reader_of

IMAGE = ImageRef(name=f"input-{64 * '0'}.png", width=1, height=1)


class Vanishing(LocalArtifactStore):
    """Finds files that are gone, or cannot be read, a moment later."""

    def path(self, name: str) -> Path:
        found = super().path(name)
        found.unlink()
        if name.startswith("folder"):
            found.mkdir()
        return found


def test_an_image_is_read_by_its_name(tmp_path: Path) -> None:
    store = LocalArtifactStore(tmp_path)
    store.write(IMAGE.name, b"picture")
    assert reader_of(store)(IMAGE) == b"picture"


def test_an_image_that_is_gone_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(ArtifactNotFound):
        reader_of(LocalArtifactStore(tmp_path))(IMAGE)
    store = Vanishing(tmp_path)
    store.write(IMAGE.name, b"picture")
    with pytest.raises(ArtifactNotFound):
        reader_of(store)(IMAGE)


def test_an_image_that_cannot_be_read_is_a_failure_of_the_storage(tmp_path: Path) -> None:
    store = Vanishing(tmp_path)
    store.write("folder.png", b"picture")
    with pytest.raises(StorageFailure):
        reader_of(store)(ImageRef(name="folder.png", width=1, height=1))
