"""The use cases of jobs: submit, get, watch, cancel, queue figures. Every dialect goes through here."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from danqing.core.adjustments import foreseen_adjustments
from danqing.core.batches import BatchPlace
from danqing.core.callers import LOCAL, Caller
from danqing.core.capabilities import ModelCard
from danqing.core.errors import JobNotCancellable, JobNotFound, ModelNotReady, ParameterOutOfRange, ShuttingDown
from danqing.core.events import Event, StateChanged
from danqing.core.fingerprint import fingerprint
from danqing.core.ports import ArtifactStore, EventBus, JobQueue, JobStore, ModelCatalogue, WorkerPool
from danqing.core.resolve import resolve
from danqing.core.states import JobState
from danqing.core.taking_over import InputImages
from danqing.core.types import Job, PoolStatus, Progress, RequestDraft

T = TypeVar("T")


def utc_now() -> datetime:
    """The present moment, aware, in UTC."""
    return datetime.now(UTC)


def new_job_id() -> str:
    """A random UUID in its usual writing; tells nothing about the job."""
    return str(uuid.uuid4())


@dataclass(frozen=True, kw_only=True)
class Limits:
    """max_queue_size: pending jobs held at most, in all."""

    max_queue_size: int


@dataclass(frozen=True, kw_only=True)
class Order:
    """A draft and how its job is to be treated.

    priority: higher first, within a signed 32-bit integer. batch: where the history shows it; None for a batch of its
    own. metadata: JSON values told again in answers. join_equal: an equal request of the same owner that is done or
    under way is returned instead of a new job, also while no model is loaded or the queue is full. waits_for_model:
    accepted also before the models are loaded for the first time, to wait for that.
    """

    draft: RequestDraft
    priority: int = 0
    batch: BatchPlace | None = None
    metadata: Mapping[str, object] = field(default_factory=dict[str, object])
    join_equal: bool = False
    waits_for_model: bool = False


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
        clock: Callable[[], datetime] = utc_now,
        new_id: Callable[[], str] = new_job_id,
    ) -> None:
        """secret: keys fingerprints by owner, so that they tell nobody about others' requests; empty: equal for all."""
        self._store = store
        self._queue = queue
        self._pool = pool
        self._events = events
        self._catalogue = catalogue
        self._inputs = InputImages(artifacts)
        self._limits = limits
        self._secret = secret
        self._clock = clock
        self._new_id = new_id
        self._draining = False
        self._moves: set[asyncio.Task[object]] = set()

    @property
    def catalogue(self) -> ModelCatalogue:
        """The models on offer."""
        return self._catalogue

    async def submit(self, order: Order, *, caller: Caller = LOCAL) -> Job:
        """Accepts a request as a job; once this returns, the job survives any crash.

        The draft's staged pictures are stored if a job has them then; files that are still there are the caller's.
        Raises InvalidRequest, ModelNotReady, QueueFull, ShuttingDown or StorageFailure.
        """
        await self._look_for_loras([order.draft])
        job = self._new_job(order, caller)
        if order.join_equal and (equal := await self._store.find_equal(caller.owner, job.fingerprint)) is not None:
            return equal
        self._check_ready(waits=order.waits_for_model)
        return (await self._to_its_end(self._accept(job, order)))[0]

    async def submit_all(self, orders: Sequence[Order], *, caller: Caller = LOCAL) -> list[Job]:
        """Accepts all of them, each as a new job, or none: as `submit`, but `join_equal` means nothing here.

        Raises ParameterOutOfRange for more than the queue ever holds.
        """
        if len(orders) > self._limits.max_queue_size:
            most = self._limits.max_queue_size
            raise ParameterOutOfRange(f"At most {most} pictures in one request.", parameter="n")
        await self._look_for_loras([order.draft for order in orders])
        jobs = [self._new_job(order, caller) for order in orders]
        self._check_ready(waits=all(order.waits_for_model for order in orders))
        return await self._to_its_end(self._accept_all(jobs, orders))

    async def _look_for_loras(self, drafts: Sequence[RequestDraft]) -> None:
        """One that is not known may have come since the catalogue looked. Raises UnknownModel."""
        for draft in drafts:
            if draft.loras and not {lora.name for lora in draft.loras} <= set(self._card(draft).loras):
                await asyncio.to_thread(self._catalogue.refresh)
                return

    def _card(self, draft: RequestDraft) -> ModelCard:
        return self._catalogue.default() if draft.model is None else self._catalogue.card(draft.model)

    def _new_job(self, order: Order, caller: Caller) -> Job:
        card = self._card(order.draft)
        request = resolve(order.draft, card)
        if self._draining:
            raise ShuttingDown
        job_id = self._new_id()
        place = order.batch or BatchPlace(id=job_id)
        return Job(
            id=job_id,
            owner=caller.owner,
            request=request,
            fingerprint=fingerprint(request, owner=caller.owner, secret=self._secret),
            created_at=self._clock(),
            priority=order.priority,
            batch_id=place.id,
            batch_index=place.index,
            metadata=order.metadata,
            adjustments=foreseen_adjustments(request, card),
        )

    def _check_ready(self, *, waits: bool) -> None:
        pool = self._pool.status()
        if not (pool.accepts_jobs or (waits and pool.is_coming_up)):
            raise ModelNotReady

    async def _accept(self, new: Job, order: Order) -> list[Job]:
        size = order.batch.size if order.batch else 1
        async with self._inputs.taken_over(order.draft.staged) as inputs:
            job = await self._store.add(new, self._limits.max_queue_size, batch_size=size, join_equal=order.join_equal)
            inputs.keep()
        if job.id == new.id:  # else an equal one, accepted since the look at the store
            await self._announce(job)
        return [job]

    async def _accept_all(self, new: Sequence[Job], orders: Sequence[Order]) -> list[Job]:
        sizes = [order.batch.size if order.batch else 1 for order in orders]
        async with self._inputs.taken_over([image for order in orders for image in order.draft.staged]) as inputs:
            jobs = await self._store.add_all(new, self._limits.max_queue_size, batch_sizes=sizes)
            inputs.keep()
        for job in jobs:
            await self._announce(job)
        return jobs

    async def _announce(self, job: Job) -> None:
        self._events.publish(StateChanged(job=job))
        await self._queue.publish(job)

    async def _to_its_end(self, move: Coroutine[None, None, T]) -> T:
        """Goes on even if the caller is cancelled (a client hung up): a job stored but not queued would never run."""
        task = asyncio.create_task(move)
        self._moves.add(task)  # the event loop alone would let it be collected
        task.add_done_callback(self._moves.discard)
        return await asyncio.shield(task)

    def stop_accepting(self) -> None:
        """From now on `submit` raises ShuttingDown; what was accepted goes on."""
        self._draining = True

    @property
    def is_draining(self) -> bool:
        """True once `stop_accepting` was called."""
        return self._draining

    async def get(self, job_id: str, *, caller: Caller = LOCAL) -> Job:
        """Raises JobNotFound, also for a job that the caller may not see."""
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

    def progress(self, job_id: str) -> Progress | None:
        """The newest progress of a running job; None before its first step and once it has ended."""
        return self._events.progress(job_id)

    async def cancel(self, job_id: str, *, caller: Caller = LOCAL) -> Job:
        """Ends a pending or processing job; its worker drops it before the next step.

        Raises JobNotFound, or JobNotCancellable when it has ended already.
        """
        await self.get(job_id, caller=caller)
        return await self._to_its_end(self._cancel(job_id))

    async def _cancel(self, job_id: str) -> Job:
        cancelled = await self._store.cancel(job_id, self._clock())
        if cancelled is None:
            raise JobNotCancellable
        await self._queue.withdraw(job_id)
        await self._pool.stop_job(job_id)
        self._events.publish(StateChanged(job=cancelled))
        return cancelled

    @asynccontextmanager
    async def watch(
        self, job_id: str, *, caller: Caller = LOCAL, previews: bool = False
    ) -> AsyncGenerator[AsyncIterator[Event]]:
        """The job as it is now, then all that happens to it, ending with its final state. Raises JobNotFound.

        previews: have them made from now on; without, some may come all the same, because somebody else wants them.
        """
        async with self._events.watch(job_id) as events:
            now = await self.get(job_id, caller=caller)
            if previews and not now.state.is_final:
                await self._pool.send_previews(job_id)
            yield _until_final(now, events)

    async def wait(self, job_id: str, *, caller: Caller = LOCAL) -> Job:
        """Returns the job when it has ended. Raises JobNotFound."""
        async with self.watch(job_id, caller=caller) as events:
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


async def _until_final(now: Job, events: AsyncIterator[Event]) -> AsyncIterator[Event]:
    """Yields `now` and everything later; what happened before `now` was read is dropped, so states never go back."""
    yield StateChanged(job=now)
    while not now.state.is_final:
        event = await anext(events, None)
        if event is None:
            return
        if isinstance(event, StateChanged):
            if event.job.age <= now.age:
                continue
            now = event.job
        yield event
