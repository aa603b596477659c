"""The use cases of jobs: submit, get, watch, leave, cancel, queue figures. Every dialect goes through here."""

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from danqing.core.admission import Admission
from danqing.core.answered import Answered
from danqing.core.attendance import Attendance, LocalAttendance
from danqing.core.callers import LOCAL, Caller
from danqing.core.clock import utc_now
from danqing.core.doubt import Doubts
from danqing.core.errors import JobNotCancellable, JobNotFound, ShuttingDown, StorageFailure, StorageInDoubt
from danqing.core.events import Event, StateChanged
from danqing.core.orders import Limits, Order
from danqing.core.pace import Forecast, Pace
from danqing.core.picture_ports import ArtifactStore
from danqing.core.ports import EventBus, JobQueue, JobStore, ModelCatalogue, WorkerPool
from danqing.core.reception import Reception
from danqing.core.states import JobState
from danqing.core.submitting import SubmitKey
from danqing.core.taking_over import InputImages
from danqing.core.types import Job, PoolStatus, Progress
from danqing.core.uninterrupted import Uninterrupted
from danqing.core.witness import JobWitness, Witnesses


def new_job_id() -> str:
    """A random UUID in its usual writing; tells nothing about the job."""
    return str(uuid.uuid4())


@dataclass(frozen=True, kw_only=True)
class QueueStatus:
    """Jobs by state, and how many may wait."""

    max_queue_size: int
    pending: int
    processing: int
    completed: int
    failed: int
    cancelled: int

    @property
    def total(self) -> int:
        """Every job the store knows."""
        return self.pending + self.processing + self.completed + self.failed + self.cancelled


