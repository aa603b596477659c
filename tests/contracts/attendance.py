"""What every Attendance must do. A test module makes a subclass with `implementation` and an `attendance` fixture."""

from typing import ClassVar

import pytest

from danqing.core.attendance import Attendance


async def begin(attendance: Attendance, *job_ids: str) -> None:
    """New jobs are stored, each attended by one."""
    async with attendance.of_new(job_ids):
        pass


class AttendanceContract:
    """The suite."""

    implementation: ClassVar[type]

    @pytest.fixture
    def attendance(self) -> Attendance:
        raise NotImplementedError

    async def test_is_the_implementation_meant(self, attendance: Attendance) -> None:
        assert type(attendance) is self.implementation

    async def test_a_job_is_abandoned_by_the_last_of_those_who_waited(self, attendance: Attendance) -> None:
        await begin(attendance, "job")
        assert await attendance.join("job", attended=True)
        assert await attendance.waiting("job") == 2
        assert [await attendance.leave("job", ended=False) for _ in range(3)] == [False, True, False]
        assert await attendance.waiting("job") == 0

    async def test_nobody_joins_what_has_just_been_abandoned(self, attendance: Attendance) -> None:
        await begin(attendance, "job")
        await attendance.leave("job", ended=False)
        assert not await attendance.join("job", attended=True)
        assert not await attendance.join("job", attended=False)

    @pytest.mark.parametrize("how", ["asked for", "told"])
    async def test_a_job_whose_id_somebody_has_is_never_abandoned(self, attendance: Attendance, how: str) -> None:
        await begin(attendance, "job")
        if how == "told":
            assert await attendance.join("job", attended=False)
        else:
            await attendance.asked_for("job")
        # Whoever joins later changes nothing about that
        assert await attendance.join("job", attended=True)
        assert [await attendance.leave("job", ended=False) for _ in range(2)] == [False, False]

    async def test_a_job_that_has_ended_is_not_abandoned_and_not_remembered(self, attendance: Attendance) -> None:
        await begin(attendance, "job")
        assert not await attendance.leave("job", ended=True)
        assert await attendance.waiting("job") == 0
        assert await attendance.join("job", attended=True)

    async def test_what_was_abandoned_and_goes_on_is_joined_and_never_abandoned_again(
        self, attendance: Attendance
    ) -> None:
        await begin(attendance, "job")
        assert await attendance.leave("job", ended=False)
        await attendance.goes_on("job")
        assert await attendance.join("job", attended=True)
        assert not await attendance.leave("job", ended=False)

    async def test_a_job_that_is_not_known_is_wanted(self, attendance: Attendance) -> None:
        assert await attendance.join("job", attended=True)
        assert not await attendance.leave("job", ended=False)
        assert await attendance.waiting("job") == 0

    async def test_nobody_attends_jobs_that_were_not_stored(self, attendance: Attendance) -> None:
        with pytest.raises(ZeroDivisionError):
            async with attendance.of_new(["a", "b"]):
                assert [await attendance.waiting(job_id) for job_id in "ab"] == [1, 1]
                raise ZeroDivisionError
        assert [await attendance.waiting(job_id) for job_id in "ab"] == [0, 0]
        assert await attendance.join("a", attended=True)
