"""Backups of a store that is written meanwhile: whole, checked to the byte, and good for a new data dir."""

import asyncio
import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from danqing.blobs.local import LocalArtifactStore
from danqing.config import Settings
from danqing.core.errors import DataDirectoryInUse, StorageFailure
from danqing.core.images import ImageRef
from danqing.core.picture_ports import ArtifactStore
from danqing.core.states import JobState
from danqing.core.types import Job, Mode
from danqing.store.data_lock import DataDirectoryLock
from danqing.store.sqlite import SqliteStores
from danqing.wiring.backup import check_backup, make_backup, restore_backup
from tests.fakes.domain import NO_LIMIT, a_job, a_request, an_original, later

INPUT = ImageRef(name="input-1.png", width=8, height=8)


def settings_of(folder: Path) -> Settings:
    return Settings(data_dir=folder)


async def completed(stores: SqliteStores, artifacts: ArtifactStore, *, with_picture: bool = True) -> Job:
    job = await stores.jobs.add(a_job(), NO_LIMIT)
    await stores.jobs.claim(job.id, "w1", later())
    if with_picture:
        artifacts.write(an_original(job).name, b"picture of " + job.id.encode())
    done = await stores.jobs.complete(job.id, 1, [an_original(job)], [], later())
    assert done is not None
    return done


def open_stores(settings: Settings) -> SqliteStores:
    settings.data_dir.mkdir(exist_ok=True)
    return SqliteStores.open(settings.data_dir / "danqing.sqlite")


async def test_a_backup_beside_a_running_server_is_whole_and_can_be_restored(tmp_path: Path) -> None:
    # Given a server's stores: a finished job, one whose picture is gone, and one that waits with a picture sent in
    settings = settings_of(tmp_path / "data")
    stores, artifacts = open_stores(settings), LocalArtifactStore(settings.outputs)
    (settings.data_dir / "danqing.secret").write_bytes(b"s" * 32)
    (settings.data_dir / "danqing.secret").chmod(0o600)
    done, bare = await completed(stores, artifacts), await completed(stores, artifacts, with_picture=False)
    artifacts.write(INPUT.name, b"sent in")
    request = replace(a_request(), mode=Mode.IMG2IMG, strength=0.5, input_images=(INPUT,))
    waiting = await stores.jobs.add(a_job(request=request), NO_LIMIT)
    artifacts.write("holiday.png", b"not ours")
    # When it is backed up while jobs come in
    backup = asyncio.create_task(asyncio.to_thread(make_backup, settings, tmp_path / "backup"))
    accepted: list[Job] = []
    while not backup.done() or not accepted:
        accepted.append(await stores.jobs.add(a_job(), NO_LIMIT))
    report = await backup
    # Then it says what it has, is nobody else's to read, and passes its own check
    assert (report.pictures, report.missing) == (2, 1)
    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o700
    assert check_backup(tmp_path / "backup") == report
    # And a data dir made from it has everything that there was when it began
    restored = settings_of(tmp_path / "restored")
    assert restore_backup(tmp_path / "backup", restored) == report
    again, pictures = open_stores(restored), LocalArtifactStore(restored.outputs)
    try:
        for job in (done, bare, waiting):
            assert await again.jobs.get(job.id) == job
        assert pictures.path(an_original(done).name).read_bytes() == b"picture of " + done.id.encode()
        assert pictures.path(INPUT.name).read_bytes() == b"sent in"
        assert not (restored.outputs / "holiday.png").exists()
        assert (await again.jobs.unfinished())[0].id == waiting.id
        assert sum((await again.jobs.counts()).values()) == report.jobs <= 3 + len(accepted)
    finally:
        await again.close()
    secret = restored.data_dir / "danqing.secret"
    assert (secret.read_bytes(), stat.S_IMODE(secret.stat().st_mode)) == (b"s" * 32, 0o600)
    # And the server did not mind
    assert (await stores.jobs.counts())[JobState.PENDING] == 1 + len(accepted)
    await stores.close()


