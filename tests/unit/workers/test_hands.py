"""Which jobs a worker has in its hands."""

from danqing.core.types import JobFailure
from danqing.workers.hands import Hands, JobAttempt
from danqing.workers.messages import (
    AwaitsEnlarging,
    DeviceFree,
    EnlargingBegan,
    JobDone,
    JobFailed,
    JobGenerated,
    JobStopped,
    PartDone,
    RunJob,
    StepDone,
)
from tests.fakes.domain import a_request

A, B, C = JobAttempt("a", 1), JobAttempt("b", 2), JobAttempt("c", 1)


def empty_hands() -> Hands:
    return Hands(max_finishing=2, max_enlarging=2)


def send(hands: Hands, attempt: JobAttempt) -> None:
    hands.reserve(attempt.job_id)
    hands.sent([RunJob(job_id=attempt.job_id, attempt=attempt.attempt, request=a_request())])


def device_free(attempt: JobAttempt) -> DeviceFree:
    return DeviceFree(job_id=attempt.job_id, attempt=attempt.attempt)


def generated(attempt: JobAttempt) -> JobGenerated:
    return JobGenerated(job_id=attempt.job_id, attempt=attempt.attempt, artifacts=())


def enlarging(attempt: JobAttempt) -> EnlargingBegan:
    return EnlargingBegan(job_id=attempt.job_id, attempt=attempt.attempt)


def done(attempt: JobAttempt) -> JobDone:
    return JobDone(job_id=attempt.job_id, attempt=attempt.attempt, artifacts=(), denoise_s=0, finish_s=0)


def test_a_reservation_takes_the_room_until_it_is_released() -> None:
    hands = empty_hands()
    assert hands.have_room
    hands.reserve("a")
    assert not hands.have_room
    assert hands.attempts == []
    hands.release()
    assert hands.have_room


def test_a_picture_that_is_only_enlarged_leaves_the_device_at_once() -> None:
    # Given a job that was sent
    hands = empty_hands()
    send(hands, A)
    # When the process says that the device has nothing to do with it
    hands.told(AwaitsEnlarging(job_id=A.job_id, attempt=A.attempt))
    # Then it waits like others that are enlarged, and there is room for another
    assert (hands.have_room, hands.device_busy, hands.awaits_enlarging(A)) == (True, False, True)
    hands.told(enlarging(A))
    assert (hands.awaits_enlarging(A), hands.attempts) == (False, [A])
    assert hands.only_enlarge
    hands.told(done(A))
    assert (hands.attempts, hands.only_enlarge) == ([], False)


def test_pictures_that_are_only_enlarged_leave_the_room_to_others() -> None:
    # Given a job that is only enlarged
    hands = Hands(max_finishing=1, max_enlarging=1)
    send(hands, A)
    hands.told(AwaitsEnlarging(job_id=A.job_id, attempt=A.attempt))
    # Then it does not count among those that were made, before and after its turn comes
    assert hands.have_room
    hands.told(enlarging(A))
    assert hands.have_room
    # And those that were made do, and are not only enlarged
    send(hands, B)
    for message in (device_free(B), generated(B)):
        hands.told(message)
    assert not hands.have_room
    hands.told(done(A))
    assert (hands.have_room, hands.only_enlarge) == (False, False)


def test_a_job_goes_over_the_device_to_its_end() -> None:
    # Given a job that was sent
    hands = empty_hands()
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
    hands = empty_hands()
    send(hands, A)
    hands.told(device_free(A))
    assert not hands.awaits_enlarging(A)
    # When its original is stored, it waits to be enlarged, until that begins
    hands.told(generated(A))
    assert hands.awaits_enlarging(A)
    assert hands.attempts == [A]
    hands.told(enlarging(A))
    hands.told(PartDone(job_id="a", attempt=1, part=1, parts=1))
    assert not hands.awaits_enlarging(A)
    assert hands.attempts == [A]
    # When it is done, they are empty
    hands.told(done(A))
    assert hands.attempts == []


