"""Artifacts as objects of an S3-compatible store."""

import errno
import itertools
import os
import secrets
import stat
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import obstore
import structlog

from danqing.blobs.names import INPUT, INPUT_PREFIX, LEFT_OVER_AFTER_S, PICTURE, check_name, is_legal
from danqing.blobs.paging import Entry, pages_of
from danqing.blobs.s3_connection import connected
from danqing.blobs.s3_failures import root_reason, translated
from danqing.blobs.s3_place import S3Place
from danqing.blobs.s3_reading import S3Picture
from danqing.blobs.staging import StagingFolder
from danqing.core.errors import ArtifactNotFound, StorageFailure
from danqing.core.listing import NAMES_AT_ONCE, PicturePage
from danqing.core.picture_ports import CLIENT_URL_S

if TYPE_CHECKING:
    from obstore import ObjectMeta

log = structlog.get_logger(__name__)

PROBE = "danqing-probe-"  # what `probe` writes, and removes again
_MEDIA_TYPES = {".png": "image/png", ".webp": "image/webp"}
_CACHE = "private, max-age=86400, immutable"  # as the server says of them
_PAGE = 1000  # names listed, or removed, at a time
_IN_PARTS_FROM_BYTES = 16 * 1024 * 1024
_PART_BYTES = 8 * 1024 * 1024
_CLOCK_KEPT_S = 600.0


