"""Jobs that have not ended are answered from memory, and never otherwise than the database would."""

from dataclasses import replace
from pathlib import Path

from danqing.core.errors import JobNotFound
from danqing.core.states import JobState
from danqing.core.types import JobFailure
from danqing.store.at_hand import JobsAtHand
from danqing.store.sqlite import SqliteStores
from tests.fakes.domain import NO_LIMIT, NOW, a_job, a_request, an_original

LOST = JobFailure(code="WORKER_LOST", message="The worker was lost.", retryable=True)


async def test_a_job_is_the_same_from_memory_and_from_the_file(tmp_path: Path) -> None:
    # Given a job on all of its way, tried twice
    path = tmp_path / "danqing.db"
    stores = SqliteStores.open(path)
    job = await stores.jobs.add(a_job(), NO_LIMIT)
    moves = (
        lambda: stores.jobs.claim(job.id, "cpu", NOW),
        lambda: stores.jobs.give_back(job.id, 1, LOST, NOW),
        lambda: stores.jobs.claim(job.id, "cpu", NOW),
        lambda: stores.jobs.generate(job.id, 2, [an_original(job)], ["one"]),
        lambda: stores.jobs.complete(job.id, 2, [], ["two"], NOW),
    )
    for move in moves:
        # When it is asked for after each move, and once more by a server that has just started
        moved = await move()
        here = await stores.jobs.get(job.id)
        await stores.close()
        stores = SqliteStores.open(path)
        there = await stores.jobs.get(job.id)
        # Then both say what the move did
        assert here == there == moved
    await stores.close()


async def test_what_has_ended_is_looked_up_and_may_go(tmp_path: Path) -> None:
    # Given a job that was cancelled
    stores = SqliteStores.open(tmp_path / "danqing.db")
    job = await stores.jobs.add(a_job(), NO_LIMIT)
    await stores.jobs.cancel(job.id, NOW)
    # When it is removed
    assert (await stores.jobs.get(job.id)).state is JobState.CANCELLED
    await stores.kept.remove([job.id])
    # Then it is gone
    try:
        await stores.jobs.get(job.id)
    except JobNotFound:
        pass
    else:
        raise AssertionError("it is there")
    await stores.close()


def test_so_many_are_kept_and_those_stay_up_to_date() -> None:
    # Given room for two that wait, and for one that has ended
    at_hand = JobsAtHand(waiting=2, ended=1)
    first, second, third, fourth = (a_job() for _ in range(4))
    for job in (first, second, third, fourth):
        at_hand.moved(job)
    # When of those kept one runs and the other ends, and of the others one runs and then both end
    at_hand.moved(replace(first, state=JobState.PROCESSING))
    at_hand.moved(replace(second, state=JobState.FAILED))
    assert at_hand.find(second.id) == replace(second, state=JobState.FAILED)
    at_hand.moved(replace(third, state=JobState.PROCESSING))
    assert at_hand.find(third.id) == replace(third, state=JobState.PROCESSING)
    at_hand.moved(replace(third, state=JobState.COMPLETED))
    at_hand.moved(replace(fourth, state=JobState.CANCELLED))
    # Then they are known as they are, of those that ended the newest
    assert at_hand.find(first.id) == replace(first, state=JobState.PROCESSING)
    assert at_hand.find(second.id) is None
    assert at_hand.find(third.id) is None
    assert at_hand.find(fourth.id) == replace(fourth, state=JobState.CANCELLED)


def test_what_says_much_is_not_kept() -> None:
    # Given jobs with long texts
    for job in (a_job(request=a_request(prompt="猫" * 8_001)), a_job(metadata={"notes": "a" * 8_000})):
        at_hand = JobsAtHand()
        # When they wait, run and end
        for state in (JobState.PENDING, JobState.PROCESSING, JobState.COMPLETED):
            at_hand.moved(replace(job, state=state))
            # Then they are looked up
            assert at_hand.find(job.id) is None
