"""What every JobLine must do. A test module has the fixtures `store` (a JobStore) and `line` over the same data."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import ClassVar

import pytest

from danqing.core.ports import JobStore
from danqing.core.shared_store import JobLine, Waiting
from danqing.core.states import JobState
from danqing.core.types import Job
from tests.contracts.job_store import generated, processing
from tests.fakes.domain import LOST, NO_LIMIT, a_job, a_request, later

TINY = "tiny"


async def waiting(store: JobStore, **changes: object) -> Job:
    """A pending job."""
    return await store.add(a_job(**changes), NO_LIMIT)


async def piled_up(store: JobStore, number: int, **changes: object) -> list[Job]:
    """Pending jobs, the first accepted first."""
    return [await waiting(store, **changes) for _ in range(number)]


class JobLineContract:
    """The suite."""

    implementation: ClassVar[type]

    def test_is_the_implementation_meant(self, line: JobLine) -> None:
        assert type(line) is self.implementation

    # Which is next

    async def test_an_empty_line_has_no_next(self, store: JobStore, line: JobLine) -> None:
        ended, running = await processing(store), await processing(store)
        await store.complete(ended.id, 1, [], [], later())
        for named in (ended.id, running.id, "nobody"):
            assert await line.next(TINY, named) is None
        assert await line.first(TINY, 9) == []
        assert await line.waiting() == {}

    async def test_the_one_named_is_next_until_it_is_claimed(self, store: JobStore, line: JobLine) -> None:
        # Given two jobs of one owner
        first, second = await piled_up(store, 2)
        # Then each is next for its own name, for as long as it waits
        assert [await line.next(TINY, job.id) for job in (second, first, first)] == [second.id, first.id, first.id]
        await store.claim(second.id, "w1", later())
        assert await line.next(TINY, second.id) == first.id

    async def test_a_name_that_does_not_wait_means_the_first(self, store: JobStore, line: JobLine) -> None:
        low, first, _ = [await waiting(store, priority=priority) for priority in (-1, 0, 0)]
        running = await processing(store, priority=5)
        for named in (running.id, "nobody"):
            assert await line.next(TINY, named) == first.id
        assert await line.next(TINY, low.id) == first.id

    async def test_higher_priority_goes_before_the_one_named(self, store: JobStore, line: JobLine) -> None:
        ordinary, urgent = [await waiting(store, priority=priority) for priority in (0, 1)]
        assert await line.next(TINY, ordinary.id) == urgent.id

    async def test_an_earlier_turn_of_another_owner_goes_before(self, store: JobStore, line: JobLine) -> None:
        # Given an owner who has piled up jobs, and another one with one
        jobs = await piled_up(store, 4, owner="a")
        late = await waiting(store, owner="b")
        assert [job.id for job in await line.first(TINY, 9)][:3] == [jobs[0].id, late.id, jobs[1].id]
        # Then his goes before all that is later, and not before what is earlier
        assert await line.next(TINY, jobs[3].id) == late.id
        assert await line.next(TINY, jobs[0].id) == jobs[0].id
        assert await line.next(TINY, late.id) == jobs[0].id

    async def test_far_back_in_the_line_an_owner_is_overtaken_by_others_and_by_himself_only(
        self, store: JobStore, line: JobLine
    ) -> None:
        # Given a long line of one owner
        jobs = await piled_up(store, 80, owner="a")
        # When the last is named, then one of his is next
        assert await line.next(TINY, jobs[-1].id) in {job.id for job in jobs}
        # When another one has come, whose turn is soon, then that is
        other = await waiting(store, owner="b")
        assert other.turn < jobs[10].turn
        assert await line.next(TINY, jobs[-1].id) == other.id

    async def test_every_model_has_a_line_of_its_own(self, store: JobStore, line: JobLine) -> None:
        other = await waiting(store, request=a_request(model="other"), priority=9)
        mine = await waiting(store)
        assert await line.next(TINY, mine.id) == mine.id
        assert await line.next(TINY, other.id) == mine.id
        assert await line.next("other", mine.id) == other.id
        assert await line.next("third", mine.id) is None

    async def test_a_job_that_was_tried_twice_lets_the_others_go_first(self, store: JobStore, line: JobLine) -> None:
        # Given jobs of two owners, of which the first is lost twice
        first, second = await piled_up(store, 2, owner="a")
        third = await waiting(store, owner="b")
        for attempt in (1, 2):
            await store.claim(first.id, "w1", later())
            await store.give_back(first.id, attempt, LOST, later())
            if attempt == 1:  # it keeps its place
                assert await line.next(TINY, "nobody") == first.id
        # Then it is behind those that wait
        assert [job.id for job in await line.first(TINY, 9)][-1] == first.id
        for named in (second, third):
            await store.claim(str(await line.next(TINY, named.id)), "w1", later())
        assert await line.next(TINY, first.id) == first.id
        # And not behind those that come later
        fourth = await waiting(store, owner="c")
        assert [job.id for job in await line.first(TINY, 9)] == [first.id, fourth.id] or fourth.turn < first.turn

    # Limits of owners

    @pytest.mark.parametrize("begin", [processing, generated])
    async def test_owners_with_enough_running_are_passed_over(
        self, store: JobStore, line: JobLine, begin: Callable[..., Awaitable[Job]]
    ) -> None:
        # Given an owner with one running, and two who have none
        running = await begin(store, owner="a")
        his = await piled_up(store, 40, owner="a")
        theirs = [await waiting(store, owner=owner, priority=-1) for owner in "bc"]
        # Then his are passed over, whoever is named, as long as that one runs
        for named in (his[0], his[30], theirs[0]):
            assert await line.next(TINY, named.id, max_running_of_owner=1) == theirs[0].id
        assert await line.next(TINY, his[0].id, max_running_of_owner=2) == his[0].id
        await store.fail(running.id, 1, LOST, later())
        assert await line.next(TINY, his[0].id, max_running_of_owner=1) == his[0].id

    async def test_where_all_are_passed_over_there_is_no_next(self, store: JobStore, line: JobLine) -> None:
        for owner in "ab":
            await processing(store, owner=owner)
        job = await waiting(store, owner="a")
        assert await line.next(TINY, job.id, max_running_of_owner=1) is None

    # What can be made together

    async def test_alike_are_the_next_ones_that_are_made_in_the_same_way(self, store: JobStore, line: JobLine) -> None:
        # Given a running job, and waiting ones of which the fourth is of another size
        job = await processing(store)
        alike = [await waiting(store, request=a_request(seed=seed, prompt=f"{seed}")) for seed in range(3)]
        await waiting(store, request=a_request(width=512))
        await waiting(store)
        # Then those before it are made together with it, in order, no more than asked for
        assert await line.alike(job, 9) == [other.id for other in alike]
        assert await line.alike(job, 2) == [other.id for other in alike[:2]]
        assert await line.alike(job, 0) == []
        assert await line.alike(await processing(store, request=a_request(width=512)), 9) == []

    async def test_what_is_tried_again_is_made_alone(self, store: JobStore, line: JobLine) -> None:
        job, again = [await processing(store) for _ in range(2)]
        await store.give_back(again.id, 1, LOST, later())
        await waiting(store)
        assert await line.alike(job, 9) == []

    async def test_only_jobs_of_its_priority_are_made_together(self, store: JobStore, line: JobLine) -> None:
        job = await processing(store, priority=1)
        other = await waiting(store, priority=1)
        await waiting(store)
        assert await line.alike(job, 9) == [other.id]

    async def test_together_an_owner_has_no_more_running_than_he_may(self, store: JobStore, line: JobLine) -> None:
        # Given a running job of a, who may have three
        job = await processing(store, owner="a")
        his = await piled_up(store, 4, owner="a")
        # Then two more of his go with it
        assert await line.alike(job, 9, max_running_of_owner=3) == [other.id for other in his[:2]]
        assert await line.alike(job, 9, max_running_of_owner=1) == []

    # Figures

    async def test_what_waits_is_told_by_model(self, store: JobStore, line: JobLine) -> None:
        jobs = await piled_up(store, 3)
        other = await waiting(store, request=a_request(model="other"))
        await processing(store)
        assert await line.waiting() == {
            TINY: Waiting(jobs=3, oldest=jobs[0].created_at),
            "other": Waiting(jobs=1, oldest=other.created_at),
        }

    async def test_the_first_ones_come_in_order(self, store: JobStore, line: JobLine) -> None:
        low, first, second, high = [await waiting(store, priority=priority) for priority in (-1, 0, 0, 1)]
        await waiting(store, request=a_request(model="other"))
        assert await line.first(TINY, 3) == [high, first, second]
        assert await line.first(TINY, 9) == [high, first, second, low]

    # Many at once

    async def test_of_many_who_take_at_once_each_job_goes_to_one(self, store: JobStore, line: JobLine) -> None:
        # Given jobs of several owners and priorities, and a message for each
        jobs = [await waiting(store, owner="abc"[number % 3], priority=number % 2) for number in range(60)]
        messages, claimed = [job.id for job in jobs], list[str]()

        async def take() -> None:
            while messages:
                named = messages.pop()
                while (job_id := await line.next(TINY, named)) is not None:
                    job = await store.claim(job_id, "w1", later())
                    if job is not None:
                        claimed.append(job.id)
                        break

        # When twelve take, then every job is claimed, once
        await asyncio.gather(*(take() for _ in range(12)))
        assert Counter(claimed) == Counter(job.id for job in jobs)
        assert (await store.counts())[JobState.PROCESSING] == len(jobs)
