"""All workers of this server, one process a device. Implements the core's `WorkerPool`."""

import asyncio
from collections.abc import Sequence

import structlog

from danqing.core.background import outliving
from danqing.core.types import ACCEPTING, PoolStatus
from danqing.workers.listener import WorkerListener
from danqing.workers.messages import SendPreviews
from danqing.workers.prepared import PreparedProcess
from danqing.workers.spec import WorkerRules, WorkerSpec
from danqing.workers.wishes import PreviewWishes
from danqing.workers.worker import Worker

log = structlog.get_logger(__name__)


class Supervisor:
    """For use from one event loop only."""

    def __init__(
        self,
        specs: Sequence[WorkerSpec],
        *,
        rules: WorkerRules | None = None,
        prepared: PreparedProcess | None = None,
    ) -> None:
        """specs: one a device, with different ids. prepared: for one of the workers; whoever made it closes it."""
        self._specs = tuple(specs)
        self._rules = rules or WorkerRules()
        self._prepared = prepared
        self._workers: tuple[Worker, ...] = ()
        self._listener: WorkerListener | None = None
        self._previews = PreviewWishes()
        self._checks: asyncio.Task[None] | None = None

    @property
    def models(self) -> frozenset[str]:
        """Ids of the models that some worker has, or will have, loaded."""
        return frozenset(model for spec in self._specs for model in spec.models)

    @property
    def workers(self) -> Sequence[Worker]:
        """Empty before `start`."""
        return self._workers

    def start(self, listener: WorkerListener) -> None:
        """Starts every worker in the background. listener hears of the jobs."""
        self._listener = listener
        self._workers = tuple(Worker(spec, self._rules, listener, self._prepared) for spec in self._specs)
        for worker in self._workers:
            worker.start()
        self._checks = asyncio.create_task(self._check_all(listener), name="worker-checks")

    def status(self) -> PoolStatus:
        """As of now; does not wait."""
        return PoolStatus(workers=tuple(worker.status() for worker in self._workers))

    def takes_jobs(self, *, when_loaded: bool) -> bool:
        """See the port."""
        return any(each.state in ACCEPTING or (when_loaded and each.is_coming_up) for each in self._workers)

    async def stop_job(self, job_id: str) -> None:
        """Makes the worker that runs this job drop it before its next step; unknown ids are fine."""
        self._previews.forget(job_id)
        for worker in self._workers:
            worker.stop_job(job_id)
        if self._listener is not None:
            self._listener.stop_asked(job_id)

    async def send_previews(self, job_id: str) -> None:
        """Has previews of this job made from now on, in a later attempt too; unknown ids are fine."""
        if job_id not in self._previews:
            self._previews.remember(job_id)
            for worker in self._workers:
                worker.tell(SendPreviews(job_id=job_id))

    def wants_previews(self, job_id: str) -> bool:
        """Whether an attempt at this job that begins now is to be run with previews."""
        return job_id in self._previews

    def job_ended(self, job_id: str) -> None:
        """There will be no more attempts at this job; unknown ids are fine."""
        self._previews.forget(job_id)

    async def stop(self, *, deadline_s: float) -> None:
        """Lets running jobs end for at most deadline_s, then ends every process. Stopping twice is fine.

        Jobs that did not make it are told to the listener as lost before this returns.
        """
        await asyncio.gather(*(worker.stop(deadline_s) for worker in self._workers))
        if self._checks is not None:
            self._checks.cancel()

    async def _check_all(self, listener: WorkerListener) -> None:
        loop, pause_s = asyncio.get_running_loop(), self._rules.check_s
        while True:
            asleep_since = loop.time()
            await asyncio.sleep(pause_s)
            now = loop.time()
            stalled = now - asleep_since > 2 * pause_s
            if stalled:  # we stood still ourselves (SIGSTOP, a paused container), and so perhaps did the workers
                log.warning("server_was_stalled", seconds=round(now - asleep_since, 3))
            for worker in self._workers:
                if stalled:
                    worker.forgive(now)
                with outliving("worker_not_checked", worker=worker.id):
                    worker.check(now)
            with outliving("deadlines_not_checked"):
                listener.time_passed(now, now - asleep_since - pause_s if stalled else 0.0)
