"""Brings jobs from the queue to the workers, and what becomes of them into the store and to the watchers."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime

import structlog

from danqing.core.clock import utc_now
from danqing.core.errors import JobNotFound, JobTimeout, ModelNotServed, ServerRestarted, WorkerReplaced
from danqing.core.events import StateChanged
from danqing.core.pace import Pace
from danqing.core.picture_ports import ArtifactStore
from danqing.core.ports import EventBus, JobStore
from danqing.core.sentences import says
from danqing.core.states import JobState
from danqing.core.types import Artifact, Job, JobFailure
from danqing.core.witness import JobWitness, Witnesses
from danqing.workers.claims import Claims, TakingQueue, WorkClaiming
from danqing.workers.dropping import Dropping
from danqing.workers.failures import describe
from danqing.workers.hands import Handover, JobAttempt
from danqing.workers.in_turn import InTurn
from danqing.workers.job_rules import JobRules
from danqing.workers.messages import (
    AwaitsEnlarging,
    EnlargingBegan,
    JobDone,
    JobFailed,
    JobGenerated,
    JobNews,
    JobStopped,
    PartDone,
    PreviewReady,
    RunJob,
    StepDone,
    StopJob,
)
from danqing.workers.patient_store import PatientStore
from danqing.workers.running import Deadline, Running, StageMeter
from danqing.workers.settlement import Settlement
from danqing.workers.supervisor import Supervisor
from danqing.workers.taking import Taking
from danqing.workers.telling import Telling
from danqing.workers.worker import Worker

log = structlog.get_logger(__name__)


class Dispatcher:
    """Workers take jobs while they are free; every end of an attempt is settled, once, in a task of its own.

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
        pace: Pace | None = None,
        clock: Callable[[], datetime] = utc_now,
        witness: JobWitness | None = None,
        claiming: WorkClaiming | None = None,
    ) -> None:
        """pace: is told of each completed job. claiming: None for the store."""
        self._witness = witness or Witnesses()
        self._queue = queue
        self._pace = pace or Pace()
        self._store = store
        self._supervisor = supervisor
        self._events = events
        self._rules = rules
        patient_store = PatientStore(store, rules)
        self._settlement = Settlement(
            store=store,
            patient_store=patient_store,
            queue=queue,
            events=events,
            artifacts=artifacts,
            rules=rules,
            clock=clock,
            witness=self._witness,
        )
        self._claims = Claims(queue=queue, store=store, patient_store=patient_store, clock=clock, claiming=claiming)
        self._telling = Telling(events, self._witness)
        self._running: dict[JobAttempt, Running] = {}
        self._dropping = Dropping()
        self._in_turn = InTurn()
        self._taking = Taking(
            queue=queue,
            claims=self._claims,
            in_turn=self._in_turn,
            send=self._send,
            retry_s=rules.max_store_retry_s,
        )

    async def recover(self) -> int:
        """Takes up what an earlier server left unfinished; returns how many jobs. Call it before `start`.

        A job that was running has lost its attempt with that server. One of a model that no worker has fails. Raises
        StorageFailure.
        """
        jobs = await self._store.unfinished()
        for job in jobs:
            model = job.request.model
            if model not in self._supervisor.models:
                failure = describe(ModelNotServed(says("model_gone", model=model)))
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
        self._taking.start(self._supervisor.workers)

    async def stop(self, *, deadline_s: float) -> None:
        """Takes no more jobs, lets running ones end for at most deadline_s, ends the workers, settles what is left.

        Jobs that did not make it are pending again afterwards, or, if the store does not answer, at the next `recover`.
        """
        await self._taking.stop()
        await self._supervisor.stop(deadline_s=deadline_s)
        await self._in_turn.stop(grace_s=self._rules.settle_grace_s)

    def _send(self, worker: Worker, jobs: Sequence[Job]) -> None:
        now = asyncio.get_running_loop().time()
        messages: list[RunJob] = []
        for job in jobs:
            previews = self._supervisor.wants_previews(job.id)
            messages.append(RunJob(job_id=job.id, attempt=len(job.attempts), request=job.request, previews=previews))
        handovers = worker.run(messages)
        # Together they take longer than one, at worst as long as one after the other.
        time_s = self._rules.task_timeout_s * max(1, handovers.count(Handover.SENT))
        if sent := [job for job, handover in zip(jobs, handovers, strict=True) if handover is Handover.SENT]:
            self._witness.began(sent, worker.id)
        for job, handover in zip(jobs, handovers, strict=True):
            attempt = JobAttempt(job.id, len(job.attempts))
            running = Running(job, attempt, worker, Deadline(now + time_s), StageMeter(now))
            match handover:
                case Handover.SENT:
                    self._running[attempt] = running
                    if worker.awaits_device(attempt):
                        running.deadline.pause(now)
                    self._events.publish(StateChanged(job=job))
                case Handover.LOST:
                    self._queue.done(job.id, taker=worker.id)
                    self._settle_failure(running, describe(WorkerReplaced()))  # it cannot be what killed the process
                case Handover.ENDING:
                    self._queue.done(job.id, taker=worker.id)
                    self._settle_failure(running, describe(ServerRestarted()))
                case Handover.STOPPED:  # as its owner asked: the store and the watchers know it
                    self._queue.done(job.id, taker=worker.id)

    def job_told(self, message: JobNews) -> None:
        """A worker said something about a job; what concerns attempts that are settled already is dropped."""
        attempt = JobAttempt(message.job_id, message.attempt)
        match message:
            case StepDone() | PreviewReady() | AwaitsEnlarging() | EnlargingBegan() | PartDone():
                if (running := self._running.get(attempt)) is not None:
                    self._telling.advanced(running, message)
            case JobGenerated():
                if (running := self._running.get(attempt)) is not None:
                    running.deadline.pause(asyncio.get_running_loop().time())  # others are enlarged before it
                    self._settle(running, lambda job: self._settlement.generated(job, message), "generated")
                else:
                    self._discard(message.job_id, message.artifacts)
            case JobStopped():  # as its owner asked, or for somebody else has it: the store knows it
                if (running := self._end(attempt)) is not None:
                    self._settle_failure(running, describe(WorkerReplaced()), message.artifacts)
                else:
                    self._discard(message.job_id, message.artifacts)
            case JobDone():
                if (running := self._end(attempt)) is not None:
                    self._settle(running, lambda job: self._settlement.done(job, message), "done")
                else:  # it was overdue
                    self._discard(message.job_id, message.artifacts)
            case JobFailed():
                if (running := self._end(attempt)) is not None:
                    self._settle_failure(running, message.failure, message.artifacts)
                else:
                    self._discard(message.job_id, message.artifacts)

    def jobs_began(self, attempts: Sequence[JobAttempt]) -> None:
        """The time of these counts from now on."""
        now = asyncio.get_running_loop().time()
        for attempt in attempts:
            if (running := self._running.get(attempt)) is not None:
                running.begin(now)

    def jobs_lost(self, attempts: Sequence[JobAttempt], failure: JobFailure) -> None:
        """The worker's process is gone, and these attempts with it."""
        for attempt in attempts:
            if (running := self._end(attempt)) is not None:
                self._settle_failure(running, failure, None)
            else:  # it was overdue
                self._discard(attempt.job_id, None)

    def stop_asked(self, job_id: str) -> None:
        """The job was cancelled, and its worker knows it."""
        until = asyncio.get_running_loop().time() + self._rules.cancel_deadline_s
        for attempt, running in self._running.items():
            if attempt.job_id == job_id:
                self._dropping.ask(attempt, running.worker, until=until, why="cancelled job not dropped")

    def attempts(self) -> Mapping[str, int]:
        """The jobs that workers have in hand, with the number of the attempt; of two attempts at one the earlier."""
        oldest: dict[str, int] = {}
        for attempt in self._running:
            oldest[attempt.job_id] = min(attempt.attempt, oldest.get(attempt.job_id, attempt.attempt))
        return oldest

    def knows(self, job_id: str, attempt: int) -> bool:
        """Whether something will still come of this attempt."""
        known = JobAttempt(job_id, attempt)
        return known in self._running or self._in_turn.is_unsettled(known) or job_id in self._claims.claimed

    async def give_back(self, job_id: str, attempt: int) -> None:
        """An attempt that the store ascribes to a worker here, and that nobody here knows of, is over.

        Raises StorageFailure.
        """
        try:
            job = await self._store.get(job_id)
        except JobNotFound:
            return
        if len(job.attempts) == attempt and not self.knows(job_id, attempt):
            log.warning("attempt_unknown", job_id=job_id, attempt=attempt)
            await self._settlement.failed_once(job, describe(WorkerReplaced()))

    def drop(self, job_id: str, attempt: int) -> None:
        """The attempt is nobody's any more: its worker drops it, and nothing comes of it. Unknown ones are fine."""
        outdated = JobAttempt(job_id, attempt)
        if (running := self._running.get(outdated)) is not None:
            log.warning("attempt_outdated", job_id=job_id, attempt=attempt, worker=running.worker.id)
            # Not `stop_job`, which would stop a newer attempt that waits for this one's end.
            running.worker.tell(StopJob(job_id=job_id))
            until = asyncio.get_running_loop().time() + self._rules.cancel_deadline_s
            self._dropping.ask(outdated, running.worker, until=until, why="outdated attempt not dropped")

    def time_passed(self, now: float, stood_still_s: float) -> None:
        """Ends the jobs that are overdue; time that the server itself stood still does not count against them."""
        for running in list(self._running.values()):
            running.deadline.forgive(stood_still_s)
            if running.deadline.is_over(now):
                self._overdue(running.attempt, now)
        self._dropping.time_passed(now, stood_still_s)

    def _overdue(self, attempt: JobAttempt, now: float) -> None:
        if (running := self._end(attempt)) is None:
            return
        log.warning("job_overdue", job_id=attempt.job_id, attempt=attempt.attempt, worker=running.worker.id)
        running.worker.stop_job(attempt.job_id)
        self._settle_failure(running, describe(JobTimeout()))
        until = now + self._rules.stop_grace_s
        self._dropping.ask(attempt, running.worker, until=until, why="overdue job not dropped")

    def _end(self, attempt: JobAttempt) -> Running | None:
        """The attempt, if nobody ended it before: so each is settled once."""
        self._dropping.ended(attempt)
        running = self._running.pop(attempt, None)
        if running is not None:
            self._queue.done(attempt.job_id, taker=running.worker.id)
        return running

    def _settle_failure(self, running: Running, failure: JobFailure, artifacts: Sequence[Artifact] | None = ()) -> None:
        self._settle(running, lambda job: self._settlement.failed(job, failure, artifacts), "failed")

    def _settle(self, running: Running, store: Callable[[Job], Awaitable[Job | None]], what: str) -> None:
        async def settle() -> None:
            moved = await store(running.job)
            if moved is None or moved.state is not JobState.GENERATED:
                await self._queue.settled(running.job)
            if moved is None:
                self._witness.dropped(running.job.id)
            elif moved.state.is_final:
                self._supervisor.job_ended(moved.id)
                self._note_pace(moved)

        self._in_turn.settle(running, settle, name=f"{what}-{running.job.id}")

    def _note_pace(self, job: Job) -> None:
        if job.state is JobState.COMPLETED and job.started_at is not None and job.finished_at is not None:
            self._pace.completed(job.started_at, job.finished_at)

    def _discard(self, job_id: str, artifacts: Sequence[Artifact] | None) -> None:
        if artifacts is None or artifacts:
            self._in_turn.spawn(self._settlement.discard(job_id, artifacts), name=f"discard-{job_id}")
