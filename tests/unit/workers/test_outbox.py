"""What a worker process says when the server does not listen."""

import multiprocessing
import os
import threading
from multiprocessing.connection import Connection

from danqing.core.types import EncodedPicture
from danqing.workers.framing import Frames
from danqing.workers.messages import PreviewReady
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
