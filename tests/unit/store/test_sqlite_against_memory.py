"""Any sequence of calls has the same answers from the SQLite store as from the one in memory, restarts included."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from danqing.core.errors import JobNotFound, QueueFull
from danqing.core.ports import JobStore
from danqing.core.types import Job
from danqing.store.sqlite import SqliteJobStore
from tests.fakes.domain import LOST, a_job, an_original, later
from tests.fakes.job_store import InMemoryJobStore

ATTEMPTS = st.integers(0, 3)


class TwoStores(RuleBasedStateMachine):
    """Every rule does the same to both stores and compares the answers."""

    jobs = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "danqing.db"
        self.memory = InMemoryJobStore()
        self.sqlite = SqliteJobStore.open(self.path)

    def both(self, call: Callable[[JobStore], Awaitable[object]]) -> None:
        async def answer_of(store: JobStore) -> object:
            try:
                return await call(store)
            except (JobNotFound, QueueFull) as exc:
                return type(exc)

        async def ask() -> tuple[object, object]:
            return await answer_of(self.memory), await answer_of(self.sqlite)

        expected, answer = self.loop.run_until_complete(ask())
        assert answer == expected

    @rule(target=jobs, priority=st.integers(-1, 1), fingerprint=st.sampled_from("ab"), max_pending=st.integers(2, 9))
    def add(self, priority: int, fingerprint: str, max_pending: int) -> Job:
        job = a_job(priority=priority, fingerprint=fingerprint)
        self.both(lambda store: store.add(job, max_pending))
        return job

    @rule(job=jobs)
    def claim(self, job: Job) -> None:
        now = later()
        self.both(lambda store: store.claim(job.id, "w1", now))

    @rule(job=jobs, attempt=ATTEMPTS)
    def complete(self, job: Job, attempt: int) -> None:
        now = later()
        self.both(lambda store: store.complete(job.id, attempt, [an_original(job)], ["cropped"], now))

    @rule(job=jobs, attempt=ATTEMPTS)
    def give_back(self, job: Job, attempt: int) -> None:
        now = later()
        self.both(lambda store: store.give_back(job.id, attempt, LOST, now))

    @rule(job=jobs, attempt=ATTEMPTS)
    def fail(self, job: Job, attempt: int) -> None:
        now = later()
        self.both(lambda store: store.fail(job.id, attempt, LOST, now))

    @rule(job=jobs)
    def cancel(self, job: Job) -> None:
        now = later()
        self.both(lambda store: store.cancel(job.id, now))

    @rule(job=jobs)
    def look(self, job: Job) -> None:
        self.both(lambda store: store.get(job.id))
        self.both(lambda store: store.waiting_before(job))
        self.both(lambda store: store.find_equal("local", job.fingerprint))

    @rule()
    def restart(self) -> None:
        self.loop.run_until_complete(self.sqlite.close())
        self.sqlite = SqliteJobStore.open(self.path)

    @invariant()
    def figures_and_order_agree(self) -> None:
        self.both(lambda store: store.counts())
        self.both(lambda store: store.unfinished())
        self.both(lambda store: store.without_artifacts())

    def teardown(self) -> None:
        self.loop.run_until_complete(self.sqlite.close())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        self.folder.cleanup()


TestTwoStores = TwoStores.TestCase
TestTwoStores.settings = settings(max_examples=15, stateful_step_count=40, suppress_health_check=[HealthCheck.too_slow])
