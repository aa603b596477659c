"""The worker process: one engine, one batch of jobs on the device at a time. Knows nothing of the store of jobs."""

import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from types import FrameType

import structlog

from danqing import collector
from danqing.core.engine_port import Denoised, Engine, Outcome, ReadImage
from danqing.core.errors import EngineFailure, ModelLoadFailure
from danqing.core.picture_ports import ArtifactStore
from danqing.core.types import EncodedPicture, Mode
from danqing.parentage import die_with_parent
from danqing.workers.enlarger import Enlarger
from danqing.workers.failures import describe, poisons_process
from danqing.workers.finisher import Finisher
from danqing.workers.inbox import Inbox
from danqing.workers.making import Making
from danqing.workers.messages import (
    DeviceFree,
    Ending,
    FromWorker,
    Heartbeat,
    JobStopped,
    LoadFailed,
    PreviewReady,
    RunJob,
    StepDone,
    ToWorker,
    WorkerReady,
)
from danqing.workers.outbox import Outbox
from danqing.workers.spec import WorkerSpec

log = structlog.get_logger(__name__)


def run_worker(connection: "Connection[FromWorker, ToWorker]", spec: WorkerSpec, heartbeat_s: float) -> None:
    """The whole life of a worker process; does not return.

    Exit status 0 after a Shutdown message or, from here on, SIGTERM, when the jobs already given are done; otherwise 1.
    """
    code = 1
    try:
        code = _serve(connection, spec, heartbeat_s)
    except BaseException:  # the top of the process: whatever comes here is logged, and the process ends
        log.exception("worker_crashed", worker=spec.id)
    finally:
        _end_process(code)


def _serve(connection: "Connection[FromWorker, ToWorker]", spec: WorkerSpec, heartbeat_s: float) -> int:
    # Ctrl-C goes to the whole process group; ending in order is the server's business. The server has the signal
    # blocked while it starts a worker, so that it cannot strike before this line.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if (parent := multiprocessing.parent_process()) is not None and parent.pid is not None:
        die_with_parent(parent.pid)
    if spec.setup is not None:
        spec.setup.build()
    threading.excepthook = _end_after_thread
    inbox, outbox = Inbox(connection.fileno()), Outbox(connection.fileno())

    def on_sigterm(_signal: int, _frame: FrameType | None) -> None:
        inbox.shut_down()

    signal.signal(signal.SIGTERM, on_sigterm)
    inbox.start()
    started = time.monotonic()
    with collector.paused():
        try:
            engine, artifacts = spec.engine.build(), spec.artifacts.build()
            collector.keep_apart()  # the modules that were imported; what is loaded may go again
            engine.load()
        except Exception as error:
            log.exception("model_load_failed", worker=spec.id)
            outbox.send(LoadFailed(failure=describe(error, otherwise=ModelLoadFailure)))
            return 1
        outbox.send(WorkerReady(models=spec.models, device=engine.device(), load_s=time.monotonic() - started))
        gc.collect()  # what loading left over: now, when hardly anybody waits
    threading.Thread(target=_beat, args=(engine, outbox, heartbeat_s), name="heartbeat", daemon=True).start()
    return _Runner(engine=engine, artifacts=artifacts, inbox=inbox, outbox=outbox).serve()


class _JobObserver:
    """Tells the server what the engine does with one job, and the engine what the server wants. An `Observer`."""

    def __init__(self, job: RunJob, inbox: Inbox, outbox: Outbox) -> None:
        self._job = job
        self._inbox = inbox
        self._outbox = outbox
        self.told_stopped = False

    def step_done(self, step: int, total_steps: int) -> None:
        job = self._job
        self._outbox.send_soon(StepDone(job_id=job.job_id, attempt=job.attempt, step=step, total_steps=total_steps))

    def stopped(self) -> bool:
        """The server hears at once that the job is dropped, though others of its batch may go on."""
        if not self.told_stopped and self._inbox.is_stopped(self._job.job_id):
            self.told_stopped = True
            self._inbox.ended(self._job.job_id)
            self._outbox.send(JobStopped(job_id=self._job.job_id, attempt=self._job.attempt))
        return self.told_stopped

    def wants_preview(self) -> bool:
        return self._inbox.wants_previews(self._job.job_id)

    def preview_made(self, step: int, total_steps: int, picture: EncodedPicture) -> None:
        self._outbox.send_preview(
            PreviewReady(
                job_id=self._job.job_id,
                attempt=self._job.attempt,
                step=step,
                total_steps=total_steps,
                picture=picture,
            )
        )


