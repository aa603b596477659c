"""Reading whole jobs: their rows with those of their attempts and artifacts, many in few queries."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Connection, Select, bindparam, select

from danqing.core.errors import StorageFailure
from danqing.core.states import JobState
from danqing.core.types import Job
from danqing.store.prepared import Prepared
from danqing.store.rows import Row, job_from
from danqing.store.schema import artifacts, attempts, jobs

log = structlog.get_logger(__name__)

MAX_IDS_PER_QUERY = 500  # SQLite, and the memory of statements, have limits
# A job in another state has no artifacts, and is spared the look for them.
WITH_ARTIFACTS = (JobState.GENERATED.value, JobState.COMPLETED.value, JobState.FAILED.value)

JOBS = select(jobs).where(jobs.c.id.in_(bindparam("ids", expanding=True)))
ATTEMPTS = select(attempts).where(attempts.c.job_id.in_(bindparam("ids", expanding=True))).order_by(attempts.c.number)
ARTIFACTS = select(artifacts).where(artifacts.c.job_id.in_(bindparam("ids", expanding=True))).order_by(artifacts.c.kind)
JOB = Prepared(select(jobs).where(jobs.c.id == bindparam("of_job")))
ITS_ATTEMPTS = Prepared(select(attempts).where(attempts.c.job_id == bindparam("of_job")).order_by(attempts.c.number))
ITS_ARTIFACTS = Prepared(select(artifacts).where(artifacts.c.job_id == bindparam("of_job")).order_by(artifacts.c.kind))


@dataclass(frozen=True)
class JobRows:
    """Everything that is stored of a job. Of one that another process moves between two looks, attempts that came later
    are left out.
    """

    row: Row
    attempts: Sequence[Row]
    artifacts: Sequence[Row]

    def job(self) -> Job:
        """Raises StorageFailure if this version cannot read it."""
        return job_from(self.row, self.attempts, self.artifacts)

    def job_or_none(self) -> Job | None:
        """None, which is logged, if this version cannot read it."""
        try:
            return self.job()
        except StorageFailure as exc:
            log.error("job_unreadable", job_id=self.row["id"], reason=type(exc.__cause__).__name__)
            return None


def find(connection: Connection, job_id: str) -> Job | None:
    """The job of that id. Raises StorageFailure if this version cannot read it."""
    rows = _rows_of_one(connection, job_id)
    return None if rows is None else rows.job()


def find_readable(connection: Connection, job_id: str) -> Job | None:
    """The job of that id; None also, which is logged, if this version cannot read it."""
    rows = _rows_of_one(connection, job_id)
    return None if rows is None else rows.job_or_none()


def _rows_of_one(connection: Connection, job_id: str) -> JobRows | None:
    of = {"of_job": job_id}
    for row in JOB.rows(connection, of):
        tried = ITS_ATTEMPTS.rows(connection, of) if row["attempt_count"] else ()
        made = ITS_ARTIFACTS.rows(connection, of) if row["state"] in WITH_ARTIFACTS else ()
        return JobRows(row, tried[: row["attempt_count"]], made)
    return None


def readable(connection: Connection, job_ids: Sequence[str]) -> list[Job]:
    """The jobs of these ids, in their order, without those that this version cannot read; each of them is logged."""
    return [job for rows in rows_of(connection, job_ids) if (job := rows.job_or_none()) is not None]


def rows_of(connection: Connection, job_ids: Sequence[str]) -> Iterator[JobRows]:
    """The stored jobs of these ids, in their order."""
    for start in range(0, len(job_ids), MAX_IDS_PER_QUERY):
        chunk = job_ids[start : start + MAX_IDS_PER_QUERY]
        found = {row["id"]: row for row in connection.execute(JOBS, {"ids": chunk}).mappings()}
        tried = [job_id for job_id, row in found.items() if row["attempt_count"]]
        made = [job_id for job_id, row in found.items() if row["state"] in WITH_ARTIFACTS]
        attempts_of, artifacts_of = _by_job(connection, ATTEMPTS, tried), _by_job(connection, ARTIFACTS, made)
        for job_id in chunk:
            if job_id in found:
                row = found[job_id]
                yield JobRows(row, attempts_of[job_id][: row["attempt_count"]], artifacts_of[job_id])


def _by_job(
    connection: Connection,
    statement: Select[Any],  # of rows of any kind, with a column job_id
    job_ids: Sequence[str],
) -> defaultdict[str, list[Row]]:
    found: defaultdict[str, list[Row]] = defaultdict(list)
    if job_ids:
        for row in connection.execute(statement, {"ids": job_ids}).mappings():
            found[row["job_id"]].append(row)
    return found
