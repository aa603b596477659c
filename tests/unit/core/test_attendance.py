"""Who waits, in a process of its own, for a job that nobody is told of."""

import pytest

from danqing.core.attendance import LocalAttendance
from tests.contracts.attendance import AttendanceContract, begin


class TestLocalAttendance(AttendanceContract):
    implementation = LocalAttendance

    @pytest.fixture
    def attendance(self) -> LocalAttendance:
        return LocalAttendance()


async def test_what_was_abandoned_is_remembered_for_a_while_only() -> None:
    attendance = LocalAttendance()
    for number in range(1001):
        await begin(attendance, f"job-{number}")
        await attendance.leave(f"job-{number}", ended=False)
    assert await attendance.join("job-0", attended=True)
    assert not await attendance.join("job-1", attended=True)
    assert len(attendance) == 0
