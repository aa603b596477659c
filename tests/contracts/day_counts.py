"""What all DayCounts must do. A test module makes a subclass with `implementation` and a `days` fixture."""

from datetime import datetime, timedelta
from typing import ClassVar

import pytest

from danqing.core.quotas import DAY, DayCounts
from tests.fakes.domain import NOW
from tests.unit.core.test_quotas import Kept

HOUR = timedelta(hours=1)


class Calendar:
    """The time, as a test wants it, and what a store says of before."""

    def __init__(self) -> None:
        self.now = NOW
        self.kept = Kept()

    def __call__(self) -> datetime:
        return self.now


def about(delay: timedelta | None) -> timedelta | None:
    """To the second."""
    return None if delay is None else timedelta(seconds=round(delay.total_seconds()))


class DayCountsContract:
    """The suite. The counts go by the calendar, and count per owner."""

    implementation: ClassVar[type]

    @pytest.fixture
    def calendar(self) -> Calendar:
        return Calendar()

    @pytest.fixture
    def days(self, calendar: Calendar) -> DayCounts:
        raise NotImplementedError

    async def test_is_the_implementation_meant(self, days: DayCounts) -> None:
        assert type(days) is self.implementation

    async def test_no_more_than_the_most_within_a_day(self, days: DayCounts, calendar: Calendar) -> None:
        await days.load()
        assert await days.take("ann", 1, 3) is None
        calendar.now += 2 * HOUR
        assert await days.take("ann", 2, 3) is None
        assert about(await days.take("ann", 1, 3)) == 22 * HOUR
        assert about(await days.take("ann", 2, 3)) == 24 * HOUR
        assert about(await days.take("bob", 4, 3)) == DAY  # more than there ever are
        assert await days.take("bob", 3, 3) is None
        assert await days.take(None, 3, 3) is None
        # Then a day later there is room for what is a day old
        calendar.now += 22 * HOUR
        assert await days.take("ann", 1, 3) is None
        assert about(await days.take("ann", 1, 3)) == 2 * HOUR

    async def test_what_came_to_nothing_does_not_count(self, days: DayCounts) -> None:
        await days.load()
        assert await days.take("ann", 2, 2) is None
        await days.give_back("ann", 1)
        assert await days.take("ann", 1, 2) is None
        assert await days.take("ann", 1, 2) is not None

    async def test_what_was_before_the_start_counts(self, days: DayCounts, calendar: Calendar) -> None:
        calendar.kept.accepted = [("ann", NOW - 25 * HOUR), ("ann", NOW - 3 * HOUR), ("bob", NOW - 2 * HOUR)]
        await days.load()
        assert await days.take("ann", 1, 2) is None
        assert about(await days.take("ann", 1, 2)) == 21 * HOUR
        assert await days.take("bob", 2, 2) is not None

    async def test_what_came_while_the_clock_was_ahead_counts_for_a_day(
        self, days: DayCounts, calendar: Calendar
    ) -> None:
        # Given pictures of a clock that was a year ahead: one stored, one counted
        calendar.kept.accepted = [("ann", NOW + 365 * DAY)]
        await days.load()
        calendar.now += 365 * DAY - HOUR
        assert await days.take("bob", 1, 1) is None
        calendar.now = NOW
        # Then they count from now on, for a day
        for owner in ("ann", "bob"):
            assert about(await days.take(owner, 1, 1)) == DAY
        calendar.now += DAY
        for owner in ("ann", "bob"):
            assert await days.take(owner, 1, 1) is None
