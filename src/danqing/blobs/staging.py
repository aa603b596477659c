"""The folder of this machine in which clients' pictures lie before a job has them."""

import errno
import os
import time
from pathlib import Path

import structlog

from danqing.blobs.names import LEFT_OVER_AFTER_S
from danqing.core.errors import StorageFailure

log = structlog.get_logger(__name__)


class StagingFolder:
    """Several processes may share it: names in it are random. Picklable. All methods block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self) -> Path:
        """The folder, made if it is not there. For this user's eyes only. Its parent must be there.

        Raises StorageFailure.
        """
        folder = self._folder
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            if folder.is_symlink():  # what is staged would lie wherever somebody else chose
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            if folder.stat().st_mode & 0o077:
                folder.chmod(0o700)
        except OSError as exc:
            log.error("artifact_staging_failed", reason=exc.strerror)
            raise StorageFailure from exc
        return folder

    def sweep(self) -> int:
        """Removes the files that are old; what another process is just about to take over stays. Returns how many.

        Raises StorageFailure.
        """
        if self._folder.is_symlink():
            return 0
        try:
            with os.scandir(self._folder) as entries:
                old = list(filter(is_old, entries))
        except FileNotFoundError:
            return 0
        except OSError as exc:
            log.error("artifact_sweep_failed", reason=exc.strerror)
            raise StorageFailure from exc
        return sum(map(removed, old))


def is_old(entry: os.DirEntry[str], *, after_s: float = LEFT_OVER_AFTER_S) -> bool:
    """False for what is gone meanwhile."""
    try:
        return entry.stat(follow_symlinks=False).st_mtime < time.time() - after_s
    except OSError:
        return False


def removed(entry: os.DirEntry[str]) -> bool:
    """False for what is no file, and for a file that cannot be removed: it does no harm."""
    try:
        if not entry.is_file(follow_symlinks=False):
            return False
        os.unlink(entry.path)
    except OSError as exc:
        log.warning("artifact_not_swept", name=entry.name, reason=exc.strerror)
        return False
    return True