class Studio:
    """Takes requests in, answers for jobs. Safe to use from one event loop only."""

    def __init__(
        self,
        *,
        store: JobStore,
        queue: JobQueue,
        pool: WorkerPool,
        events: EventBus,
        catalogue: ModelCatalogue,
        artifacts: ArtifactStore,
        limits: Limits,
        secret: bytes = b"",
        pace: Forecast | None = None,
        admission: Admission | None = None,
        inputs: InputImages | None = None,
        answered: Answered | None = None,
        attendance: Attendance | None = None,
        witness: JobWitness | None = None,
        clock: Callable[[], datetime] = utc_now,
        new_id: Callable[[], str] = new_job_id,
        doubts: Doubts | None = None,
    ) -> None:
        """secret: keys fingerprints by owner, so that they tell nobody about others' requests; empty: equal for all.

        pace: tells when there will be room. admission: None admits everything. inputs: of the artifact
        store, if somebody else works with them too. answered: shared with whoever removes jobs. attendance: None where
        no other process has clients. witness: hears of submits and cancellations. doubts: None for those of this store.
        """
        self._store = store
        self._queue = queue
        self._pool = pool
        self._events = events
        self._catalogue = catalogue
        self._limits = limits
        self._clock = clock
        self._attendance = attendance or LocalAttendance()
        self._witness = witness or Witnesses()
        self._doubts = doubts or Doubts(store)
        self._reception = Reception(
            store=store,
            queue=queue,
            pool=pool,
            events=events,
            catalogue=catalogue,
            attendance=self._attendance,
            pace=pace or Pace(),
            limits=limits,
            secret=secret,
            clock=clock,
            new_id=new_id,
            admission=admission or Admission(),
            inputs=inputs or InputImages(artifacts),
            answered=answered or Answered(),
            witness=self._witness,
            doubts=self._doubts,
        )
        self._moves = Uninterrupted()

    @property
    def catalogue(self) -> ModelCatalogue:
        """The models on offer."""
        return self._catalogue

    async def submit(self, order: Order, *, caller: Caller = LOCAL, key: SubmitKey | None = None) -> Job:
        """Accepts a request as a job; once this returns, the job survives any crash.

        The draft's staged pictures are stored if a job has them then; files that are still there are the caller's.
        key: the submit is a repetition if the caller has made one with this key not long ago, and is answered with that
        one's job, whatever has become of it; such a job is nobody's to abandon, and joins no other.
        Raises InvalidRequest, ModelNotReady, QueueFull, TooManyJobs, ShuttingDown, SubmitKeyReused or StorageFailure.
        """
        return (await self._reception.take([order], caller, key))[0]

    async def submit_all(
        self, orders: Sequence[Order], *, caller: Caller = LOCAL, key: SubmitKey | None = None
    ) -> list[Job]:
        """Accepts all of them, or none, as `submit` does. They join equal ones only if all of them may.

        Raises ParameterOutOfRange for more than the queue ever holds.
        """
        return await self._reception.take(orders, caller, key)

    async def waiting_for(self, job: Job) -> int:
        """How many wait for an attended job; 0 for any other."""
        return await self._attendance.waiting(job.id)

    async def leave(self, job: Job, *, caller: Caller = LOCAL) -> None:
        """Whoever submitted an attended order, and got this job, waits for it no more: it has ended, or he has gone.

        A job that is under way is cancelled if nobody else wants it, but not once the server stops: those who wait then
        are sent away by the server, and what did not make it is made after the next start. job: as he knows it.
        """
        if not await self._attendance.leave(job.id, ended=job.state.is_final):
            return
        if self.is_draining or not self._limits.cancel_abandoned:
            await self._attendance.goes_on(job.id)
            return
        try:
            await self.cancel(job.id, caller=caller)
        except (JobNotFound, JobNotCancellable):
            await self._attendance.goes_on(job.id)
        except StorageFailure:
            await self._attendance.goes_on(job.id)
            raise

    def stop_accepting(self) -> None:
        """From now on `submit` raises ShuttingDown; what was accepted goes on."""
        self._reception.draining = True

    @property
    def is_draining(self) -> bool:
        """True once `stop_accepting` was called."""
        return self._reception.draining

    async def get(self, job_id: str, *, caller: Caller = LOCAL) -> Job:
        """For somebody who has the job's id. Raises JobNotFound, also for a job that the caller may not see."""
        job = await self._seen(job_id, caller)
        if not job.state.is_final:
            await self._attendance.asked_for(job_id)
        return job

    async def _seen(self, job_id: str, caller: Caller) -> Job:
        if "\0" in job_id:  # which not every database can look for
            raise JobNotFound
        job = await self._store.get(job_id)
        if not caller.may_see(job):
            raise JobNotFound
        return job

    async def with_fingerprint(self, prefix: str, *, caller: Caller = LOCAL) -> Sequence[Job]:
        """The caller's jobs whose fingerprint begins so (8 or more hex digits), newest first, at most 20."""
        return await self._store.with_fingerprint(prefix, caller.scope)

    async def queue_position(self, job: Job) -> int:
        """1 for the pending job that is next, counting up; 0 for a job that waits no more."""
        if job.state is not JobState.PENDING:
            return 0
        return await self._store.waiting_before(job) + 1

    async def progress(self, job_id: str) -> Progress | None:
        """The newest progress of a running job; None before its first step and once it has ended."""
        return await self._events.progress(job_id)

    async def cancel(self, job_id: str, *, caller: Caller = LOCAL) -> Job:
        """Ends a pending or processing job; its worker drops it before the next step.

        Raises JobNotFound, or JobNotCancellable when its original is stored or it has ended.
        """
        await self._seen(job_id, caller)
        return await self._moves.run(self._cancel(job_id))

    async def _cancel(self, job_id: str) -> Job:
        now = self._clock()
        try:
            cancelled = await self._store.cancel(job_id, now)
        except StorageInDoubt:

            async def seen(job: Job) -> bool:
                is_so = (job.state, job.finished_at) == (JobState.CANCELLED, now)
                if is_so:
                    await self._cancelled(job)
                return is_so

            self._doubts.look_into([job_id], seen)
            raise
        if cancelled is None:
            raise JobNotCancellable
        await self._cancelled(cancelled)
        return cancelled

    async def _cancelled(self, job: Job) -> None:
        self._witness.ended(job)
        await self._queue.withdraw(job.id)
        await self._pool.stop_job(job.id)
        self._events.publish(StateChanged(job=job))

    @asynccontextmanager
    async def watch(
        self, job_id: str, *, caller: Caller = LOCAL, previews: bool = False, only_states: bool = False
    ) -> AsyncGenerator[AsyncIterator[Event]]:
        """The job as it is now, then all that happens to it, ending with its final state. Raises JobNotFound, also in
        the midst of it, of a job that is removed before its end was told; StorageFailure, if nobody can say.

        previews: have them made from now on; without, some may come all the same, because somebody else wants them.
        only_states: neither previews nor progress.
        """
        async with self._events.watch(job_id, only_states=only_states) as events:
            now = await self._seen(job_id, caller)
            if previews and not now.state.is_final:
                await self._pool.send_previews(job_id)

            async def look() -> Job:
                return now if self.is_draining else await self._seen(job_id, caller)

            yield _until_final(now, events, look)

    async def wait(self, job_id: str, *, caller: Caller = LOCAL) -> Job:
        """Returns the job when it has ended. Raises JobNotFound or StorageFailure, as `watch`, or ShuttingDown."""
        async with self.watch(job_id, caller=caller, only_states=True) as events:
            latest: Job | None = None
            async for event in events:
                if isinstance(event, StateChanged):
                    latest = event.job
        if latest is None or not latest.state.is_final:
            raise ShuttingDown
        return latest

    async def queue_status(self) -> QueueStatus:
        """Jobs by state; a generated job counts as processing."""
        counts = await self._store.counts()
        return QueueStatus(
            max_queue_size=self._limits.max_queue_size,
            pending=counts[JobState.PENDING],
            processing=counts[JobState.PROCESSING] + counts[JobState.GENERATED],
            completed=counts[JobState.COMPLETED],
            failed=counts[JobState.FAILED],
            cancelled=counts[JobState.CANCELLED],
        )

    def pool_status(self) -> PoolStatus:
        """The workers as of now."""
        return self._pool.status()


async def _until_final(
    now: Job, events: AsyncIterator[Event], look: Callable[[], Awaitable[Job]]
) -> AsyncIterator[Event]:
    """Yields `now` and everything later; what happened before `now` was read is dropped, so states never go back.

    look: at the job once more, when nothing further is told of it.
    """
    yield StateChanged(job=now)
    while not now.state.is_final:
        event = await anext(events, None)
        if event is None:
            if (last := await look()).state.is_final:
                yield StateChanged(job=last)
            return
        if isinstance(event, StateChanged):
            if event.job.age <= now.age:
                continue
            now = event.job
        yield event
