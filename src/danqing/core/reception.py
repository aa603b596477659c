"""Takes orders in: resolves them, joins equal ones, knows repetitions again, stores the jobs and hands them on."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

import structlog

from danqing.core.adjustments import foreseen_adjustments
from danqing.core.admission import Admission
from danqing.core.answered import Answered
from danqing.core.attendance import Attendance
from danqing.core.batches import BatchPlace
from danqing.core.callers import Caller
from danqing.core.capabilities import ModelCard
from danqing.core.doubt import Doubts
from danqing.core.errors import (
    DanqingError,
    ModelNotReady,
    ParameterOutOfRange,
    QueueFull,
    ShuttingDown,
    StorageFailure,
    StorageInDoubt,
    TooManyJobs,
    Unavailable,
)
from danqing.core.events import StateChanged
from danqing.core.fingerprint import fingerprint
from danqing.core.model_choice import model_for_edit
from danqing.core.orders import Limits, Order
from danqing.core.pace import Forecast
from danqing.core.ports import EventBus, JobQueue, JobStore, ModelCatalogue, WorkerPool
from danqing.core.resolve import resolve
from danqing.core.sentences import says
from danqing.core.states import JobState
from danqing.core.submitting import Join, SubmitKey
from danqing.core.taking_over import InputImages
from danqing.core.types import Job, Mode, RequestDraft
from danqing.core.uninterrupted import Uninterrupted
from danqing.core.upscaling import CARD, UPSCALER
from danqing.core.witness import JobWitness, JoinReason

log = structlog.get_logger(__name__)


class Reception:
    """For one event loop."""

    def __init__(
        self,
        *,
        store: JobStore,
        queue: JobQueue,
        pool: WorkerPool,
        events: EventBus,
        catalogue: ModelCatalogue,
        attendance: Attendance,
        pace: Forecast,
        limits: Limits,
        secret: bytes,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
        admission: Admission,
        inputs: InputImages,
        answered: Answered,
        witness: JobWitness,
        doubts: Doubts,
    ) -> None:
        """secret: keys fingerprints by owner, so that they tell nobody about others' requests; empty: equal for all."""
        self._store = store
        self._queue = queue
        self._pool = pool
        self._events = events
        self._catalogue = catalogue
        self._admission = admission
        self._inputs = inputs
        self._answered = answered
        self._attendance = attendance
        self._pace = pace
        self._limits = limits
        self._secret = secret
        self._clock = clock
        self._new_id = new_id
        self._witness = witness
        self._moves = Uninterrupted()
        self._doubts = doubts
        self.draining = False

    async def take(self, orders: Sequence[Order], caller: Caller, key: SubmitKey | None) -> list[Job]:
        """The jobs of these orders, all or none; see `Studio.submit`."""
        try:
            return await self._take(orders, caller, key)
        except DanqingError as refusal:
            self._witness.refused(refusal.code, len(orders))
            raise

    async def _take(self, orders: Sequence[Order], caller: Caller, key: SubmitKey | None) -> list[Job]:
        if not orders:
            return []
        if key is not None and (known := await self._store.find_key(caller.owner, key, self._clock())) is not None:
            for job in known:
                self._joined_to(job, "repeated")
            return list(known)
        if len(orders) > self._limits.max_queue_size:
            most = self._limits.max_queue_size
            raise ParameterOutOfRange(says("most_in_request", most=most), parameter="n")
        await self._look_for_loras([order.draft for order in orders])
        new = [self._new_job(order, caller) for order in orders]
        if self.draining:
            raise ShuttingDown
        if key is not None:  # its jobs are to be its own; and who named one may come back for them
            return await self._taken(orders, new, Join.NONE, key)
        async with self._attendance.of_new([job.id for order, job in zip(orders, new, strict=True) if order.attended]):
            jobs = await self._taken(orders, new, _join_of(orders), None)
            return await self._all_wanted(orders, new, jobs)

    async def _taken(self, orders: Sequence[Order], new: Sequence[Job], join: Join, key: SubmitKey | None) -> list[Job]:
        # Storing looks for equal ones too: before it they are spared asking for limits, and pictures their way there.
        looks_first = self._admission.has_limits or any(order.draft.staged for order in orders)
        if looks_first and (joined := await self._joined(new, join)) is not None:
            return joined
        try:
            self._check_ready(waits=all(order.waits_for_model for order in orders))
            return await self._moves.run(self._accept(orders, new, join, key))
        except Unavailable:
            if (joined := await self._joined(new, join)) is None:
                raise
            return joined  # nothing is to be made

    def _joined_to(self, job: Job, reason: JoinReason) -> None:
        self._answered.note(job)
        self._witness.joined(job, reason)

    async def _joined(self, new: Sequence[Job], join: Join) -> list[Job] | None:
        """The jobs that are there already, if each of these is."""
        if join is Join.NONE:
            return None
        joined: list[Job] = []
        for own in new:
            if (job := await self._store.find_equal(own.owner, own.fingerprint, join)) is None:
                return None
            self._answered.note(job)  # at once: looking for a thousand takes a while
            joined.append(job)
        for job in joined:
            self._witness.joined(job, "equal")
        return joined

    async def _all_wanted(self, orders: Sequence[Order], new: Sequence[Job], jobs: Sequence[Job]) -> list[Job]:
        """See `_wanted`. If that fails for one, nobody of this request waits for those that were joined by then."""
        wanted: list[Job] = []
        try:
            for each in zip(orders, new, jobs, strict=True):
                wanted.append(await self._wanted(*each))
        except BaseException:
            for order, own, job in zip(orders, new, wanted, strict=False):
                if order.attended and job.id != own.id:
                    await self._attendance.leave(job.id, ended=True)  # others' job goes on, whoever else leaves it
            raise
        return wanted

    async def _wanted(self, order: Order, new: Job, job: Job) -> Job:
        """The job, or the new one if that which was to be joined is being cancelled just now, for all have left it."""
        if job.id == new.id:
            return job
        if not job.state.is_final and not await self._attendance.join(job.id, attended=order.attended):
            return (await self._taken([order], [new], Join.NONE, None))[0]
        try:
            await self._attendance.leave(new.id, ended=True)
            if job.state is JobState.PENDING and order.priority > job.priority:
                return await self._moves.run(self._moved_up(job, order.priority))
        except BaseException:
            if order.attended:
                await self._attendance.leave(job.id, ended=True)
            raise
        return job

    async def _moved_up(self, job: Job, priority: int) -> Job:
        """One that waits for somebody who asks for it more urgently; its watchers learn nothing new."""
        try:
            moved = await self._store.move_up(job, priority)
        except StorageFailure as exc:  # it waits as it did
            log.warning("job_not_moved_up", job_id=job.id, code=exc.code)
            return job
        if moved is None:
            return job
        await self._queue.move_up(moved)
        return moved

    async def _look_for_loras(self, drafts: Sequence[RequestDraft]) -> None:
        """One that is not known may have come since the catalogue looked. Raises UnknownModel."""
        for draft in drafts:
            if draft.loras and not {lora.name for lora in draft.loras} <= set(self._card(draft).loras):
                await asyncio.to_thread(self._catalogue.refresh)
                return

    def _card(self, draft: RequestDraft) -> ModelCard:
        if draft.mode is Mode.EDIT:
            return model_for_edit(
                self._catalogue,
                draft.model,
                begins=draft.mask is not None or draft.strength is not None,
                loras=[lora.name for lora in draft.loras],
                step_cache=bool(draft.step_cache),
            )
        if draft.mode is Mode.UPSCALE and draft.model in (None, UPSCALER):
            return CARD
        if draft.model is None:
            return self._catalogue.default(mode=draft.mode)
        return self._catalogue.card(draft.model, mode=draft.mode)

    def _check_priority(self, order: Order, caller: Caller) -> None:
        """Between owners, fairness comes after priority. Raises ParameterOutOfRange."""
        most = self._limits.max_priority
        if most is not None and order.priority > most and not caller.sees_all:
            raise ParameterOutOfRange(says("at_most", parameter="priority", most=most), parameter="priority")

    def _new_job(self, order: Order, caller: Caller) -> Job:
        self._check_priority(order, caller)
        card = self._card(order.draft)
        request = resolve(order.draft, card)
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
        if not self._pool.takes_jobs(when_loaded=waits):
            raise ModelNotReady

    async def _accept(
        self, orders: Sequence[Order], new: Sequence[Job], join: Join, key: SubmitKey | None
    ) -> list[Job]:
        async with (
            self._admission.of(new) as admitted,
            self._inputs.taken_over([image for order in orders for image in order.draft.staged]) as inputs,
        ):
            try:
                jobs = await self._stored_and_offered(orders, new, join, key)
            except StorageInDoubt:
                inputs.keep()  # what no job has is removed by the next start
                self._doubts.look_into([job.id for job in new], self._accepted)
                raise
            inputs.keep()
            admitted.keep(jobs)
        for own, job in zip(new, jobs, strict=True):
            if job.id == own.id:
                await self._accepted(job)
            else:  # an equal one, accepted since the look at the store, or the first of its key
                self._joined_to(job, "equal" if key is None else "repeated")
        return jobs

    async def _accepted(self, job: Job) -> bool:
        """What follows once a new job is known to be stored. True, for `Doubts`: more is not to be known."""
        log.info("job_accepted", job_id=job.id, model=job.request.model, mode=str(job.request.mode))
        self._witness.accepted(job)
        if job.state is JobState.PENDING:  # one that was in doubt may have been found by others
            self._events.publish(StateChanged(job=job))
            await self._queue.publish(job)
        return True

    async def _stored_and_offered(
        self, orders: Sequence[Order], new: Sequence[Job], join: Join, key: SubmitKey | None
    ) -> list[Job]:
        """A worker that has nothing else to do claims the job while it is being stored."""
        if len(new) > 1 or not self._queue.offer(new[0]):  # of several, those are made together that come together
            return await self._stored(orders, new, join, key)
        offered = new[0].id
        stored: list[Job] = []
        try:
            stored = await self._stored(orders, new, join, key)
        finally:
            if not any(job.id == offered for job in stored):
                await self._queue.withdraw(offered)
        return stored

    async def _stored(
        self, orders: Sequence[Order], new: Sequence[Job], join: Join, key: SubmitKey | None
    ) -> list[Job]:
        limits = self._limits
        try:
            return await self._store.add_all(
                new,
                limits.max_queue_size,
                batch_sizes=[order.batch.size if order.batch else 1 for order in orders],
                max_of_owner=limits.max_queue_of_owner,
                join=join,
                key=key,
            )
        except QueueFull as exc:
            raise QueueFull(retry_after_s=await self._pace.seconds_for(len(new))) from exc
        except TooManyJobs as exc:
            pending = (await self._store.counts())[JobState.PENDING]
            share = (limits.max_queue_of_owner or pending) / max(1, pending)  # of what is made next, it is the owner's
            raise TooManyJobs(retry_after_s=await self._pace.seconds_for(len(new) / share)) from exc


def _join_of(orders: Sequence[Order]) -> Join:
    """Of all of them; none where they differ."""
    joins = {order.joins for order in orders}
    return joins.pop() if len(joins) == 1 else Join.NONE
