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


async def claim(line: JobLine, *, model: str = TINY, worker: str = "w1", most: int | None = None) -> Job | None:
    """The next one."""
    return await line.claim(model, worker, later(), max_running_of_owner=most)


async def claimed_ids(line: JobLine, number: int, *, model: str = TINY, most: int | None = None) -> list[str | None]:
    """Of the next ones, one after the other."""
    claimed = [await claim(line, model=model, most=most) for _ in range(number)]
    return [None if job is None else job.id for job in claimed]


class JobLineContract:
    """The suite."""

    implementation: ClassVar[type]

    def test_is_the_implementation_meant(self, line: JobLine) -> None:
        assert type(line) is self.implementation

    # Which is next

    async def test_in_an_empty_line_there_is_nothing_to_claim(self, store: JobStore, line: JobLine) -> None:
        ended = await processing(store)
        await processing(store)
        await store.complete(ended.id, 1, [], [], later())
        assert await claim(line) is None
        assert await line.first(TINY, 9) == []
        assert await line.waiting() == {}
        assert not line.leaves_some(TINY)

    async def test_the_first_is_claimed_as_the_store_claims_it(self, store: JobStore, line: JobLine) -> None:
        # Given two jobs of one owner
        first, second = await piled_up(store, 2)
        # When they are claimed
        at = later()
        claimed = await line.claim(TINY, "w1", at)
        # Then each is, once, in order, and the store knows it
        assert claimed is not None
        assert (claimed.id, claimed.state, claimed.started_at) == (first.id, JobState.PROCESSING, at)
        assert [(attempt.number, attempt.worker, attempt.started_at) for attempt in claimed.attempts] == [(1, "w1", at)]
        assert await store.get(first.id) == claimed
        assert await claimed_ids(line, 2) == [second.id, None]

    async def test_whoever_got_no_answer_is_told_what_he_claimed(self, store: JobStore, line: JobLine) -> None:
        job, at, another = await waiting(store), later(), later()
        assert await line.claimed("w1", at) is None
        claimed = await line.claim(TINY, "w1", at)
        assert await line.claimed("w1", at) == claimed
        assert await line.claimed("w2", at) is None
        assert await line.claimed("w1", another) is None
        await store.give_back(job.id, 1, LOST, later())
        assert await line.claimed("w1", at) is None

    async def test_higher_priority_goes_first(self, store: JobStore, line: JobLine) -> None:
        low, ordinary, urgent = [await waiting(store, priority=priority) for priority in (-1, 0, 1)]
        assert await claimed_ids(line, 3) == [urgent.id, ordinary.id, low.id]

    async def test_a_job_that_was_moved_up_goes_before(self, store: JobStore, line: JobLine) -> None:
        low, moved, high = await waiting(store), await waiting(store), await waiting(store, priority=5)
        assert await store.move_up(moved, 3)
        assert await claimed_ids(line, 4) == [high.id, moved.id, low.id, None]

    async def test_an_earlier_turn_of_another_owner_goes_before(self, store: JobStore, line: JobLine) -> None:
        # Given an owner who has piled up jobs, and another one with one
        jobs = await piled_up(store, 4, owner="a")
        late = await waiting(store, owner="b")
        assert [job.id for job in await line.first(TINY, 9)][:3] == [jobs[0].id, late.id, jobs[1].id]
        # Then his goes before all that is later, and not before what is earlier
        assert await claimed_ids(line, 5) == [jobs[0].id, late.id, jobs[1].id, jobs[2].id, jobs[3].id]

    async def test_every_model_has_a_line_of_its_own(self, store: JobStore, line: JobLine) -> None:
        other = await waiting(store, request=a_request(model="other"), priority=9)
        mine = await waiting(store)
        assert await claimed_ids(line, 1, model="third") == [None]
        assert await claimed_ids(line, 2) == [mine.id, None]
        assert await claimed_ids(line, 1, model="other") == [other.id]

    async def test_a_job_that_was_tried_twice_lets_the_others_go_first(self, store: JobStore, line: JobLine) -> None:
        # Given jobs of two owners, of which the first is lost twice
        first, second = await piled_up(store, 2, owner="a")
        third = await waiting(store, owner="b")
        for attempt in (1, 2):
            assert await claimed_ids(line, 1) == [first.id]  # it keeps its place
            await store.give_back(first.id, attempt, LOST, later())
        # Then it is behind those that wait
        assert [job.id for job in await line.first(TINY, 9)][-1] == first.id
        assert {*await claimed_ids(line, 2)} == {second.id, third.id}
        again = await claim(line)
        assert again is not None
        assert (again.id, len(again.attempts)) == (first.id, 3)
        # And not behind those that come later
        await store.give_back(first.id, 3, LOST, later())
        fourth = await waiting(store, owner="c")
        assert [job.id for job in await line.first(TINY, 9)] == [first.id, fourth.id] or fourth.turn < first.turn

    # Limits of owners

    @pytest.mark.parametrize("begin", [processing, generated])
    async def test_owners_with_enough_running_are_passed_over(
        self, store: JobStore, line: JobLine, begin: Callable[..., Awaitable[Job]]
    ) -> None:
        # Given an owner with one running and many that wait, and two who have none running
        running = await begin(store, owner="a")
        his = await piled_up(store, 80, owner="a")
        theirs = [await waiting(store, owner=owner, priority=-1) for owner in "bc"]
        # Then his are passed over, as long as that one runs
        assert await claimed_ids(line, 3, most=1) == [theirs[0].id, theirs[1].id, None]
        assert await claimed_ids(line, 2, most=2) == [his[0].id, None]
        await store.fail(running.id, 1, LOST, later())
        assert await claimed_ids(line, 2, most=2) == [his[1].id, None]
        assert await claimed_ids(line, 1) == [his[2].id]

    async def test_who_may_have_more_goes_in_the_order_of_the_line(self, store: JobStore, line: JobLine) -> None:
        # Given owners of whom one has enough running, and the line of the others
        await processing(store, owner="a")
        await piled_up(store, 3, owner="a")
        theirs = [await waiting(store, owner="bcd"[number % 3]) for number in range(6)]
        order = [job.id for job in await line.first(TINY, 99) if job.owner != "a"]
        assert {*order} == {job.id for job in theirs}
        # Then each of them has one made, and no more
        assert await claimed_ids(line, 4, most=1) == [*order[:3], None]

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
        told = {
            TINY: Waiting(jobs=3, oldest=jobs[0].created_at),
            "other": Waiting(jobs=1, oldest=other.created_at),
        }
        assert await line.waiting() == told
        assert await line.waiting_now() == told

    async def test_the_first_ones_come_in_order(self, store: JobStore, line: JobLine) -> None:
        low, first, second, high = [await waiting(store, priority=priority) for priority in (-1, 0, 0, 1)]
        await waiting(store, request=a_request(model="other"))
        assert await line.first(TINY, 3) == [high, first, second]
        assert await line.first(TINY, 9) == [high, first, second, low]

    # Many at once

    @pytest.mark.parametrize("most", [None, 30])
    async def test_of_many_who_claim_at_once_each_gets_another_one(
        self, store: JobStore, line: JobLine, most: int | None
    ) -> None:
        # Given jobs of several owners and priorities
        jobs = [await waiting(store, owner="abc"[number % 3], priority=number % 2) for number in range(60)]
        # When as many claim at once
        claimed = await asyncio.gather(*(claim(line, worker=f"w{n}", most=most) for n in range(len(jobs))))
        # Then each has one, at the first try
        assert Counter(job.id for job in claimed if job is not None) == Counter(job.id for job in jobs)
        assert (await store.counts())[JobState.PROCESSING] == len(jobs)

    async def test_of_many_who_claim_at_once_no_owner_has_more_than_he_may(
        self, store: JobStore, line: JobLine
    ) -> None:
        for number in range(40):
            await waiting(store, owner="ab"[number % 2])
        claimed = await asyncio.gather(*(claim(line, worker=f"w{n}", most=3) for n in range(20)))
        assert Counter(job.owner for job in claimed if job is not None) == {"a": 3, "b": 3}
