"""What a worker process says when the server does not listen."""

import multiprocessing
import os
import threading
import time
from multiprocessing.connection import Connection

from danqing.core.types import DeviceStatus, EncodedPicture
from danqing.workers.framing import Frames
from danqing.workers.messages import DeviceFree, Heartbeat, PreviewReady, StepDone
from danqing.workers.outbox import Outbox

SOON_S = 20.0
PREVIEW = PreviewReady(
    job_id="a",
    attempt=1,
    step=1,
    total_steps=4,
    picture=EncodedPicture(width=1, height=1, media_type="image/jpeg", content=bytes(60_000)),
)


def fill(pipe: "Connection[object, object]") -> int:
    """Writes until nothing more fits; returns how many bytes did."""
    written = 0
    os.set_blocking(pipe.fileno(), False)
    try:
        while True:
            written += os.write(pipe.fileno(), bytes(1000))
    except BlockingIOError:
        return written
    finally:
        os.set_blocking(pipe.fileno(), True)


def test_a_preview_is_dropped_while_the_pipe_is_full() -> None:
    ours, theirs = multiprocessing.Pipe(duplex=True)
    with ours, theirs:
        # Given a server that does not read
        outbox = Outbox(theirs.fileno())
        unread = fill(theirs)
        # When a preview is sent
        sending = threading.Thread(target=outbox.send_preview, args=(PREVIEW,), daemon=True)
        sending.start()
        # Then that ends all the same
        sending.join(SOON_S)
        assert not sending.is_alive()
        # And once the server reads, previews come again, whole, without what was dropped
        while unread:
            unread -= len(os.read(ours.fileno(), unread))
        assert not ours.poll()
        outbox.send_preview(PREVIEW)
        assert ours.poll()
        assert list(Frames().feed(os.read(ours.fileno(), 65536))) == [PREVIEW]


def steps(first: int, last: int) -> list[StepDone]:
    return [StepDone(job_id="a", attempt=1, step=step, total_steps=last) for step in range(first, last + 1)]


def test_steps_are_sent_though_nothing_follows() -> None:
    ours, theirs = multiprocessing.Pipe(duplex=True)
    with ours, theirs:
        outbox = Outbox(theirs.fileno())
        for step in steps(1, 3):
            # When one is to be sent soon, then it comes
            outbox.send_soon(step)
            assert ours.poll(SOON_S)
            assert list(Frames().feed(os.read(ours.fileno(), 65536))) == [step]


def test_what_is_sent_later_comes_later() -> None:
    ours, theirs = multiprocessing.Pipe(duplex=True)
    with ours, theirs:
        outbox, frames = Outbox(theirs.fileno()), Frames()
        for job in range(200):
            # When steps are to be sent soon, and more is sent at once
            told: list[StepDone | DeviceFree] = [*steps(1, job % 4), DeviceFree(job_id="a", attempt=job)]
            for message in told:
                outbox.send_soon(message)
            beat = Heartbeat(device=DeviceStatus(id="cpu", name=str(job), kind="cpu"))
            outbox.send(beat)
            # Then it is all there, in order
            came = list(frames.feed(os.read(ours.fileno(), 65536)))
            assert came == [*told, beat]


def test_a_step_does_not_wait_for_a_server_that_does_not_read() -> None:
    ours, theirs = multiprocessing.Pipe(duplex=True)
    with ours, theirs:
        # Given a pipe that is full
        outbox = Outbox(theirs.fileno())
        unread = fill(theirs)
        # When steps are told, then that ends
        told = steps(1, 50)
        began = threading.Thread(target=lambda: [outbox.send_soon(step) for step in told], daemon=True)
        began.start()
        began.join(SOON_S)
        assert not began.is_alive()
        # And all come once the server reads
        while unread:
            unread -= len(os.read(ours.fileno(), unread))
        frames, came, until = Frames(), list[object](), time.monotonic() + SOON_S
        while len(came) < len(told) and time.monotonic() < until and ours.poll(SOON_S):
            came += frames.feed(os.read(ours.fileno(), 65536))
        assert came == told
