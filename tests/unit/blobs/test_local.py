"""LocalArtifactStore: the contract, and what only a directory can show."""

import errno
import os
import resource
import signal
import stat
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from danqing.blobs.local import LocalArtifactStore
from danqing.core.errors import ArtifactNotFound, StorageFailure
from danqing.core.picture_ports import ArtifactStore
from tests.contracts.artifact_store import INPUT, TWO_HOURS_S, ArtifactStoreContract

LIMIT_BYTES = 50_000_000  # above what the test run itself writes into any file


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "outputs"


@pytest.fixture
def store(root: Path) -> LocalArtifactStore:
    return LocalArtifactStore(root)


class TestLocalArtifactStore(ArtifactStoreContract):
    implementation = LocalArtifactStore

    def later(self, store: ArtifactStore) -> ArtifactStore:
        folder = store.staging().parent
        for path in folder.iterdir():
            os.utime(path, (time.time() - TWO_HOURS_S, time.time() - TWO_HOURS_S))
        return store


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file of this process may grow above LIMIT_BYTES: what a full disk looks like."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_nothing_is_made_before_the_first_write(root: Path, store: LocalArtifactStore) -> None:
    with pytest.raises(ArtifactNotFound):
        store.path("a.png")
    assert store.sweep({}) == 0
    assert not root.exists()
    store.write("a.png", b"picture")
    assert [path.name for path in root.iterdir()] == ["a.png"]


def test_a_directory_removed_by_somebody_is_made_again(root: Path, store: LocalArtifactStore) -> None:
    store.write("a.png", b"picture")
    store.path("a.png").unlink()
    root.rmdir()
    store.write("b.png", b"picture")
    assert store.path("b.png").exists()


def test_a_full_disk_leaves_nothing_half_written(root: Path, store: LocalArtifactStore, small_files: None) -> None:
    # Given a picture already there under the name
    store.write("a.png", b"old")
    # When a new one does not fit
    with pytest.raises(StorageFailure):
        store.write("a.png", bytes(LIMIT_BYTES + 1))
    # Then the old one is whole and alone
    assert store.path("a.png").read_bytes() == b"old"
    assert [path.name for path in root.iterdir()] == ["a.png"]


def test_a_root_that_is_a_file_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    store = LocalArtifactStore(tmp_path / "file")
    with pytest.raises(StorageFailure):
        store.write("a.png", b"picture")
    with pytest.raises(StorageFailure):
        store.sweep({})
    with pytest.raises(StorageFailure):
        store.staging()


def test_links_and_directories_are_not_pictures(tmp_path: Path, root: Path, store: LocalArtifactStore) -> None:
    # Given a link out of the directory and a directory, both under legal names
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    store.write("a.png", b"picture")
    (root / "link.png").symlink_to(secret)
    (root / "folder.png").mkdir()
    # Then neither is a picture
    for name in ("link.png", "folder.png"):
        with pytest.raises(ArtifactNotFound):
            store.path(name)
    # And writing under the link's name replaces the link, not what it points to.
    store.write("link.png", b"new")
    assert secret.read_bytes() == b"secret"
    assert store.path("link.png").read_bytes() == b"new"


def test_a_sweep_never_touches_what_is_not_ours(root: Path, store: LocalArtifactStore) -> None:
    # Given a user's directory: names near to ours, a folder and a link that look like ours, another server's picture
    store.write(f"{uuid.uuid4()}.png", b"picture of another server")
    stem, folder, link = (str(uuid.uuid4()) for _ in range(3))
    strangers = [
        "holiday.png",
        "notes.tmp",
        ".danqing-notes.tmp",
        f"{stem}.jpg",
        f"{stem}.png.bak",
        f"{stem.upper()}.png",
        f"my {stem}.png",
        f"{stem.replace('-', '')}.png",
    ]
    for name in strangers:
        (root / name).write_text("text")
    (root / f"{folder}.png").mkdir()
    (root / f"{link}.png").symlink_to(root / "holiday.png")
    # And what a killed process left
    half = f".danqing-{stem}.png-{'0' * 32}.tmp"
    (root / half).write_bytes(b"half a pict")
    (root / f"{stem}.png").write_bytes(b"a picture without a row")
    before = set(os.listdir(root))
    # When it is swept
    assert store.sweep(dict.fromkeys((stem, stem.upper(), folder, link), frozenset[str]())) == 2
    # Then only the last two are gone
    assert before - set(os.listdir(root)) == {half, f"{stem}.png"}


