"""What every JobQueue must do, seen from both its ends. A test module makes a subclass with `implementation`."""

import asyncio
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from danqing.core.types import Attempt, Job
from danqing.workers.claims import TakingQueue
from tests.fakes.domain import LOST, a_job, a_request, later

MODELS = ("tiny",)
SOON_S = 60.0


def numbered(
    sequence: int, *, model: str = "tiny", priority: int = 0, attempts: int = 0, turn: int = 0, owner: str = "local"
) -> Job:
    """A stored job that was tried so often."""
    tried = tuple(
        Attempt(number=number, worker="w1", started_at=later(), ended_at=later(), failure=LOST)
        for number in range(1, attempts + 1)
    )
    return a_job(
        id=f"job-{sequence}",
        owner=owner,
        turn=turn,
        sequence=sequence,
        priority=priority,
        request=a_request(model=model),
        attempts=tried,
    )


async def taken(queue: TakingQueue, count: int) -> list[str]:
    """The next ids, without waiting long."""
    async with asyncio.timeout(SOON_S):
        return [await queue.take(MODELS) for _ in range(count)]


async def waiting_take(queue: TakingQueue, *models: str) -> asyncio.Task[str]:
    """A take that has come as far as it can."""
    task = asyncio.create_task(queue.take(models or MODELS))
    for _ in range(5):
        await asyncio.sleep(0)
    return task


