"""The lock that keeps a second server off a data directory. The kernel frees it when the process dies, however."""

import fcntl
import os
import time
from pathlib import Path

from danqing.core.errors import DataDirectoryInUse, StorageFailure

LOCK_NAME = "danqing.lock"
_PAUSE_S = 0.1  # between two tries


class DataDirectoryLock:
    """An exclusive lock on `danqing.lock` in the directory, which must exist. Not inherited by worker processes."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / LOCK_NAME
        self._descriptor: int | None = None

    def acquire(self, *, wait_s: float = 0.0) -> None:
        """wait_s: how long to wait for another process to free it; blocking.

        Raises DataDirectoryInUse if it is held, by this process included; StorageFailure.
        """
        if self._descriptor is not None:
            raise DataDirectoryInUse
        deadline = time.monotonic() + wait_s
        while True:
            try:
                self._try()
                return
            except DataDirectoryInUse:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(_PAUSE_S)

    def _try(self) -> None:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        except OSError as exc:
            raise StorageFailure("The data directory cannot be written.") from exc
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
        except BlockingIOError as exc:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise DataDirectoryInUse(f"The data directory is in use by another server (process {holder}).") from exc
        except OSError as exc:
            os.close(descriptor)
            raise StorageFailure("The data directory cannot be locked.") from exc
        self._descriptor = descriptor

    def release(self) -> None:
        """Frees the lock; does nothing if it is not held. The file stays, for removing it would free it for two."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
