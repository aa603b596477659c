"""What the end of an attempt means: which may be followed by another one, which pictures nobody can ask for."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from danqing.blobs.local import LocalArtifactStore
from danqing.core.errors import DanqingError, EngineFailure, ServerRestarted, StorageInDoubt, WorkerLost
from danqing.core.events import StateChanged
from danqing.core.ports import JobQueue, JobStore
from danqing.core.states import JobState
from danqing.core.types import Artifact, ArtifactKind, Job, JobFailure
from danqing.events.in_process import InProcessEventBus
from danqing.workers.failures import describe
from danqing.workers.job_rules import JobRules
from danqing.workers.messages import JobDone, JobGenerated
from danqing.workers.patient_store import PatientStore
from danqing.workers.settlement import Settlement
from tests.fakes.domain import NO_LIMIT, NOW, a_job, an_original, later
from tests.fakes.job_store import InMemoryJobStore
from tests.fakes.studio_parts import RecordingQueue

LOST, RESTARTED, FATAL = WorkerLost(), ServerRestarted(), EngineFailure()


def a_settlement(store: JobStore, queue: JobQueue, folder: Path = Path("never written")) -> Settlement:
    rules = JobRules(task_timeout_s=60, max_attempts=3, max_server_restarts=10)
    return Settlement(
        store=store,
        patient_store=PatientStore(store, rules),
        queue=queue,
        events=InProcessEventBus(),
        artifacts=LocalArtifactStore(folder),
        rules=rules,
        clock=lambda: NOW,
    )


async def after(ends: Sequence[DanqingError]) -> tuple[Job, list[str]]:
    """A job whose attempts have ended like this, and what waits in the queue."""
    store, queue = InMemoryJobStore(), RecordingQueue()
    settlement = a_settlement(store, queue)
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
        assert job.failure is not None
        assert job.failure.code == ends[-1].code
        assert job.failure.message.startswith(ends[-1].public_message)


async def test_a_failed_job_tells_how_each_of_its_attempts_ended() -> None:
    # Given a job whose attempts ended in different ways, and one that failed at once
    job, _ = await after([LOST, *[RESTARTED] * 2, LOST, FATAL])
    at_once, _ = await after([FATAL])
    # Then the first tells all of them, in order, and the second has nothing to add
    assert job.failure is not None
    ends = f"{LOST.code}, {RESTARTED.code} (2 times), {LOST.code}, {FATAL.code}"
    assert job.failure.message == f"{FATAL.public_message} It was tried 5 times: {ends}."
    assert [attempt.failure.code for attempt in job.attempts[:-1] if attempt.failure] == [
        LOST.code,
        RESTARTED.code,
        RESTARTED.code,
        LOST.code,
    ]
    assert at_once.failure == describe(FATAL)


@pytest.mark.parametrize(
    ("end", "left"),
    [
        ("failed", ["original"]),  # the store still has it
        ("overdue before", []),
        ("cancelled before", []),
        ("given back", ["original", "upscaled"]),  # the next attempt makes files of the same names
    ],
)
async def test_pictures_that_come_too_late_are_removed_unless_somebody_can_ask_for_them(
    tmp_path: Path, end: str, left: list[str]
) -> None:
    # Given a job whose original and upscaled copy are written
    store = InMemoryJobStore()
    settlement = a_settlement(store, RecordingQueue(), tmp_path)
    claimed = await store.claim((await store.add(a_job(), NO_LIMIT)).id, "w1", later())
    assert claimed is not None
    original = an_original(claimed)
    upscaled = replace(original, kind=ArtifactKind.UPSCALED, name=f"{claimed.id}-upscaled.png")
    names = {original.name: "original", upscaled.name: "upscaled"}
    for name in names:
        (tmp_path / name).touch()
    # And which ends before the worker's news of them are stored
    generated = JobGenerated(job_id=claimed.id, attempt=1, artifacts=(original,))
    done = JobDone(job_id=claimed.id, attempt=1, artifacts=(upscaled,), denoise_s=1, finish_s=1, upscale_s=1)
    match end:
        case "overdue before":
            await settlement.failed(claimed, describe(FATAL))
        case "cancelled before":
            await store.cancel(claimed.id, later())
        case _:
            pass
    was_generated = await settlement.generated(claimed, generated)
    assert (was_generated is None) is end.endswith("before")
    match end:
        case "failed":
            await settlement.failed(claimed, describe(FATAL))
        case "given back":
            await settlement.failed(claimed, describe(LOST))
        case _:
            pass
    # When they are told
    assert await settlement.done(claimed, done) is None
    await settlement.discard(claimed.id, (original, upscaled))
    # Then only those are left that somebody can, or soon will be able to, ask for
    assert sorted(names[name] for name in os.listdir(tmp_path)) == left


class DoubtfulStore(InMemoryJobStore):
    """Does the next thing that ends an attempt, and does not answer."""

    vanishes = True

    async def complete(
        self, job_id: str, attempt: int, artifacts: Sequence[Artifact], adjustments: Sequence[str], now: datetime
    ) -> Job | None:
        return self._unanswered(await super().complete(job_id, attempt, artifacts, adjustments, now))

    async def generate(
        self, job_id: str, attempt: int, artifacts: Sequence[Artifact], adjustments: Sequence[str]
    ) -> Job | None:
        return self._unanswered(await super().generate(job_id, attempt, artifacts, adjustments))

    async def fail(self, job_id: str, attempt: int, failure: JobFailure, now: datetime) -> Job | None:
        return self._unanswered(await super().fail(job_id, attempt, failure, now))

    async def give_back(self, job_id: str, attempt: int, failure: JobFailure, now: datetime) -> Job | None:
        return self._unanswered(await super().give_back(job_id, attempt, failure, now))

    def _unanswered(self, moved: Job | None) -> Job | None:
        if not self.vanishes:
            return moved
        self.vanishes = False
        raise StorageInDoubt


@pytest.mark.parametrize("end", ["generated", "done", "failed", "given back"])
async def test_an_end_that_was_stored_without_an_answer_has_its_consequences(tmp_path: Path, end: str) -> None:
    # Given an attempt whose end is stored by a store that goes away then
    store, queue, events = DoubtfulStore(), RecordingQueue(), InProcessEventBus()
    rules = JobRules(task_timeout_s=60, first_store_retry_s=0.01)
    moments = iter(NOW + timedelta(seconds=n) for n in range(10))
    settlement = Settlement(
        store=store,
        patient_store=PatientStore(store, rules),
        queue=queue,
        events=events,
        artifacts=LocalArtifactStore(tmp_path),
        rules=rules,
        clock=lambda: next(moments),
    )
    claimed = await store.claim((await store.add(a_job(), NO_LIMIT)).id, "w1", later())
    assert claimed is not None
    picture = an_original(claimed)
    (tmp_path / picture.name).touch()
    async with events.watch(claimed.id, only_states=True) as news:
        # When it is told
        match end:
            case "generated":
                told = JobGenerated(job_id=claimed.id, attempt=1, artifacts=(picture,))
                moved, state = await settlement.generated(claimed, told), JobState.GENERATED
            case "done":
                done = JobDone(job_id=claimed.id, attempt=1, artifacts=(picture,), denoise_s=1, finish_s=1, upscale_s=1)
                moved, state = await settlement.done(claimed, done), JobState.COMPLETED
            case "failed":
                moved, state = await settlement.failed(claimed, describe(FATAL)), JobState.FAILED
            case _:
                moved, state = await settlement.failed(claimed, describe(LOST)), JobState.PENDING
        # Then watchers hear of it, and a job that is to be tried again waits for that
        assert moved is not None
        assert moved.state is state
        heard = await asyncio.wait_for(anext(news), 5)
        assert isinstance(heard, StateChanged)
        assert heard.job == moved
    assert queue.ids == ([claimed.id] if end == "given back" else [])
    assert (tmp_path / picture.name).exists()


async def test_a_move_that_others_made_meanwhile_is_not_taken_for_ones_own(tmp_path: Path) -> None:
    # Given a store that does not answer at first, and a job that is cancelled then
    store = InMemoryJobStore()
    settlement = a_settlement(store, RecordingQueue(), tmp_path)
    claimed = await store.claim((await store.add(a_job(), NO_LIMIT)).id, "w1", later())
    assert claimed is not None
    complete, asked = store.complete, 0

    async def away_at_first(*given: Any) -> Job | None:  # noqa: ANN401
        nonlocal asked
        asked += 1
        if asked == 1:
            await store.cancel(claimed.id, later())
            raise StorageInDoubt
        return await complete(*given)

    store.complete = away_at_first  # type: ignore[method-assign]
    done = JobDone(job_id=claimed.id, attempt=1, artifacts=(), denoise_s=1, finish_s=1, upscale_s=1)
    assert await settlement.done(claimed, done) is None
    assert asked == 2
