"""What the end of an attempt means for its job: completed, tried again, failed. Stores it and tells watchers."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime

import structlog

from danqing.core.errors import ServerRestarted, WorkerReplaced
from danqing.core.events import StateChanged
from danqing.core.picture_names import picture_names
from danqing.core.picture_ports import ArtifactStore
from danqing.core.ports import EventBus, JobQueue, JobStore
from danqing.core.states import JobState
from danqing.core.types import Artifact, Job, JobFailure
from danqing.core.witness import JobWitness, StageTimes, Witnesses
from danqing.workers.job_rules import JobRules
from danqing.workers.messages import JobDone, JobGenerated
from danqing.workers.patient_store import PatientStore

log = structlog.get_logger(__name__)
_NO_FAULT_OF_JOBS = (ServerRestarted.code, WorkerReplaced.code)


class Settlement:
    """Every `job` given here is as it was when claimed: its last attempt is the one that ended.

    Where the store says that the job has moved on (cancelled, overdue, another attempt), nothing happens, but that
    pictures which nobody can ask for are removed; otherwise the job is returned as it is now. A failing store is asked
    again until it answers, except where it is said.
    """

    def __init__(
        self,
        *,
        store: JobStore,
        patient_store: PatientStore,
        queue: JobQueue,
        events: EventBus,
        artifacts: ArtifactStore,
        rules: JobRules,
        clock: Callable[[], datetime],
        witness: JobWitness | None = None,
    ) -> None:
        self._witness = witness or Witnesses()
        self._store = store
        self._patient_store = patient_store
        self._queue = queue
        self._events = events
        self._artifacts = artifacts
        self._rules = rules
        self._clock = clock

    async def generated(self, job: Job, news: JobGenerated) -> Job | None:
        """The original picture is stored, and more is being made."""
        attempt = len(job.attempts)
        moved = await self._moved(
            job,
            lambda: self._store.generate(job.id, attempt, news.artifacts, news.adjustments),
            lambda found: found.state is JobState.GENERATED and len(found.attempts) == attempt,
        )
        if moved is None:
            await self.discard(job.id, news.artifacts)
            return None
        self._events.publish(StateChanged(job=moved))
        self._witness.generated(moved)
        log.info("job_generated", job_id=job.id, attempt=attempt)
        return moved

    async def done(self, job: Job, news: JobDone) -> Job | None:
        """Everything asked for is stored."""
        attempt, now = len(job.attempts), self._clock()
        completed = await self._moved(
            job,
            lambda: self._store.complete(job.id, attempt, news.artifacts, news.adjustments, now),
            lambda found: (found.state, found.finished_at) == (JobState.COMPLETED, now),
        )
        if completed is None:
            await self.discard(job.id, news.artifacts)
            return None
        self._events.publish(StateChanged(job=completed))
        times = StageTimes(denoise_s=news.denoise_s, finish_s=news.finish_s, upscale_s=news.upscale_s)
        self._witness.ended(completed, times)
        log.info(
            "job_completed",
            job_id=job.id,
            attempt=attempt,
            denoise_s=round(news.denoise_s, 3),
            finish_s=round(news.finish_s, 3),
            upscale_s=round(news.upscale_s, 3),
        )
        return completed

    async def discard(self, job_id: str, artifacts: Sequence[Artifact] | None) -> None:
        """Pictures came too late: those that their job does not have are removed, if it was cancelled, has failed or is
        gone. artifacts: None where nobody can tell what was stored.
        """
        job = await self._patient_store.find(job_id)
        if job is None:
            if not await self._patient_store.is_gone(job_id):
                return  # a newer version knows what it has
        elif job.state not in (JobState.CANCELLED, JobState.FAILED):
            return  # another attempt makes, or has made, the picture of the same name
        possible = picture_names(job_id)
        late = possible if artifacts is None else possible.intersection(artifact.name for artifact in artifacts)
        if job is not None:
            late -= {artifact.name for artifact in job.artifacts}
        if late:  # what stays is logged, and goes with the job, or is swept at the next start
            await asyncio.to_thread(self._artifacts.remove_all, late)

    async def failed(self, job: Job, failure: JobFailure, artifacts: Sequence[Artifact] | None = ()) -> Job | None:
        """The attempt failed: the job waits for another one, or ends with this failure.

        artifacts: what it had stored that the store does not know of; None where nobody can tell, for its worker died.
        """
        now = self._clock()
        moved = await self._moved(
            job, lambda: self._end_attempt(job, failure, now), lambda found: _has_ended_so(found, job, now)
        )
        if moved is not None:
            await self._tell_failed(moved, job, failure)
        if artifacts is None or artifacts:
            await self.discard(job.id, artifacts)
        return moved

    async def failed_once(self, job: Job, failure: JobFailure) -> Job | None:
        """As `failed`, but asks the store once. Raises StorageFailure."""
        moved = await self._end_attempt(job, failure, self._clock())
        if moved is not None:
            await self._tell_failed(moved, job, failure)
        return moved

    async def _end_attempt(self, job: Job, failure: JobFailure, now: datetime) -> Job | None:
        attempt = len(job.attempts)
        if self._is_tried_again(job, failure):
            return await self._store.give_back(job.id, attempt, failure, now)
        return await self._store.fail(job.id, attempt, _with_all_attempts(job, failure), now)

    async def _tell_failed(self, moved: Job, job: Job, failure: JobFailure) -> None:
        again = self._is_tried_again(job, failure)
        log.warning("job_attempt_failed", job_id=job.id, attempt=len(job.attempts), code=failure.code, again=again)
        self._events.publish(StateChanged(job=moved))
        self._witness.attempt_failed(moved, failure, again=again)
        if not again:
            self._witness.ended(moved)
        elif moved.state is JobState.PENDING and len(moved.attempts) == len(job.attempts):  # nobody was quicker
            await self._queue.publish(moved)

    def _is_tried_again(self, job: Job, failure: JobFailure) -> bool:
        return failure.retryable and self._may_try_again(job, failure)

    def _may_try_again(self, job: Job, failure: JobFailure) -> bool:
        """A stop or crash of the server is not the job's fault, unless it happens whenever the job runs."""
        earlier = [attempt.failure.code for attempt in job.attempts[:-1] if attempt.failure is not None]
        codes = [*earlier, failure.code]
        if failure.code == ServerRestarted.code:
            in_a_row = itertools.takewhile(lambda code: code == ServerRestarted.code, reversed(codes))
            return len(list(in_a_row)) < self._rules.max_server_restarts
        return sum(code not in _NO_FAULT_OF_JOBS for code in codes) < self._rules.max_attempts

    async def refused(self, job: Job, failure: JobFailure) -> None:
        """A job that an earlier server left in whatever state cannot be made by this one: it has failed.

        Asks the store once. Raises StorageFailure.
        """
        attempt = 0 if job.state is JobState.PENDING else len(job.attempts)
        failed = await self._store.fail(job.id, attempt, failure, self._clock())
        if failed is not None:
            log.warning("job_refused", job_id=job.id, code=failure.code)
            self._events.publish(StateChanged(job=failed))
            self._witness.ended(failed)

    async def _moved(
        self, job: Job, move: Callable[[], Awaitable[Job | None]], is_done: Callable[[Job], bool]
    ) -> Job | None:
        """What the move gives, until the store answers. is_done: whether it was by this move that the job is as it is:
        a store that was asked before, and did not answer, may have made it all the same.
        """
        moved, again = await self._patient_store.asked(lambda _: move())
        if moved is None and again:
            found = await self._patient_store.find(job.id)
            return found if found is not None and is_done(found) else None
        return moved


def _has_ended_so(found: Job, job: Job, now: datetime) -> bool:
    """Whether the job's attempt ended at that moment, and the job with it or not."""
    attempt = len(job.attempts)
    return len(found.attempts) >= attempt and found.attempts[attempt - 1].ended_at == now


def _with_all_attempts(job: Job, failure: JobFailure) -> JobFailure:
    """The failure of the last attempt, and in its message the codes of those before it, if there were any."""
    earlier = [attempt.failure.code for attempt in job.attempts[:-1] if attempt.failure is not None]
    if not earlier:
        return failure
    ends = [(code, len(list(alike))) for code, alike in itertools.groupby([*earlier, failure.code])]
    tries = ", ".join(code if times == 1 else f"{code} ({times} times)" for code, times in ends)
    return replace(failure, message=f"{failure.message} It was tried {len(earlier) + 1} times: {tries}.")