def test_what_another_server_is_just_writing_stays(root: Path, store: LocalArtifactStore) -> None:
    # Given half-written pictures of another server's jobs, one of them as old as a crash
    store.write("a.png", b"picture")
    new, old = (root / f".danqing-{uuid.uuid4()}.png-{'0' * 32}.tmp" for _ in range(2))
    for path in (new, old):
        path.write_bytes(b"half a pict")
    os.utime(old, (time.time() - 3700, time.time() - 3700))
    # When this server's place is swept
    assert store.sweep({str(uuid.uuid4()): frozenset()}) == 1
    # Then the new one stays
    assert (new.exists(), old.exists()) == (True, False)


def test_what_a_crash_left_staged_goes_once_it_is_old(root: Path, store: LocalArtifactStore) -> None:
    # Given staged files: one as old as a crash, one that another server is about to adopt, and things that are no files
    staging = store.staging()
    old, new = staging / "old.png", staging / "new.png"
    for path in (old, new, root / "holiday.png"):
        path.write_bytes(b"picture")
    (staging / "folder").mkdir()
    (staging / "link").symlink_to(root / "holiday.png")
    for path in (old, root / "holiday.png", staging / "folder"):
        os.utime(path, (time.time() - 3700, time.time() - 3700))
    os.utime(staging / "link", (time.time() - 3700, time.time() - 3700), follow_symlinks=False)
    # When the place is swept
    assert store.sweep({}) == 1
    # Then the old file is gone, and no other
    assert {path.name for path in staging.iterdir()} == {"new.png", "folder", "link"}
    assert (root / "holiday.png").exists()


def test_the_staging_place_is_nobody_elses(root: Path, store: LocalArtifactStore) -> None:
    # Given a careless umask and a folder that somebody opened up
    before = os.umask(0)
    try:
        assert stat.S_IMODE(store.staging().stat().st_mode) == 0o700
        store.staging().chmod(0o777)
        # Then it is closed to others whenever it is asked for
        assert stat.S_IMODE(store.staging().stat().st_mode) == 0o700
    finally:
        os.umask(before)


def test_a_link_in_the_staging_places_stead_is_not_followed(
    tmp_path: Path, root: Path, store: LocalArtifactStore
) -> None:
    # Given a link to somebody's folder, with an old file in it
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "old.png").write_bytes(b"picture")
    os.utime(theirs / "old.png", (time.time() - 3700, time.time() - 3700))
    store.write("a.png", b"picture")
    (root / ".danqing-staging").symlink_to(theirs)
    # Then nothing is staged there, and nothing swept
    with pytest.raises(StorageFailure):
        store.staging()
    assert store.sweep({}) == 0
    assert (theirs / "old.png").exists()


