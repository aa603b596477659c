"""The queue inside the server."""

import asyncio

from danqing.queue.embedded import EmbeddedQueue, QueueRules
from tests.contracts.job_queue import SOON_S, JobQueueContract, numbered, taken, waiting_take


class TestEmbeddedQueue(JobQueueContract):
    implementation = EmbeddedQueue

    def queue_of(self, *, max_running_of_owner: int | None = None, max_passes: int = 2) -> EmbeddedQueue:
        return EmbeddedQueue(QueueRules(max_running_of_owner=max_running_of_owner, max_passes=max_passes))


async def test_its_length_is_the_number_of_waiting_jobs() -> None:
    # Given three jobs, one of them twice
    queue = EmbeddedQueue()
    for sequence in (1, 2, 3, 3):
        await queue.publish(numbered(sequence))
    assert len(queue) == 3
    # When one is withdrawn and one taken
    await queue.withdraw("job-2")
    await taken(queue, 1)
    # Then one is left
    assert len(queue) == 1


async def test_a_job_may_be_moved_up_before_it_is_published() -> None:
    queue = EmbeddedQueue()
    await queue.publish(numbered(1))
    # When who has joined it is quicker than who has submitted it, and one who asks for less is late
    await queue.move_up(numbered(2, priority=5))
    await queue.publish(numbered(2))
    await queue.move_up(numbered(2, priority=3))
    await queue.publish(numbered(3, priority=4))
    # Then it has the highest priority
    assert await taken(queue, 3) == ["job-2", "job-3", "job-1"]
    assert len(queue) == 0


async def test_a_job_that_is_moved_up_as_it_is_taken_still_counts_for_its_owner() -> None:
    # Given an owner who has as many taken as he may, one of them while it was being stored
    queue = EmbeddedQueue(QueueRules(max_running_of_owner=2))
    offered = await waiting_take(queue)
    assert queue.offer(numbered(1))
    await queue.publish(numbered(2))
    assert [await offered, *await taken(queue, 1)] == ["job-1", "job-2"]
    await queue.publish(numbered(3))
    # When both are moved up
    for sequence in (1, 2):
        await queue.move_up(numbered(sequence, priority=1))
    await queue.publish(numbered(1))
    # Then neither is delivered once more, and nothing else of his is
    another = await waiting_take(queue)
    assert not another.done()
    queue.done("job-1")
    async with asyncio.timeout(SOON_S):
        assert await another == "job-3"


async def test_a_job_that_is_moved_up_on_its_way_to_who_has_taken_it_does_not_wait_once_more() -> None:
    queue = EmbeddedQueue()
    await queue.publish(numbered(1))
    assert await taken(queue, 1) == ["job-1"]
    await queue.move_up(numbered(1, priority=5))
    assert len(queue) == 0
    # And once it is back it waits there
    await queue.publish(numbered(1, priority=5))
    await queue.move_up(numbered(1, priority=7))
    await queue.publish(numbered(2, priority=6))
    assert await taken(queue, 2) == ["job-1", "job-2"]


async def test_two_jobs_of_an_owner_that_end_at_once_make_room_for_two() -> None:
    # Given an owner who has as many taken as he may, two that wait, and two takers that are not busy
    queue = EmbeddedQueue(QueueRules(max_running_of_owner=2))
    for sequence in (1, 2):
        await queue.publish(numbered(sequence))
    both = await taken(queue, 2)
    takes = [await waiting_take(queue), await waiting_take(queue)]
    for sequence in (3, 4):
        await queue.publish(numbered(sequence))
    # When both are done before anybody has looked again
    for job_id in both:
        queue.done(job_id)
    # Then each taker has one
    async with asyncio.timeout(SOON_S):
        assert sorted(await asyncio.gather(*takes)) == ["job-3", "job-4"]


async def test_a_taker_that_finds_another_model_leaves_what_it_was_woken_for_to_one_that_may_have_it() -> None:
    # Given one taker of two models, who has waited longest, and one of the first of them only
    queue = EmbeddedQueue()
    both = await waiting_take(queue, "first", "second")
    one = await waiting_take(queue, "first")
    # When a job of each comes before anybody has looked, and that of the second model goes first
    await queue.publish(numbered(1, model="first", turn=10))
    await queue.publish(numbered(2, model="second", turn=1))
    # Then both have one
    async with asyncio.timeout(SOON_S):
        assert await both == "job-2"
        assert await one == "job-1"
