"""The clients that gave themselves a name: who of them is here, what they asked for, and what they have been told.

Kept in memory. After a restart a client is told once more how its jobs ended; that is better than once too little.
"""

import itertools
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from danqing.core.types import Job
from danqing.dialects.live.schemas import RequestId

MAX_ABSENT = 1000  # clients that are not connected
# Jobs of a client: those whose ends it was told, as many as are looked up when it comes back, and those it waits for.
MAX_ENDED, MAX_AWAITED = 200, 1000
_MAX_REQUEST_IDS = 8  # of one client for one job


@dataclass(frozen=True, kw_only=True)
class Client:
    """A name is good within its owner only."""

    owner: str
    name: str


class Recipient(Protocol):
    """A connection of a client."""

    def recall(self) -> None:
        """There may be an end that the client was not told after all."""
        ...

    def prepare(self, job: Job, *, previews: bool) -> None:
        """From now on nothing that happens to the job is missed."""
        ...

    def abandon(self, job: Job) -> None:
        """Undoes a `prepare` that no `follow` came after."""
        ...

    def follow(self, job: Job, request_id: RequestId | None, *, previews: bool) -> None:
        """Tells the job as it is, and from then on all that happens to it."""
        ...


@dataclass(frozen=True, slots=True)
class _Asked:
    """One job of one client. delivered_by: the visits in which its final state was told."""

    request_ids: tuple[RequestId | None, ...] = ()
    delivered_by: frozenset[int] = frozenset()


@dataclass
class _Memory:
    """Jobs by their ids, the one that was spoken of last at the end; ended: those whose ends the client was told."""

    recipients: list[Recipient] = field(default_factory=list[Recipient])
    awaited: OrderedDict[str, _Asked] = field(default_factory=OrderedDict[str, _Asked])
    ended: OrderedDict[str, _Asked] = field(default_factory=OrderedDict[str, _Asked])

    def job(self, job_id: str) -> _Asked | None:
        return self.ended.get(job_id) or self.awaited.get(job_id)

    def put(self, job_id: str, job: _Asked) -> None:
        """In the place of what was known of it. The oldest of too many is forgotten."""
        self.awaited.pop(job_id, None)
        self.ended.pop(job_id, None)
        jobs, most = (self.ended, MAX_ENDED) if job.delivered_by else (self.awaited, MAX_AWAITED)
        jobs[job_id] = job
        if len(jobs) > most:
            jobs.popitem(last=False)


class Clients:
    """One for all connections of an app. For one event loop."""

    def __init__(self) -> None:
        self._memories: OrderedDict[Client, _Memory] = OrderedDict()
        self._visits = itertools.count()

    def enter(self, client: Client, recipient: Recipient) -> int:
        """A connection is there. Returns the number of its visit."""
        self._memory(client).recipients.append(recipient)
        return next(self._visits)

    def leave(self, client: Client, recipient: Recipient) -> None:
        """It is gone; what the client asked for stays known for a while."""
        self._memory(client).recipients.remove(recipient)
        absent = [other for other, memory in self._memories.items() if not memory.recipients]
        for other in absent[: max(0, len(absent) - MAX_ABSENT)]:
            del self._memories[other]

    def is_here(self, client: Client) -> bool:
        """Whether it has a connection."""
        memory = self._memories.get(client)
        return memory is not None and bool(memory.recipients)

    def recipients(self, client: Client) -> Sequence[Recipient]:
        """Its connections."""
        return tuple(self._memory(client).recipients)

    def asked(self, client: Client, job_id: str, request_id: RequestId | None) -> None:
        """The client asked for the job (again), and is to be told how it ends."""
        memory = self._memory(client)
        request_ids = known.request_ids if (known := memory.job(job_id)) else ()
        if request_id not in request_ids:
            request_ids = (*request_ids, request_id)[-_MAX_REQUEST_IDS:]
        memory.put(job_id, _Asked(request_ids=request_ids))

    def request_ids(self, client: Client, job_id: str) -> Sequence[RequestId | None]:
        """Under which ids it asked for the job; none if that is not known any more."""
        job = self._memory(client).job(job_id)
        return job.request_ids if job else ()

    def delivered(self, client: Client, visit: int, job_id: str) -> None:
        """The client was told how the job ended, in this visit."""
        memory = self._memory(client)
        job = memory.job(job_id) or _Asked()
        memory.put(job_id, replace(job, delivered_by=job.delivered_by | {visit}))

    def doubt(self, client: Client, visit: int, job_ids: Iterable[str]) -> None:
        """What was told of these jobs in this visit may not have reached the client."""
        memory = self._memory(client)
        for job_id in job_ids:
            if job := memory.job(job_id):
                memory.put(job_id, replace(job, delivered_by=job.delivered_by - {visit}))
        for recipient in self.recipients(client):
            recipient.recall()

    def knows_end(self, client: Client, job_id: str) -> bool:
        """Whether the client was told how the job ended."""
        return job_id in self._memory(client).ended

    def _memory(self, client: Client) -> _Memory:
        memory = self._memories.setdefault(client, _Memory())
        self._memories.move_to_end(client)
        return memory
