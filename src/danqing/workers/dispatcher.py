"""Brings jobs from the queue to the workers, and what becomes of them into the store and to the watchers."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog

from danqing.core.errors import JobTimeout, ModelNotServed, ServerRestarted, WorkerLost
from danqing.core.events import ProgressMade, StateChanged
from danqing.core.ports import ArtifactStore, EventBus, JobQueue, JobStore
from danqing.core.states import JobState
from danqing.core.studio import utc_now
from danqing.core.types import Job, JobFailure, Progress
from danqing.workers.failures import describe
from danqing.workers.hands import Handover, JobAttempt
from danqing.workers.messages import JobDone, JobFailed, JobNews, JobStopped, RunJob, StepDone
from danqing.workers.settlement import JobRules, Settlement
from danqing.workers.supervisor import Supervisor
from danqing.workers.worker import Worker

log = structlog.get_logger(__name__)


class TakingQueue(JobQueue, Protocol):
    """A queue with both its ends."""

    async def take(self, models: Collection[str]) -> str:
        """Waits for the id of a job of one of these models. Cancelling a take loses no job."""
        ...


@dataclass
class _Running:
    job: Job
    attempt: JobAttempt
    worker: Worker
    deadline: float  # loop time
    furthest_step: int = 0


class Dispatcher:
    """One task a worker takes jobs; every end of an attempt is settled, once, in a task of its own.

    Implements `WorkerListener`. For use from one event loop only. A failing store is asked again until it answers,
    except by `recover`.
    """

    def __init__(
        self,
        *,
        queue: TakingQueue,
        store: JobStore,
        supervisor: Supervisor,
        events: EventBus,
        artifacts: ArtifactStore,
        rules: JobRules,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._queue = queue
        self._store = store
        self._supervisor = supervisor
        self._events = events
        self._rules = rules
        self._clock = clock
        self._settlement = Settlement(
            store=store, queue=queue, events=events, artifacts=artifacts, rules=rules, clock=clock
        )
        self._running: dict[JobAttempt, _Running] = {}
        self._takers: list[asyncio.Task[None]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def recover(self) -> int:
        """Takes up what an earlier server left unfinished; returns how many jobs. Call it before `start`.

        A job that was running has lost its attempt with that server. One of a model that no worker has fails. Raises
        StorageFailure.
        """
        jobs = await self._store.unfinished()
        for job in jobs:
            model = job.request.model
            if model not in self._supervisor.models:
                failure = describe(ModelNotServed(f"The model {model} is not served any more."))
                await self._settlement.refused(job, failure)
            elif job.state is JobState.PENDING:
                await self._queue.publish(job)
            else:
                await self._settlement.failed_once(job, describe(ServerRestarted()))
        if jobs:
            log.info("jobs_recovered", jobs=len(jobs))
        return len(jobs)

    def start(self) -> None:
        """Starts the workers and gives them jobs from now on."""
        self._supervisor.start(self)
        self._takers = [
            asyncio.create_task(self._serve(worker), name=f"jobs-for-{worker.id}")
            for worker in self._supervisor.workers
        ]

    async def stop(self, *, deadline_s: float) -> None:
        """Takes no more jobs, lets running ones end for at most deadline_s, ends the workers, settles what is left.

        Jobs that did not make it are pending again afterwards, or, if the store does not answer, at the next `recover`.
        """
        for taker in self._takers:
            taker.cancel()
        if self._takers:
            await asyncio.wait(self._takers)
        await self._supervisor.stop(deadline_s=deadline_s)
        try:
            async with asyncio.timeout(self._rules.settle_grace_s):
                while self._tasks:
                    await asyncio.wait(self._tasks)
        except TimeoutError:
            for task in self._tasks:
                log.error("job_not_settled", task=task.get_name())
                task.cancel()

    # From the queue to a worker

    async def _serve(self, worker: Worker) -> None:
        while True:
            await worker.free()
            job_id = await self._queue.take(worker.spec.models)
            # In a task of its own, so that stopping never cuts a claim off from its job.
            await asyncio.wait([self._spawn(self._hand_over(worker, job_id), name=f"claim-{job_id}")])

    async def _hand_over(self, worker: Worker, job_id: str) -> None:
        if not worker.reserve(job_id):  # lost while it waited for a job
            await self._settlement.publish_again(job_id)
            return
        try:
            job = await self._settlement.until_stored(lambda: self._store.claim(job_id, worker.id, self._clock()))
            if job is not None:
                if len(job.attempts) > 1:  # it may kill this process too: not while it finishes others' pictures
                    await worker.idle()
                self._send(worker, job)
        finally:
            worker.release()

    def _send(self, worker: Worker, job: Job) -> None:
        attempt = JobAttempt(job.id, len(job.attempts))
        match worker.run(RunJob(job_id=job.id, attempt=attempt.attempt, request=job.request)):
            case Handover.SENT:
                deadline = asyncio.get_running_loop().time() + self._rules.task_timeout_s
                self._running[attempt] = _Running(job, attempt, worker, deadline)
                self._events.publish(StateChanged(job=job))
            case Handover.LOST:
                self._settle_failure(job, describe(WorkerLost()))
            case Handover.ENDING:
                self._settle_failure(job, describe(ServerRestarted()))
            case Handover.STOPPED:  # as its owner asked: the store and the watchers know it
                pass

    # From a worker to the store

    def job_told(self, worker: Worker, message: JobNews) -> None:
        """A worker said something about a job; what concerns attempts that are settled already is dropped."""
        attempt = JobAttempt(message.job_id, message.attempt)
        match message:
            case StepDone():
                self._step_done(attempt, message)
            case JobStopped():  # as its owner asked: the store knows it
                self._end(attempt)
            case JobDone():
                if (running := self._end(attempt)) is not None:
                    self._spawn(self._settlement.done(running.job, message), name=f"done-{message.job_id}")
                else:  # it was overdue
                    self._spawn(self._settlement.discard(message), name=f"discard-{message.job_id}")
            case JobFailed():
                if (running := self._end(attempt)) is not None:
                    self._settle_failure(running.job, message.failure)

    def _step_done(self, attempt: JobAttempt, message: StepDone) -> None:
        running = self._running.get(attempt)
        if running is not None and message.step > running.furthest_step:  # a second try does not count backwards
            running.furthest_step = message.step
            progress = Progress(stage="denoising", step=message.step, total_steps=message.total_steps)
            self._events.publish(ProgressMade(job_id=message.job_id, progress=progress))

    def jobs_lost(self, worker: Worker, attempts: Sequence[JobAttempt], failure: JobFailure) -> None:
        """The worker's process is gone, and these attempts with it."""
        for attempt in attempts:
            if (running := self._end(attempt)) is not None:
                self._settle_failure(running.job, failure)

    def time_passed(self, now: float, stood_still_s: float) -> None:
        """Ends the jobs that are overdue; time that the server itself stood still does not count against them."""
        for running in list(self._running.values()):
            running.deadline += stood_still_s
            if now > running.deadline:
                self._overdue(running.attempt)

    def _overdue(self, attempt: JobAttempt) -> None:
        if (running := self._end(attempt)) is None:
            return
        log.warning("job_overdue", job_id=attempt.job_id, attempt=attempt.attempt, worker=running.worker.id)
        running.worker.stop_job(attempt.job_id)
        self._settle_failure(running.job, describe(JobTimeout()))
        asyncio.get_running_loop().call_later(self._rules.stop_grace_s, _kill_holder, running.worker, attempt)

    def _end(self, attempt: JobAttempt) -> _Running | None:
        """The attempt, if nobody ended it before: so each is settled once."""
        return self._running.pop(attempt, None)

    def _settle_failure(self, job: Job, failure: JobFailure) -> None:
        self._spawn(self._settlement.failed(job, failure), name=f"failed-{job.id}")

    def _spawn(self, work: Coroutine[None, None, None], *, name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)
        return task

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("dispatch_failed", task=task.get_name(), exc_info=error)


def _kill_holder(worker: Worker, attempt: JobAttempt) -> None:
    if worker.holds(attempt):
        worker.kill("overdue job not dropped")