def test_pictures_to_be_enlarged_take_no_room_until_they_are_too_many() -> None:
    # Given hands in which nothing more than one picture may be finished
    hands = Hands(max_finishing=1, max_enlarging=2)
    send(hands, A)
    hands.told(device_free(A))
    assert not hands.have_room
    # When it only waits to be enlarged, and then is enlarged, there is room for another
    for message in (generated(A), enlarging(A)):
        hands.told(message)
        assert hands.have_room
    # When that one waits to be enlarged as well, two are the limit
    send(hands, B)
    for message in (device_free(B), generated(B)):
        hands.told(message)
        assert not hands.have_room
    # When the first is done, the device works again, and its job counts for itself
    hands.told(done(A))
    assert hands.have_room
    send(hands, C)
    assert hands.attempts == [B, C]


def test_a_picture_may_end_before_it_is_enlarged() -> None:
    # Given a picture that waits for another to be enlarged
    hands = empty_hands()
    for attempt in (A, B):
        send(hands, attempt)
        hands.told(device_free(attempt))
        hands.told(generated(attempt))
    hands.told(enlarging(A))
    # When it is dropped, it is gone, and the other one stays
    hands.told(JobStopped(job_id="b", attempt=2))
    assert not hands.awaits_enlarging(B)
    assert (hands.have_room, hands.attempts) == (True, [A])


def test_there_is_no_room_while_too_many_pictures_are_finished() -> None:
    # Given two pictures that are finished, two being the limit
    hands = empty_hands()
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
        hands = empty_hands()
        send(hands, A)
        hands.told(end)
        assert (hands.have_room, hands.device_busy, hands.attempts) == (True, False, [])


def test_the_end_of_one_job_leaves_the_other_on_the_device() -> None:
    hands = empty_hands()
    send(hands, A)
    hands.told(device_free(A))
    send(hands, B)
    hands.told(done(A))
    assert (hands.device_busy, hands.attempts) == (True, [B])


def test_a_stop_is_remembered_for_the_reserved_job_only() -> None:
    hands = empty_hands()
    hands.reserve("a")
    assert not hands.stop_reserved("b")
    assert not hands.reserved_was_stopped("a")
    assert hands.stop_reserved("a")
    assert hands.reserved_was_stopped("a")
    # And not for the next one
    hands.release()
    hands.reserve("b")
    assert hands.reserved_for("b")
    assert not hands.reserved_was_stopped("b")


def send_together(hands: Hands, *attempts: JobAttempt) -> None:
    for attempt in attempts:
        hands.reserve(attempt.job_id)
    hands.sent([RunJob(job_id=each.job_id, attempt=each.attempt, request=a_request()) for each in attempts])


def test_the_device_is_free_when_all_of_a_batch_are_off_it() -> None:
    # Given three jobs that were sent together, of which one is stopped and one is off the device
    hands = empty_hands()
    send_together(hands, A, B, C)
    assert [hands.leads(attempt) for attempt in (A, B, C)] == [True, False, False]
    hands.told(JobStopped(job_id="a", attempt=1))
    assert hands.leads(B)
    hands.told(device_free(B))
    assert (hands.have_room, hands.device_busy) == (False, True)
    # When the last one is off the device, there is room for the next batch
    hands.told(device_free(C))
    assert (hands.have_room, hands.device_busy, hands.attempts) == (True, False, [B, C])


def test_pictures_of_one_batch_count_as_one_while_they_are_finished() -> None:
    # Given hands in which two batches may be finished, and one of two pictures that is
    hands = empty_hands()
    send_together(hands, A, B)
    for attempt in (A, B):
        hands.told(device_free(attempt))
    assert hands.have_room
    # When a second one is, there is no room until one of both is done
    send(hands, C)
    hands.told(device_free(C))
    assert not hands.have_room
    hands.told(done(A))
    assert not hands.have_room
    hands.told(done(B))
    assert hands.have_room


