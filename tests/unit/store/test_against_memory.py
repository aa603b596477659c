"""Any sequence of calls has the same answers from stores in a database as from those in memory, restarts included."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from danqing.core.errors import BatchNotFound, JobNotFound, QueueFull, StorageFailure, SubmitKeyReused, TooManyJobs
from danqing.core.ports import BatchStore, Subscriptions
from danqing.core.submitting import Join, SubmitKey
from danqing.core.types import Artifact, Job
from danqing.store.postgres import PostgresStores
from danqing.store.sqlite import SqliteStores
from tests.contracts.job_store import StoredJobs
from tests.fakes.domain import LOST, a_job, an_enlarged, an_original, later
from tests.fakes.job_store import InMemoryBatchStore, InMemoryJobStore, InMemorySubscriptions
from tests.services.postgres import running_postgres

ATTEMPTS = st.integers(0, 3)
OWNERS = st.sampled_from("xy")
SOME_OWNER = st.none() | OWNERS
BATCHES = st.sampled_from("bc")
KEYS = st.builds(
    SubmitKey,
    text=st.sampled_from("kl"),
    digest=st.sampled_from("01"),
    lifetime=st.sampled_from([timedelta(seconds=3), timedelta(days=1)]),
)
PICTURES = st.sampled_from([(), (an_original,), (an_enlarged,), (an_original, an_enlarged)])
Pictures = tuple[Callable[[Job], Artifact], ...]


class Stores(Protocol):
    """Three stores over the same data."""

    @property
    def jobs(self) -> StoredJobs: ...
    @property
    def batches(self) -> BatchStore: ...
    @property
    def subscriptions(self) -> Subscriptions: ...


class OpenStores(Stores, Protocol):
    """In a database."""

    async def close(self) -> None: ...


class MemoryStores:
    """Those in memory."""

    def __init__(self) -> None:
        self.jobs = InMemoryJobStore()
        self.batches = InMemoryBatchStore(self.jobs)
        self.subscriptions = InMemorySubscriptions(self.jobs)


class TwoStores(RuleBasedStateMachine):
    """Every rule does the same to both stores and compares the answers. A subclass says how the database is opened."""

    jobs = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.memory = MemoryStores()
        self.prepare()
        self.database = self.open()

    def prepare(self) -> None:
        """An empty database."""
        raise NotImplementedError

    def open(self) -> OpenStores:
        """The stores over it."""
        raise NotImplementedError

    def clean_up(self) -> None:
        """Nothing is left of the database."""
        raise NotImplementedError

    def both(self, call: Callable[[Stores], Awaitable[object]]) -> None:
        async def answer_of(stores: Stores) -> object:
            try:
                return await call(stores)
            except (JobNotFound, BatchNotFound, QueueFull, TooManyJobs, SubmitKeyReused, StorageFailure) as exc:
                return type(exc)

        async def ask() -> tuple[object, object]:
            return await answer_of(self.memory), await answer_of(self.database)

        expected, answer = self.loop.run_until_complete(ask())
        assert answer == expected

    @rule(
        target=jobs,
        owner=OWNERS,
        priority=st.integers(-1, 1),
        fingerprint=st.sampled_from(["0123abcd", "0123abcde", "0123abce"]),
        batch=BATCHES | st.none(),
        index=st.integers(0, 3),
        size=st.integers(1, 3),
        max_pending=st.integers(2, 9),
        join=st.sampled_from(Join),
        most=st.none() | st.integers(1, 4),
        key=st.none() | KEYS,
    )
    def add(
        self,
        owner: str,
        priority: int,
        fingerprint: str,
        batch: str | None,
        index: int,
        size: int,
        max_pending: int,
        join: Join,
        most: int | None,
        key: SubmitKey | None,
    ) -> Job:
        job = a_job(owner=owner, priority=priority, fingerprint=fingerprint, batch_index=index)
        job = replace(job, batch_id=batch or job.id, metadata={"size": size})
        self.both(
            lambda stores: stores.jobs.add(job, max_pending, batch_size=size, max_of_owner=most, join=join, key=key)
        )
        return job

    @rule(job=jobs, priority=st.integers(-1, 2))
    def move_up(self, job: Job, priority: int) -> None:
        self.both(lambda stores: stores.jobs.move_up(job, priority))

    @rule(job=jobs)
    def claim(self, job: Job) -> None:
        now = later()
        self.both(lambda stores: stores.jobs.claim(job.id, "w1", now))

    @rule(job=jobs, attempt=ATTEMPTS, pictures=PICTURES)
    def generate(self, job: Job, attempt: int, pictures: Pictures) -> None:
        made = [picture(job) for picture in pictures]
        self.both(lambda stores: stores.jobs.generate(job.id, attempt, made, ["cut"]))

    @rule(job=jobs, attempt=ATTEMPTS, pictures=PICTURES)
    def complete(self, job: Job, attempt: int, pictures: Pictures) -> None:
        now, made = later(), [picture(job) for picture in pictures]
        self.both(lambda stores: stores.jobs.complete(job.id, attempt, made, ["cropped"], now))

    @rule(job=jobs, attempt=ATTEMPTS)
    def give_back(self, job: Job, attempt: int) -> None:
        now = later()
        self.both(lambda stores: stores.jobs.give_back(job.id, attempt, LOST, now))

    @rule(job=jobs, attempt=ATTEMPTS)
    def fail(self, job: Job, attempt: int) -> None:
        now = later()
        self.both(lambda stores: stores.jobs.fail(job.id, attempt, LOST, now))

    @rule(job=jobs)
    def cancel(self, job: Job) -> None:
        now = later()
        self.both(lambda stores: stores.jobs.cancel(job.id, now))

    @rule(batch=BATCHES, owner=SOME_OWNER)
    def forget(self, batch: str, owner: str | None) -> None:
        self.both(lambda stores: stores.batches.forget(batch, owner))

    @rule(job=jobs, owner=OWNERS, client=st.sampled_from("de"))
    def subscribe(self, job: Job, owner: str, client: str) -> None:
        self.both(lambda stores: stores.subscriptions.add(owner, client, job.id))

    @rule(job=jobs, owner=SOME_OWNER, key=KEYS)
    def look(self, job: Job, owner: str | None, key: SubmitKey) -> None:
        self.both(lambda stores: stores.jobs.get(job.id))
        self.both(lambda stores: stores.jobs.ages([job.id, "nobody"]))
        now = later()
        self.both(lambda stores: stores.jobs.waiting_before(job))
        self.both(lambda stores: stores.jobs.find_key(owner or "x", key, now))
        self.both(lambda stores: stores.jobs.find_equal(job.owner, job.fingerprint))
        self.both(lambda stores: stores.jobs.with_fingerprint(job.fingerprint, owner))
        self.both(lambda stores: stores.batches.batch(job.batch_id, owner))

    @rule(owner=SOME_OWNER, client=st.sampled_from("de"), limit=st.integers(0, 3), offset=st.integers(0, 3))
    def page(self, owner: str | None, client: str, limit: int, offset: int) -> None:
        self.both(lambda stores: stores.batches.batches(owner, limit=limit, offset=offset))
        self.both(lambda stores: stores.subscriptions.jobs(owner or "x", client, ended=limit))

    @rule(job=jobs, there=st.booleans())
    def reconcile(self, job: Job, there: bool) -> None:
        missing = {an_original(job).name: not there}
        self.both(lambda stores: stores.jobs.artifact_names([job.id, "nobody"]))
        self.both(lambda stores: stores.jobs.note_missing(missing))
        self.both(lambda stores: stores.jobs.noted_missing(after=job.id, limit=2))
        self.both(lambda stores: stores.jobs.noted_missing(before=job.id, limit=2))

    @rule()
    def restart(self) -> None:
        self.loop.run_until_complete(self.database.close())
        self.database = self.open()

    @invariant()
    def figures_and_order_agree(self) -> None:
        self.both(lambda stores: stores.jobs.counts())
        self.both(lambda stores: stores.jobs.unfinished())

    def teardown(self) -> None:
        self.loop.run_until_complete(self.database.close())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        self.clean_up()


class SqliteAgainstMemory(TwoStores):
    """In a file."""

    def prepare(self) -> None:
        self.folder = tempfile.TemporaryDirectory()

    def open(self) -> SqliteStores:
        return SqliteStores.open(Path(self.folder.name) / "danqing.db")

    def clean_up(self) -> None:
        self.folder.cleanup()


class PostgresAgainstMemory(TwoStores):
    """In a server."""

    def prepare(self) -> None:
        self.url = running_postgres().new_database()

    def open(self) -> PostgresStores:
        return PostgresStores.open(self.url)

    def clean_up(self) -> None:
        running_postgres().drop_database(self.url)


TestSqliteAgainstMemory = SqliteAgainstMemory.TestCase
TestPostgresAgainstMemory = PostgresAgainstMemory.TestCase
TestSqliteAgainstMemory.settings = settings(
    max_examples=15, stateful_step_count=40, suppress_health_check=[HealthCheck.too_slow]
)
TestPostgresAgainstMemory.settings = settings(
    max_examples=6, stateful_step_count=40, suppress_health_check=[HealthCheck.too_slow]
)
