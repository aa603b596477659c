"""What every BatchStore must do. A test module has the fixtures `store` (a JobStore) and `batches` over one data."""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import ClassVar

import pytest

from danqing.core.batches import MAX_BATCH_JOBS, Batch, BatchFilter, BatchState
from danqing.core.errors import BatchFull, BatchNotFound, QueueFull, StorageFailure
from danqing.core.ports import BatchStore, JobStore
from danqing.core.states import JobState
from danqing.core.submitting import Join
from danqing.core.types import GenerationRequest, Job, Mode
from tests.contracts.job_store import FATAL, generated, processing
from tests.fakes.domain import NO_LIMIT, NOW, a_job, a_request, an_enlarged, an_original, later


def ids(jobs: tuple[Job, ...]) -> list[str]:
    return [job.id for job in jobs]


async def shown(batches: BatchStore, owner: str | None = "local") -> list[str]:
    """The ids of the newest batches."""
    return [batch.id for batch in await batches.batches(owner, limit=100, offset=0)]


class BatchStoreContract:
    """The suite."""

    implementation: ClassVar[type]

    def test_is_the_implementation_meant(self, batches: BatchStore) -> None:
        assert type(batches) is self.implementation

    # Joining

    async def test_a_job_that_came_alone_is_a_batch(self, store: JobStore, batches: BatchStore) -> None:
        job = await store.add(a_job(created_at=NOW), NO_LIMIT)
        batch = Batch(id=job.batch_id, owner="local", created_at=NOW, size=1, jobs=(job,))
        assert await batches.batch(job.batch_id, "local") == batch
        assert await batches.batches("local", limit=10, offset=0) == [batch]

    async def test_jobs_of_one_batch_that_come_at_once_make_one(self, store: JobStore, batches: BatchStore) -> None:
        # Given forty jobs of one batch, sent all at once and out of order
        jobs = [a_job(batch_id="一批", batch_index=index) for index in range(40)]
        await asyncio.gather(*(store.add(job, NO_LIMIT, batch_size=40) for job in (*jobs[20:], *jobs[:20])))
        # Then there is one batch with all, in its own order
        (batch,) = await batches.batches(None, limit=10, offset=0)
        assert (batch.id, batch.size, ids(batch.jobs)) == ("一批", 40, ids(tuple(jobs)))
        assert batch.created_at == jobs[20].created_at
        assert batch == await batches.batch("一批", "local")

    async def test_jobs_of_one_index_come_by_acceptance(self, store: JobStore, batches: BatchStore) -> None:
        jobs = [await store.add(a_job(batch_id="b"), NO_LIMIT) for _ in range(3)]
        assert (await batches.batch("b", "local")).jobs == tuple(jobs)

    async def test_a_batch_is_as_large_as_announced_or_as_what_came(self, store: JobStore, batches: BatchStore) -> None:
        async def size_after(index: int, announced: int) -> int:
            await store.add(a_job(batch_id="b", batch_index=index), NO_LIMIT, batch_size=announced)
            return (await batches.batch("b", "local")).size

        # Given a batch announced as one of two, then as one of four: the larger number counts
        assert await size_after(0, 2) == 2
        assert await size_after(0, 4) == 4
        assert await size_after(1, 2) == 4
        # When more come than announced, then it grows by them, whatever their indexes are
        assert [await size_after(7, 2) for _ in range(3)] == [4, 5, 6]
        # And the first one's index does not count either
        await store.add(a_job(batch_id="c", batch_index=4), NO_LIMIT, batch_size=3)
        assert (await batches.batch("c", "local")).size == 3

    async def test_jobs_that_were_joined_do_not_count_in_a_batch(self, store: JobStore, batches: BatchStore) -> None:
        # Given two of three announced jobs that equal ones under way
        there = [await store.add(a_job(fingerprint=name), NO_LIMIT) for name in "ab"]
        three = [a_job(fingerprint=name, batch_id="b", batch_index=index) for index, name in enumerate("axb")]
        added = await store.add_all(three, NO_LIMIT, batch_sizes=[3] * 3, join=Join.UNDER_WAY)
        assert [job.id for job in added] == [there[0].id, three[1].id, there[1].id]
        # Then nobody waits for more than the third
        assert ((await batches.batch("b", "local")).size, await shown(batches)) == (
            1,
            ["b", there[1].batch_id, there[0].batch_id],
        )

    async def test_a_batch_takes_as_many_as_there_is_room_for(self, store: JobStore, batches: BatchStore) -> None:
        # Given a batch with room for three
        most = MAX_BATCH_JOBS - 3
        there = await store.add_all([a_job(batch_id="b") for _ in range(most)], NO_LIMIT, batch_sizes=[1] * most)
        for fingerprint in "xy":
            await store.add(a_job(fingerprint=fingerprint), NO_LIMIT)
        # When four come that belong together, then none of them is taken
        with pytest.raises(BatchFull):
            await store.add_all([a_job(batch_id="b") for _ in range(4)], NO_LIMIT, batch_sizes=[4] * 4)
        assert (await store.counts())[JobState.PENDING] == most + 2
        # But three are, with two that are there already, and count nowhere
        five = [a_job(batch_id="b", fingerprint=fingerprint) for fingerprint in "axbyc"]
        assert len(await store.add_all(five, NO_LIMIT, batch_sizes=[5] * 5, join=Join.UNDER_WAY)) == 5
        assert len((await batches.batch("b", "local")).jobs) == MAX_BATCH_JOBS
        # And then it is full, for its owner alone
        with pytest.raises(BatchFull, match="1,000") as caught:
            await store.add(a_job(batch_id="b"), NO_LIMIT)
        assert caught.value.parameter == "batch_id"
        await store.add(a_job(batch_id="b", owner="another"), NO_LIMIT)
        await store.add(a_job(batch_id="c"), NO_LIMIT)
        # What is one of its jobs already, or was taken out of the history, does not count
        assert await store.add(five[0], NO_LIMIT, join=Join.UNDER_WAY) == await store.get(five[0].id)
        await batches.forget("b", "local")
        await store.add(a_job(batch_id="b"), NO_LIMIT)
        assert len((await batches.batch("b", "local")).jobs) == 1
        assert await store.get(there[0].id)

    async def test_of_jobs_that_come_at_once_a_batch_takes_as_many_as_it_has_room_for(
        self, store: JobStore, batches: BatchStore
    ) -> None:
        most = MAX_BATCH_JOBS - 5
        await store.add_all([a_job(batch_id="b") for _ in range(most)], NO_LIMIT, batch_sizes=[1] * most)
        adds = [store.add(a_job(batch_id="b"), NO_LIMIT) for _ in range(20)]
        answers = await asyncio.gather(*adds, return_exceptions=True)
        assert Counter(type(answer) for answer in answers) == {Job: 5, BatchFull: 15}
        assert len((await batches.batch("b", "local")).jobs) == MAX_BATCH_JOBS

    async def test_what_is_not_stored_makes_no_batch(self, store: JobStore, batches: BatchStore) -> None:
        # Given a stored job that others are equal to, and no room for more
        first = await store.add(a_job(fingerprint="a"), 1)
        # When one joins it, one is refused, and one fails
        assert await store.add(a_job(fingerprint="a"), NO_LIMIT, join=Join.ALSO_DONE) == first
        with pytest.raises(QueueFull):
            await store.add(a_job(), 1)
        with pytest.raises(StorageFailure):
            await store.add(a_job(id=first.id, batch_id="other"), NO_LIMIT)
        # Then the history shows the first alone
        assert await shown(batches) == [first.batch_id]

    # Reading

    async def test_a_batch_shows_its_jobs_as_they_are(self, store: JobStore, batches: BatchStore) -> None:
        # Given a batch with jobs of many fates
        _, done, failed = [await processing(store, batch_id="b", batch_index=index) for index in range(3)]
        await store.add(a_job(batch_id="b", batch_index=3), NO_LIMIT)
        further = await generated(store, batch_id="b", batch_index=4)
        await store.complete(done.id, 1, [an_original(done), an_enlarged(done)], ["cut"], later())
        await store.fail(failed.id, 1, FATAL, later())
        await store.complete(further.id, 1, [an_enlarged(further)], [], later())
        # Then each is shown with its pictures, attempts and failure
        batch = await batches.batch("b", "local")
        assert list(batch.jobs) == [await store.get(job.id) for job in batch.jobs]
        assert [len(job.artifacts) for job in batch.jobs] == [0, 2, 0, 0, 2]
        assert batch.jobs[2].failure == FATAL
        assert batch.state_at(NOW) is BatchState.RUNNING
        assert await batches.batches(None, limit=1, offset=0) == [batch]

    async def test_batches_come_newest_first_by_their_first_job(self, store: JobStore, batches: BatchStore) -> None:
        # Given batches, the first of which gets another job at the end, and a clock that went back
        for name in ("a", "b", "c", "a"):
            await store.add(a_job(batch_id=name), NO_LIMIT)
        await store.add(a_job(batch_id="d", created_at=NOW - timedelta(days=1)), NO_LIMIT)
        # Then it keeps its place
        assert await shown(batches) == ["d", "c", "b", "a"]

    async def test_pages_follow_one_another(self, store: JobStore, batches: BatchStore) -> None:
        # Given seven batches of two owners
        for number in range(7):
            await store.add(a_job(batch_id=str(number), owner="x" if number % 3 else "y"), NO_LIMIT)

        async def page(owner: str | None, limit: int, offset: int) -> str:
            return "".join(batch.id for batch in await batches.batches(owner, limit=limit, offset=offset))

        # Then pages hold what belongs there, of one owner or of all
        assert [await page(None, 3, offset) for offset in (0, 3, 6, 9)] == ["654", "321", "0", ""]
        assert [await page("x", 3, offset) for offset in (0, 3, 2**70)] == ["542", "1", ""]
        assert await page("y", 100, 0) == "630"
        assert await page("nobody", 100, 0) == ""
        assert await page(None, 0, 0) == ""

    async def test_large_batches_on_a_large_page(self, store: JobStore, batches: BatchStore) -> None:
        # Given more jobs than a statement may have parameters at a time, in many batches and in one
        await asyncio.gather(*(store.add(a_job(), NO_LIMIT) for _ in range(700)))
        await asyncio.gather(*(store.add(a_job(batch_id="large", batch_index=n), NO_LIMIT) for n in range(700)))
        # Then all are read
        page = await batches.batches(None, limit=1000, offset=0)
        assert [len(batch.jobs) for batch in page] == [700] + [1] * 700
        assert [job.batch_index for job in page[0].jobs] == list(range(700))
        assert await batches.batches(None, limit=1000, offset=0, wanted=BatchFilter(promising=True)) == page

    async def test_batches_are_found_by_what_their_jobs_are(self, store: JobStore, batches: BatchStore) -> None:
        # Given batches of several prompts, models and modes, one of which failed
        def wish(prompt: str, **others: object) -> GenerationRequest:
            return a_request(prompt=prompt, **others)

        for name, request in {
            "cat": wish("A red CAT, 100% fluffy"),
            "dog": wish("a red dog", model="other"),
            "cake": wish("an Éclair, 蛋糕"),
            "edit": wish("make the cat blue", mode=Mode.EDIT),
            "failed": wish("a red cat that never was"),
        }.items():
            await store.add(a_job(batch_id=name, request=request), NO_LIMIT)
        (failed,) = (await batches.batch("failed", None)).jobs
        await store.fail(failed.id, 0, FATAL, later())

        async def found(*words: str, limit: int = 100, offset: int = 0, **others: object) -> list[str]:
            wanted = BatchFilter(words=words, **others)  # pyright: ignore[reportArgumentType]
            page = await batches.batches(None, limit=limit, offset=offset, wanted=wanted)
            return [batch.id for batch in page]

        # Then each is found by words in any order and case, by model, by mode, and by whether something may come of it
        assert await found("cat") == ["failed", "edit", "cat"]
        assert await found("FLUFFY", "red") == ["cat"]
        assert await found("cat", promising=True) == ["edit", "cat"]
        assert await found(model="other") == ["dog"]
        assert await found(mode=Mode.EDIT) == ["edit"]
        assert (await found("Éclair"), await found("éclair"), await found("蛋糕", "AN")) == (["cake"], [], ["cake"])
        # And what a database takes for a pattern is text
        assert (await found("0%"), await found("r_d"), await found("%%")) == (["cat"], [], [])
        # And pages are of what is found
        assert await found("cat", limit=1, offset=1) == ["edit"]

    async def test_an_owner_sees_his_own_batches_only(self, store: JobStore, batches: BatchStore) -> None:
        # Given two owners with batches of one id
        theirs = await store.add(a_job(owner="they", batch_id="b"), NO_LIMIT)
        mine = await store.add(a_job(owner="me", batch_id="b"), NO_LIMIT)
        # Then each sees his, who sees all the newest, and others none
        assert (await batches.batch("b", "they")).jobs == (theirs,)
        assert (await batches.batch("b", "me")).jobs == (mine,)
        assert await batches.batch("b", None) == await batches.batch("b", "me")
        with pytest.raises(BatchNotFound):
            await batches.batch("b", "nobody")
        with pytest.raises(BatchNotFound):
            await batches.batch("c", None)

    # Forgetting

    async def test_a_forgotten_batch_is_not_shown_and_its_jobs_go_on(
        self, store: JobStore, batches: BatchStore
    ) -> None:
        # Given two batches
        job = await processing(store, batch_id="b")
        await store.add(a_job(batch_id="c"), NO_LIMIT)
        # When one is forgotten
        await batches.forget("b", "local")
        # Then it is not there any more, and cannot be forgotten again
        assert await shown(batches) == ["c"]
        for call in (batches.batch, batches.forget):
            with pytest.raises(BatchNotFound):
                await call("b", "local")
        # And its job is made as if nothing had happened
        done = await store.complete(job.id, 1, [an_original(job)], [], later())
        assert done is not None
        assert await store.get(job.id) == done
        assert await store.with_fingerprint(job.fingerprint[:8], None) != []
        assert await shown(batches) == ["c"]

    async def test_a_batch_begun_again_shows_the_later_jobs_only(self, store: JobStore, batches: BatchStore) -> None:
        # Given a batch that was forgotten
        for index in range(3):
            await store.add(a_job(batch_id="b", batch_index=index), NO_LIMIT, batch_size=3)
        await store.add(a_job(batch_id="c"), NO_LIMIT)
        await batches.forget("b", "local")
        # When later jobs join its id
        later_ones = [await store.add(a_job(batch_id="b"), NO_LIMIT, batch_size=1) for _ in range(2)]
        # Then it is a new batch, of these
        again = await batches.batch("b", "local")
        assert (again.jobs, again.size) == (tuple(later_ones), 2)
        assert again.created_at == later_ones[0].created_at
        assert await shown(batches) == ["b", "c"]

    async def test_who_has_a_batch_of_an_id(self, store: JobStore, batches: BatchStore) -> None:
        for owner in ("a", "b"):
            await store.add(a_job(owner=owner, batch_id="same"), NO_LIMIT)
        assert sorted(await batches.owners("same")) == ["a", "b"]
        await batches.forget("same", "a")
        assert list(await batches.owners("same")) == ["b"]
        assert list(await batches.owners("nobody's")) == []

    async def test_an_owner_forgets_his_own_batch_only(self, store: JobStore, batches: BatchStore) -> None:
        # Given three owners with batches of one id
        for owner in ("x", "y", "z"):
            await store.add(a_job(owner=owner, batch_id="b"), NO_LIMIT)
        # When a stranger, one of them, and who may see all forget it
        with pytest.raises(BatchNotFound):
            await batches.forget("b", "stranger")
        await batches.forget("b", "x")
        await batches.forget("b", None)
        # Then the owner's own is gone, and the newest
        assert [batch.owner for batch in await batches.batches(None, limit=9, offset=0)] == ["y"]
