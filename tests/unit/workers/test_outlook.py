"""When a device will be free."""

import pytest

from danqing.workers.outlook import Outlook


def made(outlook: Outlook, *, began: float, step_s: float, steps: int, tail_s: float) -> float:
    """A whole job; returns when it was off the device."""
    outlook.device_busy(began)
    for step in range(1, steps + 1):
        outlook.step_done(began + step * step_s, left=steps - step)
    outlook.device_free(began + steps * step_s + tail_s)
    return began + steps * step_s + tail_s


def test_nothing_can_be_told_before_one_job_was_made() -> None:
    outlook = Outlook()
    assert outlook.free_at() is None
    outlook.device_busy(0.0)
    outlook.step_done(1.0, left=1)
    assert outlook.free_at() is None
    outlook.step_done(2.0, left=0)
    outlook.device_free(4.0)
    assert outlook.free_at() is None  # it is


def test_steps_take_as_long_as_those_before_and_decoding_as_many_as_it_did() -> None:
    # Given a job whose decoding took two of its steps
    outlook = Outlook()
    end = made(outlook, began=0.0, step_s=1.0, steps=4, tail_s=2.0)
    # When the next one is larger, its first step says nothing, for it has the prompt in it
    outlook.device_busy(end)
    outlook.step_done(end + 6.0, left=3)
    assert outlook.free_at() is None
    # Then those that are left, and its decoding, take as long as the second
    outlook.step_done(end + 8.0, left=2)
    assert outlook.free_at() == pytest.approx(end + 8.0 + (2 + 2) * 2.0)


def test_a_step_that_is_left_out_does_not_make_the_others_quick() -> None:
    outlook = Outlook()
    end = made(outlook, began=0.0, step_s=1.0, steps=4, tail_s=1.0)
    outlook.device_busy(end)
    for at, left in ((1.0, 7), (2.0, 6), (3.0, 5), (3.02, 4)):
        outlook.step_done(end + at, left=left)
    free_at = outlook.free_at()
    assert free_at is not None
    assert free_at > end + 3.02 + 5 * 0.6


def test_steps_that_are_heard_of_at_once_say_nothing() -> None:
    outlook = Outlook()
    end = made(outlook, began=0.0, step_s=1.0, steps=4, tail_s=1.0)
    outlook.device_busy(end)
    outlook.step_done(end + 2.0, left=1)
    outlook.step_done(end + 2.0, left=0)
    assert outlook.free_at() is None
    # And nothing is learned of what follows them
    outlook.device_free(end + 9.0)
    outlook.device_busy(end + 9.0)
    outlook.step_done(end + 10.0, left=1)
    outlook.step_done(end + 11.0, left=0)
    assert outlook.free_at() == pytest.approx(end + 12.0)


def test_a_job_that_ends_early_says_nothing_about_decoding() -> None:
    outlook = Outlook()
    end = made(outlook, began=0.0, step_s=1.0, steps=4, tail_s=2.0)
    # When one is dropped in mid-job
    outlook.device_busy(end)
    outlook.step_done(end + 1.0, left=3)
    outlook.device_free(end + 100.0)
    # Then the next one is judged as before
    outlook.device_busy(end + 100.0)
    outlook.step_done(end + 101.0, left=1)
    outlook.step_done(end + 102.0, left=0)
    assert outlook.free_at() == pytest.approx(end + 104.0)


def test_what_follows_the_last_step_is_the_newest_jobs_most() -> None:
    outlook = Outlook()
    end = made(outlook, began=0.0, step_s=1.0, steps=3, tail_s=1.0)
    end = made(outlook, began=end, step_s=1.0, steps=3, tail_s=2.0)
    outlook.device_busy(end)
    outlook.step_done(end + 1.0, left=1)
    outlook.step_done(end + 2.0, left=0)
    free_at = outlook.free_at()
    assert free_at is not None
    assert end + 3.0 < free_at < end + 4.0
