"""One worker over all its processes: starts them, gives them jobs, notices when they die or hang."""

import asyncio
from collections.abc import Awaitable, Sequence
from enum import Enum
from typing import Protocol

import structlog

from danqing.core.errors import WorkerLost
from danqing.core.types import DeviceStatus, JobFailure, WorkerState, WorkerStatus
from danqing.workers.backoff import Backoff
from danqing.workers.failures import describe
from danqing.workers.hands import Hands, JobAttempt
from danqing.workers.hang_watch import HangWatch
from danqing.workers.messages import (
    FromWorker,
    Heartbeat,
    JobDone,
    JobFailed,
    JobStopped,
    LoadFailed,
    RunJob,
    Shutdown,
    StepDone,
    StopJob,
    WorkerReady,
)
from danqing.workers.process import WorkerProcess
from danqing.workers.spec import WorkerRules, WorkerSpec

log = structlog.get_logger(__name__)

JobNews = StepDone | JobDone | JobStopped | JobFailed


class Handover(Enum):
    """What became of a job that was to be sent."""

    SENT = "sent"
    STOPPED = "stopped"  # not sent: it was stopped while it was being claimed
    LOST = "lost"  # not sent: the process was lost since the reservation


class WorkerListener(Protocol):
    """Who hears of the jobs. Called in the event loop; must not block."""

    def job_told(self, worker: "Worker", message: JobNews) -> None:
        """A worker said something about a job."""
        ...

    def jobs_lost(self, worker: "Worker", attempts: Sequence[JobAttempt]) -> None:
        """The process is gone, and these attempts with it."""
        ...