class JobQueueContract:
    """The suite. Where an implementation cannot keep a promise that it need not keep, it says so by a flag."""

    implementation: ClassVar[type]
    # Who looks for more of a kind leaves alone what takers that wait have been woken for, and have not taken yet.
    leaves_jobs_to_those_who_come: ClassVar[bool] = True

    def queue_of(self, *, max_running_of_owner: int | None = None, max_passes: int = 2) -> TakingQueue:
        """One in which nothing waits."""
        raise NotImplementedError

    def implementation_of(self, queue: TakingQueue) -> type:
        """What is tested, behind what `queue_of` makes."""
        return type(queue)

    @pytest.fixture
    async def queue(self) -> TakingQueue:
        return self.queue_of()

    async def test_is_the_implementation_meant(self, queue: TakingQueue) -> None:
        assert self.implementation_of(queue) is self.implementation

    async def test_higher_priority_goes_first_and_then_the_order_of_acceptance(self, queue: TakingQueue) -> None:
        # Given jobs that were published in another order than they were accepted
        for job in (numbered(3), numbered(1), numbered(4, priority=1), numbered(2), numbered(5, priority=-1)):
            await queue.publish(job)
        # Then they come in the order promised
        assert await taken(queue, 5) == ["job-4", "job-1", "job-2", "job-3", "job-5"]

    async def test_publishing_twice_delivers_once(self, queue: TakingQueue) -> None:
        # When a waiting job is published again
        for job in (numbered(1), numbered(1), numbered(2)):
            await queue.publish(job)
        # Then it does not come twice
        assert await taken(queue, 2) == ["job-1", "job-2"]
        more = await waiting_take(queue)
        assert not more.done()
        more.cancel()

    async def test_a_job_that_is_moved_up_goes_before_those_of_lower_priority(self, queue: TakingQueue) -> None:
        # Given jobs that wait
        for job in (numbered(1), numbered(2), numbered(3), numbered(4, priority=2)):
            await queue.publish(job)
        # When one is moved up, which is not published again for that
        await queue.move_up(numbered(3, priority=1))
        # Then it comes once, in its new place
        assert await taken(queue, 4) == ["job-4", "job-3", "job-1", "job-2"]
        more = await waiting_take(queue)
        assert not more.done()
        more.cancel()

    async def test_a_taken_job_may_be_published_again(self, queue: TakingQueue) -> None:
        # Given a job that was taken
        await queue.publish(numbered(1))
        assert await taken(queue, 1) == ["job-1"]
        # When it comes back
        await queue.publish(numbered(1, attempts=1))
        # Then it is delivered again
        assert await taken(queue, 1) == ["job-1"]

    async def test_jobs_that_can_be_made_together_are_taken_together(self, queue: TakingQueue) -> None:
        # Given jobs like the first that was taken, at its priority and at others, and of another model
        for job in (
            numbered(1),
            replace(numbered(2), request=a_request(seed=9, prompt="another")),
            numbered(3, model="large"),
            numbered(4, priority=1),
            numbered(5),
            numbered(6, priority=-1),
            numbered(7),
        ):
            await queue.publish(job)
        assert await taken(queue, 2) == ["job-4", "job-1"]
        # Then as many as are asked for come, in order
        assert list(await queue.take_like(numbered(1), 2)) == ["job-2", "job-5"]
        assert list(await queue.take_like(numbered(1), 9)) == ["job-7"]
        assert list(await queue.take_like(numbered(1), 9)) == []
        # And the others are still there
        assert await taken(queue, 1) == ["job-6"]

    @pytest.mark.parametrize(
        "other", [{"request": a_request(width=64)}, {"attempts": numbered(2, attempts=1).attempts}]
    )
    async def test_nobody_is_overtaken_by_a_job_that_is_made_together_with_an_earlier_one(
        self, queue: TakingQueue, other: dict[str, Any]
    ) -> None:
        # Given a job of another size, or one that was tried before, between two that are alike
        for job in (numbered(1), replace(numbered(2), **other), numbered(3)):
            await queue.publish(job)
        assert await taken(queue, 1) == ["job-1"]
        # Then the later one waits for its turn
        assert list(await queue.take_like(numbered(1), 9)) == []
        assert await taken(queue, 2) == ["job-2", "job-3"]

    async def test_jobs_that_others_come_for_are_left_to_them(self, queue: TakingQueue) -> None:
        if not self.leaves_jobs_to_those_who_come:
            pytest.skip("declared: what others come for is not known")
        # Given two who wait, and four jobs that come at once
        takers = [await waiting_take(queue), await waiting_take(queue)]
        for number in range(1, 5):
            await queue.publish(numbered(number))
        # When somebody else looks for jobs before they could, then two are left to them
        assert list(await queue.take_like(numbered(9), 9)) == ["job-1", "job-2"]
        async with asyncio.timeout(SOON_S):
            assert await asyncio.gather(*takers) == ["job-3", "job-4"]

    async def test_who_goes_without_looking_leaves_no_job_unseen(self, queue: TakingQueue) -> None:
        # Given three who wait, of whom one is cancelled before, and one just after, a job comes
        first, second, third = [await waiting_take(queue) for _ in range(3)]
        first.cancel()
        await queue.publish(numbered(1))
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        # Then the one who is left gets it, and nothing of the next ones is kept for those who went
        async with asyncio.timeout(SOON_S):
            assert await third == "job-1"
        for number in range(2, 4):
            await queue.publish(numbered(number))
        assert list(await queue.take_like(numbered(9), 9)) == ["job-2", "job-3"]

    async def test_a_withdrawn_job_is_not_delivered(self, queue: TakingQueue) -> None:
        # Given three jobs
        for sequence in (1, 2, 3):
            await queue.publish(numbered(sequence))
        # When one is withdrawn, twice, and one that nobody knows
        for job_id in ("job-2", "job-2", "job-9"):
            await queue.withdraw(job_id)
        # Then the others come
        assert await taken(queue, 2) == ["job-1", "job-3"]

    async def test_a_withdrawn_job_may_be_published_again(self, queue: TakingQueue) -> None:
        await queue.publish(numbered(1))
        await queue.withdraw("job-1")
        await queue.publish(numbered(1))
        assert await taken(queue, 1) == ["job-1"]

    async def test_a_waiting_taker_gets_what_is_published(self, queue: TakingQueue) -> None:
        # Given a taker that waits
        waiting = await waiting_take(queue)
        assert not waiting.done()
        # When a job comes
        await queue.publish(numbered(1))
        # Then it has it
        assert await asyncio.wait_for(waiting, SOON_S) == "job-1"

    async def test_every_job_goes_to_one_taker(self, queue: TakingQueue) -> None:
        # Given many takers
        takers = [await waiting_take(queue) for _ in range(20)]
        # When as many jobs come
        for sequence in range(20):
            await queue.publish(numbered(sequence))
        # Then each taker has another one
        async with asyncio.timeout(SOON_S):
            ids = await asyncio.gather(*takers)
        assert len(set(ids)) == 20

    async def test_a_taker_gets_only_jobs_of_its_models(self, queue: TakingQueue) -> None:
        # Given a taker of one model, and jobs of another
        waiting = await waiting_take(queue, "large")
        await queue.publish(numbered(1))
        await queue.publish(numbered(2, model="large"))
        # Then each job goes where it can be made
        assert await asyncio.wait_for(waiting, SOON_S) == "job-2"
        assert await taken(queue, 1) == ["job-1"]

    async def test_a_taker_of_several_models_gets_the_next_of_all(self, queue: TakingQueue) -> None:
        for job in (numbered(3), numbered(2, model="large"), numbered(4, model="large", priority=1)):
            await queue.publish(job)
        async with asyncio.timeout(SOON_S):
            ids = [await queue.take(("tiny", "large")) for _ in range(3)]
        assert ids == ["job-4", "job-2", "job-3"]

    async def test_a_cancelled_take_loses_no_job(self, queue: TakingQueue) -> None:
        # Given two takers that wait, the first of which is cancelled at the very moment a job comes
        first, second = await waiting_take(queue), await waiting_take(queue)
        await queue.publish(numbered(1))
        first.cancel()
        await asyncio.wait([first], timeout=SOON_S)
        # Then the job is with the one or the other
        if first.cancelled():
            assert await asyncio.wait_for(second, SOON_S) == "job-1"
        else:
            assert first.result() == "job-1"
        second.cancel()

    async def test_a_job_tried_twice_lets_the_waiting_ones_go_first(self, queue: TakingQueue) -> None:
        # Given an old job that comes back after one attempt, and one after two
        await queue.publish(numbered(10))
        await queue.publish(numbered(11))
        await queue.publish(numbered(9, priority=-1))
        await queue.publish(numbered(2, attempts=2))
        await queue.publish(numbered(1, attempts=1))
        await queue.publish(numbered(12))
        # Then the first has its old place, and the second goes behind those that waited, but before later ones
        assert await taken(queue, 6) == ["job-1", "job-10", "job-11", "job-2", "job-12", "job-9"]

    # Turns of owners

    async def test_between_priority_and_acceptance_the_turn_decides(self, queue: TakingQueue) -> None:
        # Given an owner's jobs, a later one's whose turn comes in between, and one of higher priority and late turn
        await queue.publish(numbered(1, turn=10, owner="a"))
        await queue.publish(numbered(2, turn=20, owner="a"))
        await queue.publish(numbered(3, turn=30, owner="a"))
        await queue.publish(numbered(4, turn=20, owner="b"))
        await queue.publish(numbered(5, turn=15, owner="b"))
        await queue.publish(numbered(6, turn=99, owner="c", priority=1))
        # Then they come so, and equal turns in the order of acceptance
        assert await taken(queue, 6) == [f"job-{n}" for n in (6, 1, 5, 2, 4, 3)]

    async def test_jobs_of_several_owners_are_made_together(self, queue: TakingQueue) -> None:
        for sequence, owner in enumerate("abab", 1):
            await queue.publish(numbered(sequence, turn=sequence, owner=owner))
        assert await taken(queue, 1) == ["job-1"]
        assert list(await queue.take_like(numbered(1), 2)) == ["job-2", "job-3"]

    # How many of one owner

    async def test_an_owner_has_no_more_jobs_taken_than_he_may(self) -> None:
        # Given an owner who may have two, and has four waiting before another's one
        queue = self.queue_of(max_running_of_owner=2)
        for sequence in range(1, 5):
            await queue.publish(numbered(sequence, owner="a", turn=sequence))
        await queue.publish(numbered(5, owner="b", turn=9))
        # Then the other one's goes before his third, together with an earlier one too
        assert await taken(queue, 1) == ["job-1"]
        assert list(await queue.take_like(numbered(1), 9)) == ["job-2", "job-5"]
        more = await waiting_take(queue)
        assert not more.done()
        # And when one of his is done, his next comes
        queue.done("job-2")
        assert await asyncio.wait_for(more, SOON_S) == "job-3"
        # And so it is when one comes back, which is the next itself
        await queue.publish(numbered(1, owner="a", turn=1, attempts=1))
        assert await taken(queue, 1) == ["job-1"]
        last = await waiting_take(queue)
        assert not last.done()
        # And one that is done twice, or was never taken, counts for nothing
        for job_id in ("job-5", "job-2", "job-4", "nobody"):
            queue.done(job_id)
        other = await waiting_take(queue)
        assert not other.done()
        queue.done("job-3")  # one of the two may just be looking what a message is about
        got, _ = await asyncio.wait((last, other), timeout=SOON_S, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result() for task in got] == ["job-4"]

    async def test_a_job_that_comes_for_an_owner_who_has_enough_waits(self) -> None:
        # Given an owner who has all that he may have, and somebody who looks for work
        queue = self.queue_of(max_running_of_owner=1)
        await queue.publish(numbered(1, owner="a"))
        assert await taken(queue, 1) == ["job-1"]
        looking = await waiting_take(queue)
        # When more come, then another owner's is taken
        await queue.publish(numbered(2, owner="a"))
        await queue.publish(numbered(3, owner="b"))
        assert await asyncio.wait_for(looking, SOON_S) == "job-3"
        # And a withdrawn one leaves the next one in its place
        await queue.publish(numbered(4, owner="a"))
        await queue.withdraw("job-2")
        queue.done("job-1")
        assert await taken(queue, 1) == ["job-4"]

    # Models that are at hand

    async def test_jobs_of_a_model_at_hand_go_first_but_not_for_ever(self) -> None:
        # Given a job of a model that is not at hand, and many later ones of one that is
        queue = self.queue_of(max_passes=2)
        await queue.publish(numbered(1, model="large"))
        for sequence in range(2, 7):
            await queue.publish(numbered(sequence))
        # Then two of them are taken before it, and no more
        async with asyncio.timeout(SOON_S):
            order = [await queue.take(("tiny", "large"), warm=("tiny",)) for _ in range(4)]
        assert order == ["job-2", "job-3", "job-1", "job-4"]
        # And a next one of its model is passed over as often again
        await queue.publish(numbered(0, model="large"))
        async with asyncio.timeout(SOON_S):
            assert [await queue.take(("tiny", "large"), warm=("tiny",)) for _ in range(3)] == [
                "job-5",
                "job-6",
                "job-0",
            ]

    async def test_nobody_of_higher_priority_is_passed_over_for_a_model(self, queue: TakingQueue) -> None:
        await queue.publish(numbered(1))
        await queue.publish(numbered(2, model="large", priority=1))
        async with asyncio.timeout(SOON_S):
            assert await queue.take(("tiny", "large"), warm=("tiny",)) == "job-2"

    async def test_a_job_goes_to_the_one_who_has_its_model_at_hand(self, queue: TakingQueue) -> None:
        # Given three who wait, of whom the second has the model
        async def wait(*warm: str) -> asyncio.Task[str]:
            task = asyncio.create_task(queue.take(("tiny", "large"), warm=warm))
            for _ in range(5):
                await asyncio.sleep(0)
            return task

        first, second, third = await wait("tiny"), await wait("large"), await wait("large", "tiny")
        # When its jobs come, then that one has the first, and nobody waits for somebody who is at work
        for sequence, who in ((1, second), (2, third), (3, first)):
            await queue.publish(numbered(sequence, model="large"))
            assert await asyncio.wait_for(who, SOON_S) == f"job-{sequence}"
