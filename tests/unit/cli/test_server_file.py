"""How commands find the server of a data dir."""

import subprocess
import sys
from pathlib import Path

import pytest

from danqing.cli.server_file import FILE_NAME, RunningServer, announced, find_announced


def test_a_server_is_found_while_it_is_announced(tmp_path: Path) -> None:
    server = RunningServer.of("http://127.0.0.1:1", model="sample")
    with announced(tmp_path, server):
        assert find_announced(tmp_path) == server
    assert find_announced(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_dead_server_is_not_found(tmp_path: Path) -> None:
    # Given the file of a process that has ended without removing it
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with announced(tmp_path, RunningServer(url="http://127.0.0.1:1", pid=ended.pid, model="sample")):
        # Then nobody is sent to it
        assert find_announced(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": 1, "pid": 2, "model": 3}', '{"url": "http://a"}', "\xff"])
def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_bytes(text.encode("latin-1"))
    assert find_announced(tmp_path) is None


def test_a_server_runs_where_the_file_cannot_be_written(tmp_path: Path) -> None:
    # Given a name that is taken by a directory
    (tmp_path / FILE_NAME).mkdir()
    # When it is announced, then only finding it fails
    with announced(tmp_path, RunningServer.of("http://127.0.0.1:1", model="sample")):
        assert find_announced(tmp_path) is None
