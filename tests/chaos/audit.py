"""What must be so after all the kills, found in the database and in the folder of pictures themselves.

Triggers note each move of each job in a table of their own, in the transaction that makes it: whatever dies, the note
is there exactly if the move is.
"""

import contextlib
import io
import sqlite3
from collections import Counter
from collections.abc import Collection, Generator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from danqing.core.states import MOVES, JobState
from tests.chaos.points import MAX_ATTEMPTS

MAX_SERVER_RESTARTS = 10
NO_FAULT_OF_JOBS = ("server_restarted", "worker_replaced")
NOTES = """
CREATE TABLE IF NOT EXISTS chaos_moves (number INTEGER PRIMARY KEY AUTOINCREMENT, job_id TEXT, before TEXT, after TEXT);
CREATE TRIGGER IF NOT EXISTS chaos_new AFTER INSERT ON jobs BEGIN
  INSERT INTO chaos_moves (job_id, before, after) VALUES (new.id, NULL, new.state); END;
CREATE TRIGGER IF NOT EXISTS chaos_move AFTER UPDATE OF state ON jobs BEGIN
  INSERT INTO chaos_moves (job_id, before, after) VALUES (new.id, old.state, new.state); END;
"""


@dataclass
class Findings:
    """What is wrong, by kind, each with the jobs or files that it is about; and what there was to look at."""

    jobs: int = 0
    moves: int = 0
    pictures: int = 0
    ends: Counter[str] = field(default_factory=Counter[str])
    failures: Counter[str] = field(default_factory=Counter[str])
    wrong: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def add(self, kind: str, what: str) -> None:
        """One more."""
        self.wrong.setdefault(kind, []).append(what)


def take_notes(database: Path) -> None:
    """Has every move noted from now on. No server may run."""
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.executescript(NOTES)


def unfinished(database: Path) -> int:
    """How many jobs have not ended. A server may run."""
    with _reading(database) as connection:
        states = f"'{JobState.PENDING}', '{JobState.PROCESSING}', '{JobState.GENERATED}'"
        return connection.execute(f"SELECT count(*) FROM jobs WHERE state IN ({states})").fetchone()[0]


def audit(database: Path, outputs: Path, *, job_ids: Collection[str], fingerprints: Collection[str]) -> Findings:
    """After everything has ended and a start has swept. job_ids, fingerprints: of the jobs that were promised."""
    findings = Findings()
    with _reading(database) as connection:
        if connection.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            findings.add("damaged database", str(database))
        jobs = {row[0]: row[1:] for row in connection.execute("SELECT id, state, fingerprint, failure_code FROM jobs")}
        moves = connection.execute("SELECT job_id, before, after FROM chaos_moves ORDER BY number").fetchall()
        attempts = connection.execute("SELECT job_id, number, failure_code FROM attempts ORDER BY 1, 2").fetchall()
        artifacts = connection.execute("SELECT job_id, name, size_bytes FROM artifacts").fetchall()
    findings.jobs, findings.moves = len(jobs), len(moves)
    _promises(findings, jobs, job_ids, fingerprints)
    _moves(findings, jobs, moves)
    _attempts(findings, attempts)
    _pictures(findings, outputs, jobs, artifacts)
    return findings


@contextlib.contextmanager
def _reading(database: Path) -> Generator[sqlite3.Connection]:
    uri = f"{database.absolute().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=30)) as connection:
        yield connection


def _promises(
    findings: Findings, jobs: dict[str, tuple[str, str, str | None]], job_ids: Collection[str], prints: Collection[str]
) -> None:
    for job_id in set(job_ids) - jobs.keys():
        findings.add("accepted and lost", job_id)
    for fingerprint in set(prints) - {fingerprint for _, fingerprint, _ in jobs.values()}:
        findings.add("accepted and lost", fingerprint)
    for job_id, (state, _, code) in jobs.items():
        findings.ends[state] += 1
        if not JobState(state).is_final:
            findings.add("stuck", job_id)
        if code is not None:
            findings.failures[code] += 1


def _moves(
    findings: Findings,
    jobs: dict[str, tuple[str, str, str | None]],
    moves: list[tuple[str, str | None, str]],
) -> None:
    last: dict[str, str] = {}
    completed: Counter[str] = Counter()
    for job_id, before, after in moves:
        completed[job_id] += after == JobState.COMPLETED
        if last.get(job_id) != before or (before is not None and JobState(after) not in MOVES[JobState(before)]):
            findings.add("a move that there is not", f"{job_id}: {before} to {after}")
        last[job_id] = after
    for job_id, (state, *_) in jobs.items():
        if last.get(job_id) != state:
            findings.add("a move that was not noted", job_id)
    for job_id, times in completed.items():
        if times > 1:
            findings.add("completed twice", job_id)


def _attempts(findings: Findings, attempts: list[tuple[str, int, str | None]]) -> None:
    lost: Counter[str] = Counter()
    restarts: Counter[str] = Counter()
    for job_id, _, code in attempts:
        lost[job_id] += code is not None and code not in NO_FAULT_OF_JOBS
        restarts[job_id] = restarts[job_id] + 1 if code == "server_restarted" else 0
        if lost[job_id] > MAX_ATTEMPTS or restarts[job_id] > MAX_SERVER_RESTARTS:
            findings.add("too many attempts", job_id)


def _pictures(
    findings: Findings,
    outputs: Path,
    jobs: dict[str, tuple[str, str, str | None]],
    artifacts: list[tuple[str, str, int]],
) -> None:
    named = {name: size for _, name, size in artifacts}
    for name, size in named.items():
        content = (outputs / name).read_bytes() if (outputs / name).exists() else b""
        if not content:
            findings.add("a row without its file", name)
        elif len(content) != size or not _is_whole(content):
            findings.add("torn file", name)
    with_original = {job_id for job_id, name, _ in artifacts if name == f"{job_id}.png"}
    for job_id, (state, *_) in jobs.items():
        if state == JobState.COMPLETED and job_id not in with_original:
            findings.add("completed without a picture", job_id)
    files = [path for path in outputs.rglob("*") if path.is_file()] if outputs.exists() else []
    findings.pictures = len(files)
    for path in files:
        if path.name not in named:
            findings.add("a file without its row", path.name)


def _is_whole(content: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
    except (OSError, SyntaxError):
        return False
    return True
