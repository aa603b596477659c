"""A line and nodes over the in-memory store. They pass the suites of `tests/contracts`."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from danqing.core.batching import batch_key
from danqing.core.fairness import order_of_taking
from danqing.core.shared_store import Node, Waiting
from danqing.core.states import JobState
from danqing.core.types import Job
from tests.fakes.job_store import RUNNING, InMemoryJobStore


class InMemoryJobLine:
    """The line of an InMemoryJobStore."""

    def __init__(self, jobs: InMemoryJobStore) -> None:
        self._jobs = jobs

    async def claim(
        self, model: str, worker: str, now: datetime, *, max_running_of_owner: int | None = None
    ) -> Job | None:
        line = self._line(model, max_running_of_owner)
        return await self._jobs.claim(line[0].id, worker, now) if line else None

    async def claimed(self, worker: str, at: datetime) -> Job | None:
        for job in self._jobs.matching(lambda job: job.state is JobState.PROCESSING):
            if (job.attempts[-1].worker, job.attempts[-1].started_at) == (worker, at):
                return job
        return None

    def leaves_some(self, model: str) -> bool:
        return False

    async def alike(self, job: Job, most: int, *, max_running_of_owner: int | None = None) -> Sequence[str]:
        running, found = self._running(), list[str]()
        for other in self._line(job.request.model, None):
            if max_running_of_owner is not None and running[other.owner] >= max_running_of_owner:
                continue
            is_alike = batch_key(other.request) == batch_key(job.request) and not other.attempts
            if len(found) == most or other.priority != job.priority or not is_alike:
                break
            found.append(other.id)
            running[other.owner] += 1
        return found

    async def waiting(self) -> Mapping[str, Waiting]:
        return await self.waiting_now()

    async def waiting_now(self) -> Mapping[str, Waiting]:
        pending = self._jobs.matching(lambda job: job.state is JobState.PENDING)
        return {
            model: Waiting(jobs=number, oldest=min(job.created_at for job in pending if job.request.model == model))
            for model, number in Counter(job.request.model for job in pending).items()
        }

    async def first(self, model: str, most: int) -> Sequence[Job]:
        return self._line(model, None)[:most]

    def _running(self) -> Counter[str]:
        return Counter(job.owner for job in self._jobs.matching(lambda job: job.state in RUNNING))

    def _line(self, model: str, most: int | None) -> list[Job]:
        running = self._running()
        waits = self._jobs.matching(lambda job: job.state is JobState.PENDING and job.request.model == model)
        return sorted((job for job in waits if most is None or running[job.owner] < most), key=order_of_taking)


@dataclass(frozen=True)
class _Entry:
    node: Node
    lease_until: float
    drain_asked: bool


class InMemoryNodes:
    """The nodes of an InMemoryJobStore."""

    def __init__(self, jobs: InMemoryJobStore, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._jobs = jobs
        self._clock = clock
        self._entries: dict[str, _Entry] = {}

    async def beat(self, node: Node, *, lease_s: float) -> bool:
        before = self._entries.get(node.id)
        asked = before is not None and before.drain_asked
        self._entries[node.id] = _Entry(node, self._clock() + lease_s, asked)
        return asked

    async def leave(self, node_id: str) -> None:
        self._entries.pop(node_id, None)

    async def alive(self) -> Sequence[Node]:
        living = sorted(self._living(), key=lambda entry: (entry.node.name, entry.node.id))
        return [replace(entry.node, draining=entry.node.draining or entry.drain_asked) for entry in living]

    async def ask_to_drain(self, name: str) -> int:
        asked = [entry for entry in self._living() if name in (entry.node.name, entry.node.id)]
        for entry in asked:
            self._entries[entry.node.id] = replace(entry, drain_asked=True)
        return len(asked)

    async def orphans(self, *, most: int = 100) -> Sequence[Job]:
        living = {entry.node.id for entry in self._living()}
        return self._jobs.matching(lambda job: job.state in RUNNING and _node_of(job) not in living)[:most]

    async def held(self, node_id: str) -> Mapping[str, int]:
        held = self._jobs.matching(lambda job: job.state in RUNNING and _node_of(job) == node_id)
        return {job.id: len(job.attempts) for job in held}

    async def outdated(self, attempts: Mapping[str, int]) -> Sequence[str]:
        running = self._jobs.matching(lambda job: job.state in RUNNING)
        current = {job.id: len(job.attempts) for job in running}
        return [job_id for job_id, number in attempts.items() if current.get(job_id) != number]

    def _living(self) -> list[_Entry]:
        return [entry for entry in self._entries.values() if entry.lease_until > self._clock()]


def _node_of(job: Job) -> str:
    node, slash, worker = job.attempts[-1].worker.rpartition("/")
    return node if slash else worker
