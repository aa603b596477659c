"""What must be so after all the kills, found in the database and among the pictures themselves."""

import io
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from danqing.core.states import MOVES, JobState
from tests.chaos.points import MAX_ATTEMPTS
from tests.chaos.records import Records

MAX_SERVER_RESTARTS = 10
NO_FAULT_OF_JOBS = ("server_restarted", "worker_replaced")


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


def audit(
    records: Records,
    pictures: Mapping[str, Callable[[], bytes]],
    *,
    job_ids: Collection[str],
    fingerprints: Collection[str],
    writes: Mapping[str, int],
) -> Findings:
    """After everything has ended and a start has swept. pictures: what reads each that is there, by name.

    job_ids, fingerprints: of the jobs that were promised. writes: how often each picture was stored.
    """
    findings = Findings()
    if not records.is_whole:
        findings.add("damaged database", "by its own check")
    findings.jobs, findings.moves, findings.pictures = len(records.jobs), len(records.moves), len(pictures)
    _promises(findings, records, job_ids, fingerprints)
    _moves(findings, records)
    _attempts(findings, records)
    _made_once(findings, records, writes)
    _pictures(findings, records, pictures)
    return findings


def files_in(folder: Path) -> dict[str, Callable[[], bytes]]:
    """The pictures of a local directory, for `audit`."""
    return {path.name: path.read_bytes for path in folder.rglob("*") if path.is_file()} if folder.exists() else {}


def _promises(findings: Findings, records: Records, job_ids: Collection[str], prints: Collection[str]) -> None:
    for job_id in set(job_ids) - records.jobs.keys():
        findings.add("accepted and lost", job_id)
    for fingerprint in set(prints) - {fingerprint for _, fingerprint, _ in records.jobs.values()}:
        findings.add("accepted and lost", fingerprint)
    for job_id, (state, _, code) in records.jobs.items():
        findings.ends[state] += 1
        if not JobState(state).is_final:
            findings.add("stuck", job_id)
        if code is not None:
            findings.failures[code] += 1


def _moves(findings: Findings, records: Records) -> None:
    last: dict[str, str] = {}
    completed: Counter[str] = Counter()
    for job_id, before, after in records.moves:
        completed[job_id] += after == JobState.COMPLETED
        if last.get(job_id) != before or (before is not None and JobState(after) not in MOVES[JobState(before)]):
            findings.add("a move that there is not", f"{job_id}: {before} to {after}")
        last[job_id] = after
    for job_id, (state, *_) in records.jobs.items():
        if last.get(job_id) != state:
            findings.add("a move that was not noted", job_id)
    for job_id, times in completed.items():
        if times > 1:
            findings.add("completed twice", job_id)


def _attempts(findings: Findings, records: Records) -> None:
    lost: Counter[str] = Counter()
    restarts: Counter[str] = Counter()
    newest: dict[str, str | None] = {}
    for job_id, _, code in records.attempts:
        newest[job_id] = code
        lost[job_id] += code is not None and code not in NO_FAULT_OF_JOBS
        restarts[job_id] = restarts[job_id] + 1 if code == "server_restarted" else 0
        if lost[job_id] > MAX_ATTEMPTS or restarts[job_id] > MAX_SERVER_RESTARTS:
            findings.add("too many attempts", job_id)
    for job_id, (state, *_) in records.jobs.items():
        if state == JobState.COMPLETED and newest.get(job_id, "no attempt") is not None:
            findings.add("completed by an attempt that failed", job_id)


def _made_once(findings: Findings, records: Records, writes: Mapping[str, int]) -> None:
    attempts = Counter(job_id for job_id, *_ in records.attempts)
    for job_id in records.jobs:
        if writes.get(f"{job_id}.png", 0) > attempts[job_id]:
            findings.add("two pictures of one attempt", job_id)


def _pictures(findings: Findings, records: Records, pictures: Mapping[str, Callable[[], bytes]]) -> None:
    named = {name: size for _, name, size in records.artifacts}
    for name, size in named.items():
        content = pictures[name]() if name in pictures else b""
        if not content:
            findings.add("a row without its file", name)
        elif len(content) != size or not _is_whole(content):
            findings.add("torn file", name)
    with_original = {job_id for job_id, name, _ in records.artifacts if name == f"{job_id}.png"}
    for job_id, (state, *_) in records.jobs.items():
        if state == JobState.COMPLETED and job_id not in with_original:
            findings.add("completed without a picture", job_id)
    for name in pictures.keys() - named.keys():
        findings.add("a file without its row", name)


def _is_whole(content: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
    except (OSError, SyntaxError):
        return False
    return True
