"""Turns: owners get their shares, whatever they pile up, and nobody waits for ever."""

from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from danqing.core.fairness import order_of_taking, turn_of, work_of
from danqing.core.states import JobState
from danqing.core.types import Job
from tests.fakes.domain import a_job, a_request
from tests.fakes.fairness import turn_among

SIDES = st.sampled_from([64, 128, 256])
STEPS = st.integers(1, 10)


@dataclass
class House:
    """One device, and jobs with turns as a store gives them."""

    jobs: dict[str, Job] = field(default_factory=dict[str, Job])
    taken: list[Job] = field(default_factory=list[Job])

    def submit(self, owner: str, *, side: int = 64, steps: int = 1, priority: int = 0) -> Job:
        request = a_request(width=side, height=side, num_inference_steps=steps)
        job = a_job(owner=owner, request=request, priority=priority, sequence=len(self.jobs) + 1)
        job = replace(job, turn=turn_among(self.jobs.values(), job))
        self.jobs[job.id] = job
        return job

    def take(self) -> Job:
        """The device has finished what it had, and begins with the next one."""
        for job in self.jobs.values():
            if job.state is JobState.PROCESSING:
                self.jobs[job.id] = replace(job, state=JobState.COMPLETED)
        job = min(self.waiting(), key=order_of_taking)
        self.jobs[job.id] = replace(job, state=JobState.PROCESSING)
        self.taken.append(job)
        return job

    def waiting(self) -> list[Job]:
        return [job for job in self.jobs.values() if job.state is JobState.PENDING]

    def owners(self, count: int) -> str:
        """Of the next so many jobs."""
        return "".join(self.take().owner for _ in range(count))


def test_one_owner_alone_is_served_in_the_order_of_acceptance() -> None:
    house = House()
    jobs = [house.submit("a", side=side, steps=steps) for side, steps in ((256, 9), (64, 1), (128, 4), (64, 1))]
    assert [house.take() for _ in jobs] == jobs


def test_who_comes_later_takes_turns_with_who_has_piled_up() -> None:
    # Given an owner with many jobs, of which one runs
    house = House()
    for _ in range(6):
        house.submit("a")
    house.take()
    # When another one comes with some, then they alternate from now on
    for _ in range(3):
        house.submit("b")
    assert house.owners(8) == "abababaa"


def test_a_large_picture_counts_as_much_as_the_small_ones_that_it_is() -> None:
    house = House()
    for _ in range(2):
        house.submit("large", steps=4)
    for _ in range(8):
        house.submit("small", steps=1)
    # Of the first half of the work each has half
    first = [house.take() for _ in range(5)]
    assert sorted(job.owner for job in first) == ["large", *["small"] * 4]


def test_priority_goes_before_fairness() -> None:
    house = House()
    for _ in range(3):
        house.submit("a", priority=1)
    house.submit("b")
    assert house.owners(4) == "aaab"


def test_when_all_is_done_the_count_begins_anew() -> None:
    house = House()
    for _ in range(5):
        house.submit("a")
    house.owners(5)
    assert house.submit("a").turn == 6 * work_of(a_request(width=64, height=64, num_inference_steps=1))
    house.take()
    house.jobs = {job.id: replace(job, state=JobState.COMPLETED) for job in house.jobs.values()}
    first = house.submit("b")
    assert first.turn == work_of(first.request)


def test_an_old_job_in_service_gives_no_newcomer_a_head_start() -> None:
    # Given a job that is made again, whose turn is long past what is in line now
    assert turn_of(1, own_last=0, in_service=10, next_in_line=1000) == 1000


def test_a_job_that_went_before_its_turn_moves_nobody_behind_the_others_of_its_owner() -> None:
    # Given an owner whose last of many jobs runs, for its model is loaded
    house = House()
    piled_up = [house.submit("a") for _ in range(100)]
    house.take()
    house.jobs[piled_up[0].id] = replace(piled_up[0], state=JobState.COMPLETED)
    house.jobs[piled_up[-1].id] = replace(piled_up[-1], state=JobState.PROCESSING)
    # Then his own jobs keep their order
    assert house.submit("a").turn > piled_up[-1].turn
    # When others come with some, then they take turns with what the first one has waiting
    for owner in "bcbc":
        house.submit(owner)
    assert house.owners(8) == "aabcabca"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), SIDES, STEPS), min_size=2, max_size=40),
    st.lists(st.booleans(), max_size=60),
)
def test_what_two_who_both_wait_have_got_differs_by_three_pictures_at_most(
    orders: list[tuple[str, int, int]], takes: list[bool]
) -> None:
    # Given submits of three owners, with takes in between
    house, queued = House(), list(orders)
    for is_take in takes:
        if is_take and house.waiting():
            house.take()
        elif queued:
            owner, side, steps = queued.pop(0)
            house.submit(owner, side=side, steps=steps)
    for owner, side, steps in queued:
        house.submit(owner, side=side, steps=steps)
    # When the rest is taken
    largest = max(work_of(job.request) for job in house.jobs.values())
    done = dict.fromkeys("abc", 0)
    while waiting := house.waiting():
        owners = {job.owner for job in waiting}
        job = house.take()
        done[job.owner] += work_of(job.request)
        # Then as long as two of them wait, none gets ahead of the other
        if {other.owner for other in house.waiting()} == owners:
            shares = [done[owner] for owner in owners]
            assert max(shares) - min(shares) <= 3 * largest
        else:
            done = dict.fromkeys("abc", 0)
    # And each one's jobs came in their order
    for owner in "abc":
        sequences = [job.sequence for job in house.taken if job.owner == owner]
        assert sequences == sorted(sequences)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.lists(st.integers(0, 2), min_size=30, max_size=30))
def test_nobody_is_kept_waiting_by_ever_new_owners(piled_up: int, arrivals: list[int]) -> None:
    # Given an owner who has some jobs in line
    house = House()
    for _ in range(piled_up):
        house.submit("patient")
    house.take()
    # When with every picture that is made others come, whom nobody has seen before: one a picture, on the whole
    for number, count in enumerate(arrivals):
        for which in range(min(count, 1)):
            house.submit(f"new-{number}-{which}")
        if house.waiting():
            house.take()
    # Then his are all made
    assert "patient" not in {job.owner for job in house.waiting()}