def test_each_of_a_batch_may_be_stopped_while_it_is_claimed() -> None:
    hands = empty_hands()
    for job_id in ("a", "b"):
        hands.reserve(job_id)
    assert hands.stop_reserved("b")
    assert [hands.reserved_was_stopped(job_id) for job_id in ("a", "b")] == [False, True]
    assert [hands.reserved_for(job_id) for job_id in ("a", "b", "c")] == [True, True, False]


def test_a_job_that_is_stopped_before_it_is_known_to_be_the_one_that_is_claimed_is_not_wanted() -> None:
    # Given a device that is kept on account of one job, while another is claimed in its stead, and stopped
    hands = empty_hands()
    hands.reserve("named")
    assert not hands.stop_reserved("claimed")
    # When it turns out which it is
    hands.reserve("claimed")
    # Then it is known not to be wanted
    assert hands.reserved_was_stopped("claimed")
    assert not hands.reserved_was_stopped("named")
    # And another time it is wanted again
    hands.release()
    hands.reserve("claimed")
    assert not hands.reserved_was_stopped("claimed")


def test_the_next_jobs_may_be_sent_once_the_device_will_soon_be_free() -> None:
    # Given a job on the device, and hands in which two may be finished
    hands = empty_hands()
    send(hands, A)
    assert not hands.have_room
    # When it is as good as done, another one may be sent, and no third
    hands.expect_free(True)
    assert hands.have_room
    send(hands, B)
    assert (hands.have_room, hands.on_device, hands.next_up, hands.attempts) == (False, [A], [B], [A, B])
    hands.expect_free(True)
    assert not hands.have_room
    # When the device is free, it turns to that one, of which nothing was said yet
    assert hands.told(device_free(A))
    assert (hands.on_device, hands.next_up, hands.have_room) == ([B], [], False)
    # And each is stored for itself
    assert not hands.told(done(A))
    assert not hands.told(device_free(B))
    assert hands.have_room
    hands.told(done(B))
    assert hands.attempts == []


def test_nothing_is_sent_ahead_while_too_many_pictures_are_finished() -> None:
    hands = Hands(max_finishing=1, max_enlarging=2)
    send(hands, A)
    hands.expect_free(True)
    assert not hands.have_room  # its own picture will be the one that may be finished


def test_the_next_job_may_end_before_its_turn() -> None:
    hands = empty_hands()
    send(hands, A)
    hands.expect_free(True)
    send(hands, B)
    hands.told(JobStopped(job_id=B.job_id, attempt=B.attempt, artifacts=()))
    assert (hands.on_device, hands.next_up) == ([A], [])
    assert hands.have_room


def test_the_expectation_may_be_taken_back() -> None:
    hands = empty_hands()
    send(hands, A)
    hands.expect_free(True)
    hands.expect_free(False)
    assert not hands.have_room


def test_of_several_jobs_one_leads_and_one_is_in_the_last_part() -> None:
    hands = empty_hands()
    hands.sent([RunJob(job_id=one.job_id, attempt=one.attempt, request=a_request()) for one in (A, B)])
    assert [(hands.leads(one), hands.trails(one)) for one in (A, B, C)] == [
        (True, False),
        (False, True),
        (False, False),
    ]


def test_after_an_error_of_the_device_it_turns_to_nothing_more() -> None:
    # Given a job on the device, and one that is next
    hands = empty_hands()
    send(hands, A)
    hands.expect_free(True)
    send(hands, B)
    # When the device is not to be trusted any more
    failure = JobFailure(code="internal_error", message="It broke.", retryable=True)
    assert not hands.told(JobFailed(job_id=A.job_id, attempt=A.attempt, failure=failure, poisoned=True))
    # Then the other one was never begun
    assert (hands.on_device, hands.next_up, hands.have_room) == ([], [B], False)


def test_an_idle_device_is_not_soon_free() -> None:
    hands = empty_hands()
    hands.expect_free(True)
    send(hands, A)
    assert not hands.have_room
