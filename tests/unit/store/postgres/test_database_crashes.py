"""PostgreSQL dies again and again under processes that write: what was answered counts, and counts once."""

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from tests.services.postgres import PostgresServer
from tests.unit.store.postgres import crashing
from tests.unit.store.postgres.asking import ask

ROOT = Path(__file__).parents[4]
CRASHES = 5
LINES_BETWEEN = 40  # of each process, between two crashes
WAIT_S = 100.0


def until_they_have_gone_on(outputs: list[Path]) -> None:
    sizes, until = [len(output.read_bytes().splitlines()) for output in outputs], time.monotonic() + WAIT_S
    for output, before in zip(outputs, sizes, strict=True):
        while len(output.read_bytes().splitlines()) < before + LINES_BETWEEN:
            assert time.monotonic() < until
            time.sleep(0.02)


def test_what_was_answered_counts_once_however_often_the_database_dies(tmp_path: Path) -> None:
    # Given two processes that add, claim and complete jobs
    server = PostgresServer()
    url = server.new_database()
    outputs = [tmp_path / f"output-{number}" for number in range(2)]
    processes: list[subprocess.Popen[bytes]] = []
    for number, output in enumerate(outputs):
        command = [sys.executable, "-m", crashing.__name__, url, str(number)]
        with output.open("wb") as file:
            processes.append(subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=file))
    try:
        # When the database dies in the middle of it, several times
        for _ in range(CRASHES):
            until_they_have_gone_on(outputs)
            server.kill()
            server.start()
        until_they_have_gone_on(outputs)
        for process in processes:
            process.communicate(timeout=WAIT_S)
        assert [process.returncode for process in processes] == [0, 0]
        states = {
            job_id: (state, attempts)
            for job_id, state, attempts in ask(url, "SELECT id, state, attempt_count FROM jobs")
        }
    finally:
        for process in processes:
            process.kill()
            process.communicate()
        server.close()
    told = [line.split() for output in outputs for line in output.read_text().splitlines()]
    # Then every job that was added is there, every attempt was one worker's, and every picture counts once
    assert {job_id for what, job_id, _ in told if what == "added"} <= states.keys()
    claims = Counter((job_id, attempt) for what, job_id, attempt in told if what == "claimed")
    assert set(claims.values()) == {1}
    done = Counter(job_id for what, job_id, _ in told if what == "done")
    assert set(done.values()) == {1}
    assert all(states[job_id][0] == "completed" for job_id in done)
    assert {state for state, _ in states.values()} <= {"completed", "pending"}
    assert sum(attempts for _, attempts in states.values()) == sum(claims.values())
