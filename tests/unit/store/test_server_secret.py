"""The server's secret: one a data directory, kept, readable by its owner only."""

import errno
import os
import stat
from pathlib import Path

import pytest

from danqing.core.errors import StorageFailure
from danqing.store.server_secret import server_secret
from danqing.store.sqlite import SqliteStores


def test_it_outlives_the_server_and_is_nobody_elses(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    first = server_secret(tmp_path)
    assert server_secret(tmp_path) == first
    assert server_secret(tmp_path / "other") != first
    assert len(first) == 32


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    server_secret(tmp_path)
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_write_that_was_cut_off_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "danqing.tmp").write_bytes(b"half")
    assert len(server_secret(tmp_path)) == 32


def test_a_damaged_one_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "danqing.secret").write_bytes(b"short")
    with pytest.raises(StorageFailure, match="damaged"):
        server_secret(tmp_path)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageFailure):
        server_secret(tmp_path / "missing")


@pytest.mark.parametrize("reason", [errno.EINVAL, errno.ENOTSUP])
async def test_a_file_system_that_cannot_sync_a_folder_has_a_secret_and_a_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    # Given a share on a network that refuses to sync folders
    fsync = os.fsync

    def refusing(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(reason, os.strerror(reason))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refusing)
    # Then what the server keeps there is there
    assert server_secret(tmp_path) == server_secret(tmp_path)
    await SqliteStores.open(tmp_path / "jobs.db").close()
