"""Artifacts as files in one directory, which may be a user's own, hold other files too, and be shared by machines."""

import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import structlog

from danqing.blobs.local_reading import LocalPicture
from danqing.blobs.names import INPUT, LEFT_OVER_AFTER_S, PICTURE, check_name, is_legal
from danqing.blobs.paging import Entry, pages_of
from danqing.blobs.staging import StagingFolder, is_old, removed
from danqing.core.errors import ArtifactNotFound, StorageFailure
from danqing.core.listing import NAMES_AT_ONCE, PicturePage
from danqing.core.threads import in_thread_to_its_end
from danqing.durable_files import make_directory, sync_directory, sync_file, write_new

log = structlog.get_logger(__name__)

TEMPORARY = re.compile(r"\.danqing-(?P<name>[A-Za-z0-9._-]+)-[0-9a-f]{32}\.tmp")
STAGING = ".danqing-staging"
NAMES_OF_A_SCAN = 500_000  # kept in memory at a time, some 100 bytes each
_JOB_ID_LENGTH = 36
_PART_DIGITS = 3  # of an id, by which it is in a part
_MOST_PARTS = 16**_PART_DIGITS


class LocalArtifactStore:
    """Implements `core.picture_ports.ArtifactStore`. Picklable, and safe to use from many threads and processes at
    once, also of several machines; see `docs/pictures.md` for what a shared directory must keep to.

    root: created by what first writes to it if it is not there.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._staging = StagingFolder(self._root / STAGING)

    def write(self, name: str, content: bytes) -> None:
        """See the port."""
        check_name(name)
        temporary = self._root / f".danqing-{name}-{secrets.token_hex(16)}.tmp"
        try:
            self._make_root()
            try:
                write_new(temporary, content)
                os.replace(temporary, self._root / name)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            sync_directory(self._root)
        except OSError as exc:
            log.error("artifact_write_failed", name=name, size_bytes=len(content), reason=exc.strerror)
            raise StorageFailure from exc

    def adopt(self, staged: Path, name: str) -> None:
        """See the port. What is no file of its own (a link, say) is not taken over: StorageFailure."""
        check_name(name)
        try:
            self._make_root()
            sync_file(staged)
            os.replace(staged, self._root / name)
            sync_directory(self._root)
        except OSError as exc:
            log.error("artifact_adopt_failed", name=name, reason=exc.strerror)
            raise StorageFailure from exc

    def staging(self) -> Path:
        """See the port. In the directory itself: what is staged is then taken over by its name alone."""
        try:
            self._make_root()
        except OSError as exc:
            log.error("artifact_staging_failed", reason=exc.strerror)
            raise StorageFailure from exc
        return self._staging.open()

    def path(self, name: str) -> Path:
        """Where the picture lies. Raises ArtifactNotFound if there is none, also for a name that `write` refuses.

        Links and directories are not pictures.
        """
        path = self._root / name
        if not is_legal(name) or path.is_symlink() or not path.is_file():
            raise ArtifactNotFound
        return path

    def read(self, name: str) -> bytes:
        """See the port."""
        with self._opened(name) as file:
            try:
                return file.read()
            except OSError as exc:
                log.error("artifact_read_failed", name=name, reason=exc.strerror)
                raise StorageFailure from exc

    async def open(self, name: str) -> LocalPicture:
        """See the port."""
        return await in_thread_to_its_end(lambda: LocalPicture(self._opened(name)))

    def size(self, name: str) -> int:
        """See the port."""
        return self._found(name).st_size

    def age_s(self, name: str) -> float:
        """See the port. By this machine's clock."""
        return max(0.0, time.time() - self._found(name).st_mtime)

    async def client_url(self, name: str) -> None:
        """See the port. There is none: nobody but the server has the directory."""
        return None

    def location(self, name: str) -> str:
        """See the port."""
        return str(self._root / name)

    def picture_pages(self, *, names_at_once: int = NAMES_AT_ONCE) -> Iterator[PicturePage]:
        """See the port. A directory has no order: it is read through once for each NAMES_OF_A_SCAN, and sorted."""
        return pages_of(self._pictures_in_order(), names_at_once)

    def inputs(self) -> Mapping[str, int]:
        """See the port."""
        sizes: dict[str, int] = {}
        for entry in self._listed(_is_input):
            try:
                sizes[entry.name] = entry.stat(follow_symlinks=False).st_size
            except FileNotFoundError:  # gone meanwhile
                continue
            except OSError as exc:
                log.error("artifact_read_failed", name=entry.name, reason=exc.strerror)
                raise StorageFailure from exc
        return sizes

    def old_inputs(self) -> frozenset[str]:
        """See the port."""
        return frozenset(entry.name for entry in self._listed(_is_old_input))

    def sweep(self, known: Mapping[str, frozenset[str]], *, older_than_s: float = 0.0) -> int:
        """See the port. Only names of the server's own making are removed, and staged files once they are old."""
        left_over = self._listed(lambda entry: _is_left_over(entry, known, older_than_s))
        return sum(map(removed, left_over)) + self._staging.sweep()

    def remove(self, name: str) -> None:
        """See the port."""
        check_name(name)
        try:
            (self._root / name).unlink(missing_ok=True)
        except OSError as exc:
            log.error("artifact_remove_failed", name=name, reason=exc.strerror)
            raise StorageFailure from exc

    def remove_all(self, names: Collection[str]) -> frozenset[str]:
        """See the port."""
        stay: set[str] = set()
        for name in names:
            try:
                self.remove(name)
            except StorageFailure:
                stay.add(name)
        if len(stay) < len(names) and not self._synced():
            return frozenset(names)  # a power cut may bring back any of them
        return frozenset(stay)

    def _synced(self) -> bool:
        """Whether what is gone by now stays gone. Logs a failure."""
        try:
            sync_directory(self._root)
        except FileNotFoundError:  # and so nothing was there
            return True
        except OSError as exc:
            log.error("artifact_remove_failed", name=self._root.name, reason=exc.strerror)
            return False
        return True

    def _pictures_in_order(self) -> Iterator[Entry]:
        parts = min(_MOST_PARTS, 1 + sum(1 for _ in self._scanned(_is_of_a_job)) // NAMES_OF_A_SCAN)
        for part in range(parts):
            names = [entry.name for entry in self._scanned(_is_of_a_job) if _part_of(entry.name, parts) == part]
            for picture_name, name in sorted((_picture_name(name), name) for name in names):
                job_id = picture_name[:_JOB_ID_LENGTH]
                if name != picture_name:
                    yield job_id, True
                else:
                    yield job_id, name if _has_content(self._root / name) else None

    def _opened(self, name: str) -> BinaryIO:
        try:
            return self.path(name).open("rb")
        except FileNotFoundError as exc:  # gone since it was looked for
            raise ArtifactNotFound from exc
        except OSError as exc:
            log.error("artifact_read_failed", name=name, reason=exc.strerror)
            raise StorageFailure from exc

    def _found(self, name: str) -> os.stat_result:
        try:
            return self.path(name).stat()
        except FileNotFoundError as exc:
            raise ArtifactNotFound from exc
        except OSError as exc:
            log.error("artifact_read_failed", name=name, reason=exc.strerror)
            raise StorageFailure from exc

    def _listed(self, wanted: Callable[[os.DirEntry[str]], bool]) -> list[os.DirEntry[str]]:
        return list(self._scanned(wanted))

    def _scanned(self, wanted: Callable[[os.DirEntry[str]], bool]) -> Iterator[os.DirEntry[str]]:
        """What lies in the directory and is wanted; nothing where there is none."""
        try:
            with os.scandir(self._root) as entries:
                yield from filter(wanted, entries)
        except FileNotFoundError:
            return
        except OSError as exc:
            log.error("artifact_sweep_failed", reason=exc.strerror)
            raise StorageFailure from exc

    def _make_root(self) -> None:
        if not self._root.is_dir():
            make_directory(self._root)


def _parsed(name: str) -> tuple[re.Match[str] | None, re.Match[str] | None]:
    """How the name of a half-written file reads, and that of a job's picture, whole or to be."""
    half_written = TEMPORARY.fullmatch(name)
    return half_written, PICTURE.fullmatch(half_written["name"] if half_written else name)


def _is_of_a_job(entry: os.DirEntry[str]) -> bool:
    return _parsed(entry.name)[1] is not None


def _picture_name(name: str) -> str:
    """What a job's file is called, or will be."""
    half_written = TEMPORARY.fullmatch(name)
    return half_written["name"] if half_written else name


def _part_of(name: str, parts: int) -> int:
    """Ids are drawn by chance, so that each part has about as many; parts are in the order of ids."""
    return int(_picture_name(name)[:_PART_DIGITS], 16) * parts >> 4 * _PART_DIGITS


def _has_content(path: Path) -> bool:
    """False for a link too, whatever it leads to, and for what is gone meanwhile."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size > 0


def _is_left_over(entry: os.DirEntry[str], known: Mapping[str, frozenset[str]], older_than_s: float) -> bool:
    half_written, picture = _parsed(entry.name)
    if picture is not None and (kept := known.get(picture["job_id"])) is not None:
        return entry.name not in kept and (older_than_s <= 0 or is_old(entry, after_s=older_than_s))
    return half_written is not None and is_old(entry, after_s=max(older_than_s, LEFT_OVER_AFTER_S))


def _is_input(entry: os.DirEntry[str]) -> bool:
    return INPUT.fullmatch(entry.name) is not None and entry.is_file(follow_symlinks=False)


def _is_old_input(entry: os.DirEntry[str]) -> bool:
    return _is_input(entry) and is_old(entry)
