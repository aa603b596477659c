"""Jobs that are given away while they are being stored: to the embedded queue's takers."""

import asyncio
import random

import pytest

from danqing.core.types import Job
from danqing.queue.embedded import EmbeddedQueue, QueueRules
from tests.contracts.job_queue import SOON_S, numbered, taken, waiting_take


async def offered_to(queue: EmbeddedQueue, job: Job) -> str:
    """Who waits gets it."""
    taker = await waiting_take(queue)
    assert queue.offer(job)
    return await asyncio.wait_for(taker, SOON_S)


async def holds_nothing(queue: EmbeddedQueue) -> bool:
    """Nobody would get anything."""
    taker = await waiting_take(queue)
    taker.cancel()
    return not taker.done() and len(queue) == 0


async def test_who_waits_gets_an_offered_job_once() -> None:
    queue = EmbeddedQueue()
    assert await offered_to(queue, numbered(1)) == "job-1"
    # When it is stored, then nobody else gets it
    await queue.publish(numbered(1))
    assert await holds_nothing(queue)
    # And when its attempt has failed it is delivered again
    queue.done("job-1")
    await queue.publish(numbered(1, attempts=1))
    assert await taken(queue, 1) == ["job-1"]


async def test_an_offered_job_whose_attempt_fails_is_delivered_again_however_quickly() -> None:
    queue = EmbeddedQueue()
    await offered_to(queue, numbered(1))
    await queue.publish(numbered(1))
    await queue.publish(numbered(1, attempts=1))
    assert await taken(queue, 1) == ["job-1"]


async def test_nobody_is_offered_a_job_before_others_or_of_another_model() -> None:
    queue = EmbeddedQueue()
    # Given nobody
    assert not queue.offer(numbered(1))
    # Given who waits for another model
    other = await waiting_take(queue, "large")
    assert not queue.offer(numbered(1))
    other.cancel()
    # Given one who was woken for a job, and has not looked yet, and another one who waits
    takers = [await waiting_take(queue), await waiting_take(queue)]
    await queue.publish(numbered(2))
    assert not queue.offer(numbered(1))
    assert await asyncio.wait_for(takers[0], SOON_S) == "job-2"
    # Then the other one may have it, but no second one
    assert queue.offer(numbered(1))
    third = await waiting_take(queue)
    assert not queue.offer(numbered(1))
    assert await asyncio.wait_for(takers[1], SOON_S) == "job-1"
    third.cancel()


async def test_where_claims_do_not_wait_for_what_is_being_stored_none_is_offered() -> None:
    queue = EmbeddedQueue(QueueRules(offers=False))
    taker = await waiting_take(queue)
    assert not queue.offer(numbered(1))
    taker.cancel()


async def test_an_offered_job_counts_for_its_owner() -> None:
    queue = EmbeddedQueue(QueueRules(max_running_of_owner=1))
    await offered_to(queue, numbered(1, owner="a"))
    # Given an owner who has all that he may have
    taker = await waiting_take(queue)
    assert not queue.offer(numbered(2, owner="a"))
    await queue.publish(numbered(2, owner="a"))
    assert not taker.done()
    # When his first one is refused, then his next comes
    await queue.withdraw("job-1")
    assert await asyncio.wait_for(taker, SOON_S) == "job-2"


@pytest.mark.parametrize("is_stored_first", [True, False])
@pytest.mark.parametrize("way", ["came_back", "missed", "cancelled"])
async def test_an_offered_job_that_comes_back_is_for_others_once_it_is_stored(way: str, is_stored_first: bool) -> None:
    queue = EmbeddedQueue(QueueRules(max_running_of_owner=1))
    # Given a job that was offered
    taker = await waiting_take(queue)
    assert queue.offer(numbered(1))
    if way != "cancelled":
        assert await asyncio.wait_for(taker, SOON_S) == "job-1"
    if is_stored_first:
        await queue.publish(numbered(1))
    # When its taker has no use for it
    match way:
        case "came_back":
            assert queue.came_back("job-1")
        case "missed":
            queue.missed("job-1")
        case _:
            taker.cancel()
            await asyncio.wait([taker])
    if not is_stored_first:
        assert await holds_nothing(queue)
        await queue.publish(numbered(1))
    # Then the next one gets it, once
    assert await taken(queue, 1) == ["job-1"]
    queue.done("job-1")
    assert await holds_nothing(queue)
    assert not queue.came_back("job-1")


async def test_a_refused_job_is_nobodys() -> None:
    queue = EmbeddedQueue()
    await offered_to(queue, numbered(1))
    assert not queue.is_refused("job-1")
    await queue.withdraw("job-1")
    assert queue.is_refused("job-1")
    queue.missed("job-1")
    assert await holds_nothing(queue)
    assert not queue.is_refused("job-1")


async def test_a_cancelled_job_that_could_not_be_claimed_does_not_come_back() -> None:
    queue = EmbeddedQueue()
    await offered_to(queue, numbered(1))
    await queue.publish(numbered(1))
    await queue.withdraw("job-1")
    assert not queue.is_refused("job-1")
    queue.missed("job-1")
    assert await holds_nothing(queue)


async def test_a_running_job_that_is_cancelled_counts_until_its_worker_has_dropped_it() -> None:
    queue = EmbeddedQueue(QueueRules(max_running_of_owner=1))
    await offered_to(queue, numbered(1))
    await queue.publish(numbered(1))
    await queue.withdraw("job-1")
    taker = await waiting_take(queue)
    await queue.publish(numbered(2))
    assert not taker.done()
    queue.done("job-1")
    assert await asyncio.wait_for(taker, SOON_S) == "job-2"


@pytest.mark.parametrize("seed", range(20))
async def test_every_job_that_is_stored_is_claimed_and_no_other(seed: int) -> None:
    """Whatever becomes of offers and takers, in whatever order."""
    draw = random.Random(seed)
    queue = EmbeddedQueue(QueueRules(max_running_of_owner=draw.choice([None, 2])))
    stored, claimed = set[str](), set[str]()

    async def pause() -> None:
        for _ in range(draw.randrange(6)):
            await asyncio.sleep(0)

    async def submit(number: int) -> None:
        await pause()
        job = numbered(number)
        queue.offer(job)
        await pause()
        if draw.random() < 0.3:
            await queue.withdraw(job.id)
            return
        stored.add(job.id)
        await pause()
        await queue.publish(job)

    async def work() -> None:
        while True:
            job_id = await queue.take(("tiny",))
            await pause()
            if draw.random() < 0.2:
                if not queue.came_back(job_id):
                    await queue.publish(numbered(int(job_id.removeprefix("job-"))))
            elif job_id in stored and job_id not in claimed:
                claimed.add(job_id)
                await pause()
                queue.done(job_id)
            else:
                queue.missed(job_id)

    workers = [asyncio.create_task(work()) for _ in range(3)]
    await asyncio.gather(*(submit(number) for number in range(60)))
    async with asyncio.timeout(SOON_S):
        while claimed != stored:  # noqa: ASYNC110 - they tell nobody
            await asyncio.sleep(0)
    assert len(queue) == 0
    async with asyncio.timeout(SOON_S):  # what was counted, and kept of offers, goes with the jobs
        while vars(queue)["_offers"] or vars(queue)["_running"]:  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0)
    for worker in workers:
        assert not worker.done()
        worker.cancel()
