"""How much memory there is, where a container has less than its machine."""

from pathlib import Path

import psutil
import pytest

from danqing.engine.host_memory import HostMemory, host_memory

MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    class Virtual:
        total, available = 1000 * MIB, 600 * MIB

    monkeypatch.setattr(psutil, "virtual_memory", Virtual)


def group(folder: Path, *, limit: str, used: int = 0, cached: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {cached}\n")


def seen(tmp_path: Path) -> HostMemory:
    (tmp_path / "cgroup").write_text("0::/house/danqing\n")
    return host_memory(of_process=tmp_path / "cgroup", cgroups=tmp_path / "groups")


def test_without_limits_it_is_the_machines(tmp_path: Path) -> None:
    assert seen(tmp_path) == HostMemory(total_bytes=1000 * MIB, available_bytes=600 * MIB)
    group(tmp_path / "groups/house/danqing", limit="max")
    assert seen(tmp_path) == HostMemory(total_bytes=1000 * MIB, available_bytes=600 * MIB)
    nowhere = host_memory(of_process=tmp_path / "none", cgroups=tmp_path)
    assert nowhere.total_bytes == 1000 * MIB


def test_the_narrowest_limit_counts_and_files_that_are_only_kept_do_not(tmp_path: Path) -> None:
    group(tmp_path / "groups/house", limit=str(500 * MIB), used=450 * MIB, cached=100 * MIB)
    group(tmp_path / "groups/house/danqing", limit=str(900 * MIB), used=100 * MIB)
    assert seen(tmp_path) == HostMemory(total_bytes=500 * MIB, available_bytes=150 * MIB)
    group(tmp_path / "groups/house", limit=str(500 * MIB), used=510 * MIB)
    assert seen(tmp_path).available_bytes == 0
