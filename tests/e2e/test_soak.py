"""The short run of what `bench/soak.py` does at length: many jobs through a whole server, and nothing grows."""

from importlib import import_module
from pathlib import Path

import pytest

from tests.e2e.servers import ROOT, clean_environment

JOBS = 200
MEMORY_MB = 20  # what caches may take while they fill; the long run shows that they stop


@pytest.mark.timeout(300)
def test_files_and_threads_do_not_grow_with_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a server with an engine that takes no time
    monkeypatch.syspath_prepend(ROOT / "bench")
    for name, value in clean_environment().items():
        monkeypatch.setenv(name, value)
    bench = import_module("soak")
    # When jobs go through it, from submit to picture
    noted = bench.soak(JOBS, tmp_path)
    # Then the server and its worker hold as much at the end as after the first tenth
    for name, notes in noted.items():
        assert [note.jobs for note in notes] == [JOBS * tenth // 10 for tenth in range(1, 11)]
        more = bench.growth(notes)
        assert more.files <= 2, name
        assert more.threads <= 6, name  # a pool comes up to its size
        assert more.memory_mb < MEMORY_MB, name
