"""Pictures of a long answer are opened one after the other."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from danqing.blobs.local import LocalArtifactStore, LocalPicture
from danqing.core.errors import ArtifactNotFound, StorageFailure
from danqing.http.opened_later import OpenedLater

NAME = "2f0c9a9e-0d6c-4c05-9c58-1f3f0c8f3f10.png"
CONTENT = bytes(300) * 1000


class Counted(LocalArtifactStore):
    """Knows what was opened."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.opened: list[LocalPicture] = []

    async def open(self, name: str) -> LocalPicture:
        self.opened.append(await super().open(name))
        return self.opened[-1]


@pytest.fixture
def store(tmp_path: Path) -> Counted:
    return Counted(tmp_path)


async def test_it_is_opened_when_it_is_read(store: Counted) -> None:
    # Given a picture
    store.write(NAME, CONTENT)
    later = await OpenedLater.found(store, NAME)
    assert (later.size_bytes, store.opened) == (len(CONTENT), [])
    # When it is read, then it is whole, and closed with the one who reads
    pieces = [piece async for piece in _pieces(later)]
    assert b"".join(pieces) == CONTENT
    assert len(store.opened) == 1
    later.close()
    later.close()
    with pytest.raises(ValueError, match="closed"):
        await store.opened[0].read()


async def test_one_that_nobody_has_read_has_nothing_to_close(store: Counted) -> None:
    store.write(NAME, CONTENT)
    (await OpenedLater.found(store, NAME)).close()
    assert store.opened == []


async def test_one_that_is_not_there_is_told_before_and_one_that_goes_is_told_then(store: Counted) -> None:
    with pytest.raises(ArtifactNotFound):
        await OpenedLater.found(store, NAME)
    store.write(NAME, CONTENT)
    later = await OpenedLater.found(store, NAME)
    store.remove(NAME)
    with pytest.raises(ArtifactNotFound):
        await later.read()


async def test_one_that_is_another_by_then_is_not_sent(store: Counted) -> None:
    store.write(NAME, CONTENT)
    later = await OpenedLater.found(store, NAME)
    store.remove(NAME)
    store.write(NAME, CONTENT + b"more")
    with pytest.raises(StorageFailure):
        await later.read()
    later.close()


async def _pieces(later: OpenedLater) -> AsyncIterator[bytes]:
    while piece := await later.read():
        yield piece
