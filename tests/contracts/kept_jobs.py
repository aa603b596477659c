"""What every KeptJobs must do. A test module has the fixtures `store` (a JobStore), `batches` (a BatchStore) and `kept`
over the same data.
"""

from dataclasses import replace
from datetime import timedelta
from typing import ClassVar

import pytest

from danqing.core.clock import utc_now
from danqing.core.errors import BatchNotFound, JobNotFound
from danqing.core.keeping import KeptJobs
from danqing.core.ports import BatchStore, JobStore
from danqing.core.states import JobState
from danqing.core.types import Job, Mode
from tests.contracts.job_store import an_image, processing
from tests.fakes.domain import LOST, NO_LIMIT, NOW, a_job, a_request, an_enlarged, an_original

DAY = timedelta(days=1)


async def ended(store: JobStore, *, days_ago: float, **changes: object) -> Job:
    """A job that was accepted and completed so long ago."""
    then = NOW - days_ago * DAY
    job = await store.add(a_job(created_at=then, **changes), NO_LIMIT)
    await store.claim(job.id, "w", then)
    done = await store.complete(job.id, 1, [an_original(job)], [], then)
    assert done is not None
    return done


class KeptJobsContract:
    """The suite."""

    implementation: ClassVar[type]

    def test_is_the_implementation_meant(self, kept: KeptJobs) -> None:
        assert type(kept) is self.implementation

    async def test_it_has_a_clock_that_goes(self, kept: KeptJobs) -> None:
        before, after = await kept.now(), await kept.now()
        assert before <= after
        assert before.utcoffset() == timedelta()
        assert abs(utc_now() - after) < DAY  # the database is on this machine

    async def test_what_was_accepted_later_is_told_with_its_owner_oldest_first(
        self, store: JobStore, kept: KeptJobs
    ) -> None:
        times = [NOW - DAY, NOW, NOW + DAY]
        for owner, time in zip("abc", times, strict=True):
            await store.add(a_job(owner=owner, created_at=time), NO_LIMIT)
        assert await kept.accepted_since(NOW - 2 * DAY) == list(zip("abc", times, strict=True))
        assert await kept.accepted_since(NOW) == [("c", NOW + DAY)]
        assert await kept.accepted_since(NOW + 2 * DAY) == []

    async def test_what_ended_earlier_is_told_page_by_page(self, store: JobStore, kept: KeptJobs) -> None:
        # Given jobs that ended some days ago, one that still runs, and one that ended today
        old = [await ended(store, days_ago=days) for days in (5, 4, 3)]
        await processing(store, created_at=NOW - 5 * DAY)
        await ended(store, days_ago=0)
        # Then the old ones are told, in order
        moment = NOW - DAY
        assert await kept.ended_before(moment, now=NOW, after=0, limit=2) == old[:2]
        assert await kept.ended_before(moment, now=NOW, after=old[1].sequence, limit=2) == old[2:]
        assert await kept.ended_before(moment, now=NOW, after=old[2].sequence, limit=2) == []

    async def test_pictures_are_added_up(self, store: JobStore, kept: KeptJobs) -> None:
        assert await kept.artifact_bytes(None) == 0
        for owner, size_bytes in (("a", 7), ("a", 2**40), ("b", 9)):
            job = await processing(store, owner=owner)
            await store.complete(job.id, 1, [replace(an_original(job), size_bytes=size_bytes)], [], NOW)
        assert await kept.artifact_bytes("a") == 7 + 2**40
        assert await kept.artifact_bytes(None) == 7 + 2**40 + 9
        assert await kept.artifact_bytes("nobody") == 0

    @pytest.mark.parametrize("at_once", [1, 2, 3, 7])
    async def test_pictures_of_many_jobs_are_added_up(
        self, store: JobStore, kept: KeptJobs, monkeypatch: pytest.MonkeyPatch, at_once: int
    ) -> None:
        # Given jobs of several priorities, turns and states, each with a picture
        for number in range(8):
            job = await processing(store, owner="a" if number % 4 else "b", priority=number % 3 - 1)
            picture = replace(an_original(job), size_bytes=10**number)
            if number in (2, 7):
                await store.generate(job.id, 1, [picture], [])
            else:
                await store.complete(job.id, 1, [picture], [], NOW)
            if number == 7:
                await store.fail(job.id, 1, LOST, NOW)
        # Then those of one are added up, however many at a time
        monkeypatch.setattr("danqing.store.kept_rows.SUMMED_AT_ONCE", at_once)
        assert await kept.artifact_bytes("a") == 11_101_110
        assert await kept.artifact_bytes("b") == 10_001

    async def test_pictures_that_jobs_start_from_are_named(self, store: JobStore, kept: KeptJobs) -> None:
        edit = a_request(mode=Mode.EDIT, input_images=(an_image("1"), an_image("2")), mask=an_image("3"))
        await store.add(a_job(owner="a", request=edit), NO_LIMIT)
        await store.add(a_job(owner="b", request=replace(edit, input_images=(an_image("4"),), mask=None)), NO_LIMIT)
        await store.add(a_job(owner="a"), NO_LIMIT)
        assert await kept.input_names("a") == {an_image(digit).name for digit in "123"}
        assert await kept.input_names(None) == {an_image(digit).name for digit in "1234"}

    async def test_a_job_that_is_about_to_go_is_not_joined(self, store: JobStore, kept: KeptJobs) -> None:
        job = await ended(store, days_ago=1, fingerprint="a")
        assert await store.find_equal("local", "a") == job
        await kept.begin_removal([job.id, "nobody"])
        assert await store.find_equal("local", "a") is None
        assert await store.get(job.id) == job

    async def test_those_that_ended_are_forgotten_with_all_that_hangs_on_them(
        self, store: JobStore, batches: BatchStore, kept: KeptJobs
    ) -> None:
        # Given a batch with one job that ended and one that failed, a batch of one, and a job that runs
        first = await ended(store, days_ago=1, batch_id="b")
        second = await processing(store, batch_id="b")
        alone = await processing(store)
        await store.complete(alone.id, 1, [an_original(alone), an_enlarged(alone)], [], NOW)
        await store.fail(second.id, 1, LOST, NOW)
        running = await processing(store)
        # When some are removed
        assert await kept.remove([first.id, alone.id, running.id, "nobody"]) == 2
        assert await kept.remove([first.id, alone.id]) == 0
        # Then they are gone, from the history too, and from the figures
        for job in (first, alone):
            with pytest.raises(JobNotFound):
                await store.get(job.id)
        with pytest.raises(BatchNotFound):
            await batches.batch(alone.batch_id, None)
        assert [job.id for job in (await batches.batch("b", None)).jobs] == [second.id]
        assert await store.get(running.id) == running
        counts = await store.counts()
        assert (counts[JobState.COMPLETED], counts[JobState.FAILED], counts[JobState.PROCESSING]) == (0, 1, 1)
        assert await kept.artifact_bytes(None) == 0
