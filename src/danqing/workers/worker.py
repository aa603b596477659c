"""One worker over all its processes: starts them, gives them jobs, notices when they die or hang."""

import asyncio
import time
from collections.abc import Collection, Sequence

import structlog

from danqing.core.errors import ModelLoadFailure, ServerRestarted, WorkerLost, WorkerReplaced
from danqing.core.types import DeviceStatus, JobFailure, WorkerState, WorkerStatus
from danqing.core.upscaling import UPSCALER
from danqing.workers.ahead import Ahead
from danqing.workers.backoff import Backoff
from danqing.workers.busy_meter import BusyMeter
from danqing.workers.failures import describe
from danqing.workers.hands import Handover, Hands, JobAttempt
from danqing.workers.hang_watch import STUCK, HangWatch
from danqing.workers.health import Health
from danqing.workers.listener import WorkerListener
from danqing.workers.messages import (
    Ending,
    FromWorker,
    Heartbeat,
    JobFailed,
    JobNews,
    LoadFailed,
    RunJob,
    RunJobs,
    SendPreviews,
    Shutdown,
    StepDone,
    StopJob,
    WorkerReady,
)
from danqing.workers.prepared import PreparedProcess
from danqing.workers.process import WorkerProcess
from danqing.workers.spec import WorkerRules, WorkerSpec
from danqing.workers.waiting import set_to, within

log = structlog.get_logger(__name__)


