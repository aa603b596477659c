"""Artifacts as files in one directory, which may be a user's own and hold other files too."""

import os
import re
import secrets
import time
from pathlib import Path

import structlog

from danqing.core.errors import ArtifactNotFound, StorageFailure

log = structlog.get_logger(__name__)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")
# What the server names its pictures by: the job's id, possibly a suffix. Nothing else is ever removed.
PICTURE = re.compile(r"(?P<job_id>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})(-[a-z]+)?\.(png|webp)")
TEMPORARY = re.compile(r"\.danqing-(?P<name>[A-Za-z0-9._-]+)-[0-9a-f]{32}\.tmp")
LEFT_OVER_AFTER_S = 3600  # a temporary file this old is nobody's any more, of whichever server it was


class LocalArtifactStore:
    """Implements `core.ports.ArtifactStore`. Picklable, and safe to use from many threads and processes at once.

    root: created by the first `write` if it is not there.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    def write(self, name: str, content: bytes) -> None:
        """See the port."""
        if not _is_legal(name):
            raise StorageFailure("Not a name for an artifact.")
        temporary = self._root / f".danqing-{name}-{secrets.token_hex(16)}.tmp"
        try:
            if not self._root.is_dir():
                self._root.mkdir(parents=True, exist_ok=True)
                _sync_directory(self._root.parent)
            try:
                _write_new(temporary, content)
                os.replace(temporary, self._root / name)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            _sync_directory(self._root)
        except OSError as exc:
            log.error("artifact_write_failed", name=name, size_bytes=len(content), reason=exc.strerror)
            raise StorageFailure from exc

    def path(self, name: str) -> Path:
        """See the port. Links and directories are not pictures: ArtifactNotFound."""
        path = self._root / name
        if not _is_legal(name) or path.is_symlink() or not path.is_file():
            raise ArtifactNotFound
        return path

    def location(self, name: str) -> str:
        """See the port."""
        return str(self._root / name)

    def sweep(self, without_artifacts: frozenset[str]) -> int:
        """See the port. Only names of the server's own making are removed. Raises StorageFailure."""
        try:
            with os.scandir(self._root) as entries:
                return sum(_is_left_over(entry, without_artifacts) and _removed(entry) for entry in entries)
        except FileNotFoundError:
            return 0
        except OSError as exc:
            log.error("artifact_sweep_failed", reason=exc.strerror)
            raise StorageFailure from exc

    def remove(self, name: str) -> None:
        """See the port."""
        if not _is_legal(name):
            raise StorageFailure("Not a name for an artifact.")
        try:
            (self._root / name).unlink(missing_ok=True)
        except OSError as exc:
            log.error("artifact_remove_failed", name=name, reason=exc.strerror)
            raise StorageFailure from exc


def _is_legal(name: str) -> bool:
    return NAME.fullmatch(name) is not None and ".." not in name


def _is_left_over(entry: os.DirEntry[str], without_artifacts: frozenset[str]) -> bool:
    half_written = TEMPORARY.fullmatch(entry.name)
    picture = PICTURE.fullmatch(half_written["name"] if half_written else entry.name)
    if picture is not None and picture["job_id"] in without_artifacts:
        return True
    return half_written is not None and _is_old(entry)


def _is_old(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.stat(follow_symlinks=False).st_mtime < time.time() - LEFT_OVER_AFTER_S
    except OSError:  # gone meanwhile
        return False


def _removed(entry: os.DirEntry[str]) -> bool:
    """False for what is no file, and for a file that cannot be removed: it does no harm."""
    try:
        if not entry.is_file(follow_symlinks=False):
            return False
        os.unlink(entry.path)
    except OSError as exc:
        log.warning("artifact_not_swept", name=entry.name, reason=exc.strerror)
        return False
    return True


def _write_new(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        view = memoryview(content)
        while view:
            view = view[file.write(view) :]
        os.fsync(descriptor)


def _sync_directory(path: Path) -> None:
    """Makes a rename inside it survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
