"""A `JobLine` in memory, for queues whose messages only say that there is work."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from danqing.core.batching import batch_key
from danqing.core.fairness import order_of_taking
from danqing.core.shared_store import Waiting
from danqing.core.types import Job


class InMemoryLine:
    """The jobs that wait, and those that run. `put` and the ends of a job are the store's part, which tests play."""

    def __init__(self) -> None:
        self._waiting: dict[str, Job] = {}
        self._running: dict[str, Job] = {}
        self.claims: dict[tuple[str, datetime], Job] = {}
        self.unread: set[str] = set()  # models of which jobs wait that only a newer version can read

    def __len__(self) -> int:
        """Number of jobs that wait."""
        return len(self._waiting)

    def put(self, job: Job) -> None:
        """The job waits; behind all of its priority if it was tried twice."""
        self._running.pop(job.id, None)
        if job.id in self._waiting:
            return
        if len(job.attempts) >= 2:
            alike = [o for o in self._waiting.values() if o.priority == job.priority]
            turn, sequence = max(((o.turn, o.sequence) for o in alike), default=(job.turn, job.sequence))
            job = replace(job, turn=turn, sequence=sequence)
        self._waiting[job.id] = job

    def move_up(self, job: Job) -> None:
        """The job waits at another priority."""
        self._waiting[job.id] = job

    def claim_named(self, job_id: str) -> bool:
        """As `JobStore.claim`."""
        if job_id not in self._waiting:
            return False
        self._running[job_id] = self._waiting.pop(job_id)
        return True

    def end(self, job_id: str) -> Job | None:
        """A job that ran runs no more."""
        return self._running.pop(job_id, None)

    def withdraw(self, job_id: str) -> None:
        """A job that waited was cancelled."""
        self._waiting.pop(job_id, None)

    def _in_order(self, model: str, most: int | None) -> list[Job]:
        running = Counter(job.owner for job in self._running.values())
        jobs = sorted(self._waiting.values(), key=order_of_taking)
        return [job for job in jobs if job.request.model == model and (most is None or running[job.owner] < most)]

    async def claim(
        self, model: str, worker: str, now: datetime, *, max_running_of_owner: int | None = None
    ) -> Job | None:
        await asyncio.sleep(0)
        if not (jobs := self._in_order(model, max_running_of_owner)):
            return None
        self.claim_named(jobs[0].id)
        self.claims[worker, now] = jobs[0]
        await asyncio.sleep(0)  # as every answer of a database does, it takes a while to come
        return jobs[0]

    async def claimed(self, worker: str, at: datetime) -> Job | None:
        return self.claims.get((worker, at))

    def leaves_some(self, model: str) -> bool:
        return model in self.unread

    async def alike(self, job: Job, most: int, *, max_running_of_owner: int | None = None) -> Sequence[str]:
        found: list[str] = []
        running = Counter(job.owner for job in self._running.values())
        for other in self._in_order(job.request.model, max_running_of_owner):
            if other.priority != job.priority and not found:
                continue
            alike = batch_key(other.request) == batch_key(job.request) and not other.attempts
            if len(found) == most or other.priority != job.priority or not alike:
                break
            running[other.owner] += 1
            if max_running_of_owner is None or running[other.owner] <= max_running_of_owner:
                found.append(other.id)
        return found

    async def waiting(self) -> Mapping[str, Waiting]:
        return await self.waiting_now()

    async def waiting_now(self) -> Mapping[str, Waiting]:
        by_model: dict[str, list[Job]] = {}
        for job in self._waiting.values():
            by_model.setdefault(job.request.model, []).append(job)
        return {
            model: Waiting(jobs=len(jobs), oldest=min(job.created_at for job in jobs))
            for model, jobs in by_model.items()
        }

    async def first(self, model: str, most: int) -> Sequence[Job]:
        return self._in_order(model, None)[:most]
