"""Which failed attempts a job may follow by another one."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from danqing.blobs.local import LocalArtifactStore
from danqing.core.errors import DanqingError, EngineFailure, ServerRestarted, WorkerLost
from danqing.core.states import JobState
from danqing.core.types import Job
from danqing.events.in_process import InProcessEventBus
from danqing.workers.failures import describe
from danqing.workers.settlement import JobRules, Settlement
from tests.fakes.domain import NO_LIMIT, NOW, a_job, later
from tests.fakes.job_store import InMemoryJobStore
from tests.fakes.studio_parts import RecordingQueue

LOST, RESTARTED, FATAL = WorkerLost(), ServerRestarted(), EngineFailure()


async def after(ends: Sequence[DanqingError]) -> tuple[Job, list[str]]:
    """A job whose attempts have ended like this, and what waits in the queue."""
    store, queue = InMemoryJobStore(), RecordingQueue()
    settlement = Settlement(
        store=store,
        queue=queue,
        events=InProcessEventBus(),
        artifacts=LocalArtifactStore(Path("never written")),
        rules=JobRules(task_timeout_s=60, max_attempts=3, max_server_restarts=10),
        clock=lambda: NOW,
    )
    job = await store.add(a_job(), NO_LIMIT)
    for end in ends:
        queue.ids.clear()
        claimed = await store.claim(job.id, "w1", later())
        assert claimed is not None
        await settlement.failed(claimed, describe(end))
    return await store.get(job.id), queue.ids


@pytest.mark.parametrize(
    ("ends", "state"),
    [
        ([LOST] * 2, JobState.PENDING),
        ([LOST] * 3, JobState.FAILED),
        ([FATAL], JobState.FAILED),
        ([RESTARTED] * 9, JobState.PENDING),
        ([RESTARTED] * 10, JobState.FAILED),
        ([LOST, *[RESTARTED] * 9, LOST], JobState.PENDING),
        ([LOST, *[RESTARTED] * 9, LOST, LOST], JobState.FAILED),
        ([*[RESTARTED] * 9, LOST, *[RESTARTED] * 9], JobState.PENDING),
        ([*[RESTARTED] * 9, LOST, *[RESTARTED] * 10], JobState.FAILED),
        ([RESTARTED, FATAL], JobState.FAILED),
    ],
)
async def test_restarts_of_the_server_are_counted_apart_and_in_a_row(
    ends: Sequence[DanqingError], state: JobState
) -> None:
    # Given a job whose attempts ended one after the other
    job, waiting = await after(ends)
    # Then it waits for the next one, or has failed as the last one did
    assert (job.state, len(job.attempts)) == (state, len(ends))
    if state is JobState.PENDING:
        assert waiting == [job.id]
    else:
        assert waiting == []
        assert job.failure == describe(ends[-1])
