"""The limit on open files is raised as far as it may be, in a process of its own."""

import subprocess
import sys

import pytest

from danqing.http.open_files import MOST, allow_open_files
from tests.e2e.servers import clean_environment

resource = pytest.importorskip("resource")
RAISING = """
import resource
from danqing.http.open_files import MOST, allow_open_files
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
allow_open_files()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""
MANAGED = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 300))
import danqing.asgi
danqing.asgi.app()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def limits(code: str) -> str:
    said = subprocess.run(
        [sys.executable, "-c", code], env=clean_environment(), capture_output=True, text=True, check=True
    )
    return said.stdout.strip()


@pytest.mark.parametrize(("soft", "hard"), [(256, 400), (400, 400)])
def test_it_is_as_high_as_it_may_be(soft: int, hard: int) -> None:
    assert limits(RAISING.format(soft=soft, hard=hard)) == f"{hard} {hard}"


def test_it_is_no_higher_than_programs_stand() -> None:
    told: list[tuple[int, tuple[int, int]]] = []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resource, "getrlimit", lambda which: (256, resource.RLIM_INFINITY))
        patch.setattr(resource, "setrlimit", lambda which, limit: told.append((which, limit)))
        allow_open_files()

    assert told == [(resource.RLIMIT_NOFILE, (MOST, resource.RLIM_INFINITY))]


def test_nor_is_it_lowered_or_anything_said_where_it_cannot_be_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(which: int, limit: tuple[int, int]) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    for found in ((256, 4096), (100_000, 200_000), (resource.RLIM_INFINITY, resource.RLIM_INFINITY)):
        monkeypatch.setattr(resource, "getrlimit", lambda which, found=found: found)
        allow_open_files()


def test_a_process_manager_s_server_raises_it_too() -> None:
    assert limits(MANAGED) == "300 300"
