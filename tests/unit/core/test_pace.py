"""How soon it is worth asking again, as measured."""

from datetime import timedelta

import pytest

from danqing.core.pace import LONGEST_S, Pace
from tests.fakes.domain import NOW


def at(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def test_before_the_first_job_nobody_knows() -> None:
    assert Pace().seconds_for(1) is None


def test_jobs_one_after_the_other_take_what_they_take() -> None:
    pace = Pace()
    for start in (0, 4, 100):  # idle in between, which does not count
        pace.completed(NOW + at(start), NOW + at(start + 4))
    assert [pace.seconds_for(jobs) for jobs in (1, 2.5, 1000, 0)] == [4, 10, LONGEST_S, 1]


@pytest.mark.parametrize("ends", [(4, 4, 4, 4), (2, 4, 6, 8)], ids=["a batch", "two devices"])
def test_jobs_that_are_made_at_once_count_together(ends: tuple[int, ...]) -> None:
    pace = Pace()
    for round_ in range(10):
        for end in ends:
            pace.completed(NOW + at(10 * round_ + end - 4), NOW + at(10 * round_ + end))
    seconds = pace.seconds_for(10)
    assert seconds is not None
    assert seconds < 10 * 4


def test_a_clock_that_goes_back_makes_nobody_wait_for_ever() -> None:
    pace = Pace()
    pace.completed(NOW + at(10), NOW + at(5))
    pace.completed(NOW, NOW + at(1))
    assert pace.seconds_for(1) == 1
