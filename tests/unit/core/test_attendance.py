"""Who waits for a job that nobody is told of."""

import pytest

from danqing.core.attendance import Attendance


def test_a_job_is_abandoned_by_the_last_of_those_who_waited() -> None:
    attendance = Attendance()
    attendance.begin("job")
    assert attendance.join("job", attended=True)
    assert [attendance.leave("job", ended=False) for _ in range(3)] == [False, True, False]
    assert len(attendance) == 0


def test_nobody_joins_what_has_just_been_abandoned() -> None:
    attendance = Attendance()
    attendance.begin("job")
    attendance.leave("job", ended=False)
    assert not attendance.join("job", attended=True)
    assert not attendance.join("job", attended=False)


def test_a_job_whose_id_somebody_has_is_never_abandoned() -> None:
    for learn in (lambda a: a.asked_for("job"), lambda a: a.join("job", attended=False)):
        attendance = Attendance()
        attendance.begin("job")
        learn(attendance)
        # Whoever joins later changes nothing about that
        assert attendance.join("job", attended=True)
        assert [attendance.leave("job", ended=False) for _ in range(2)] == [False, False]


def test_a_job_that_has_ended_is_not_abandoned_and_not_remembered() -> None:
    attendance = Attendance()
    attendance.begin("job")
    assert not attendance.leave("job", ended=True)
    assert len(attendance) == 0
    assert attendance.join("job", attended=True)


def test_what_was_abandoned_and_goes_on_is_joined_and_never_abandoned_again() -> None:
    attendance = Attendance()
    attendance.begin("job")
    attendance.leave("job", ended=False)
    attendance.goes_on("job")
    assert attendance.join("job", attended=True)
    assert not attendance.leave("job", ended=False)


def test_what_was_abandoned_is_remembered_for_a_while_only() -> None:
    attendance = Attendance()
    for number in range(1001):
        attendance.begin(f"job-{number}")
        attendance.leave(f"job-{number}", ended=False)
    assert attendance.join("job-0", attended=True)
    assert not attendance.join("job-1", attended=True)


def test_nobody_attends_jobs_that_were_not_stored() -> None:
    attendance = Attendance()
    with pytest.raises(ZeroDivisionError), attendance.of_new(["a", "b"]):
        assert [attendance.waiting(job_id) for job_id in "ab"] == [1, 1]
        raise ZeroDivisionError
    assert len(attendance) == 0
    assert attendance.join("a", attended=True)
