"""Which jobs a worker has in its hands."""

from danqing.core.types import JobFailure
from danqing.workers.hands import Hands, JobAttempt
from danqing.workers.messages import (
    DeviceFree,
    JobDone,
    JobFailed,
    JobGenerated,
    JobStopped,
    PartDone,
    RunJob,
    StepDone,
)
from tests.fakes.domain import a_request

A, B = JobAttempt("a", 1), JobAttempt("b", 2)


def send(hands: Hands, attempt: JobAttempt) -> None:
    hands.reserve(attempt.job_id)
    hands.sent(RunJob(job_id=attempt.job_id, attempt=attempt.attempt, request=a_request()))


def device_free(attempt: JobAttempt) -> DeviceFree:
    return DeviceFree(job_id=attempt.job_id, attempt=attempt.attempt)


def done(attempt: JobAttempt) -> JobDone:
    return JobDone(job_id=attempt.job_id, attempt=attempt.attempt, artifacts=(), denoise_s=0, finish_s=0)


def test_a_reservation_takes_the_room_until_it_is_released() -> None:
    hands = Hands(max_finishing=2)
    assert hands.have_room
    hands.reserve("a")
    assert not hands.have_room
    assert hands.attempts == []
    hands.release()
    assert hands.have_room


def test_a_job_goes_over_the_device_to_its_end() -> None:
    # Given a job that was sent
    hands = Hands(max_finishing=2)
    send(hands, A)
    assert (hands.have_room, hands.device_busy, hands.attempts) == (False, True, [A])
    # When a step ends, nothing changes; when it is off the device, there is room for another
    hands.told(StepDone(job_id="a", attempt=1, step=1, total_steps=2))
    assert hands.device_busy
    hands.told(device_free(A))
    assert (hands.have_room, hands.device_busy, hands.attempts) == (True, False, [A])
    # When it is done, the hands are empty
    hands.told(done(A))
    assert (hands.have_room, hands.attempts) == (True, [])


def test_a_picture_that_is_enlarged_stays_in_the_hands_to_its_end() -> None:
    # Given a job off the device
    hands = Hands(max_finishing=1)
    send(hands, A)
    hands.told(device_free(A))
    # When its original is stored, and a part of it enlarged, it is still in the process's hands
    for message in (
        JobGenerated(job_id="a", attempt=1, artifacts=()),
        PartDone(job_id="a", attempt=1, part=1, parts=1),
    ):
        hands.told(message)
        assert (hands.have_room, hands.attempts) == (False, [A])
    # When it is done, they are empty
    hands.told(done(A))
    assert (hands.have_room, hands.attempts) == (True, [])


def test_there_is_no_room_while_too_many_pictures_are_finished() -> None:
    # Given two pictures that are finished, two being the limit
    hands = Hands(max_finishing=2)
    for attempt in (A, B):
        send(hands, attempt)
        hands.told(device_free(attempt))
    assert not hands.have_room
    # When one is done
    hands.told(done(A))
    # Then there is room
    assert hands.have_room


def test_a_job_that_fails_or_is_stopped_on_the_device_frees_it() -> None:
    failed = JobFailed(job_id="a", attempt=1, failure=JobFailure(code="engine_failure", message="No."))
    for end in (failed, JobStopped(job_id="a", attempt=1)):
        hands = Hands(max_finishing=2)
        send(hands, A)
        hands.told(end)
        assert (hands.have_room, hands.device_busy, hands.attempts) == (True, False, [])


def test_the_end_of_one_job_leaves_the_other_on_the_device() -> None:
    hands = Hands(max_finishing=2)
    send(hands, A)
    hands.told(device_free(A))
    send(hands, B)
    hands.told(done(A))
    assert (hands.device_busy, hands.attempts) == (True, [B])


def test_a_stop_is_remembered_for_the_reserved_job_only() -> None:
    hands = Hands(max_finishing=2)
    hands.reserve("a")
    assert not hands.stop_reserved("b")
    assert not hands.reserved_was_stopped
    assert hands.stop_reserved("a")
    assert hands.reserved_was_stopped
    # And not for the next one
    hands.release()
    hands.reserve("b")
    assert hands.reserved_for("b")
    assert not hands.reserved_was_stopped
