"""Jobs as values: their age, their original; figures of progress and of the pool."""

from dataclasses import FrozenInstanceError, replace

import pytest

from danqing.core.states import MOVES, JobState
from danqing.core.types import Attempt, Job, PoolStatus, Progress, Stage, WorkerState, WorkerStatus
from tests.fakes.domain import NOW, a_job, an_original


def moved(job: Job, after: JobState) -> Job:
    """The job after a move, as a store makes it."""
    attempts = job.attempts
    if after is JobState.PROCESSING:
        attempts = (*attempts, Attempt(number=len(attempts) + 1, worker="w1", started_at=NOW))
    return replace(job, state=after, attempts=attempts)


def lives(job: Job, attempts: int) -> list[list[Job]]:
    """Every life a job can have from here, with at most so many attempts."""
    if job.state.is_final:
        return [[job]]
    following = [moved(job, after) for after in MOVES[job.state]]
    return [[job, *life] for after in following if len(after.attempts) <= attempts for life in lives(after, attempts)]


def test_every_move_of_every_life_makes_the_job_older() -> None:
    # Given all lives of up to three attempts
    found = lives(a_job(), attempts=3)
    # Then ages grow in each of them
    assert len(found) > 10
    for life in found:
        ages = [job.age for job in life]
        assert ages == sorted(set(ages)), [str(job.state) for job in life]


def test_a_job_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        a_job().priority = 1  # type: ignore[misc]


def test_the_original_is_the_picture_itself() -> None:
    job = a_job()
    assert job.original is None
    assert replace(job, artifacts=(an_original(job),)).original == an_original(job)


@pytest.mark.parametrize(("step", "total", "percentage"), [(0, 9, 0), (1, 3, 33), (8, 9, 88), (9, 9, 100), (0, 0, 0)])
def test_percentage_is_rounded_down(step: int, total: int, percentage: int) -> None:
    assert Progress(stage=Stage.DENOISING, step=step, total_steps=total).percentage == percentage


@pytest.mark.parametrize(
    ("state", "loaded", "accepts"),
    [
        (WorkerState.STARTING, False, False),
        (WorkerState.READY, True, True),
        (WorkerState.BUSY, True, True),
        (WorkerState.RESTARTING, False, True),
        (WorkerState.BROKEN, False, False),
    ],
)
def test_a_pool_takes_jobs_when_a_worker_can_or_will(state: WorkerState, loaded: bool, accepts: bool) -> None:
    broken = WorkerStatus(id="w0", state=WorkerState.BROKEN, pid=None, restarts=3, models=())
    pool = PoolStatus(workers=(broken, replace(broken, id="w1", state=state)))
    assert (pool.model_loaded, pool.accepts_jobs) == (loaded, accepts)


def test_a_pool_without_workers_takes_none() -> None:
    assert not PoolStatus().accepts_jobs


def test_workers_elsewhere_may_come_later() -> None:
    pool = PoolStatus(elsewhere=True)
    assert (pool.is_ready, pool.accepts_jobs, pool.model_loaded) == (True, True, False)
    # And a store that does not answer says itself what it does with jobs
    away = replace(pool, out_of_sight=True)
    assert (away.is_ready, away.accepts_jobs, away.model_loaded) == (False, True, False)
