"""How soon it is worth asking again, as measured."""

from datetime import datetime, timedelta

import pytest

from danqing.core.pace import LONGEST_S, RECALLED_FOR_S, Pace, RecalledPace
from tests.fakes.domain import NOW


def at(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


async def test_before_the_first_job_nobody_knows() -> None:
    assert await Pace().seconds_for(1) is None


async def test_jobs_one_after_the_other_take_what_they_take() -> None:
    pace = Pace()
    for start in (0, 4, 100):  # idle in between, which does not count
        pace.completed(NOW + at(start), NOW + at(start + 4))
    assert [await pace.seconds_for(jobs) for jobs in (1, 2.5, 1000, 0)] == [4, 10, LONGEST_S, 1]


@pytest.mark.parametrize("ends", [(4, 4, 4, 4), (2, 4, 6, 8)], ids=["a batch", "two devices"])
async def test_jobs_that_are_made_at_once_count_together(ends: tuple[int, ...]) -> None:
    pace = Pace()
    for round_ in range(10):
        for end in ends:
            pace.completed(NOW + at(10 * round_ + end - 4), NOW + at(10 * round_ + end))
    seconds = await pace.seconds_for(10)
    assert seconds is not None
    assert seconds < 10 * 4


async def test_a_clock_that_goes_back_makes_nobody_wait_for_ever() -> None:
    pace = Pace()
    pace.completed(NOW + at(10), NOW + at(5))
    pace.completed(NOW, NOW + at(1))
    assert await pace.seconds_for(1) == 1


async def test_who_is_not_told_himself_recalls_what_was_for_a_few_seconds() -> None:
    # Given two jobs of 4 seconds that others completed
    done, asked, clock = [(NOW, NOW + at(4)), (NOW + at(4), NOW + at(8))], list[float](), [0.0]

    async def recall() -> list[tuple[datetime, datetime]]:
        asked.append(clock[0])
        return done

    pace = RecalledPace(recall, clock=lambda: clock[0])
    assert [await pace.seconds_for(jobs) for jobs in (1, 3)] == [4, 12]
    # When others take longer, then that is noticed soon
    done.append((NOW + at(8), NOW + at(108)))
    assert await pace.seconds_for(1) == 4
    clock[0] += RECALLED_FOR_S
    assert await pace.seconds_for(1) == 24
    assert asked == [0.0, RECALLED_FOR_S]
    # And when nobody remembers, then nobody knows
    done.clear()
    clock[0] += RECALLED_FOR_S
    assert await pace.seconds_for(1) is None
