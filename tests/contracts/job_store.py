"""What every JobStore must do. A test module has a `store` fixture and a subclass that names its class."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import ClassVar

import pytest

from danqing.core.errors import JobNotFound, QueueFull, StorageFailure
from danqing.core.ports import JobStore
from danqing.core.states import JobState
from danqing.core.types import Job, JobFailure
from tests.fakes.domain import LOST, NO_LIMIT, NOW, a_job, a_request, an_original, later

FATAL = JobFailure(code="out_of_memory", message="显存不足", retryable=False)
Outdated = Callable[[JobStore, str], Awaitable[Job | None]]


async def processing(store: JobStore, **changes: object) -> Job:
    """A job in its first attempt."""
    job = await store.claim((await store.add(a_job(**changes), NO_LIMIT)).id, "w1", later())
    assert job is not None
    return job


class JobStoreContract:
    """The suite."""

    implementation: ClassVar[type]

    def test_is_the_implementation_meant(self, store: JobStore) -> None:
        assert type(store) is self.implementation

    # Adding and reading

    async def test_a_stored_job_reads_back_as_it_was(self, store: JobStore) -> None:
        # Given a job with everything a client can put into it
        east = timezone(timedelta(hours=8))
        job = a_job(
            request=a_request(prompt="一只猫 🐈\n'; DROP TABLE jobs; --\u0000", seed=2**63 - 1, guidance_scale=3.5),
            created_at=datetime(2026, 11, 22, 15, 0, 0, 1, tzinfo=east),
            priority=-3,
            batch_id="批次",
            adjustments=("made at 128x128",),
        )
        # When it is stored and read
        added = await store.add(job, NO_LIMIT)
        read = await store.get(job.id)
        # Then nothing but its place in the order has been added, and its time is in UTC
        assert read == added
        assert (read.request, read.priority, read.batch_id) == (job.request, job.priority, job.batch_id)
        assert (read.adjustments, read.created_at) == (job.adjustments, job.created_at)
        assert read.created_at.utcoffset() == timedelta(0)
        assert (read.state, read.attempts, read.artifacts) == (JobState.PENDING, (), ())
        assert (read.started_at, read.finished_at, read.failure) == (None, None, None)

    async def test_sequences_grow_in_the_order_of_acceptance(self, store: JobStore) -> None:
        added = [await store.add(a_job(), NO_LIMIT) for _ in range(3)]
        together = await asyncio.gather(*(store.add(a_job(), NO_LIMIT) for _ in range(20)))
        sequences = [job.sequence for job in (*added, *together)]
        assert sequences == sorted(set(sequences))
        assert sequences[0] > 0

    async def test_an_unknown_job_is_not_found(self, store: JobStore) -> None:
        with pytest.raises(JobNotFound):
            await store.get("nobody")

    async def test_an_id_can_be_stored_once(self, store: JobStore) -> None:
        # Given a stored job
        first = await store.add(a_job(), NO_LIMIT)
        # When another of the same id comes, it fails
        with pytest.raises(StorageFailure):
            await store.add(a_job(id=first.id, priority=9), NO_LIMIT)
        # Then the first is as it was, and counted once
        assert await store.get(first.id) == first
        assert (await store.counts())[JobState.PENDING] == 1

    async def test_of_many_adds_exactly_as_many_are_taken_as_there_is_room(self, store: JobStore) -> None:
        # Given one pending job, and one that runs
        waiting = await store.add(a_job(), NO_LIMIT)
        await processing(store)
        # When sixty more come, in three waves, each before the one ahead is answered
        adds: list[asyncio.Future[Job]] = []
        for _ in range(3):
            adds += [asyncio.ensure_future(store.add(a_job(), 7)) for _ in range(20)]
            await asyncio.sleep(0)
        answers = await asyncio.gather(*adds, return_exceptions=True)
        # Then six are taken, the first ones, and the others are told that the queue is full
        assert [type(answer) for answer in answers] == [Job] * 6 + [QueueFull] * 54
        assert (await store.counts())[JobState.PENDING] == 7
        # And whoever leaves makes room for one
        await store.cancel(waiting.id, later())
        assert await store.add(a_job(), 7)
        with pytest.raises(QueueFull):
            await store.add(a_job(), 7)

    async def test_an_answered_add_does_not_count_twice(self, store: JobStore) -> None:
        # When jobs come one after the other, as each is answered, while others are under way
        async def one_after_the_other() -> list[Job]:
            return [await store.add(a_job(), 40) for _ in range(10)]

        jobs = await asyncio.gather(*(one_after_the_other() for _ in range(4)))
        # Then every place is filled
        assert sum(len(some) for some in jobs) == 40

    # Moves

    async def test_a_claim_begins_an_attempt(self, store: JobStore) -> None:
        added = await store.add(a_job(), NO_LIMIT)
        job = await store.claim(added.id, "w1", NOW)
        assert job is not None
        assert (job.state, job.started_at) == (JobState.PROCESSING, NOW)
        assert [(a.number, a.worker, a.started_at, a.ended_at) for a in job.attempts] == [(1, "w1", NOW, None)]
        assert await store.get(added.id) == job

    async def test_of_many_claims_one_wins(self, store: JobStore) -> None:
        # Given one pending job
        job = await store.add(a_job(), NO_LIMIT)
        # When forty workers claim it at once
        claims = await asyncio.gather(*(store.claim(job.id, f"w{n}", NOW) for n in range(40)))
        # Then one has it, and there is one attempt, its
        (winner,) = [claim for claim in claims if claim is not None]
        assert await store.get(job.id) == winner
        assert len(winner.attempts) == 1

    async def test_a_completed_job_has_its_picture(self, store: JobStore) -> None:
        # Given a running job that was adjusted when it was accepted
        job = await processing(store, adjustments=("scaled",))
        # When it is completed, with one adjustment more and one that it has
        done = await store.complete(job.id, 1, [an_original(job)], ["scaled", "cropped"], NOW)
        # Then everything is there
        assert done is not None
        assert (done.state, done.finished_at) == (JobState.COMPLETED, NOW)
        assert done.artifacts == (an_original(job),)
        assert done.adjustments == ("scaled", "cropped")
        assert (done.attempts[0].ended_at, done.attempts[0].failure) == (NOW, None)
        assert await store.get(job.id) == done

    async def test_a_job_given_back_waits_for_its_next_attempt(self, store: JobStore) -> None:
        job = await processing(store)
        back = await store.give_back(job.id, 1, LOST, NOW)
        assert back is not None
        assert (back.state, back.started_at, back.finished_at, back.failure) == (JobState.PENDING, None, None, None)
        assert (back.attempts[0].ended_at, back.attempts[0].failure) == (NOW, LOST)
        assert await store.get(job.id) == back
        again = await store.claim(job.id, "w2", later())
        assert again is not None
        assert [(a.number, a.worker) for a in again.attempts] == [(1, "w1"), (2, "w2")]

    async def test_a_running_job_can_fail(self, store: JobStore) -> None:
        job = await processing(store)
        failed = await store.fail(job.id, 1, FATAL, NOW)
        assert failed is not None
        assert (failed.state, failed.failure, failed.finished_at) == (JobState.FAILED, FATAL, NOW)
        assert (failed.attempts[0].failure, failed.attempts[0].ended_at) == (FATAL, NOW)
        assert await store.get(job.id) == failed

    async def test_a_waiting_job_fails_with_attempt_0(self, store: JobStore) -> None:
        # Given a job that waits after a lost attempt, and one that runs
        waiting, running = await processing(store), await processing(store)
        await store.give_back(waiting.id, 1, LOST, later())
        # When both are failed with attempt 0
        failed = await store.fail(waiting.id, 0, FATAL, NOW)
        untouched = await store.fail(running.id, 0, FATAL, NOW)
        # Then only the waiting one has failed, and its old attempt keeps its own failure
        assert failed is not None
        assert (failed.state, failed.failure, failed.attempts[0].failure) == (JobState.FAILED, FATAL, LOST)
        assert untouched is None
        assert await store.get(running.id) == running

    async def test_a_waiting_job_can_be_cancelled(self, store: JobStore) -> None:
        job = await store.add(a_job(), NO_LIMIT)
        cancelled = await store.cancel(job.id, NOW)
        assert cancelled is not None
        assert (cancelled.state, cancelled.finished_at, cancelled.failure) == (JobState.CANCELLED, NOW, None)
        assert await store.claim(job.id, "w1", later()) is None
        assert await store.get(job.id) == cancelled

    async def test_a_running_job_can_be_cancelled(self, store: JobStore) -> None:
        # Given a running job
        job = await processing(store)
        # When it is cancelled, and its worker says that it is done all the same
        cancelled = await store.cancel(job.id, NOW)
        late = await store.complete(job.id, 1, [an_original(job)], [], later())
        # Then it stays cancelled, without a picture
        assert cancelled is not None
        assert (cancelled.state, cancelled.attempts[0].ended_at) == (JobState.CANCELLED, NOW)
        assert late is None
        assert await store.get(job.id) == cancelled
        assert cancelled.artifacts == ()

    @pytest.mark.parametrize(
        "call",
        [
            lambda store, job_id: store.complete(job_id, 1, [], ["late"], later()),
            lambda store, job_id: store.fail(job_id, 1, FATAL, later()),
            lambda store, job_id: store.give_back(job_id, 1, LOST, later()),
            lambda store, job_id: store.complete(job_id, 3, [], [], later()),
        ],
        ids=["complete", "fail", "give_back", "attempt_of_the_future"],
    )
    async def test_an_outdated_attempt_changes_nothing(self, store: JobStore, call: Outdated) -> None:
        # Given a job in its second attempt
        job = await processing(store)
        await store.give_back(job.id, 1, LOST, later())
        second = await store.claim(job.id, "w2", later())
        counts = dict(await store.counts())
        # When a worker speaks of another attempt
        answer = await call(store, job.id)
        # Then nothing has changed
        assert answer is None
        assert await store.get(job.id) == second
        assert dict(await store.counts()) == counts

    async def test_an_ended_job_moves_no_more(self, store: JobStore) -> None:
        job = await processing(store)
        done = await store.complete(job.id, 1, [an_original(job)], [], later())
        assert await store.claim(job.id, "w2", later()) is None
        assert await store.complete(job.id, 1, [], [], later()) is None
        assert await store.give_back(job.id, 1, LOST, later()) is None
        assert await store.fail(job.id, 1, FATAL, later()) is None
        assert await store.fail(job.id, 0, FATAL, later()) is None
        assert await store.cancel(job.id, later()) is None
        assert await store.get(job.id) == done

    async def test_moves_of_an_unknown_job_answer_none(self, store: JobStore) -> None:
        assert await store.claim("nobody", "w1", NOW) is None
        assert await store.complete("nobody", 1, [], ["x"], NOW) is None
        assert await store.give_back("nobody", 1, LOST, NOW) is None
        assert await store.fail("nobody", 0, FATAL, NOW) is None
        assert await store.cancel("nobody", NOW) is None

    async def test_every_move_makes_a_job_older(self, store: JobStore) -> None:
        # Given a job that is lost once and then completed
        job = await store.add(a_job(), NO_LIMIT)
        readings = [
            job,
            await store.claim(job.id, "w1", later()),
            await store.give_back(job.id, 1, LOST, later()),
            await store.claim(job.id, "w2", later()),
            await store.complete(job.id, 2, [an_original(job)], [], later()),
        ]
        # Then of any two readings the later one is known
        ages = [reading.age for reading in readings if reading is not None]
        assert len(ages) == len(readings)
        assert all(earlier < after for earlier, after in itertools.pairwise(ages))

    # Lists and figures

    async def test_counts_follow_every_move(self, store: JobStore) -> None:
        assert dict(await store.counts()) == dict.fromkeys(JobState, 0)
        # Given a job in each state that the store makes
        await store.add(a_job(), NO_LIMIT)
        await processing(store)
        completed, failed, cancelled, back = [await processing(store) for _ in range(4)]
        await store.complete(completed.id, 1, [], [], later())
        await store.fail(failed.id, 1, FATAL, later())
        await store.cancel(cancelled.id, later())
        await store.give_back(back.id, 1, LOST, later())
        # Then each is counted where it is
        assert dict(await store.counts()) == {
            JobState.PENDING: 2,
            JobState.PROCESSING: 1,
            JobState.GENERATED: 0,
            JobState.COMPLETED: 1,
            JobState.FAILED: 1,
            JobState.CANCELLED: 1,
        }

    async def test_jobs_are_taken_by_priority_and_then_in_order(self, store: JobStore) -> None:
        # Given jobs of mixed priorities, one of them given back, one running, some ended
        low, first, high, second = [await store.add(a_job(priority=p), NO_LIMIT) for p in (-1, 0, 5, 0)]
        await store.claim(first.id, "w1", later())
        await store.give_back(first.id, 1, LOST, later())
        running = await processing(store, priority=7)
        ended = await processing(store, priority=9)
        await store.complete(ended.id, 1, [], [], later())
        # Then the unfinished ones come in the order of taking, as they are
        unfinished = await store.unfinished()
        assert [job.id for job in unfinished] == [job.id for job in (running, high, first, second, low)]
        assert [job for job in unfinished] == [await store.get(job.id) for job in unfinished]
        # And each knows how many waiting ones are before it
        assert [await store.waiting_before(job) for job in (high, first, second, low)] == [0, 1, 2, 3]

    async def test_an_equal_job_is_the_owners_newest_that_is_of_use(self, store: JobStore) -> None:
        # Given equal jobs in all states, and strangers
        done = await processing(store, fingerprint="a")
        done = await store.complete(done.id, 1, [an_original(done)], [], later())
        failed, cancelled = await processing(store, fingerprint="a"), await processing(store, fingerprint="a")
        await store.fail(failed.id, 1, FATAL, later())
        await store.cancel(cancelled.id, later())
        await store.add(a_job(fingerprint="a", owner="somebody else"), NO_LIMIT)
        await store.add(a_job(fingerprint="b"), NO_LIMIT)
        # Then the completed one is found, and a newer one under way instead of it
        assert await store.find_equal("local", "a") == done
        newer = await processing(store, fingerprint="a")
        assert await store.find_equal("local", "a") == newer
        assert await store.find_equal("local", "c") is None

    async def test_a_completed_job_without_a_picture_is_of_no_use(self, store: JobStore) -> None:
        done = await processing(store, fingerprint="a")
        await store.complete(done.id, 1, [], [], later())
        assert await store.find_equal("local", "a") is None

    async def test_of_equal_adds_at_once_one_is_stored_and_the_others_join_it(self, store: JobStore) -> None:
        # Given room for one job
        jobs = [a_job(fingerprint="a") for _ in range(10)]
        # When equal ones come at once
        answers = await asyncio.gather(*(store.add(job, 1, join_equal=True) for job in jobs))
        # Then the first is stored, and is everybody's answer
        assert {answer.id for answer in answers} == {jobs[0].id}
        assert await store.get(jobs[0].id) == answers[-1]
        assert (await store.counts())[JobState.PENDING] == 1
        # And another owner's is not
        with pytest.raises(QueueFull):
            await store.add(a_job(fingerprint="a", owner="somebody else"), 1, join_equal=True)

    async def test_jobs_that_may_have_left_a_picture_without_a_row(self, store: JobStore) -> None:
        # Given jobs that were attempted and have no picture, in every state, a completed one, and a fresh one
        running, back, failed, cancelled, completed = [await processing(store) for _ in range(5)]
        await store.give_back(back.id, 1, LOST, later())
        await store.fail(failed.id, 1, FATAL, later())
        await store.cancel(cancelled.id, later())
        await store.complete(completed.id, 1, [an_original(completed)], [], later())
        await store.add(a_job(), NO_LIMIT)
        # Then the first four are told
        assert await store.without_artifacts() == {job.id for job in (running, back, failed, cancelled)}

    async def test_times_come_back_in_utc(self, store: JobStore) -> None:
        east = timezone(timedelta(hours=8))
        job = await store.add(a_job(), NO_LIMIT)
        claimed = await store.claim(job.id, "w1", NOW.astimezone(east))
        assert claimed is not None
        read = await store.get(job.id)
        assert (read.started_at, read.attempts[0].started_at) == (NOW, NOW)
        assert read.started_at is not None
        assert read.started_at.tzinfo is UTC