async def a_backup(tmp_path: Path) -> Path:
    settings = settings_of(tmp_path / "data")
    stores = open_stores(settings)
    await completed(stores, LocalArtifactStore(settings.outputs))
    await stores.close()
    make_backup(settings, tmp_path / "backup")
    return tmp_path / "backup"


async def test_what_is_not_as_it_was_backed_up_is_found_and_not_restored(tmp_path: Path) -> None:
    # Given a backup of a server that had stopped
    backup = await a_backup(tmp_path)
    manifest = json.loads((backup / "backup.json").read_text())
    assert {name.partition("/")[0] for name in manifest["files"]} == {"danqing.sqlite", "outputs"}
    # When any one file of it is changed, or gone
    for name in manifest["files"]:
        content = (backup / name).read_bytes()
        (backup / name).write_bytes(bytes([content[0] ^ 1]) + content[1:])
        with pytest.raises(StorageFailure, match="is not the file"):
            check_backup(backup)
        (backup / name).unlink()
        with pytest.raises(StorageFailure, match="cannot be read"):
            restore_backup(backup, settings_of(tmp_path / "restored"))
        (backup / name).write_bytes(content)
    # Then it is told, and whole again it passes
    assert not (tmp_path / "restored").exists()
    check_backup(backup)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged"),
        ("[]", "another version"),
        ('{"format": 2, "files": {}}', "another version"),
        ('{"format": 1, "files": {}}', "is damaged"),
        ('{"format": 1, "files": {"danqing.sqlite": {}, "../x": {}}}', "is damaged"),
        ('{"format": 1, "files": {"danqing.sqlite": {}, "outputs/../../x": {}}}', "is damaged"),
        ('{"format": 1, "files": {"danqing.sqlite": {}, "/etc/passwd": {}}}', "is damaged"),
    ],
)
def test_a_strange_list_of_files_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "backup.json").write_text(text)
    with pytest.raises(StorageFailure, match=message):
        check_backup(tmp_path)


async def test_nothing_is_overwritten(tmp_path: Path) -> None:
    # Given a backup, and the data dir that it was made of
    backup = await a_backup(tmp_path)
    # Then neither gives way to another one
    with pytest.raises(StorageFailure, match="is there already"):
        make_backup(settings_of(tmp_path / "data"), backup)
    with pytest.raises(StorageFailure, match="has a database already"):
        restore_backup(backup, settings_of(tmp_path / "data"))
    # And a log that a removed database has left is not taken for the restored one's
    (tmp_path / "log only").mkdir()
    (tmp_path / "log only" / "danqing.sqlite-wal").write_bytes(b"log")
    with pytest.raises(StorageFailure, match="has a database already"):
        restore_backup(backup, settings_of(tmp_path / "log only"))
    # And nothing is restored below a server
    (tmp_path / "other").mkdir()
    lock = DataDirectoryLock(tmp_path / "other")
    lock.acquire()
    with pytest.raises(DataDirectoryInUse):
        restore_backup(backup, settings_of(tmp_path / "other"))
    lock.release()


def test_a_data_dir_without_a_database_leaves_no_backup(tmp_path: Path) -> None:
    with pytest.raises(StorageFailure, match="no database"):
        make_backup(settings_of(tmp_path / "data"), tmp_path / "backup")
    assert os.listdir(tmp_path) == []


async def test_a_damaged_database_is_told_and_leaves_no_backup(tmp_path: Path) -> None:
    # Given a database in which a page is overwritten
    settings = settings_of(tmp_path / "data")
    stores = open_stores(settings)
    for _ in range(50):
        await stores.jobs.add(a_job(), NO_LIMIT)
    await stores.close()
    database = settings.data_dir / "danqing.sqlite"
    content = bytearray(database.read_bytes())
    content[-4096:] = b"\xff" * 4096
    database.write_bytes(content)
    # Then it is not backed up as if it were whole
    with pytest.raises(StorageFailure):
        make_backup(settings, tmp_path / "backup")
    assert os.listdir(tmp_path) == ["data"]
