"""Figures that are read anew each time, or seldom, by how many jobs are in them."""

from danqing.store.remembered import FEW, MOST_S, PART_OF_TIME, Remembered


class Reading:
    """A figure that takes so many seconds to read."""

    def __init__(self, jobs: int, *, takes_s: float = 0.25) -> None:
        self.jobs, self.times, self.now, self.takes_s = jobs, 0, 0.0, takes_s
        self.remembered = Remembered(self.read, jobs_in=lambda jobs: jobs, clock=lambda: self.now)

    async def read(self) -> int:
        self.times += 1
        self.now += self.takes_s
        return self.jobs


async def test_few_are_read_anew_each_time() -> None:
    reading = Reading(FEW)
    for more in range(3):
        reading.jobs = FEW - more
        assert await reading.remembered.get() == FEW - more
    assert reading.times == 3


async def test_reading_many_takes_a_small_part_of_the_time() -> None:
    # Given a figure of many, that was read
    reading = Reading(FEW + 1)
    assert await reading.remembered.get() == FEW + 1
    # Then for twenty times as long as that took it is told again
    reading.jobs = 5
    reading.now += PART_OF_TIME * reading.takes_s - 0.5
    assert (await reading.remembered.get(), reading.times) == (FEW + 1, 1)
    # And then read anew, and, being of few now, each time
    reading.now += 1.0
    assert [await reading.remembered.get() for _ in range(2)] == [5, 5]
    assert reading.times == 3


async def test_one_that_takes_long_to_read_is_not_remembered_for_long() -> None:
    reading = Reading(FEW + 1, takes_s=3.0)
    await reading.remembered.get()
    reading.jobs += 1
    reading.now += MOST_S - 0.5
    assert await reading.remembered.get() == FEW + 1
    reading.now += 1.0
    assert await reading.remembered.get() == FEW + 2
