"""A file that is read as a picture of the local store."""

import asyncio
import os
from typing import BinaryIO

import structlog

from danqing.core.errors import StorageFailure

log = structlog.get_logger(__name__)

_PIECE_BYTES = 1024 * 1024  # read at a time, each in a thread
_SMALL_BYTES = 256 * 1024  # of a whole picture that is read as it is opened: to change threads once more takes longer


class LocalPicture:
    """Implements `core.open_picture.OpenPicture`. The file is open already, so that it is read whole though somebody
    removes it meanwhile; on NFS that holds for who removes it on the same machine.
    """

    def __init__(self, file: BinaryIO) -> None:
        """Blocking. file: its own from now on. Raises StorageFailure."""
        self._file = file
        found = os.fstat(file.fileno())
        self.size_bytes = found.st_size
        self.version = f"{found.st_mtime_ns:x}-{found.st_size:x}"
        self._at_hand = b""
        if self.size_bytes <= _SMALL_BYTES:
            try:
                self._at_hand = self._read()
            except StorageFailure:
                file.close()
                raise

    async def read(self) -> bytes:
        """See the port."""
        if self._at_hand:
            piece, self._at_hand = self._at_hand, b""
            return piece
        return await asyncio.to_thread(self._read)

    def _read(self) -> bytes:
        try:
            return self._file.read(_PIECE_BYTES)
        except OSError as exc:
            log.error("artifact_read_failed", reason=exc.strerror)
            raise StorageFailure from exc

    def close(self) -> None:
        """See the port."""
        self._file.close()
