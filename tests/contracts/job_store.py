"""What every JobStore must do. A test module has a `store` fixture and a subclass that names its class."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, ClassVar, Protocol

import pytest

from danqing.core.errors import JobNotFound, QueueFull, StorageFailure, SubmitKeyReused, TooManyJobs
from danqing.core.fairness import order_of_taking, work_of
from danqing.core.images import ImageRef
from danqing.core.ports import JobStore
from danqing.core.shared_store import JobAges
from danqing.core.states import JobState
from danqing.core.submitting import Join, SubmitKey
from danqing.core.types import ArtifactKind, Job, JobFailure, Lora, Mode
from tests.fakes.domain import LOST, NO_LIMIT, NOW, a_job, a_request, an_enlarged, an_original, later
from tests.fakes.fairness import turn_among

KEY = SubmitKey(text="a key", digest="0" * 64, lifetime=timedelta(hours=1))
EAST = timezone(timedelta(hours=8))
FATAL = JobFailure(code="out_of_memory", message="显存不足", retryable=False)
Outdated = Callable[[JobStore, str], Awaitable[Job | None]]


class StoredJobs(JobStore, JobAges, Protocol):
    """The jobs, also for who only looks how far they have come."""


async def processing(store: JobStore, **changes: object) -> Job:
    """A job in its first attempt."""
    job = await store.claim((await store.add(a_job(**changes), NO_LIMIT)).id, "w1", later())
    assert job is not None
    return job


async def generated(store: JobStore, **changes: object) -> Job:
    """A job in its first attempt whose original is stored."""
    job = await processing(store, **changes)
    job = await store.generate(job.id, 1, [an_original(job)], [])
    assert job is not None
    return job


def an_image(digit: str, **changes: Any) -> ImageRef:  # noqa: ANN401 - fields of the dataclass
    """A picture sent in."""
    return replace(ImageRef(name=f"input-{digit * 64}.png", width=640, height=480), **changes)


class JobStoreContract:
    """The suite."""

    implementation: ClassVar[type]

    def test_is_the_implementation_meant(self, store: JobStore) -> None:
        assert type(store) is self.implementation

    # Adding and reading

    async def test_several_jobs_are_added_all_or_none(self, store: JobStore) -> None:
        # Given room for three
        jobs = [a_job(batch_id="b", batch_index=index) for index in range(4)]
        with pytest.raises(QueueFull):
            await store.add_all(jobs, 3, batch_sizes=[4] * 4)
        # Then of four none is there, and of three all, in their order
        assert await store.unfinished() == []
        added = await store.add_all(jobs[:3], 3, batch_sizes=[4] * 3)
        assert [job.id for job in added] == [job.id for job in jobs[:3]]
        assert await store.unfinished() == added
        assert (await store.counts())[JobState.PENDING] == 3
        with pytest.raises(QueueFull):
            await store.add(jobs[3], 3)

    async def test_a_stored_job_reads_back_as_it_was(self, store: JobStore) -> None:
        # Given a job with everything a client can put into it
        job = a_job(
            request=a_request(prompt="一只猫 🐈\n'; DROP TABLE jobs; --\u0000", seed=2**63 - 1, guidance_scale=3.5),
            created_at=datetime(2026, 11, 22, 15, 0, 0, 1, tzinfo=EAST),
            priority=-3,
            batch_id="批次",
            batch_index=3,
            metadata={"标题": "披萨 🍕", "nested": {"list": [1, 2.5, None, True, "\u0000"]}},
            adjustments=("made at 128x128",),
        )
        # When it is stored and read
        added = await store.add(job, NO_LIMIT)
        read = await store.get(job.id)
        # Then nothing but its place in the order has been added, and its time is in UTC
        assert read == added
        assert read == replace(job, turn=read.turn, sequence=read.sequence)
        assert (read.adjustments, read.created_at) == (job.adjustments, job.created_at)
        assert read.created_at.utcoffset() == timedelta(0)
        assert (read.state, read.attempts, read.artifacts) == (JobState.PENDING, (), ())
        assert (read.started_at, read.finished_at, read.failure) == (None, None, None)

    async def test_a_request_reads_back_with_the_pictures_that_it_starts_from(self, store: JobStore) -> None:
        # Given a request that uses every field
        request = a_request(
            mode=Mode.EDIT,
            strength=0.75,
            input_images=(an_image("1"), an_image("2", has_alpha=True)),
            mask=an_image("3", has_alpha=True),
            control_image=an_image("4", width=1),
            cfg_normalization=0.5,
            cfg_truncation=1.0,
            max_sequence_length=512,
            control_preprocess="canny",
            controlnet_conditioning_scale=0.75,
            loras=(Lora(name="墨 ink", scale=-0.5), Lora(name="oil")),
            further=(ArtifactKind.PREVIEW, ArtifactKind.UPSCALED),
        )
        # When its job is stored, then it is what is read, type by type
        await store.add(job := a_job(request=request), NO_LIMIT)
        read = (await store.get(job.id)).request
        assert read == request
        assert repr(read) == repr(request)
        assert [job.request for job in await store.unfinished()] == [request]

    @pytest.mark.parametrize("value", [float("nan"), object(), b"bytes"], ids=["nan", "object", "bytes"])
    async def test_metadata_that_are_no_json_are_not_stored(self, store: JobStore, value: object) -> None:
        with pytest.raises(StorageFailure):
            await store.add(a_job(metadata={"value": value}), NO_LIMIT)
        assert await store.unfinished() == []

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

    async def test_a_generated_job_has_its_original_and_runs_on(self, store: JobStore) -> None:
        # Given a running job that was adjusted when it was accepted
        job = await processing(store, adjustments=("scaled",))
        # When its original is there
        made = await store.generate(job.id, 1, [an_original(job)], ["scaled", "cut"])
        # Then its attempt goes on
        assert made is not None
        assert (made.state, made.started_at, made.finished_at) == (JobState.GENERATED, job.started_at, None)
        assert (made.artifacts, made.original) == ((an_original(job),), an_original(job))
        assert made.adjustments == ("scaled", "cut")
        assert made.attempts == job.attempts
        assert await store.get(job.id) == made
        # And it cannot be cancelled, claimed or generated any more
        assert await store.cancel(job.id, later()) is None
        assert await store.claim(job.id, "w2", later()) is None
        assert await store.generate(job.id, 1, [an_enlarged(job)], ["more"]) is None
        assert await store.fail(job.id, 0, FATAL, later()) is None
        assert await store.get(job.id) == made

    async def test_a_generated_job_is_completed_with_what_was_made_further(self, store: JobStore) -> None:
        # Given a job whose original is stored
        job = await processing(store)
        await store.generate(job.id, 1, [an_original(job)], ["cut"])
        # When the rest is there, too
        done = await store.complete(job.id, 1, [an_enlarged(job)], ["cut", "drawn"], NOW)
        # Then it has all
        assert done is not None
        assert (done.state, done.finished_at, done.adjustments) == (JobState.COMPLETED, NOW, ("cut", "drawn"))
        assert done.artifacts == (an_original(job), an_enlarged(job))
        assert (done.attempts[0].ended_at, done.attempts[0].failure) == (NOW, None)
        assert await store.get(job.id) == done

    async def test_a_picture_told_twice_changes_nothing(self, store: JobStore) -> None:
        job = await generated(store)
        with pytest.raises(StorageFailure):
            await store.complete(job.id, 1, [an_enlarged(job), an_original(job)], [], later())
        assert await store.get(job.id) == job
        assert (await store.counts())[JobState.GENERATED] == 1

    async def test_a_generated_job_given_back_begins_anew(self, store: JobStore) -> None:
        # Given a job whose worker was lost after its original was stored
        job = await generated(store)
        back = await store.give_back(job.id, 1, LOST, NOW)
        # Then it waits, without a picture
        assert back is not None
        assert (back.state, back.artifacts, back.started_at) == (JobState.PENDING, (), None)
        assert (back.attempts[0].ended_at, back.attempts[0].failure) == (NOW, LOST)
        assert await store.get(job.id) == back
        # And the next attempt makes pictures of the same names
        await store.claim(job.id, "w2", later())
        await store.generate(job.id, 2, [an_original(job)], [])
        done = await store.complete(job.id, 2, [an_enlarged(job)], [], later())
        assert done is not None
        assert done.artifacts == (an_original(job), an_enlarged(job))

    async def test_a_generated_job_that_fails_keeps_its_picture(self, store: JobStore) -> None:
        job = await generated(store)
        failed = await store.fail(job.id, 1, FATAL, NOW)
        assert failed is not None
        assert (failed.state, failed.failure, failed.finished_at) == (JobState.FAILED, FATAL, NOW)
        assert failed.artifacts == (an_original(job),)
        assert failed.attempts[0].failure == FATAL
        assert await store.get(job.id) == failed

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

    @pytest.mark.parametrize("state", [JobState.PROCESSING, JobState.GENERATED])
    @pytest.mark.parametrize(
        "call",
        [
            lambda store, job_id: store.generate(job_id, 1, [], ["late"]),
            lambda store, job_id: store.complete(job_id, 1, [], ["late"], later()),
            lambda store, job_id: store.fail(job_id, 1, FATAL, later()),
            lambda store, job_id: store.give_back(job_id, 1, LOST, later()),
            lambda store, job_id: store.complete(job_id, 3, [], [], later()),
        ],
        ids=["generate", "complete", "fail", "give_back", "attempt_of_the_future"],
    )
    async def test_an_outdated_attempt_changes_nothing(self, store: JobStore, call: Outdated, state: JobState) -> None:
        # Given a job in its second attempt
        job = await processing(store)
        await store.give_back(job.id, 1, LOST, later())
        second = await store.claim(job.id, "w2", later())
        if state is JobState.GENERATED:
            second = await store.generate(job.id, 2, [an_original(job)], [])
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
        assert await store.generate(job.id, 1, [], ["late"]) is None
        assert await store.complete(job.id, 1, [], [], later()) is None
        assert await store.give_back(job.id, 1, LOST, later()) is None
        assert await store.fail(job.id, 1, FATAL, later()) is None
        assert await store.fail(job.id, 0, FATAL, later()) is None
        assert await store.cancel(job.id, later()) is None
        assert await store.get(job.id) == done

    async def test_moves_of_an_unknown_job_answer_none(self, store: JobStore) -> None:
        assert await store.claim("nobody", "w1", NOW) is None
        assert await store.generate("nobody", 1, [], ["x"]) is None
        assert await store.complete("nobody", 1, [], ["x"], NOW) is None
        assert await store.give_back("nobody", 1, LOST, NOW) is None
        assert await store.fail("nobody", 0, FATAL, NOW) is None
        assert await store.cancel("nobody", NOW) is None

    async def test_every_move_makes_a_job_older(self, store: JobStore) -> None:
        # Given a job that is lost twice, once in each state of running, and then completed
        job = await store.add(a_job(), NO_LIMIT)
        readings = [
            job,
            await store.claim(job.id, "w1", later()),
            await store.give_back(job.id, 1, LOST, later()),
            await store.claim(job.id, "w2", later()),
            await store.generate(job.id, 2, [an_original(job)], []),
            await store.give_back(job.id, 2, LOST, later()),
            await store.claim(job.id, "w3", later()),
            await store.generate(job.id, 3, [an_original(job)], []),
            await store.complete(job.id, 3, [], [], later()),
        ]
        # Then of any two readings the later one is known
        ages = [reading.age for reading in readings if reading is not None]
        assert len(ages) == len(readings)
        assert all(earlier < after for earlier, after in itertools.pairwise(ages))

    async def test_ages_are_those_of_the_jobs(self, store: StoredJobs) -> None:
        # Given a job in each state, one of them after a lost attempt
        jobs = [await store.add(a_job(), NO_LIMIT), await processing(store), await generated(store)]
        ended = [await processing(store) for _ in range(3)]
        await store.complete(ended[0].id, 1, [], [], later())
        await store.fail(ended[1].id, 1, FATAL, later())
        await store.cancel(ended[2].id, later())
        back = await processing(store)
        await store.give_back(back.id, 1, LOST, later())
        jobs = [await store.get(job.id) for job in (*jobs, *ended, back)]
        # Then their ages are told, and nothing of what is unknown
        many = [f"nobody-{n}" for n in range(1200)]
        assert await store.ages([*many, *(job.id for job in jobs)]) == {job.id: job.age for job in jobs}
        assert await store.ages([]) == {}

    # Lists and figures

    async def test_counts_follow_every_move(self, store: JobStore) -> None:
        assert dict(await store.counts()) == dict.fromkeys(JobState, 0)
        # Given a job in each state, by every way that leads there
        await store.add(a_job(), NO_LIMIT)
        await processing(store)
        await generated(store)
        for begin in (processing, generated):
            completed, failed, back = [await begin(store) for _ in range(3)]
            await store.complete(completed.id, 1, [], [], later())
            await store.fail(failed.id, 1, FATAL, later())
            await store.give_back(back.id, 1, LOST, later())
        cancelled = await processing(store)
        await store.cancel(cancelled.id, later())
        # Then each is counted where it is
        assert dict(await store.counts()) == {
            JobState.PENDING: 3,
            JobState.PROCESSING: 1,
            JobState.GENERATED: 1,
            JobState.COMPLETED: 2,
            JobState.FAILED: 2,
            JobState.CANCELLED: 1,
        }
        # And those that have not ended can be asked for alone
        assert dict(await store.unfinished_counts()) == {
            JobState.PENDING: 3,
            JobState.PROCESSING: 1,
            JobState.GENERATED: 1,
        }

    async def test_jobs_are_taken_by_priority_and_then_in_order(self, store: JobStore) -> None:
        # Given jobs of mixed priorities, one of them given back, two running, some ended
        low, first, high, second = [await store.add(a_job(priority=p), NO_LIMIT) for p in (-1, 0, 5, 0)]
        await store.claim(first.id, "w1", later())
        await store.give_back(first.id, 1, LOST, later())
        running, making_more = await processing(store, priority=7), await generated(store, priority=6)
        ended = await processing(store, priority=9)
        await store.complete(ended.id, 1, [], [], later())
        # Then the unfinished ones come in the order of taking, as they are
        unfinished = await store.unfinished()
        assert [job.id for job in unfinished] == [job.id for job in (running, making_more, high, first, second, low)]
        assert [job for job in unfinished] == [await store.get(job.id) for job in unfinished]
        # And each knows how many waiting ones are before it
        assert [await store.waiting_before(job) for job in (high, first, second, low)] == [0, 1, 2, 3]

    async def test_far_back_in_the_line_its_place_is_told_roughly(self, store: JobStore) -> None:
        # Given a long line of two priorities
        jobs = [a_job(owner="a", priority=number % 3 // 2) for number in range(2400)]
        added = await store.add_all(jobs, NO_LIMIT, batch_sizes=[1] * len(jobs))
        line = sorted(added, key=order_of_taking)
        # Then up to a thousand before one are counted, and further ones are told within fifty
        for place in (0, 799, 800, 1000):
            assert await store.waiting_before(line[place]) == place
        told = [await store.waiting_before(line[place]) for place in range(1001, 2400, 7)]
        assert all(abs(one - place) <= 50 for one, place in zip(told, range(1001, 2400, 7), strict=True))
        assert told == sorted(told)
        # And who has just been told is told no more than a little else when one has gone
        await store.claim(line[0].id, "w1", later())
        assert await store.waiting_before(line[1000]) == 999
        assert abs(await store.waiting_before(line[2000]) - 2000) <= 50

    async def test_an_equal_job_is_the_owners_newest_that_is_of_use(self, store: JobStore) -> None:
        # Given equal jobs in all states, one failed though it has a picture, and strangers
        done = await processing(store, fingerprint="a")
        done = await store.complete(done.id, 1, [an_original(done)], [], later())
        failed, cancelled = await processing(store, fingerprint="a"), await processing(store, fingerprint="a")
        await store.fail(failed.id, 1, FATAL, later())
        await store.cancel(cancelled.id, later())
        not_enlarged = await generated(store, fingerprint="a")
        await store.fail(not_enlarged.id, 1, FATAL, later())
        await store.add(a_job(fingerprint="a", owner="somebody else"), NO_LIMIT)
        await store.add(a_job(fingerprint="b"), NO_LIMIT)
        # Then the completed one is found, and a newer one under way instead of it
        assert await store.find_equal("local", "a") == done
        for begin in (processing, generated):
            newer = await begin(store, fingerprint="a")
            assert await store.find_equal("local", "a") == newer
        assert await store.find_equal("local", "c") is None

    async def test_a_completed_job_without_a_picture_is_of_no_use(self, store: JobStore) -> None:
        done = await processing(store, fingerprint="a")
        await store.complete(done.id, 1, [], [], later())
        assert await store.find_equal("local", "a") is None

    async def test_jobs_are_found_by_the_beginning_of_their_fingerprint(self, store: JobStore) -> None:
        # Given jobs whose fingerprints agree in 8 digits, 9 digits, all 64, or not at all
        names = ["0123abcd" + "f" * 56, "0123abcd" + "0" * 56, "0123abcd0" + "f" * 55, "0123abcd" + "f" * 56]
        first, zeros, nine, equal = [await store.add(a_job(fingerprint=name), NO_LIMIT) for name in names]
        for other in ("0123abcc" + "f" * 56, "0123abce" + "0" * 56, "f" * 64):
            await store.add(a_job(fingerprint=other), NO_LIMIT)
        theirs = await generated(store, fingerprint=names[0], owner="somebody else")
        # Then those that begin so are found, newest first, of one owner or all, as they are
        assert await store.with_fingerprint("0123abcd", "local") == [equal, nine, zeros, first]
        assert await store.with_fingerprint("0123abcd", None) == [theirs, equal, nine, zeros, first]
        assert await store.with_fingerprint("0123abcd0", "local") == [nine, zeros]
        assert await store.with_fingerprint(names[0], "somebody else") == [theirs]
        assert await store.with_fingerprint("0123abcd1", None) == []
        assert await store.with_fingerprint("0123abcd", "nobody") == []

    async def test_of_many_jobs_of_a_fingerprint_the_newest_twenty_are_found(self, store: JobStore) -> None:
        jobs = [await store.add(a_job(fingerprint="a" * 64), NO_LIMIT) for _ in range(25)]
        assert await store.with_fingerprint("a" * 8, None) == jobs[:4:-1]

    async def test_of_equal_adds_at_once_one_is_stored_and_the_others_join_it(self, store: JobStore) -> None:
        # Given room for one job
        jobs = [a_job(fingerprint="a") for _ in range(10)]
        # When equal ones come at once
        answers = await asyncio.gather(*(store.add(job, 1, join=Join.ALSO_DONE) for job in jobs))
        # Then the first is stored, and is everybody's answer
        assert {answer.id for answer in answers} == {jobs[0].id}
        assert await store.get(jobs[0].id) == answers[-1]
        assert (await store.counts())[JobState.PENDING] == 1
        # And another owner's is not
        with pytest.raises(QueueFull):
            await store.add(a_job(fingerprint="a", owner="somebody else"), 1, join=Join.ALSO_DONE)

    async def test_the_names_of_artifacts_are_told_of_known_jobs_only(self, store: JobStore) -> None:
        # Given jobs with and without pictures, and one whose picture was given up with its attempt
        fresh = await store.add(a_job(), NO_LIMIT)
        completed, back = await processing(store), await generated(store)
        await store.complete(completed.id, 1, [an_original(completed), an_enlarged(completed)], [], later())
        await store.give_back(back.id, 1, LOST, later())
        # When some ids are asked for, one of which is nobody's, and then many
        names = await store.artifact_names([fresh.id, completed.id, back.id, "nobody"])
        # Then each job has the pictures that it has, and what is unknown is left out
        pictures = {an_original(completed).name, an_enlarged(completed).name}
        assert names == {fresh.id: frozenset(), completed.id: pictures, back.id: frozenset()}
        many = [f"nobody-{n}" for n in range(1200)]
        assert await store.artifact_names([*many, completed.id]) == {completed.id: pictures}

    async def test_what_is_noted_of_pictures_is_told_in_the_order_of_their_names(self, store: JobStore) -> None:
        # Given jobs with two pictures each, of which some are noted as missing
        jobs = [await processing(store) for _ in range(3)]
        for job in jobs:
            await store.complete(job.id, 1, [an_original(job), an_enlarged(job)], [], later())
        names = sorted(picture.name for job in jobs for picture in (an_original(job), an_enlarged(job)))
        noted = {name: number % 2 == 0 for number, name in enumerate(names)}
        await store.note_missing(noted)
        # Then all are told in order, some at a time, and between two names
        told = dict(await store.noted_missing(limit=4))
        assert list(told) == names[:4]
        told |= await store.noted_missing(after=names[3], limit=4)
        assert told == noted
        assert list(await store.noted_missing(after=names[0], before=names[3], limit=9)) == names[1:3]
        assert await store.noted_missing(after=names[-1], limit=9) == {}

    async def test_a_job_whose_picture_is_missing_is_not_joined_until_it_is_back(self, store: JobStore) -> None:
        # Given a completed job, of whose two pictures only one is there
        job = await processing(store)
        pictures = [an_original(job), an_enlarged(job)]
        await store.complete(job.id, 1, pictures, [], later())
        await store.note_missing({pictures[1].name: True, "nobody's.png": True})
        # Then it is the same job, but not found for an equal request
        assert (await store.get(job.id)).artifacts == tuple(sorted(pictures, key=lambda picture: picture.kind))
        assert await store.find_equal(job.owner, job.fingerprint) is None
        # And it is found again once everything is there
        await store.note_missing({picture.name: False for picture in pictures})
        found = await store.find_equal(job.owner, job.fingerprint)
        assert found is not None
        assert found.id == job.id

    async def test_times_come_back_in_utc(self, store: JobStore) -> None:
        job = await store.add(a_job(), NO_LIMIT)
        claimed = await store.claim(job.id, "w1", NOW.astimezone(EAST))
        assert claimed is not None
        read = await store.get(job.id)
        assert (read.started_at, read.attempts[0].started_at) == (NOW, NOW)
        assert read.started_at is not None
        assert read.started_at.tzinfo is UTC

    # Turns of owners

    async def test_owners_take_turns(self, store: JobStore) -> None:
        # Given an owner's jobs, of which the first runs, then another's, and one of another priority
        piled_up = [await store.add(a_job(owner="a"), NO_LIMIT) for _ in range(4)]
        await store.claim(piled_up[0].id, "w1", later())
        late = [await store.add(a_job(owner="b"), NO_LIMIT) for _ in range(2)]
        urgent = await store.add(a_job(owner="a", priority=1), NO_LIMIT)
        # Then they alternate, and each one's are in order
        order = [piled_up[0], urgent, piled_up[1], late[0], piled_up[2], late[1], piled_up[3]]
        assert [job.id for job in await store.unfinished()] == [
            job.id for job in sorted(order, key=lambda job: (-job.priority, order.index(job)))
        ]
        assert [await store.waiting_before(job) for job in order[1:]] == [0, 1, 2, 3, 4, 5]
        # And a job keeps its turn, whatever happens to it
        await store.give_back(piled_up[0].id, 1, LOST, later())
        assert (await store.get(piled_up[0].id)).turn == piled_up[0].turn
        assert await store.waiting_before(piled_up[0]) == 1

    async def test_a_job_that_was_lost_twice_lets_those_go_first_that_wait(self, store: JobStore) -> None:
        # Given an owner's job that was lost once, others' jobs, and one of another priority
        suspect = await processing(store, owner="a")
        others = [
            await store.add(a_job(owner=owner, priority=p), NO_LIMIT) for owner, p in (("a", 0), ("b", 0), ("b", -1))
        ]
        await store.give_back(suspect.id, 1, LOST, later())
        assert await store.waiting_before(await store.get(suspect.id)) == 0
        # When it is lost again, then it is behind those of its priority
        await store.claim(suspect.id, "w2", later())
        back = await store.give_back(suspect.id, 2, LOST, later())
        assert back is not None
        assert await store.get(suspect.id) == back
        assert [job.id for job in await store.unfinished()] == [
            job.id for job in (*sorted(others[:2], key=order_of_taking), suspect, others[2])
        ]
        # And what its owner submits then is not behind it for that
        new = await store.add(a_job(owner="a"), NO_LIMIT)
        assert new.turn == turn_among([back, *others], new)
        assert new.turn < back.turn + work_of(new.request)

    async def test_turns_are_those_of_the_core(self, store: JobStore) -> None:
        # Given jobs of different work, owners and priorities, of which some run, some have ended
        stored: list[Job] = []
        for number in range(16):
            request = a_request(num_inference_steps=1 + number % 7)
            job = a_job(owner="abc"[number % 3], priority=number % 2, request=request)
            expected = turn_among(stored, job)
            added = await store.add(job, NO_LIMIT)
            assert added.turn == expected
            stored.append(added)
            if number % 4 == 3:
                await store.claim(stored[number // 2].id, "w1", later())
            if number % 8 == 7:
                await store.complete(stored[number // 2].id, 1, [], [], later())
            if number == 9:  # its model is loaded, say
                await store.claim(stored[number].id, "w1", later())
            stored = [await store.get(job.id) for job in stored]

    async def test_a_waiting_job_that_is_moved_up_has_the_turn_of_a_new_one_there(self, store: JobStore) -> None:
        # Given jobs of two owners that wait at two priorities, a's last one at the lower
        high = [await store.add(a_job(owner=owner, priority=2), NO_LIMIT) for owner in "aab"]
        low = [await store.add(a_job(owner=owner), NO_LIMIT) for owner in "bba"]
        waiting = low[-1]
        # When it is moved up
        moved = await store.move_up(waiting, 2)
        # Then it is behind its owner's others there, and otherwise as it was
        assert moved is not None
        new = replace(waiting, priority=2)
        assert moved == replace(new, turn=turn_among([*high, *low[:2]], new))
        assert await store.get(waiting.id) == moved
        assert [job.id for job in await store.unfinished()] == [
            job.id for job in (*sorted([*high, moved], key=order_of_taking), *low[:2])
        ]
        assert await store.waiting_before(moved) == 3
        assert (await store.counts())[JobState.PENDING] == 6
        # And it can be claimed
        claimed = await store.claim(waiting.id, "w1", later())
        assert claimed is not None
        assert claimed.priority == 2

    async def test_a_job_is_never_moved_down_nor_once_it_does_not_wait(self, store: JobStore) -> None:
        # Given one that waits, one that runs, one that has ended, and one that nobody knows
        waiting, running = await store.add(a_job(priority=1), NO_LIMIT), await processing(store)
        ended = await store.cancel((await store.add(a_job(), NO_LIMIT)).id, later())
        assert ended is not None
        # Then nothing becomes of it
        for priority in (-1, 0, 1):
            assert await store.move_up(waiting, priority) is None
        for job in (running, ended, a_job()):
            assert await store.move_up(job, 5) is None
        for job in (waiting, running, ended):
            assert await store.get(job.id) == job

    async def test_a_job_that_lets_others_go_first_is_not_moved_up(self, store: JobStore) -> None:
        suspect = await processing(store)
        for attempt in (1, 2):
            await store.give_back(suspect.id, attempt, LOST, later())
            if attempt == 1:  # then it may be
                assert await store.move_up(suspect, 1)
                await store.claim(suspect.id, "w1", later())
        before = await store.get(suspect.id)
        assert await store.move_up(suspect, 5) is None
        assert await store.get(suspect.id) == before

    async def test_of_many_that_move_a_job_up_the_highest_counts(self, store: JobStore) -> None:
        job = await store.add(a_job(), NO_LIMIT)
        moved = await asyncio.gather(*(store.move_up(job, priority) for priority in (3, 9, 1, 7)))
        assert moved[1] == await store.get(job.id)
        assert (await store.get(job.id)).priority == 9

    # How many of one owner

    async def test_an_owner_has_no_more_jobs_waiting_than_he_may(self, store: JobStore) -> None:
        # Given an owner who has two waiting and one running, and another one
        running = await processing(store, owner="a")
        waiting = [await store.add(a_job(owner="a"), NO_LIMIT, max_of_owner=2) for _ in range(2)]
        for jobs in ([a_job(owner="a")], [a_job(owner="b") for _ in range(3)]):
            with pytest.raises(TooManyJobs):
                await store.add_all(jobs, NO_LIMIT, batch_sizes=[1] * len(jobs), max_of_owner=2)
        await store.add_all([a_job(owner="b") for _ in range(2)], NO_LIMIT, batch_sizes=[1, 1], max_of_owner=2)
        # When one of his is taken, then there is room for another one
        await store.claim(waiting[0].id, "w1", later())
        assert await store.add(a_job(owner="a"), NO_LIMIT, max_of_owner=2)
        # And one that is joined needs none
        equal = replace(a_job(owner="a"), fingerprint=running.fingerprint)
        assert await store.add(equal, NO_LIMIT, max_of_owner=2, join=Join.UNDER_WAY)

    async def test_of_several_jobs_those_that_are_under_way_are_joined(self, store: JobStore) -> None:
        # Given one job that is done, one that is under way, and room for one
        done = await processing(store, fingerprint="a")
        await store.complete(done.id, 1, [an_original(done)], [], later())
        under_way = await store.add(a_job(fingerprint="b"), NO_LIMIT)
        # When equal ones and a new one come, then only what is under way is joined
        jobs = [a_job(fingerprint=fingerprint, batch_id="batch") for fingerprint in ("b", "a")]
        added = await store.add_all(jobs, 2, batch_sizes=[1, 1], join=Join.UNDER_WAY)
        assert [job.id for job in added] == [under_way.id, jobs[1].id]
        assert (await store.counts())[JobState.PENDING] == 2
        assert await store.find_equal("local", "b", Join.UNDER_WAY) == under_way
        assert await store.find_equal("local", "a", Join.NONE) is None

    # Keys

    async def test_a_submit_that_is_sent_again_is_answered_with_its_jobs(self, store: JobStore) -> None:
        # Given a submit of two jobs under a key
        jobs = [a_job(owner="a") for _ in range(2)]
        first = await store.add_all(jobs, NO_LIMIT, batch_sizes=[1, 1], key=KEY)
        await store.cancel(first[0].id, later())
        # When it is sent again, to a queue that is full, then its jobs are answered as they are now
        again = await store.add_all([a_job(owner="a"), a_job(owner="a")], 0, batch_sizes=[1, 1], key=KEY)
        assert again == [await store.get(job.id) for job in first]
        assert await store.find_key("a", KEY, later()) == again
        assert [job.id for job in await store.unfinished()] == [first[1].id]
        # And another submit under the same key is refused
        with pytest.raises(SubmitKeyReused):
            await store.add(a_job(owner="a"), NO_LIMIT, key=replace(KEY, digest="other"))
        with pytest.raises(SubmitKeyReused):
            await store.find_key("a", replace(KEY, digest="other"), later())
        # And to somebody else, or under another key, it means nothing
        assert await store.find_key("b", KEY, later()) is None
        assert (await store.add(a_job(owner="b"), NO_LIMIT, key=KEY)).owner == "b"
        assert (await store.add(a_job(owner="a"), NO_LIMIT, key=replace(KEY, text="another"))).id not in {
            job.id for job in first
        }

    async def test_of_equal_submits_at_once_under_one_key_one_is_stored(self, store: JobStore) -> None:
        jobs = [a_job() for _ in range(10)]
        answers = await asyncio.gather(*(store.add(job, NO_LIMIT, key=KEY) for job in jobs))
        assert {answer.id for answer in answers} == {jobs[0].id}
        assert (await store.counts())[JobState.PENDING] == 1

    async def test_a_refused_submit_leaves_its_key_free(self, store: JobStore) -> None:
        with pytest.raises(QueueFull):
            await store.add(a_job(), 0, key=KEY)
        assert await store.find_key("local", KEY, later()) is None
        job = a_job()
        assert (await store.add(job, NO_LIMIT, key=replace(KEY, digest="other"))).id == job.id

    async def test_a_key_counts_for_its_lifetime(self, store: JobStore) -> None:
        # Given a key that has been noted
        first = await store.add(a_job(created_at=NOW), NO_LIMIT, key=KEY)
        until = NOW + KEY.lifetime
        assert await store.find_key("local", KEY, until - timedelta(microseconds=1)) == [first]
        # When its time is over, then the same submit is a new one, and the key counts anew
        assert await store.find_key("local", KEY, until) is None
        other = replace(KEY, digest="other")
        second = await store.add(a_job(created_at=until), NO_LIMIT, key=other)
        assert second.id != first.id
        assert await store.find_key("local", other, until) == [second]