class _Runner:
    """The main thread's loop: takes jobs, denoises them, hands the raw pictures to the finisher, and that to the
    enlarger what is to be enlarged.
    """

    def __init__(self, *, engine: Engine, artifacts: ArtifactStore, inbox: Inbox, outbox: Outbox) -> None:
        self._engine = engine
        self._artifacts = artifacts
        self._read_image: ReadImage = lambda ref: artifacts.read(ref.name)
        self._inbox = inbox
        self._outbox = outbox
        self._enlarger = Enlarger(engine=engine, read_image=self._read_image, inbox=inbox)
        self._finisher = Finisher(engine=engine, read_image=self._read_image, enlarger=self._enlarger, inbox=inbox)

    def serve(self) -> int:
        """Runs jobs until told to end, or until the device cannot be trusted; then ends what it has begun.

        Returns the exit status.
        """
        self._finisher.start()
        self._enlarger.start()
        poisoned = False
        while not poisoned and (jobs := self._inbox.next_jobs()) is not None:
            poisoned = self._run(jobs)
        self._outbox.send(Ending())
        self._finisher.close()
        self._enlarger.close()
        return 1 if poisoned or self._finisher.poisoned or self._enlarger.poisoned else 0

    def _run(self, jobs: Sequence[RunJob]) -> bool:
        """True when the process must end."""
        if jobs[0].request.mode is Mode.UPSCALE:
            for job in jobs:
                self._enlarger.add_input(self._making(job, denoise_s=0.0))
            return False
        started = time.monotonic()
        observers = [_JobObserver(job, self._inbox, self._outbox) for job in jobs]
        outcomes = self._denoise(jobs, observers)
        denoise_s = time.monotonic() - started
        poisoned = False
        for job, observer, outcome in zip(jobs, observers, outcomes, strict=True):
            if observer.told_stopped:
                if isinstance(outcome, Exception):
                    log.error("stopped_attempt_failed", job_id=job.job_id, attempt=job.attempt, exc_info=outcome)
                    poisoned = poisons_process(outcome) or poisoned
                continue
            if isinstance(outcome, Denoised):
                self._outbox.send_soon(DeviceFree(job_id=job.job_id, attempt=job.attempt))
                self._finisher.add(self._making(job, denoise_s=denoise_s), outcome)
            else:
                self._inbox.ended(job.job_id)
                error = outcome or EngineFailure("The engine gave up the picture without being asked to.")
                poisoned = self._outbox.send_failure(job, error) or poisoned
        return poisoned

    def _denoise(self, jobs: Sequence[RunJob], observers: Sequence[_JobObserver]) -> Sequence[Outcome | Exception]:
        """What goes wrong with all of them at once is each one's error."""
        if all([observer.stopped() for observer in observers]):
            return [None] * len(jobs)
        requests = [job.request for job in jobs]
        try:
            return self._engine.denoise(requests, read_image=self._read_image, observers=observers)
        except Exception as error:
            return [error] * len(jobs)

    def _making(self, job: RunJob, *, denoise_s: float) -> Making:
        return Making(
            job,
            denoise_s=denoise_s,
            engine=self._engine,
            artifacts=self._artifacts,
            inbox=self._inbox,
            outbox=self._outbox,
        )


def _beat(engine: Engine, outbox: Outbox, pause_s: float) -> None:
    while True:
        outbox.send(Heartbeat(device=engine.device()))
        time.sleep(pause_s)


def _end_after_thread(args: threading.ExceptHookArgs) -> None:
    """A worker that has lost one of its threads is of no use."""
    log.error("worker_thread_crashed", thread=args.thread and args.thread.name, exc_info=args.exc_value)
    _end_process(1)


def _end_process(code: int) -> None:
    """Ends at once: tearing down an interpreter that holds a device context may hang, and all is stored and sent."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
