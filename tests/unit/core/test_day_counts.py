"""What an owner had accepted within 24 hours, at a server that alone accepts jobs."""

import pytest

from danqing.core.quotas import LocalDayCounts
from tests.contracts.day_counts import Calendar, DayCountsContract


class TestLocalDayCounts(DayCountsContract):
    implementation = LocalDayCounts

    @pytest.fixture
    def days(self, calendar: Calendar) -> LocalDayCounts:
        return LocalDayCounts(kept=calendar.kept, now=calendar)
