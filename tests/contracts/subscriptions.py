"""What every Subscriptions must do. A test module has the fixtures `store` (a JobStore) and `subscriptions` over the
same data.
"""

import asyncio
from typing import ClassVar

import pytest

from danqing.core.errors import StorageFailure
from danqing.core.ports import JobStore, Subscriptions
from danqing.store.subscriptions import FEW
from tests.contracts.job_store import generated, processing
from tests.fakes.domain import LOST, NO_LIMIT, a_job, an_enlarged, later


class SubscriptionsContract:
    """The suite."""

    implementation: ClassVar[type]

    def test_is_the_implementation_meant(self, subscriptions: Subscriptions) -> None:
        assert type(subscriptions) is self.implementation

    async def test_a_client_gets_its_jobs_newest_subscription_first(
        self, store: JobStore, subscriptions: Subscriptions
    ) -> None:
        # Given three jobs
        jobs = [await store.add(a_job(), NO_LIMIT) for _ in range(3)]
        # When a client asks for them, the oldest last
        for job in reversed(jobs):
            await subscriptions.add("local", "客户端", job.id)
        # Then that one comes first
        assert await subscriptions.jobs("local", "客户端", ended=10) == jobs

    async def test_those_under_way_are_all_there_and_of_those_that_ended_the_newest(
        self, store: JobStore, subscriptions: Subscriptions
    ) -> None:
        # Given jobs that a client asked for in this order
        waits, failed, enlarged, done, runs, cancelled = (
            await store.add(a_job(), NO_LIMIT),
            await processing(store),
            await generated(store),
            await generated(store),
            await processing(store),
            await store.add(a_job(), NO_LIMIT),
        )
        for job in (waits, failed, enlarged, done, runs, cancelled):
            await subscriptions.add("local", "c", job.id)
        # When three of them end
        failed = await store.fail(failed.id, 1, LOST, later())
        done = await store.complete(done.id, 1, [an_enlarged(done)], [], later())
        cancelled = await store.cancel(cancelled.id, later())
        # Then the others are there, however few of these are wanted
        assert await subscriptions.jobs("local", "c", ended=0) == [runs, enlarged, waits]
        assert await subscriptions.jobs("local", "c", ended=1) == [cancelled, runs, enlarged, waits]
        assert await subscriptions.jobs("local", "c", ended=2) == [cancelled, runs, done, enlarged, waits]
        every = [cancelled, runs, done, enlarged, failed, waits]
        assert await subscriptions.jobs("local", "c", ended=3) == every
        assert await subscriptions.jobs("local", "c", ended=9) == every

    async def test_one_under_way_is_there_after_many_that_ended(
        self, store: JobStore, subscriptions: Subscriptions
    ) -> None:
        waits = await store.add(a_job(), NO_LIMIT)
        await subscriptions.add("local", "c", waits.id)
        await subscriptions.add("local", "d", (await store.add(a_job(), NO_LIMIT)).id)
        # Given more jobs that ended than a store looks through one by one
        many = await asyncio.gather(*(store.add(a_job(), NO_LIMIT) for _ in range(FEW)))
        await asyncio.gather(*(subscriptions.add("local", "c", job.id) for job in many))
        await asyncio.gather(*(store.cancel(job.id, later()) for job in many))
        newest = await store.add(a_job(), NO_LIMIT)
        await subscriptions.add("local", "c", newest.id)
        newest = await store.cancel(newest.id, later())
        # Then it comes after the newest of them
        assert await subscriptions.jobs("local", "c", ended=1) == [newest, waits]

    async def test_the_jobs_are_as_they_are_now(self, store: JobStore, subscriptions: Subscriptions) -> None:
        job = await generated(store)
        await subscriptions.add("local", "c", job.id)
        done = await store.complete(job.id, 1, [an_enlarged(job)], [], later())
        assert await subscriptions.jobs("local", "c", ended=10) == [done]

    async def test_subscribing_again_changes_nothing(self, store: JobStore, subscriptions: Subscriptions) -> None:
        # Given two subscriptions
        first, second = [await store.add(a_job(), NO_LIMIT) for _ in range(2)]
        await subscriptions.add("local", "c", first.id)
        await subscriptions.add("local", "c", second.id)
        # When the first is made again, many times at once
        await asyncio.gather(*(subscriptions.add("local", "c", first.id) for _ in range(20)))
        # Then there are two, in their order
        assert await subscriptions.jobs("local", "c", ended=100) == [second, first]

    async def test_clients_of_one_name_and_two_owners_are_two(
        self, store: JobStore, subscriptions: Subscriptions
    ) -> None:
        # Given one job that clients of several names and owners ask for, and one that only one does
        job, other = [await store.add(a_job(), NO_LIMIT) for _ in range(2)]
        for owner, client in (("x", "c"), ("y", "c"), ("x", "d")):
            await subscriptions.add(owner, client, job.id)
        await subscriptions.add("y", "c", other.id)
        # Then each has its own
        assert await subscriptions.jobs("x", "c", ended=10) == [job]
        assert await subscriptions.jobs("x", "d", ended=10) == [job]
        assert await subscriptions.jobs("y", "c", ended=10) == [other, job]
        assert await subscriptions.jobs("y", "d", ended=10) == []

    async def test_a_job_that_is_not_there_cannot_be_subscribed_to(
        self, store: JobStore, subscriptions: Subscriptions
    ) -> None:
        with pytest.raises(StorageFailure):
            await subscriptions.add("local", "c", "nobody")
        assert await subscriptions.jobs("local", "c", ended=10) == []