def test_a_file_that_cannot_be_removed_does_not_stop_a_sweep(
    root: Path, store: LocalArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given two left-over pictures, the first of which cannot be removed
    jobs = [str(uuid.uuid4()) for _ in range(2)]
    for job_id in jobs:
        store.write(f"{job_id}.png", b"picture")
    unlink, kept = os.unlink, f"{jobs[0]}.png"

    def refusing(path: str) -> None:
        if path.endswith(kept):
            raise PermissionError(errno.EPERM, "Operation not permitted")
        unlink(path)

    monkeypatch.setattr(os, "unlink", refusing)
    # When it is swept, then the other one goes
    assert store.sweep(dict.fromkeys(jobs, frozenset[str]())) == 1
    assert [path.name for path in root.iterdir()] == [kept]


def test_of_input_pictures_only_the_old_ones_are_told(root: Path, store: LocalArtifactStore) -> None:
    young = INPUT.replace("0", "f")
    for name in (INPUT, young):
        store.write(name, b"picture")
    os.utime(root / INPUT, (0, 0))
    assert store.old_inputs() == {INPUT}


@pytest.mark.parametrize("reason", [errno.ESTALE, errno.ENOENT])
def test_an_input_picture_that_cannot_be_looked_at_is_a_failure_unless_it_is_gone(
    store: LocalArtifactStore, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    def stat(*, follow_symlinks: bool) -> os.stat_result:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(store, "_listed", lambda _: [SimpleNamespace(name=INPUT, stat=stat)])
    if reason == errno.ENOENT:
        assert store.inputs() == {}
    else:
        with pytest.raises(StorageFailure):
            store.inputs()


@pytest.mark.parametrize("reason", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_cannot_sync_a_folder_takes_pictures_all_the_same(
    root: Path, store: LocalArtifactStore, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    # Given a share on a network that refuses to sync folders
    fsync = os.fsync

    def refusing(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(reason, os.strerror(reason))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refusing)
    # Then what is written is there
    store.write("a.png", b"picture")
    assert store.read("a.png") == b"picture"


def test_a_folder_that_fails_to_sync_is_told(store: LocalArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write("a.png", b"picture")

    def failing(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(StorageFailure):
        store.write("b.png", b"picture")


async def test_nobody_else_sends_the_pictures_of_a_folder(store: LocalArtifactStore) -> None:
    store.write("a.png", b"picture")
    assert await store.client_url("a.png") is None


@pytest.fixture
def asked(store: LocalArtifactStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the system, in order, from now on."""
    store.write("first.png", b"picture")
    calls: list[str] = []
    fsync, replace, unlink = os.fsync, os.replace, os.unlink

    def seen_fsync(descriptor: int) -> None:
        calls.append(f"fsync {os.readlink(f'/proc/self/fd/{descriptor}').rsplit('/', 1)[-1].split('-')[0]}")
        fsync(descriptor)

    def seen_replace(source: Path, target: Path) -> None:
        calls.append(f"rename to {target.name}")
        replace(source, target)

    def seen_unlink(path: Path, **options: int) -> None:
        calls.append(f"unlink {path.name}")
        unlink(path, **options)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "replace", seen_replace)
    monkeypatch.setattr(os, "unlink", seen_unlink)
    return calls


def test_a_write_is_synced_before_and_after_its_rename(store: LocalArtifactStore, asked: list[str]) -> None:
    # When a picture is written
    store.write("a.png", b"picture")
    # Then the file reaches the disk before it has its name, and the name before the call ends
    assert asked == ["fsync .danqing", "rename to a.png", "fsync outputs"]


def test_a_staged_file_is_synced_before_and_after_its_rename(store: LocalArtifactStore, asked: list[str]) -> None:
    staged = store.staging() / "upload"
    staged.write_bytes(b"picture")
    store.adopt(staged, "a.png")
    assert asked == ["fsync upload", "rename to a.png", "fsync outputs"]


def test_what_is_removed_is_synced_once_however_much_it_is(store: LocalArtifactStore, asked: list[str]) -> None:
    # When pictures are removed, of which one is not there, and one cannot be
    assert store.remove_all(["first.png", "none.png", "../b.png"]) == {"../b.png"}
    # Then their absence reaches the disk before the call ends
    assert asked == ["unlink first.png", "unlink none.png", "fsync outputs"]
    # And nothing is synced where nothing was to go
    assert store.remove_all([]) == frozenset()
    assert store.remove_all(["../b.png"]) == {"../b.png"}
    assert len(asked) == 3


def test_what_may_come_back_after_a_power_cut_is_not_removed_yet(
    store: LocalArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a disk that does not sync, for a while
    names = ["a.png", "b.png"]
    for name in names:
        store.write(name, b"picture")

    def failing(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(os, "fsync", failing)
        assert store.remove_all(names) == frozenset(names)
    # Then it can be tried again
    assert store.remove_all(names) == frozenset()


def test_where_there_is_no_directory_everything_is_removed_already(store: LocalArtifactStore) -> None:
    assert store.remove_all(["a.png"]) == frozenset()


def test_a_large_directory_is_read_in_parts(
    root: Path, store: LocalArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given more pictures than are kept in memory at once, and something half-written
    monkeypatch.setattr("danqing.blobs.local.NAMES_OF_A_SCAN", 10)
    jobs = [str(uuid.uuid4()) for _ in range(50)]
    for job in jobs:
        store.write(f"{job}.png", b"picture")
    half = str(uuid.uuid4())
    (root / f".danqing-{half}.png-{'0' * 32}.tmp").write_bytes(b"pict")
    # Then pages are those of a small one
    pages = list(store.picture_pages(names_at_once=7))
    assert [job for page in pages for job in page.pictures] == sorted([*jobs, half])
    assert [page.half_written for page in pages if page.half_written] == [{half}]
    assert len(pages) == 8


class Vanishing(LocalArtifactStore):
    """Finds files that are gone, or cannot be read, a moment later."""

    def path(self, name: str) -> Path:
        found = super().path(name)
        found.unlink()
        if name.startswith("folder"):
            found.mkdir()
        return found


def test_an_image_that_is_gone_a_moment_later_is_told_as_such(root: Path) -> None:
    store = Vanishing(root)
    store.write(INPUT, b"picture")
    with pytest.raises(ArtifactNotFound):
        store.read(INPUT)


def test_an_image_that_cannot_be_read_is_a_failure_of_the_storage(root: Path) -> None:
    store = Vanishing(root)
    store.write("folder.png", b"picture")
    with pytest.raises(StorageFailure):
        store.read("folder.png")
