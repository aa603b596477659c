"""Serves workers that are free from the queue: which job each is asked for, and the way there."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

import structlog

from danqing.core.types import Job
from danqing.core.upscaling import UPSCALER
from danqing.workers.claims import Claims, TakingQueue
from danqing.workers.in_turn import InTurn
from danqing.workers.waiting import unless
from danqing.workers.worker import Worker

log = structlog.get_logger(__name__)


class Taking:
    """One task a worker takes jobs. For use from one event loop only."""

    def __init__(
        self,
        *,
        queue: TakingQueue,
        claims: Claims,
        in_turn: InTurn,
        send: Callable[[Worker, Sequence[Job]], None],
        retry_s: float,
    ) -> None:
        """send: hands claimed jobs to the worker that they are claimed for. retry_s: pause after a queue's mistake."""
        self._queue = queue
        self._claims = claims
        self._in_turn = in_turn
        self._send = send
        self._retry_s = retry_s
        self._newest_model: dict[str, str] = {}  # by worker
        self._takers: list[asyncio.Task[None]] = []

    def start(self, workers: Iterable[Worker]) -> None:
        """They get jobs from now on."""
        self._takers = [asyncio.create_task(self._serve(worker), name=f"jobs-for-{worker.id}") for worker in workers]

    async def stop(self) -> None:
        """Takes no more; what was taken goes on its way."""
        for taker in self._takers:
            taker.cancel()
        if self._takers:
            await asyncio.wait(self._takers)

    async def _serve(self, worker: Worker) -> None:
        while True:
            await worker.free()
            try:
                job_id = await self._take(worker)
            except Exception:  # nobody else would ever take jobs for this worker
                log.exception("take_failed", worker=worker.id)
                await asyncio.sleep(self._retry_s)
                continue
            if job_id is None:
                continue
            # In a task of its own, so that stopping never cuts a claim off from its job.
            await asyncio.wait([self._in_turn.spawn(self._hand_over(worker, job_id), name=f"claim-{job_id}")])

    async def _take(self, worker: Worker) -> str | None:
        """None when it may be given other jobs by now than those that were asked for."""
        models = worker.takes
        take = self._queue.take(models, warm=self._warm(worker).intersection(models), taker=worker.id)
        if len(models) == len(worker.spec.models):
            return await take
        return await unless(worker.enlarger_free(), take)

    def _warm(self, worker: Worker) -> frozenset[str]:
        """The models that the worker has on its device, as far as it has told, and the one of its newest job; and the
        upscaler, for which nothing is brought there.
        """
        device = worker.status().device
        newest = self._newest_model.get(worker.id)
        return frozenset((*(device.models if device else ()), *([newest] if newest else ()), UPSCALER))

    async def _hand_over(self, worker: Worker, job_id: str) -> None:
        try:
            if jobs := await self._claims.of(worker, job_id):
                if jobs[0].request.model != UPSCALER:
                    self._newest_model[worker.id] = jobs[0].request.model
                self._send(worker, jobs)
                self._claims.handed_over(jobs)
        finally:
            worker.release()
