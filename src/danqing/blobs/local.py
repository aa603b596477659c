"""Artifacts as files in one directory, which may be a user's own and hold other files too."""

import errno
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from danqing.core.errors import ArtifactNotFound, StorageFailure

log = structlog.get_logger(__name__)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")
# What the server names a job's pictures by: the job's id, possibly a suffix. A sweep removes no other
# pictures, and so no input image, which several jobs may share.
PICTURE = re.compile(r"(?P<job_id>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})(-[a-z]+)?\.(png|webp)")
INPUT = re.compile(r"input-[0-9a-f]{64}\.png")
TEMPORARY = re.compile(r"\.danqing-(?P<name>[A-Za-z0-9._-]+)-[0-9a-f]{32}\.tmp")
STAGING = ".danqing-staging"
LEFT_OVER_AFTER_S = 3600  # a temporary or staged file this old is nobody's any more, of whichever server it was


class LocalArtifactStore:
    """Implements `core.ports.ArtifactStore`. Picklable, and safe to use from many threads and processes at once.

    root: created by what first writes to it if it is not there.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    def write(self, name: str, content: bytes) -> None:
        """See the port."""
        if not _is_legal(name):
            raise StorageFailure("Not a name for an artifact.")
        temporary = self._root / f".danqing-{name}-{secrets.token_hex(16)}.tmp"
        try:
            self._make_root()
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

    def adopt(self, staged: Path, name: str) -> None:
        """See the port. What is no file of its own (a link, say) is not taken over: StorageFailure."""
        if not _is_legal(name):
            raise StorageFailure("Not a name for an artifact.")
        try:
            self._make_root()
            _sync_file(staged)
            os.replace(staged, self._root / name)
            _sync_directory(self._root)
        except OSError as exc:
            log.error("artifact_adopt_failed", name=name, reason=exc.strerror)
            raise StorageFailure from exc

    def staging(self) -> Path:
        """See the port. For this user's eyes only. Raises StorageFailure."""
        folder = self._root / STAGING
        try:
            self._make_root()
            folder.mkdir(mode=0o700, exist_ok=True)
            if folder.is_symlink():  # what is staged would lie wherever somebody else chose
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            if folder.stat().st_mode & 0o077:
                folder.chmod(0o700)
        except OSError as exc:
            log.error("artifact_staging_failed", reason=exc.strerror)
            raise StorageFailure from exc
        return folder

    def path(self, name: str) -> Path:
        """See the port. Links and directories are not pictures: ArtifactNotFound."""
        path = self._root / name
        if not _is_legal(name) or path.is_symlink() or not path.is_file():
            raise ArtifactNotFound
        return path

    def location(self, name: str) -> str:
        """See the port."""
        return str(self._root / name)

    def pictures(self) -> Mapping[str, frozenset[str]]:
        """See the port."""
        found: dict[str, set[str]] = {}
        for entry in self._listed(self._root, _is_of_a_job):
            half_written, picture = _parsed(entry.name)
            if picture is not None:
                names = found.setdefault(picture["job_id"], set())
                if half_written is None and _has_content(entry):
                    names.add(entry.name)
        return {job_id: frozenset(names) for job_id, names in found.items()}

    def old_inputs(self) -> frozenset[str]:
        """See the port."""
        return frozenset(entry.name for entry in self._listed(self._root, _is_old_input))

    def sweep(self, known: Mapping[str, frozenset[str]]) -> int:
        """See the port. Only names of the server's own making are removed.

        Staged files are removed once they are old: what another server is just about to adopt stays.
        """
        staging = self._root / STAGING
        left_over = self._listed(self._root, lambda entry: _is_left_over(entry, known))
        if not staging.is_symlink():
            left_over += self._listed(staging, _is_old)
        return sum(map(_removed, left_over))

    def _listed(self, folder: Path, wanted: Callable[[os.DirEntry[str]], bool]) -> list[os.DirEntry[str]]:
        """What lies in the folder and is wanted; nothing where there is no folder."""
        try:
            with os.scandir(folder) as entries:
                return list(filter(wanted, entries))
        except FileNotFoundError:
            return []
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

    def _make_root(self) -> None:
        if not self._root.is_dir():
            self._root.mkdir(parents=True, exist_ok=True)
            _sync_directory(self._root.parent)


def _is_legal(name: str) -> bool:
    return NAME.fullmatch(name) is not None and ".." not in name


def _parsed(name: str) -> tuple[re.Match[str] | None, re.Match[str] | None]:
    """How the name of a half-written file reads, and that of a job's picture, whole or to be."""
    half_written = TEMPORARY.fullmatch(name)
    return half_written, PICTURE.fullmatch(half_written["name"] if half_written else name)


def _is_of_a_job(entry: os.DirEntry[str]) -> bool:
    return _parsed(entry.name)[1] is not None


def _has_content(entry: os.DirEntry[str]) -> bool:
    """False for a link too, whatever it leads to, and for what is gone meanwhile."""
    try:
        return entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_size > 0
    except OSError:
        return False


def _is_left_over(entry: os.DirEntry[str], known: Mapping[str, frozenset[str]]) -> bool:
    half_written, picture = _parsed(entry.name)
    if picture is not None and (kept := known.get(picture["job_id"])) is not None:
        return entry.name not in kept
    return half_written is not None and _is_old(entry)


def _is_old_input(entry: os.DirEntry[str]) -> bool:
    return INPUT.fullmatch(entry.name) is not None and entry.is_file(follow_symlinks=False) and _is_old(entry)


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


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Not a file")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_directory(path: Path) -> None:
    """Makes a rename inside it survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
