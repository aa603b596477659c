"""What survives a power cut: whose folders are synced."""

from pathlib import Path

import pytest

from danqing import durable_files
from danqing.durable_files import make_directory


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders, in their order."""
    found: list[Path] = []
    sync = durable_files.sync_directory

    def noted(path: Path) -> None:
        sync(path)
        found.append(path)

    monkeypatch.setattr(durable_files, "sync_directory", noted)
    return found


def test_each_folder_that_is_made_is_noted_in_the_one_above_it(tmp_path: Path, synced: list[Path]) -> None:
    make_directory(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()
    assert synced == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]


def test_one_that_is_there_is_left_alone(tmp_path: Path, synced: list[Path]) -> None:
    make_directory(tmp_path)
    assert synced == []


def test_one_of_the_working_directory(tmp_path: Path, synced: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_directory(Path("data"))
    assert (tmp_path / "data").is_dir()
    assert synced == [Path()]


def test_what_is_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        make_directory(tmp_path / "file")
    with pytest.raises(OSError, match="file"):
        make_directory(tmp_path / "file" / "folder")


def test_a_folder_that_can_be_written_but_not_read_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(durable_files, "sync_directory", refused)
    make_directory(tmp_path / "data")
    assert (tmp_path / "data").is_dir()
