"""A picture of an answer that has many: its size is told before, and it is opened when its turn comes."""

import asyncio
from typing import Self

from danqing.core.errors import StorageFailure
from danqing.core.open_picture import OpenPicture
from danqing.core.picture_ports import ArtifactStore


class OpenedLater:
    """Implements `core.open_picture.OpenPicture`, but for what happens to a picture that is removed before it is read:
    then `read` fails.
    """

    version = ""

    def __init__(self, artifacts: ArtifactStore, name: str, size_bytes: int) -> None:
        """size_bytes: as the store has it."""
        self._artifacts = artifacts
        self._name = name
        self.size_bytes = size_bytes
        self._opened: OpenPicture | None = None

    @classmethod
    async def found(cls, artifacts: ArtifactStore, name: str) -> Self:
        """Looks for it. Raises ArtifactNotFound, StorageFailure."""
        return cls(artifacts, name, await asyncio.to_thread(artifacts.size, name))

    async def read(self) -> bytes:
        """See the port. Raises ArtifactNotFound where it is gone."""
        if self._opened is None:
            self._opened = await self._artifacts.open(self._name)
            if self._opened.size_bytes != self.size_bytes:
                raise StorageFailure("A picture has another size than it had.")
        return await self._opened.read()

    def close(self) -> None:
        """See the port."""
        if self._opened is not None:
            self._opened.close()
