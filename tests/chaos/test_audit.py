"""The audit sees what it is there to see: a clean house is clean, and each wrong that is planted is found."""

import contextlib
import io
import sqlite3
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from danqing.blobs.local import LocalArtifactStore
from danqing.core.types import Artifact, ArtifactKind, Job
from danqing.store.sqlite import SqliteStores
from tests.chaos.audit import Findings, audit, files_in
from tests.chaos.records import SqliteRecords
from tests.chaos.runner import make_database
from tests.fakes.domain import NO_LIMIT, a_job, later


@dataclass(frozen=True)
class Site:
    """A data dir with one completed job."""

    folder: Path
    job: Job

    @property
    def database(self) -> Path:
        return self.folder / "jobs.db"

    @property
    def outputs(self) -> Path:
        return self.folder / "outputs"

    @property
    def picture(self) -> Path:
        return self.outputs / f"{self.job.id}.png"

    def sql(self, *statements: str) -> None:
        """Changes the database behind everybody's back."""
        with contextlib.closing(sqlite3.connect(self.database, isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement)

    def audit(self, job_ids: tuple[str, ...] = (), fingerprints: tuple[str, ...] = (), writes: int = 1) -> Findings:
        return audit(
            SqliteRecords(self.database).read(),
            files_in(self.outputs),
            job_ids={self.job.id, *job_ids},
            fingerprints=fingerprints,
            writes={self.picture.name: writes},
        )


@pytest.fixture
async def site(tmp_path: Path) -> Site:
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(file, "PNG")
    make_database(tmp_path / "jobs.db")
    stores, artifacts = SqliteStores.open(tmp_path / "jobs.db"), LocalArtifactStore(tmp_path / "outputs")
    job = await stores.jobs.add(a_job(), NO_LIMIT)
    await stores.jobs.claim(job.id, "w1", later())
    artifacts.write(f"{job.id}.png", file.getvalue())
    original = Artifact(
        kind=ArtifactKind.ORIGINAL,
        name=f"{job.id}.png",
        media_type="image/png",
        width=64,
        height=64,
        size_bytes=len(file.getvalue()),
    )
    await stores.jobs.complete(job.id, 1, [original], [], later())
    await stores.close()
    return Site(tmp_path, job)


def test_a_clean_house_is_clean(site: Site) -> None:
    findings = site.audit(fingerprints=(site.job.fingerprint,))
    assert findings.wrong == {}
    assert (findings.jobs, findings.moves, findings.pictures, findings.ends) == (1, 3, 1, {"completed": 1})
    assert SqliteRecords(site.database).unfinished() == 0


PLANTED: dict[str, Callable[[Site], object]] = {
    "stuck": lambda site: site.sql("UPDATE jobs SET state = 'processing'"),
    "completed twice": lambda site: site.sql(
        "UPDATE jobs SET state = 'pending'",
        "UPDATE jobs SET state = 'processing'",
        "UPDATE jobs SET state = 'completed'",
    ),
    "a move that there is not": lambda site: site.sql("UPDATE jobs SET state = 'failed'"),
    "a move that was not noted": lambda site: site.sql("DROP TRIGGER chaos_move", "UPDATE jobs SET state = 'failed'"),
    "too many attempts": lambda site: site.sql(
        *(
            "INSERT INTO attempts (job_id, number, worker, started_at, failure_code, failure_message,"
            f" failure_retryable) SELECT id, {number}, 'w1', created_at, 'worker_lost', '', 1 FROM jobs"
            for number in range(2, 6)
        )
    ),
    "completed by an attempt that failed": lambda site: site.sql("UPDATE attempts SET failure_code = 'worker_lost'"),
    "torn file": lambda site: site.picture.write_bytes(site.picture.read_bytes()[:-20]),
    "a row without its file": lambda site: site.picture.unlink(),
    "completed without a picture": lambda site: site.sql("DELETE FROM artifacts"),
    "a file without its row": lambda site: (site.outputs / f"{uuid.uuid4()}.png").write_bytes(b"picture"),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_wrong_is_found(site: Site, kind: str) -> None:
    PLANTED[kind](site)
    assert kind in site.audit().wrong


def test_a_lost_promise_is_found(site: Site) -> None:
    findings = site.audit(job_ids=("nobody",), fingerprints=("of nobody",))
    assert findings.wrong == {"accepted and lost": ["nobody", "of nobody"]}


def test_a_picture_too_many_is_found(site: Site) -> None:
    findings = site.audit(writes=2)
    assert findings.wrong == {"two pictures of one attempt": [site.job.id]}
