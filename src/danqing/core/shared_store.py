"""What a store is beside a `JobStore` where machines share it: the line of waiting jobs, and who holds which."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from danqing.core.types import Job, WorkerStatus


@dataclass(frozen=True, kw_only=True)
class Node:
    """One start of `danqing worker`. id: unique, begins with the name. draining: it takes no more jobs, or is asked to
    take none.
    """

    id: str
    name: str
    started_at: datetime
    workers: tuple[WorkerStatus, ...] = ()
    draining: bool = False


def worker_of_node(node_id: str, worker: str) -> str:
    """What an attempt calls its worker: the node is what is before the last slash, so a worker's own name has none."""
    if "/" in worker:
        raise ValueError("a worker's name with a slash")
    return f"{node_id}/{worker}"


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """The jobs of a model that wait. oldest: when the first of them was accepted."""

    jobs: int
    oldest: datetime


class JobLine(Protocol):
    """The pending jobs of a shared store in the order in which they are to be taken (`fairness.order_of_taking`).

    For a queue whose messages say only that there is work: which job is made is decided here, by everybody alike.
    Raises StorageFailure when the medium fails.
    """

    async def claim(
        self, model: str, worker: str, now: datetime, *, max_running_of_owner: int | None = None
    ) -> Job | None:
        """pending → processing of the first job of this model, as `JobStore.claim` does it: of several who ask at once
        each gets another one. None if there is none.

        Jobs of owners who have so many running (processing or generated) are passed over, and so are those that only a
        newer version can read: they stay as they are.
        """
        ...

    async def claimed(self, worker: str, at: datetime) -> Job | None:
        """The job that this worker claimed at that moment, if he did, and has it still: for who got no answer."""
        ...

    def leaves_some(self, model: str) -> bool:
        """Whether `claim` has met jobs of this model that only a newer version can read, and that waited when it was
        asked last.
        """
        ...

    async def alike(self, job: Job, most: int, *, max_running_of_owner: int | None = None) -> Sequence[str]:
        """Ids of at most so many of the next jobs that can be made together with this one, in order.

        They have the job's `batch_key` and priority, were not tried before, and come before anything of its model and
        priority that is not alike.
        """
        ...

    async def waiting(self) -> Mapping[str, Waiting]:
        """How many wait, by model; models of which none waits are left out. Of thousands, as of seconds ago."""
        ...

    async def waiting_now(self) -> Mapping[str, Waiting]:
        """The same, looked up however many they are."""
        ...

    async def first(self, model: str, most: int) -> Sequence[Job]:
        """At most so many pending jobs of this model, in order: those to be published again."""
        ...


class JobAges(Protocol):
    """How far jobs have come, for those who may have missed it. Raises StorageFailure when the medium fails."""

    async def ages(self, job_ids: Collection[str]) -> Mapping[str, tuple[int, int]]:
        """`Job.age` of those of these jobs that it knows. One quick look, however many there are."""
        ...

    async def get(self, job_id: str) -> Job:
        """See `JobStore`."""
        ...


class Nodes(Protocol):
    """The machines' worker processes that share a store, and the leases by which they hold their jobs.

    A node is one start of `danqing worker`: started again it is another one, and the jobs of the former are nobody's.
    Attempts name their worker by `worker_of_node`; without a slash the node is the worker's whole name. Time is the
    store's own. Raises StorageFailure.
    """

    async def beat(self, node: Node, *, lease_s: float) -> bool:
        """The node lives, and its lease is good for so long from now. True if it is asked to drain."""
        ...

    async def leave(self, node_id: str) -> None:
        """The node has ended; whatever it still held is nobody's. Unknown ids are fine."""
        ...

    async def alive(self) -> Sequence[Node]:
        """Those whose lease is good, by name."""
        ...

    async def ask_to_drain(self, name: str) -> int:
        """Asks every living node of this name, or id, to take no more jobs and to end; returns how many there are."""
        ...

    async def orphans(self, *, most: int = 100) -> Sequence[Job]:
        """Processing and generated jobs whose newest attempt is held by no living node, oldest first.

        Without those that this version cannot read: they are for a process of one that can.
        """
        ...

    async def held(self, node_id: str) -> Mapping[str, int]:
        """Processing and generated jobs whose newest attempt is this node's, by job id, with the attempt's number.

        What a node finds here, twice with a beat between, and knows nothing of was claimed by a call whose answer never
        came: it is to be given back.
        """
        ...

    async def outdated(self, attempts: Mapping[str, int]) -> Sequence[str]:
        """Of these jobs, by the number of the attempt that somebody is at, those that have moved on: cancelled, or
        given to others.
        """
        ...
