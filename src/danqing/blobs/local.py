"""Artifacts as files in one directory, which may be a user's own and hold other files too."""

import os
import re
import secrets
from pathlib import Path

import structlog

from danqing.core.errors import ArtifactNotFound, StorageFailure

log = structlog.get_logger(__name__)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")
TEMPORARY = re.compile(r"\.danqing-[0-9a-f]{32}\.tmp")
# What the server names its pictures by: the job's id, possibly a suffix. Nothing else is ever removed.
PICTURE = re.compile(r"(?P<job_id>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})(-[a-z]+)?\.(png|webp)")


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
        temporary = self._root / f".danqing-{secrets.token_hex(16)}.tmp"
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
        removed = 0
        try:
            with os.scandir(self._root) as entries:
                for entry in entries:
                    if _is_left_over(entry.name, without_artifacts) and entry.is_file(follow_symlinks=False):
                        os.unlink(entry.path)
                        removed += 1
        except FileNotFoundError:
            return removed
        except OSError as exc:
            log.error("artifact_sweep_failed", removed=removed, reason=exc.strerror)
            raise StorageFailure from exc
        return removed


def _is_legal(name: str) -> bool:
    return NAME.fullmatch(name) is not None and ".." not in name


def _is_left_over(name: str, without_artifacts: frozenset[str]) -> bool:
    picture = PICTURE.fullmatch(name)
    if picture is not None:
        return picture["job_id"] in without_artifacts
    return TEMPORARY.fullmatch(name) is not None


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
