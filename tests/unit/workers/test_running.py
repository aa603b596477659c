"""How far an attempt is."""

from danqing.core.types import Progress, Stage
from danqing.workers.running import Deadline, StageMeter


def test_steps_are_measured_from_the_beginning_of_their_stage() -> None:
    # Given an attempt that began at 100
    meter = StageMeter(100.0)
    # When it makes steps, some of them again
    told = [meter.advance(step, 4, 100.0 + seconds) for step, seconds in ((1, 2.0), (2, 3.0), (1, 5.0), (2, 6.0))]
    # Then it is told as far as it has not been before
    assert told == [
        Progress(stage=Stage.DENOISING, step=1, total_steps=4, elapsed_s=2.0),
        Progress(stage=Stage.DENOISING, step=2, total_steps=4, elapsed_s=3.0),
        None,
        None,
    ]
    # When the next stage begins
    meter.begin(Stage.UPSCALING, 110.0)
    # Then steps and time are counted anew
    expected = Progress(stage=Stage.UPSCALING, step=1, total_steps=9, elapsed_s=0.5)
    assert meter.advance(1, 9, 110.5) == expected
    assert meter.advance(1, 9, 111.0) is None


def test_a_deadline_is_over_after_its_time() -> None:
    deadline = Deadline(100.0)
    assert not deadline.is_over(100.0)
    assert deadline.is_over(100.1)
    # And later by what is forgiven
    deadline.forgive(5.0)
    assert not deadline.is_over(105.0)
    assert deadline.is_over(105.1)


def test_a_pause_moves_the_deadline_by_its_length_and_is_never_over() -> None:
    # Given ten seconds left when a pause begins
    deadline = Deadline(100.0)
    deadline.pause(90.0)
    assert not deadline.is_over(1000.0)
    # When time is forgiven within it, and it ends
    deadline.forgive(50.0)
    deadline.resume(500.0)
    # Then ten seconds are left
    assert not deadline.is_over(510.0)
    assert deadline.is_over(510.1)
    # And an end without a pause changes nothing
    deadline.resume(600.0)
    assert deadline.is_over(510.1)
