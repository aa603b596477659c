"""Whatever happens in whatever order, no job is lost, made twice or stranded: a store and a queue, as workers use them.

A test module has a subclass that opens both, and its `TestCase`.
"""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from danqing.core.errors import QueueFull
from danqing.core.fairness import order_of_taking
from danqing.core.ports import JobStore
from danqing.core.states import MOVES, JobState
from danqing.core.types import Job
from danqing.workers.claims import TakingQueue
from tests.fakes.domain import LOST, a_job, a_request, an_original, later

T = TypeVar("T")

MAX_PENDING = 6
MAX_ATTEMPTS = 3
PICK = st.integers(0, 1000)  # which of those that there are
SUSPECT = 2  # attempts after which a job lets others go first


class JobLife(RuleBasedStateMachine):
    """Three workers take and claim; anything of them may die, speak up too late, or hear of a job twice."""

    models: ClassVar[tuple[str, ...]] = ("tiny",)

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name)
        self.open()
        self.known: dict[str, Job] = {}  # as last seen
        self.hands: dict[str, Job] = {}  # what a worker has claimed and not ended, by job id
        self.outdated: list[Job] = []  # claims of workers that were given up for lost
        self.completed: Counter[str] = Counter()
        self.number = 0

    # What a subclass says

    def open(self) -> None:
        """Opens the store at `path`, as a server does at its start, with a fresh queue."""
        raise NotImplementedError

    def close(self) -> None:
        """Closes the store, in order or not."""
        raise NotImplementedError

    @property
    def store(self) -> JobStore:
        """The open one."""
        raise NotImplementedError

    @property
    def queue(self) -> TakingQueue:
        """That of this start."""
        raise NotImplementedError

    def waiting(self) -> int:
        """How many ids the queue holds."""
        raise NotImplementedError

    # What happens

    def run(self, call: Coroutine[Any, Any, T]) -> T:  # Any: what a coroutine yields
        """In the loop."""
        return self.loop.run_until_complete(call)

    def see(self, job: Job | None) -> Job | None:
        """Notes a move, which must be one that there is."""
        if job is not None:
            before = self.known[job.id]
            assert job.state in MOVES[before.state]
            assert len(job.attempts) - len(before.attempts) == (job.state is JobState.PROCESSING)
            self.completed[job.id] += job.state is JobState.COMPLETED
            self.known[job.id] = job
        return job

    @rule(owner=st.sampled_from("xy"), priority=st.integers(0, 1))
    def submit(self, owner: str, priority: int) -> None:
        self.number += 1
        new = a_job(owner=owner, priority=priority, request=a_request(seed=self.number), fingerprint=f"f{self.number}")
        pending = sum(job.state is JobState.PENDING for job in self.known.values())
        try:
            job = self.run(self.store.add(new, MAX_PENDING))
        except QueueFull:
            assert pending >= MAX_PENDING
            return
        assert pending < MAX_PENDING
        self.known[job.id] = job
        self.run(self.queue.publish(job))

    @precondition(lambda self: self.waiting() and len(self.hands) < 3)
    @rule(published_again=st.booleans())
    def take_and_claim(self, published_again: bool) -> None:
        waiting = [job for job in self.known.values() if job.state is JobState.PENDING]
        job_id = self.run(self.queue.take(self.models))
        if published_again:  # as a broker does: the id is delivered once more, and must do no harm
            self.run(self.queue.publish(self.known[job_id]))
        claimed = self.see(self.run(self.store.claim(job_id, "w", later())))
        if claimed is None:
            assert self.known[job_id].state is not JobState.PENDING
            return
        self.hands[job_id] = claimed
        first = min(waiting, key=order_of_taking)
        if all(len(job.attempts) < SUSPECT for job in waiting):
            assert job_id == first.id
        assert -claimed.priority == order_of_taking(first)[0]

    def _held(self, pick: int) -> Job:
        return list(self.hands.values())[pick % len(self.hands)]

    @precondition(lambda self: self.hands)
    @rule(pick=PICK)
    def complete(self, pick: int) -> None:
        job = self._held(pick)
        done = self.see(self.run(self.store.complete(job.id, len(job.attempts), [an_original(job)], [], later())))
        assert (done is None) == (self.known[job.id].state is JobState.CANCELLED)
        del self.hands[job.id]

    @precondition(lambda self: self.hands)
    @rule(pick=PICK)
    def generate(self, pick: int) -> None:
        job = self._held(pick)
        self.see(self.run(self.store.generate(job.id, len(job.attempts), [], [])))

    @precondition(lambda self: self.hands)
    @rule(pick=PICK)
    def lose_worker(self, pick: int) -> None:
        job = self._held(pick)
        del self.hands[job.id]
        self.outdated.append(job)
        again = len(job.attempts) < MAX_ATTEMPTS
        move = self.store.give_back if again else self.store.fail
        moved = self.see(self.run(move(job.id, len(job.attempts), LOST, later())))
        if moved is not None and again:
            self.run(self.queue.publish(moved))

    @precondition(lambda self: self.outdated)
    @rule(pick=PICK)
    def speak_up_too_late(self, pick: int) -> None:
        job = self.outdated.pop(pick % len(self.outdated))
        assert self.run(self.store.complete(job.id, len(job.attempts), [an_original(job)], [], later())) is None
        assert self.run(self.store.fail(job.id, len(job.attempts), LOST, later())) is None

    @precondition(lambda self: self.known)
    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        job = list(self.known.values())[pick % len(self.known)]
        cancelled = self.see(self.run(self.store.cancel(job.id, later())))
        assert (cancelled is None) == (JobState.CANCELLED not in MOVES[job.state])
        if cancelled is not None:
            self.run(self.queue.withdraw(job.id))

    @rule()
    def crash_and_start_again(self) -> None:
        self.outdated += self.hands.values()
        self.hands.clear()
        self.close()
        self.open()
        for job in self.run(self.store.unfinished()):
            assert job == self.known[job.id]
            if job.state is not JobState.PENDING:
                job = self.see(self.run(self.store.give_back(job.id, len(job.attempts), LOST, later())))
            assert job is not None
            self.run(self.queue.publish(job))

    # What must be so at any time

    @invariant()
    def the_store_knows_every_job_as_it_was_seen(self) -> None:
        for job_id, job in self.known.items():
            assert self.run(self.store.get(job_id)) == job
        states = Counter(job.state for job in self.known.values())
        assert self.run(self.store.counts()) == {state: states[state] for state in JobState}

    @invariant()
    def no_job_is_stranded(self) -> None:
        """Each that has not ended waits in the queue or is in a worker's hands."""
        unfinished = {job.id for job in self.known.values() if not job.state.is_final}
        pending = sum(job.state is JobState.PENDING for job in self.known.values())
        assert len(unfinished) == pending + len(unfinished & self.hands.keys())
        assert self.waiting() >= pending  # an id may wait that was delivered twice

    @invariant()
    def none_is_made_twice(self) -> None:
        assert all(times == 1 for job_id, times in self.completed.items() if times)

    def teardown(self) -> None:
        self.close()
        self.run(self.loop.shutdown_default_executor())
        self.loop.close()
        self.folder.cleanup()