class Worker:
    """Keeps a process of this spec alive until `stop`. For use from one event loop only."""

    def __init__(
        self, spec: WorkerSpec, rules: WorkerRules, listener: WorkerListener, prepared: PreparedProcess | None = None
    ) -> None:
        """prepared: for its first process."""
        self.spec = spec
        self._prepared = prepared
        self._rules = rules
        self._listener = listener
        self._process: WorkerProcess | None = None
        self._killed: WorkerProcess | None = None  # the last one that was
        self._blamed: frozenset[JobAttempt] = frozenset()  # for the end of the present process
        self._hands = self._empty_hands()
        self._ahead = Ahead(ahead_s=rules.ahead_s, tell=self._expect_free)
        self._health = Health(load_failures_until_broken=rules.load_failures_until_broken)
        self._watch: HangWatch | None = None
        self._device: DeviceStatus | None = None
        self._busy = BusyMeter()
        self._load_s: float | None = None  # of the newest process that was ready
        self._ending = False  # the present process takes no more jobs
        self._ended_by_us = False  # the last process was alive when `stop` ended it
        self._starts = 0
        self._free = asyncio.Event()
        self._enlarger_free = asyncio.Event()
        self._enlarger_free.set()
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

    @property
    def state(self) -> WorkerState:
        """Its part of `status`."""
        return self._health.state(busy=not self._hands.are_empty)

    @property
    def is_coming_up(self) -> bool:
        """True while it loads its models for the first time, and has not failed to yet."""
        return self.state is WorkerState.STARTING and self._health.failure is None

    def status(self) -> WorkerStatus:
        """As of now."""
        return WorkerStatus(
            id=self.id,
            state=self.state,
            pid=self._process.pid if self._process else None,
            restarts=max(0, self._starts - 1),
            models=self.spec.models,
            device=self._device,
            device_id=self.spec.device,
            failure=self._health.failure,
            busy_s=self._busy.seconds(time.monotonic()),
            load_s=self._load_s,
        )

    def _empty_hands(self) -> Hands:
        return Hands(max_finishing=self._rules.max_finishing, max_enlarging=self._rules.max_enlarging)

    # Jobs

    async def free(self) -> None:
        """Waits until a job may be reserved."""
        await self._free.wait()

    @property
    def takes(self) -> tuple[str, ...]:
        """The models of which it may be given jobs now: not the upscaler while it has a job of that already."""
        return tuple(model for model in self.spec.models if model != UPSCALER or self._enlarger_free.is_set())

    async def enlarger_free(self) -> None:
        """Waits until it may be given a job of the upscaler."""
        await self._enlarger_free.wait()

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

    def reserve_too(self, job_id: str) -> bool:
        """Keeps the device for one more of the batch that is being claimed. False if the reservation is gone."""
        if not self._hands.has_reservation:
            return False
        self._hands.reserve(job_id)
        return True

    def release(self) -> None:
        """Gives up the reservation."""
        self._hands.release()
        self._changed()

    def run(self, jobs: Sequence[RunJob]) -> list[Handover]:
        """Sends those of the reserved jobs that are still wanted, together; says what became of each.

        The reservation is over, whatever the answer. jobs: at least one, all of the same `batching.batch_key`.
        """
        if self._stopping.is_set():
            self.release()
            return [Handover.ENDING] * len(jobs)
        reserved = all(self._hands.reserved_for(job.job_id) for job in jobs)
        if self._process is None or self._watch is None or self._ending or not reserved:
            self.release()
            return [Handover.LOST] * len(jobs)
        stopped = [self._hands.reserved_was_stopped(job.job_id) for job in jobs]
        if wanted := tuple(job for job, is_stopped in zip(jobs, stopped, strict=True) if not is_stopped):
            self._hands.sent(wanted)
            if not self._hands.next_up:
                self._device_busy(asyncio.get_running_loop().time())
            self._process.send(RunJobs(jobs=wanted))
            self._changed()
        else:
            self.release()
        return [Handover.STOPPED if is_stopped else Handover.SENT for is_stopped in stopped]

    def stop_job(self, job_id: str) -> None:
        """Makes the process drop this job, also one that is only reserved yet; unknown ids are fine."""
        if not self._hands.stop_reserved(job_id):
            self.tell(StopJob(job_id=job_id))

    def tell(self, message: StopJob | SendPreviews) -> None:
        """Says something about a job that was sent; unknown ids are fine."""
        if self._process is not None and any(a.job_id == message.job_id for a in self._hands.attempts):
            self._process.send(message)

    def works_on(self, attempt: JobAttempt) -> bool:
        """True while the attempt was sent and has not ended, and something is done about it."""
        waits = self.awaits_device(attempt) or self._hands.awaits_enlarging(attempt)
        return attempt in self._hands.attempts and not waits

    def awaits_device(self, attempt: JobAttempt) -> bool:
        """True while the attempt was sent, and others are still on the device."""
        return attempt in self._hands.next_up

    # Life and death

    def kill(self, reason: str, *, because_of: Collection[JobAttempt] = ()) -> None:
        """Ends the process at once; another one is started. because_of: the attempts that are to blame; the others lose
        none by it. Empty: nobody knows.
        """
        if self._process is not None and self._process is not self._killed:
            self._killed = self._process
            self._blamed = frozenset(because_of)
            log.warning("worker_killed", worker=self.id, pid=self._process.pid, reason=reason)
            self._ending = True
            self._changed()
            self._process.end(self._rules.lost_grace_s)

    def check(self, now: float) -> None:
        """Kills the process if it hangs. now: the event loop's time."""
        if self._process is not None and self._watch is not None and (verdict := self._watch.verdict(now)) is not None:
            self.kill(verdict, because_of=self._hands.on_device if verdict == STUCK else ())

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
            if self._health.ready and (self._idle.is_set() or await within(deadline_s, self._idle.wait())):
                process.send(Shutdown())
                await within(self._rules.exit_grace_s, asyncio.shield(process.ended))
            self._ended_by_us = not process.ended.done()
            process.end(self._rules.exit_grace_s)
        if life is not None:
            await asyncio.wait([life])

    async def _live(self) -> None:
        backoff = Backoff(self._rules)
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            ready_s = 0.0
            self._starts += 1
            try:
                process = WorkerProcess(
                    self.spec,
                    heartbeat_s=self._rules.heartbeat_s,
                    on_message=self._told,
                    prepared=self._prepared,
                )
            except OSError:
                log.exception("worker_not_started", worker=self.id)
                self._load_failed(describe(ModelLoadFailure("The worker process could not be started.")))
            else:
                self._begin(process, loop.time())
                exit_status = await process.ended
                ready_s = self._process_ended(process, exit_status, loop.time())
            pause_s = self._rules.max_backoff_s if self._health.broken else backoff.after(ready_s)
            await within(pause_s, self._stopping.wait())

    def _life_ended(self, life: asyncio.Task[None]) -> None:
        if not life.cancelled() and (error := life.exception()) is not None:
            self._health.give_up()
            log.error("worker_given_up", worker=self.id, exc_info=error)

    def _begin(self, process: WorkerProcess, now: float) -> None:
        log.info("worker_started", worker=self.id, pid=process.pid, device=self.spec.device)
        self._process = process
        self._watch = HangWatch(self._rules, now)
        self._ending = self._stopping.is_set()
        self._health.process_began()
        self._changed()

    def _process_ended(self, process: WorkerProcess, exit_status: int | None, now: float) -> float:
        """Returns for how many seconds it was ready."""
        lost, untouched = self._hands.attempts, self._hands.next_up
        self._ahead.cancel()
        died_loading = self._health.loading_in_silence
        ready_s = self._health.process_ended(now)
        self._process, self._watch, self._device = None, None, None
        self._hands = self._empty_hands()
        self._changed()
        if not self._stopping.is_set():
            log.warning("worker_lost", worker=self.id, pid=process.pid, exit_status=exit_status, jobs=len(lost))
            if died_loading:  # the system was out of memory, say: nobody could tell
                self._load_failed(describe(ModelLoadFailure("The process ended while loading the model.")))
            self._health.lost(describe(WorkerLost()))
        self._tell_lost(lost, untouched)
        return ready_s

    def _tell_lost(self, lost: Sequence[JobAttempt], untouched: Sequence[JobAttempt]) -> None:
        blamed, self._blamed = self._blamed, frozenset()
        spared = () if self._ended_by_us else untouched
        blameless = [attempt for attempt in lost if attempt in spared or (blamed and attempt not in blamed)]
        others = [attempt for attempt in lost if attempt not in blameless]
        if blameless:
            self._listener.jobs_lost(blameless, describe(WorkerReplaced()))
        if others:
            self._listener.jobs_lost(others, describe(ServerRestarted() if self._ended_by_us else WorkerLost()))

    def _told(self, message: FromWorker) -> None:
        now = asyncio.get_running_loop().time()
        if self._watch is not None:
            self._watch.heard(now)
        match message:
            case WorkerReady():
                self._became_ready(message, now)
            case LoadFailed():
                self._load_failed(message.failure)
            case Heartbeat():
                self._device = message.device
            case Ending():
                self._process_ends(now)
            case _:
                self._job_told(message, now)

    def _process_ends(self, now: float) -> None:
        """It finishes what it has begun; the rest is for the next one."""
        self._ending = True
        had_work, never_begun = self._hands.device_busy, self._hands.never_begun()
        if had_work:
            self._device_free(now)
        self._changed()
        if never_begun:
            self._listener.jobs_lost(never_begun, describe(WorkerReplaced()))

    def _became_ready(self, message: WorkerReady, now: float) -> None:
        log.info("worker_ready", worker=self.id, models=message.models, load_s=round(message.load_s, 3))
        self._health.became_ready(now)
        self._device, self._load_s = message.device, message.load_s
        self._changed()

    def _load_failed(self, failure: JobFailure) -> None:
        self._health.load_failed(failure)
        log.error("worker_load_failed", worker=self.id, tries=self._health.load_failures, broken=self._health.broken)

    def _job_told(self, message: FromWorker, now: float) -> None:
        if isinstance(message, StepDone):
            self._step_done(message, now)
            self._listener.job_told(message)
            return
        had_work = self._hands.device_busy
        turned = self._hands.told(message)
        if turned or (had_work and not self._hands.device_busy):
            self._device_free(now)
        if turned:
            self._device_busy(now)
            self._listener.jobs_began(self._hands.on_device)
        if isinstance(message, JobFailed) and message.poisoned:
            self._ending = True
        self._changed()
        if isinstance(message, JobNews):
            self._listener.job_told(message)

    def _device_busy(self, now: float) -> None:
        self._ahead.device_busy(now)
        if self._watch is not None:
            self._watch.device_busy(now, jobs=len(self._hands.on_device))

    def _device_free(self, now: float) -> None:
        self._ahead.device_free(now)
        if self._watch is not None:
            self._watch.device_free()

    def _step_done(self, message: StepDone, now: float) -> None:
        attempt, left = JobAttempt(message.job_id, message.attempt), max(0, message.total_steps - message.step)
        if self._watch is not None and self._hands.leads(attempt):
            self._watch.step_done(now, last=not left)
        if self._hands.trails(attempt):
            self._ahead.step_done(now, left=left)

    def _expect_free(self, is_soon: bool) -> None:
        self._hands.expect_free(is_soon)
        self._changed()

    def _changed(self) -> None:
        """Brings the things that others wait for up to date."""
        free = self._health.ready and not self._ending and self._hands.have_room
        set_to(self._free, free)
        set_to(self._enlarger_free, not self._hands.only_enlarge)
        set_to(self._idle, self._hands.are_empty)
        self._busy.tell(self._hands.device_busy, time.monotonic())
