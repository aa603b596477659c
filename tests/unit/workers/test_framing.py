"""Messages between the server and its workers, in whatever pieces they come."""

import pickle

import pytest

from danqing.workers.framing import Frames, framed
from danqing.workers.messages import StepDone, StopJob

STEP = StepDone(job_id="a", attempt=1, step=2, total_steps=9)
STOP = StopJob(job_id="猫" * 100_000)


@pytest.mark.parametrize("piece", [1, 3, 4, 5, 1000, 10_000_000])
def test_what_comes_in_pieces_is_put_together(piece: int) -> None:
    # Given a few messages in a row, one of them long
    said = [STEP, STEP, STOP, STEP] if piece > 5 else [STEP, STEP, StopJob(job_id="b"), STEP]
    stream = b"".join(map(framed, said))
    # When the stream comes in pieces of so many bytes
    frames = Frames()
    heard = [message for at in range(0, len(stream), piece) for message in frames.feed(stream[at : at + piece])]
    # Then they are heard whole, in order
    assert heard == said


def test_nothing_is_heard_of_half_a_message() -> None:
    frames = Frames()
    assert list(frames.feed(framed(STEP)[:-1])) == []
    assert list(frames.feed(framed(STEP)[-1:])) == [STEP]
    assert list(frames.feed(b"")) == []


@pytest.mark.parametrize("garbage", [b"\xff" * 64, framed(STEP)[:4] + b"\0" * 500])
def test_what_came_before_garbage_is_heard(garbage: bytes) -> None:
    # Given a message, and then none
    heard: list[object] = []
    # When it is read
    with pytest.raises((ValueError, pickle.UnpicklingError)):
        heard.extend(Frames().feed(framed(STOP) + garbage))
    # Then the message was heard before the failure
    assert heard == [STOP]