class Worker:
    """Keeps a process of this spec alive until `stop`. For use from one event loop only."""

    def __init__(self, spec: WorkerSpec, rules: WorkerRules, listener: WorkerListener) -> None:
        self.spec = spec
        self._rules = rules
        self._listener = listener
        self._process: WorkerProcess | None = None
        self._killed: WorkerProcess | None = None  # the last one that was
        self._hands = Hands(max_finishing=rules.max_finishing)
        self._watch: HangWatch | None = None
        self._device: DeviceStatus | None = None
        self._failure: JobFailure | None = None
        self._ready_at: float | None = None  # of the present process; loop time
        self._was_ready = False
        self._ending = False  # the present process takes no more jobs
        self._broken = False
        self._starts = 0
        self._load_failures = 0
        self._free = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = asyncio.Event()
        self._life: asyncio.Task[None] | None = None

    @property
    def id(self) -> str:
        """The spec's id."""
        return self.spec.id

    def start(self) -> None:
        """Starts the first process soon; does not wait for it."""
        self._life = asyncio.create_task(self._live(), name=f"worker-{self.id}")
        self._life.add_done_callback(self._life_ended)

    def status(self) -> WorkerStatus:
        """As of now."""
        return WorkerStatus(
            id=self.id,
            state=self._state(),
            pid=self._process.pid if self._process else None,
            restarts=max(0, self._starts - 1),
            models=self.spec.models,
            device=self._device,
            failure=self._failure,
        )

    def _state(self) -> WorkerState:
        if self._broken:
            return WorkerState.BROKEN
        if self._ready_at is None:
            return WorkerState.RESTARTING if self._was_ready else WorkerState.STARTING
        return WorkerState.BUSY if self._hands.attempts else WorkerState.READY

    # Jobs

    async def free(self) -> None:
        """Waits until a job may be reserved."""
        await self._free.wait()

    async def idle(self) -> None:
        """Waits until no job that was sent is left in the process's hands."""
        await self._idle.wait()

    def reserve(self, job_id: str) -> bool:
        """Keeps the device for a job that is about to be claimed. False if the worker is not free (any more)."""
        if not self._free.is_set():
            return False
        self._hands.reserve(job_id)
        self._changed()
        return True

    def release(self) -> None:
        """Gives up the reservation."""
        self._hands.release()
        self._changed()

    def run(self, message: RunJob) -> Handover:
        """Sends the reserved job; the reservation is over, whatever the answer."""
        if self._process is None or self._watch is None or self._ending or not self._hands.reserved_for(message.job_id):
            self.release()
            return Handover.LOST
        if self._hands.reserved_was_stopped:
            self.release()
            return Handover.STOPPED
        self._hands.sent(message)
        self._watch.device_busy(asyncio.get_running_loop().time())
        self._process.send(message)
        self._changed()
        return Handover.SENT

    def stop_job(self, job_id: str) -> None:
        """Makes the process drop this job, also one that is only reserved yet; unknown ids are fine."""
        if self._hands.stop_reserved(job_id):
            return
        if self._process is not None and any(a.job_id == job_id for a in self._hands.attempts):
            self._process.send(StopJob(job_id=job_id))

    def holds(self, attempt: JobAttempt) -> bool:
        """True while the attempt was sent and has not ended."""
        return attempt in self._hands.attempts

    # Life and death

    def kill(self, reason: str) -> None:
        """Ends the process at once; another one is started."""
        if self._process is not None and self._process is not self._killed:
            self._killed = self._process
            log.warning("worker_killed", worker=self.id, pid=self._process.pid, reason=reason)
            self._ending = True
            self._changed()
            self._process.kill()

    def check(self, now: float) -> None:
        """Kills the process if it hangs. now: the event loop's time."""
        if self._process is not None and self._watch is not None and (verdict := self._watch.verdict(now)) is not None:
            self.kill(verdict)

    def forgive(self, now: float) -> None:
        """Does not count the time up to now against the process. now: the event loop's time."""
        if self._watch is not None:
            self._watch.forgive(now)

    async def stop(self, deadline_s: float) -> None:
        """Lets the jobs in hand end for at most deadline_s, then ends the process; the rest is told as lost."""
        self._stopping.set()
        self._ending = True
        self._changed()
        process, life = self._process, self._life
        if process is not None:
            if self._ready_at is not None and (self._idle.is_set() or await _within(deadline_s, self._idle.wait())):
                process.send(Shutdown())
                await _within(self._rules.exit_grace_s, asyncio.shield(process.ended))
            process.kill()
        if life is not None:
            await asyncio.wait([life])

    async def _live(self) -> None:
        backoff = Backoff(self._rules)
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set() and not self._broken:
            ready_s = 0.0
            self._starts += 1
            try:
                process = WorkerProcess(self.spec, heartbeat_s=self._rules.heartbeat_s, on_message=self._told)
            except OSError:
                log.exception("worker_not_started", worker=self.id)
            else:
                self._begin(process, loop.time())
                exit_status = await process.ended
                ready_s = 0.0 if self._ready_at is None else loop.time() - self._ready_at
                self._process_ended(process, exit_status)
            if not self._broken:
                await _within(backoff.after(ready_s), self._stopping.wait())

    def _life_ended(self, life: asyncio.Task[None]) -> None:
        if not life.cancelled() and (error := life.exception()) is not None:
            self._broken = True
            log.error("worker_given_up", worker=self.id, exc_info=error)

    def _begin(self, process: WorkerProcess, now: float) -> None:
        log.info("worker_started", worker=self.id, pid=process.pid, device=self.spec.device)
        self._process = process
        self._watch = HangWatch(self._rules, now)
        self._ending = self._stopping.is_set()
        self._changed()

    def _process_ended(self, process: WorkerProcess, exit_status: int | None) -> None:
        lost = self._hands.attempts
        self._process, self._watch, self._ready_at, self._device = None, None, None, None
        self._hands = Hands(max_finishing=self._rules.max_finishing)
        self._changed()
        if not self._stopping.is_set():
            self._failure = self._failure or describe(WorkerLost())
            log.warning("worker_lost", worker=self.id, pid=process.pid, exit_status=exit_status, jobs=len(lost))
        if lost:
            self._listener.jobs_lost(self, lost)

    def _told(self, message: FromWorker) -> None:
        now = asyncio.get_running_loop().time()
        if self._watch is not None:
            self._watch.heard(now)
        match message:
            case WorkerReady():
                self._became_ready(message, now)
            case LoadFailed():
                self._load_failed(message)
            case Heartbeat():
                self._device = message.device
            case _:
                self._job_told(message, now)

    def _became_ready(self, message: WorkerReady, now: float) -> None:
        log.info("worker_ready", worker=self.id, models=message.models, load_s=round(message.load_s, 3))
        self._ready_at = now
        self._was_ready = True
        self._load_failures = 0
        self._failure = None
        self._device = message.device
        self._changed()

    def _load_failed(self, message: LoadFailed) -> None:
        self._load_failures += 1
        self._failure = message.failure
        self._broken = self._load_failures >= self._rules.max_load_failures
        log.error("worker_load_failed", worker=self.id, tries=self._load_failures, given_up=self._broken)

    def _job_told(self, message: FromWorker, now: float) -> None:
        self._hands.told(message)
        if self._watch is not None:
            if isinstance(message, StepDone):
                self._watch.step_done(now)
            elif not self._hands.device_busy:
                self._watch.device_free()
        if isinstance(message, JobFailed) and message.poisoned:
            self._ending = True
        self._changed()
        if isinstance(message, JobNews):
            self._listener.job_told(self, message)

    def _changed(self) -> None:
        """Brings the two things that others wait for up to date."""
        free = self._ready_at is not None and not self._ending and self._hands.have_room
        _set_to(self._free, free)
        _set_to(self._idle, not self._hands.attempts)


def _set_to(event: asyncio.Event, value: bool) -> None:
    if value:
        event.set()
    else:
        event.clear()


async def _within(seconds: float, waiting: Awaitable[object]) -> bool:
    """Waits for at most so long; True if it came about."""
    try:
        await asyncio.wait_for(waiting, seconds)
    except TimeoutError:
        return False
    return True
