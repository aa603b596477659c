"""Any sequence of calls: the queue gives what a sorted list would, however many are withdrawn or held."""

import asyncio
from dataclasses import dataclass, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from danqing.core.batching import batch_key
from danqing.core.fairness import order_of_taking
from danqing.core.types import Job
from danqing.queue.embedded import EmbeddedQueue, QueueRules
from tests.contracts.job_queue import numbered
from tests.fakes.domain import a_request

MODELS = ("tiny", "large")
OWNERS = "abc"


@dataclass
class Naive:
    """What the queue promises, in the plainest way."""

    most: int | None
    waiting: dict[str, Job]
    taken: dict[str, str]  # → owner

    def next_of(self, models: tuple[str, ...]) -> Job | None:
        free = [job for job in self.waiting.values() if job.request.model in models and not self._is_held(job.owner)]
        return min(free, key=order_of_taking, default=None)

    def take(self, job: Job) -> str:
        del self.waiting[job.id]
        self.taken[job.id] = job.owner
        return job.id

    def _is_held(self, owner: str) -> bool:
        return self.most is not None and list(self.taken.values()).count(owner) >= self.most


class QueueAgainstList(RuleBasedStateMachine):
    """Takes are made only where there is something to take, so that none waits."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.sequence = 0

    @initialize(most=st.none() | st.integers(1, 2))
    def begin(self, most: int | None) -> None:
        self.queue = EmbeddedQueue(QueueRules(max_running_of_owner=most))
        self.naive = Naive(most, {}, {})

    @rule(
        owner=st.sampled_from(OWNERS),
        model=st.sampled_from(MODELS),
        priority=st.integers(0, 1),
        turn=st.integers(0, 5),
        width=st.sampled_from([64, 128]),
    )
    def publish(self, owner: str, model: str, priority: int, turn: int, width: int) -> None:
        self.sequence += 1
        job = numbered(self.sequence, owner=owner, priority=priority, turn=turn)
        job = replace(job, request=a_request(model=model, width=width))
        self.naive.waiting[job.id] = job
        self.loop.run_until_complete(self.queue.publish(job))

    @rule(number=st.integers(0, 60))
    def withdraw(self, number: int) -> None:
        self.naive.waiting.pop(f"job-{number}", None)
        self.loop.run_until_complete(self.queue.withdraw(f"job-{number}"))

    @rule(models=st.sampled_from([MODELS, ("tiny",), ("large",)]))
    def take(self, models: tuple[str, ...]) -> None:
        if (expected := self.naive.next_of(models)) is not None:
            assert self.loop.run_until_complete(self.queue.take(models)) == self.naive.take(expected)

    @rule(most=st.integers(0, 4), alike=st.sampled_from([64, 128]), model=st.sampled_from(MODELS))
    def take_like(self, most: int, alike: int, model: str) -> None:
        like = numbered(0, priority=0)
        like = replace(like, request=a_request(model=model, width=alike))
        expected: list[str] = []
        while len(expected) < most and (job := self.naive.next_of((model,))) is not None:
            if job.priority != 0 or batch_key(job.request) != batch_key(like.request):
                break
            expected.append(self.naive.take(job))
        assert list(self.loop.run_until_complete(self.queue.take_like(like, most))) == expected

    @rule(number=st.integers(0, 60))
    def done(self, number: int) -> None:
        self.naive.taken.pop(f"job-{number}", None)
        self.queue.done(f"job-{number}")

    @invariant()
    def none_is_lost(self) -> None:
        if self.sequence:
            assert len(self.queue) == len(self.naive.waiting)

    def teardown(self) -> None:
        self.loop.close()


TestQueueAgainstList = QueueAgainstList.TestCase
TestQueueAgainstList.settings = settings(max_examples=50, stateful_step_count=50, deadline=None)