class S3ArtifactStore:
    """Implements `core.picture_ports.ArtifactStore`. Picklable, and safe to use from many threads and processes at
    once.

    Every object is put as a whole: it is there under its name, or what was there before is. Nothing is asked of the
    store before the first call.
    """

    def __init__(self, place: S3Place) -> None:
        self._place = place
        self._staging = StagingFolder(place.staging)
        self._store = connected(place, place.endpoint, place.patience)
        self._public = (
            connected(place, place.public_endpoint or place.endpoint, place.patience) if place.redirects else None
        )
        self._clock_lock = threading.Lock()
        self._clock: tuple[float, float] | None = None  # when it was looked at (monotonic), how much it is ahead

    def __reduce__(self) -> tuple[type["S3ArtifactStore"], tuple[S3Place]]:
        return S3ArtifactStore, (self._place,)

    def probe(self) -> None:
        """Writes an object, reads and lists it, and removes it. Raises StorageFailure. Blocking."""
        name = f"{PROBE}{secrets.token_hex(8)}"
        self._put(name, b"probe")
        try:
            if self.read(name) != b"probe" or name not in {found["path"] for found in self._listed(name)}:
                raise StorageFailure
        except ArtifactNotFound as exc:
            raise StorageFailure from exc
        finally:
            self.remove(name)

    def refusal(self) -> str | None:
        """Why the place cannot be used, in a few words that are safe to show; None where it can. Blocking."""
        try:
            self.probe()
        except StorageFailure as exc:
            return root_reason(exc)
        return None

    def write(self, name: str, content: bytes) -> None:
        """See the port."""
        check_name(name)
        self._put(name, content)

    def adopt(self, staged: Path, name: str) -> None:
        """See the port. What is no file of its own (a link, say) is not taken over: StorageFailure."""
        check_name(name)
        try:
            with _opened(staged) as file:
                self._put(name, file)
            staged.unlink(missing_ok=True)
        except OSError as exc:
            log.error("artifact_adopt_failed", name=name, reason=exc.strerror)
            raise StorageFailure from exc

    def staging(self) -> Path:
        """See the port."""
        return self._staging.open()

    def read(self, name: str) -> bytes:
        """See the port."""
        _check_found(name)
        with translated("read", name):
            return bytes(obstore.get(self._store, name).bytes())

    async def open(self, name: str) -> S3Picture:
        """See the port."""
        _check_found(name)
        with translated("read", name):
            return S3Picture(self._store, name, await obstore.get_async(self._store, name))

    def size(self, name: str) -> int:
        """See the port."""
        return self._head(name)["size"]

    def age_s(self, name: str) -> float:
        """See the port."""
        return max(0.0, self._now() - self._head(name)["last_modified"].timestamp())

    async def client_url(self, name: str) -> str | None:
        """See the port. Signed for GET, and for the address at which clients reach the store."""
        if self._public is None:
            return None
        _check_found(name)
        with translated("read", name):
            await obstore.head_async(self._store, name)  # a picture that is gone is told in the dialect's own words
            return await obstore.sign_async(self._public, "GET", name, timedelta(seconds=CLIENT_URL_S))

    def location(self, name: str) -> str:
        """See the port."""
        return f"{self._place.address}/{name}"

    def picture_pages(self, *, names_at_once: int = NAMES_AT_ONCE) -> Iterator[PicturePage]:
        """See the port."""
        return pages_of(self._listed_pictures(), names_at_once)

    def inputs(self) -> Mapping[str, int]:
        """See the port."""
        return {entry["path"]: entry["size"] for entry in self._listed_inputs()}

    def old_inputs(self) -> frozenset[str]:
        """See the port."""
        before = self._now() - LEFT_OVER_AFTER_S
        return frozenset(
            entry["path"] for entry in self._listed_inputs() if entry["last_modified"].timestamp() < before
        )

    def sweep(self, known: Mapping[str, frozenset[str]], *, older_than_s: float = 0.0) -> int:
        """See the port. There are no half-written objects; parts of uploads that broke off are the bucket's to remove,
        by a rule for its life cycle.
        """
        before = self._now() - older_than_s if older_than_s > 0 else float("inf")
        left_over = (
            entry["path"]
            for entry in (self._listed_of(min(known), max(known)) if known else ())
            if (picture := PICTURE.fullmatch(entry["path"])) is not None
            and (kept := known.get(picture["job_id"])) is not None
            and entry["path"] not in kept
            and entry["last_modified"].timestamp() < before
        )
        return self._swept(left_over) + self._staging.sweep()

    def remove(self, name: str) -> None:
        """See the port."""
        check_name(name)
        try:
            with translated("remove", name):
                obstore.delete(self._store, name)
        except ArtifactNotFound:  # some stores say so
            return

    def remove_all(self, names: Collection[str]) -> frozenset[str]:
        """See the port. A thousand in a request, but where the store takes it for an error that one is not there."""
        stay = {name for name in names if not is_legal(name)}
        going = iter([name for name in names if name not in stay])
        while page := list(itertools.islice(going, _PAGE)):
            stay |= self._left_of(page)
        return frozenset(stay)

    def _left_of(self, names: Sequence[str]) -> set[str]:
        """Those that could not be removed."""
        try:
            with translated("remove"):
                obstore.delete(self._store, names)
        except ArtifactNotFound:
            return self._left_one_by_one(names)
        except StorageFailure:  # logged
            return set(names)
        return set()

    def _left_one_by_one(self, names: Sequence[str]) -> set[str]:
        """The first that cannot be removed ends it: the place may be away by now."""
        for place, name in enumerate(names):
            try:
                self.remove(name)
            except StorageFailure:  # logged
                return set(names[place:])
        return set()

    def _put(self, name: str, content: bytes | BinaryIO) -> None:
        size_bytes = len(content) if isinstance(content, bytes) else os.fstat(content.fileno()).st_size
        attributes: dict[str, str] = {
            "Content-Type": _MEDIA_TYPES.get(Path(name).suffix, "application/octet-stream"),
            "Content-Disposition": f'inline; filename="{name}"',
            "Cache-Control": _CACHE,
        }
        try:
            with translated("write", name):
                obstore.put(
                    self._store,
                    name,
                    content,
                    attributes=attributes,  # pyright: ignore[reportArgumentType]  # its names are a closed list
                    use_multipart=size_bytes >= _IN_PARTS_FROM_BYTES,
                    chunk_size=_PART_BYTES,
                    max_concurrency=4,
                )
        except ArtifactNotFound as exc:  # what can be missing is the bucket
            raise StorageFailure from exc

    def _head(self, name: str) -> "ObjectMeta":
        _check_found(name)
        with translated("read", name):
            return obstore.head(self._store, name)

    def _listed(self, prefix: str = "", *, after: str | None = None) -> Iterator["ObjectMeta"]:
        """The objects right under the place whose names begin so, or come after that one, a page at a time."""
        try:
            with translated("list"):
                # The library's own prefix ends at slashes, so what begins so is asked for by where it begins.
                pages = obstore.list(  # pyright: ignore[reportUnknownMemberType]  # its tables are another package's
                    self._store, offset=prefix[:-1] if prefix else after, chunk_size=_PAGE
                )
                for entry in itertools.chain.from_iterable(pages):
                    if prefix and not entry["path"].startswith(prefix):
                        if entry["path"] > prefix:
                            break
                        continue
                    if "/" not in entry["path"]:
                        yield entry
        except ArtifactNotFound as exc:
            raise StorageFailure from exc

    def _listed_of(self, first_job: str, last_job: str) -> Iterator["ObjectMeta"]:
        """Those whose names begin with the ids of these jobs, or with one between."""
        for entry in self._listed(after=first_job):
            if entry["path"][: len(last_job)] > last_job:
                return
            yield entry

    def _listed_pictures(self) -> Iterator[Entry]:
        for entry in self._listed():
            if (picture := PICTURE.fullmatch(entry["path"])) is not None:
                yield picture["job_id"], entry["path"] if entry["size"] > 0 else None

    def _listed_inputs(self) -> Iterator["ObjectMeta"]:
        return (entry for entry in self._listed(INPUT_PREFIX) if INPUT.fullmatch(entry["path"]) is not None)

    def _swept(self, names: Iterable[str]) -> int:
        """How many are gone."""
        swept, waiting = 0, iter(names)
        while page := list(itertools.islice(waiting, _PAGE)):
            swept += self._removed(page)
        return swept

    def _removed(self, names: Sequence[str]) -> int:
        try:
            with translated("sweep"):
                obstore.delete(self._store, names)
        except (StorageFailure, ArtifactNotFound):  # logged; the next sweep tries again
            return 0
        return len(names)

    def _now(self) -> float:
        """The store's clock, in seconds as `time.time` has them: ages by two clocks would remove what is new."""
        with self._clock_lock:
            moment = time.monotonic()
            if self._clock is None or moment - self._clock[0] > _CLOCK_KEPT_S:
                self._clock = moment, self._ahead_s()
            return time.time() + self._clock[1]

    def _ahead_s(self) -> float:
        name = f"{PROBE}{secrets.token_hex(8)}"
        self._put(name, b"clock")
        try:
            return self._head(name)["last_modified"].timestamp() - time.time()
        except ArtifactNotFound as exc:
            raise StorageFailure from exc
        finally:
            self.remove(name)


def _check_found(name: str) -> None:
    if not is_legal(name):
        raise ArtifactNotFound


def _opened(staged: Path) -> BinaryIO:
    """Raises OSError, also for what is no file of its own."""
    descriptor = os.open(staged, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "Not a file")
    return os.fdopen(descriptor, "rb")
