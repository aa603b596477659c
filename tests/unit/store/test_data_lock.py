"""One server to a data directory."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from danqing.core.errors import DataDirectoryInUse, StorageFailure
from danqing.store.data_lock import DataDirectoryLock

HOLDER = """
import subprocess, sys
from pathlib import Path
from danqing.store.data_lock import DataDirectoryLock
lock = DataDirectoryLock(Path(sys.argv[1]))
lock.acquire()
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=sys.stdin)
print(child.pid, flush=True)
child.wait()
"""


def test_a_second_lock_is_refused_and_says_by_whom(tmp_path: Path) -> None:
    first, second = DataDirectoryLock(tmp_path), DataDirectoryLock(tmp_path)
    first.acquire()
    with pytest.raises(DataDirectoryInUse, match=f"process {os.getpid()}"):
        second.acquire()
    with pytest.raises(DataDirectoryInUse):
        first.acquire()
    first.release()
    second.acquire()
    second.release()


def test_releasing_twice_is_fine_and_frees_nobody_elses(tmp_path: Path) -> None:
    first, second = DataDirectoryLock(tmp_path), DataDirectoryLock(tmp_path)
    first.acquire()
    first.release()
    second.acquire()
    first.release()
    with pytest.raises(DataDirectoryInUse):
        first.acquire()
    second.release()


def test_kill_9_frees_the_lock_even_while_a_child_lives(tmp_path: Path) -> None:
    # Given another process that holds the lock and has a child process
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    lock = DataDirectoryLock(tmp_path)
    with pytest.raises(DataDirectoryInUse, match=f"process {holder.pid}"):
        lock.acquire()
    # When it is killed
    holder.kill()
    holder.wait()
    # Then the lock is free, though the child is still there: its input is open on our side
    lock.acquire()
    lock.release()
    assert psutil.Process(child).status() != psutil.STATUS_ZOMBIE
    holder.stdin.close()
    holder.stdout.close()


def test_a_missing_directory_cannot_be_locked(tmp_path: Path) -> None:
    with pytest.raises(StorageFailure):
        DataDirectoryLock(tmp_path / "nowhere").acquire()


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("text")
    (tmp_path / "danqing.lock").symlink_to(target)
    with pytest.raises(StorageFailure):
        DataDirectoryLock(tmp_path).acquire()
    assert target.read_text() == "text"
