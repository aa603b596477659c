"""From the queue to a worker: a job that it may make, and those that are made together with it."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime
from typing import Protocol

from danqing.core.ports import JobQueue, JobStore
from danqing.core.states import JobState
from danqing.core.types import Job
from danqing.workers.patient_store import PatientStore
from danqing.workers.worker import Worker


class TakingQueue(JobQueue, Protocol):
    """A queue with both its ends."""

    async def take(self, models: Collection[str], *, warm: Collection[str] = (), taker: str = "") -> str:
        """Waits for the id of a job of one of these models. Cancelling a take loses no job.

        By priority, then `fairness`, then acceptance; of owners with as many jobs taken as they may have at once, none.
        warm: models that are at hand; a few jobs of them may go before others of the same priority, never for ever.
        taker: who asks; what he took before is off his device, or as good as off it.
        """
        ...

    async def take_like(self, job: Job, most: int) -> Sequence[str]:
        """Ids of at most so many jobs that can be made together with this one, in order; does not wait.

        They have the job's `batch_key` and priority, and were not tried before. A queue that cannot look has none.
        """
        ...

    def done(self, job_id: str, *, taker: str = "") -> None:
        """A job that was taken is off this taker's hands, however that came; unknown ids are fine.

        Publishing it again says so too.
        """
        ...

    def missed(self, job_id: str, *, taker: str = "") -> None:
        """A job that was taken could not be claimed by this taker: somebody else has it, it has ended, or it was never
        stored. One that was offered is delivered once more if it may be there after all.
        """
        ...

    def came_back(self, job_id: str) -> bool:
        """A job that was offered, and taken, is for others: the queue knows it, or will once it is stored. False where
        it was not offered.
        """
        ...

    def is_refused(self, job_id: str) -> bool:
        """Whether a job that was offered, and taken, will never be stored."""
        ...

    async def settled(self, job: Job) -> None:
        """The store knows what became of a job that was taken: one of its owner's less is running."""
        ...


class Claiming(Protocol):
    """Where a job that was taken is claimed: the `JobStore` or, where what was taken only means that there is work, the
    one who says which job it is.
    """

    async def claim(self, job_id: str, worker: str, now: datetime) -> Job | None:
        """pending → processing of the job that was taken, or of the one to be made instead. None: there is none.

        Raises StorageFailure, though it may be claimed all the same; asked again, with the same words, one that does
        not claim the job that was taken says which it was.
        """
        ...


class WorkClaiming(Claiming, Protocol):
    """Where what was taken only means that there is work."""

    def send_back(self, taker: str) -> None:
        """What this taker took, and did not claim by, is for others."""
        ...


class Claims:
    """A failing store is asked again until it answers."""

    def __init__(
        self,
        *,
        queue: TakingQueue,
        store: JobStore,
        patient_store: PatientStore,
        clock: Callable[[], datetime],
        claiming: WorkClaiming | None = None,
    ) -> None:
        """claiming: None where the jobs that are taken are the ones that are made; the store claims them then."""
        self._queue = queue
        self._store = store
        self._claiming = claiming
        self._patient_store = patient_store
        self._clock = clock
        self._claimed: set[str] = set()

    @property
    def claimed(self) -> Collection[str]:
        """Jobs that are claimed, and not with a worker yet."""
        return self._claimed

    def handed_over(self, jobs: Sequence[Job]) -> None:
        """Whatever became of them, they are no more on their way to a worker."""
        self._claimed.difference_update(job.id for job in jobs)

    async def of(self, worker: Worker, job_id: str) -> list[Job]:
        """Reserves the worker and claims the job of an id that was taken, and with it those to be made together.

        Empty if somebody else has the job by now, or the worker was lost while it waited: what was taken goes back
        then. The reservation is the caller's to release.
        """
        if not worker.reserve(job_id):
            await self._put_back(job_id, worker)
            return []
        job = await self._claim(job_id, worker, self._claiming or self._store)
        if job is None:
            return []
        if job.id != job_id:
            worker.reserve_too(job.id)  # a reservation that is gone by now is noticed when the job is sent
        if len(job.attempts) > 1:  # it may kill this process too: not while it has others' pictures
            await worker.idle()
            return [job]
        return [job, *await self._claim_more(worker, job)]

    async def _put_back(self, job_id: str, worker: Worker) -> None:
        if self._claiming is not None:  # nothing needs to be known of the job, which this version may be unable to read
            self._claiming.send_back(worker.id)
        elif not self._queue.came_back(job_id):
            await self._publish_again(job_id, worker)

    async def _publish_again(self, job_id: str, worker: Worker) -> None:
        """Puts an id that was taken for the worker, and not claimed, back into its place in the queue."""
        if (job := await self._patient_store.find(job_id)) is not None:
            await self._queue.publish(job)
        else:  # nobody will make it here, and its owner may have another one made
            self._queue.done(job_id, taker=worker.id)

    async def _claim_more(self, worker: Worker, first: Job) -> list[Job]:
        rule = worker.spec.batches
        most = 0 if rule is None else rule.largest(first.request) - 1
        if most:
            await asyncio.sleep(0)  # what was stored with the same commit is published now
        ids = await self._queue.take_like(first, most) if most else ()
        claims: list[Awaitable[Job | None]] = []
        for job_id in ids:
            if worker.reserve_too(job_id):
                claims.append(self._claim(job_id, worker, self._store))
            else:
                await self._publish_again(job_id, worker)
        return [job for job in await asyncio.gather(*claims) if job is not None]

    async def _claim(self, job_id: str, worker: Worker, at: Claiming) -> Job | None:
        now = self._clock()

        async def claim(again: bool) -> Job | None:
            if again and self._queue.is_refused(job_id):  # as what was to be stored with it, and failed, is then
                return None
            return await at.claim(job_id, worker.id, now)

        job, again = await self._patient_store.asked(claim)
        is_in_doubt = job is None and again and at is self._store
        if is_in_doubt and not self._queue.is_refused(job_id):  # what was answered with an error may have been done
            job = await self._found_claimed(job_id, worker, now)
        if job is None:
            self._queue.missed(job_id, taker=worker.id)
        else:
            self._claimed.add(job.id)
        return job

    async def _found_claimed(self, job_id: str, worker: Worker, at: datetime) -> Job | None:
        job = await self._patient_store.find(job_id)
        if job is None:
            return None
        newest = job.attempts[-1] if job.attempts else None
        is_ours = newest is not None and newest.worker == worker.id and newest.started_at == at
        return job if is_ours and job.state is JobState.PROCESSING else None
