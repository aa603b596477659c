"""The job queue inside the server process: ids in heaps, one heap a model. Forgotten when the process ends.

What waits is published again from the store at start-up, so nothing here needs to last.
"""

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Collection, Hashable, Sequence
from typing import NamedTuple

from danqing.core.batching import batch_key
from danqing.core.types import Job

_ATTEMPTS_OF_A_SUSPECT = 2  # a job tried this often may be what kills its workers


class _Entry(NamedTuple):
    """Smaller is taken earlier."""

    before: int  # the priority, negated
    place: int  # the job's sequence; for a suspect that of the last one that it lets go first
    arrival: int
    job_id: str


class _Waiting(NamedTuple):
    """key: of the jobs that it may be made with; None where it is to be made alone."""

    model: str
    key: Hashable | None


class _Taker(NamedTuple):
    models: Collection[str]
    woken: asyncio.Future[None]


class EmbeddedQueue:
    """Higher priority first, then in order of acceptance; but a job that was tried twice already lets those go first
    that wait at its priority when it comes back. For use from one event loop only.
    """

    def __init__(self) -> None:
        self._heaps: dict[str, list[_Entry]] = {}
        self._waiting: dict[str, _Waiting] = {}  # by job id
        self._takers: deque[_Taker] = deque()
        self._coming = 0  # takers that were woken and have not looked yet
        self._arrivals = itertools.count()

    def __len__(self) -> int:
        """Number of ids waiting."""
        return len(self._waiting)

    async def publish(self, job: Job) -> None:
        """Makes the pending job known to takers of its model. Publishing a waiting job again changes nothing."""
        if job.id in self._waiting:
            return
        model = job.request.model
        heap = self._heaps.setdefault(model, [])
        place = job.sequence
        if len(job.attempts) >= _ATTEMPTS_OF_A_SUSPECT:
            place = max((e.place for e in heap if e.before == -job.priority), default=place)
        self._waiting[job.id] = _Waiting(model, None if job.attempts else batch_key(job.request))
        heapq.heappush(heap, _Entry(-job.priority, place, next(self._arrivals), job.id))
        self._wake_one(model)

    async def withdraw(self, job_id: str) -> None:
        """Forgets a job that nobody has taken; unknown ids are fine. O(waiting jobs of its model)."""
        waiting = self._waiting.pop(job_id, None)
        if waiting is not None:
            self._remove(waiting.model, {job_id})

    def _remove(self, model: str, job_ids: Collection[str]) -> None:
        heap = self._heaps[model]
        heap[:] = [entry for entry in heap if entry.job_id not in job_ids]
        heapq.heapify(heap)

    async def take(self, models: Collection[str]) -> str:
        """Waits for a job of one of these models and removes it from the queue; the next in order over all of them.

        Every id goes to one taker only, to the one that waits longest. Cancelling a take loses no job.
        """
        while (job_id := self._pop(models)) is None:
            taker = _Taker(models, asyncio.get_running_loop().create_future())
            self._takers.append(taker)
            try:
                await taker.woken
                self._coming -= 1
            except asyncio.CancelledError:
                if taker in self._takers:
                    self._takers.remove(taker)
                else:  # woken and cancelled at once: somebody else must look instead
                    self._coming -= 1
                    self._wake_for(models)
                raise
        return job_id

    async def take_like(self, job: Job, most: int) -> Sequence[str]:
        """At most so many ids of the next jobs that can be made together with this one, in order; does not wait.

        They wait at its priority, before anything of its model that is not alike, and were not tried before. What
        others were woken for is left to them. O(waiting jobs of its model).
        """
        key, model = batch_key(job.request), job.request.model
        waiting = sorted(entry for entry in self._heaps.get(model, ()) if entry.before == -job.priority)
        alike = list(itertools.takewhile(lambda entry: self._waiting[entry.job_id].key == key, waiting))
        job_ids = [entry.job_id for entry in alike[: max(0, min(most, len(waiting) - self._coming))]]
        for job_id in job_ids:
            del self._waiting[job_id]
        if job_ids:
            self._remove(model, set(job_ids))
        return job_ids

    def _pop(self, models: Collection[str]) -> str | None:
        heaps = [heap for model in models if (heap := self._heaps.get(model))]
        if not heaps:
            return None
        entry = heapq.heappop(min(heaps, key=lambda heap: heap[0]))
        del self._waiting[entry.job_id]
        return entry.job_id

    def _wake_for(self, models: Collection[str]) -> None:
        for model in models:
            if self._heaps.get(model):
                self._wake_one(model)

    def _wake_one(self, model: str) -> None:
        for taker in self._takers:
            if model in taker.models and not taker.woken.done():
                self._takers.remove(taker)
                taker.woken.set_result(None)
                self._coming += 1
                return
