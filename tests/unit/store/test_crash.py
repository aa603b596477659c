"""What was answered survives: a process killed while it writes, and a disk that fills up."""

import itertools
import subprocess
import sys
from pathlib import Path

from danqing.store.sqlite import SqliteStores
from tests.unit.store import adding_process

ROOT = Path(__file__).parents[3]


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", adding_process.__name__, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


async def stored_ids(path: Path) -> list[str]:
    stores = SqliteStores.open(path)
    try:
        jobs = await stores.jobs.unfinished()
        assert sum((await stores.jobs.counts()).values()) == len(jobs)
        # Every job has its batch, stored with it.
        history = await stores.batches.batches(None, limit=len(jobs) + 1, offset=0)
        assert [batch.jobs for batch in reversed(history)] == [(job,) for job in jobs]
        return [job.id for job in jobs]
    finally:
        await stores.close()


async def test_every_answered_job_survives_kill_9(tmp_path: Path) -> None:
    # Given a process that adds jobs, eight at a time, killed in the middle of it, twice on the same file
    path = tmp_path / "danqing.db"
    answered: list[str] = []
    for _ in range(2):
        process = start(path)
        assert process.stdout is not None
        answered += [line.strip() for line in itertools.islice(process.stdout, 100)]
        process.kill()
        answered += [line.strip() for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
        process.wait()
        process.stdout.close()
    # When the file is opened
    stored = await stored_ids(path)
    # Then every answered job is there, once, and at most those under way besides
    assert len(set(answered)) >= 200
    assert set(answered) <= set(stored)
    assert len(stored) == len(set(stored)) <= len(answered) + 2 * 8


async def test_a_full_disk_fails_calls_and_the_store_lives_on(tmp_path: Path) -> None:
    # Given a process that adds until no file can grow any more, and once more when there is room again
    path = tmp_path / "danqing.db"
    process = start(path, 1_000_000)
    output, _ = process.communicate(timeout=60)
    # Then it ended well
    assert process.returncode == 0
    lines = output.splitlines()
    assert "full" in lines
    # And what was answered, before and after, is what is stored
    answered = [line for line in lines if len(line) == 36]
    assert len(answered) > 10
    assert lines.index("full") == len(lines) - 2
    assert await stored_ids(path) == answered
