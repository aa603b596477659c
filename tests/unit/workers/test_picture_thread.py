"""What a thread has done with it lets go of: a picture may hold on to a model."""

import gc
import threading
import weakref
from typing import Any, cast

from danqing.workers.picture_thread import PictureThread


class Work:
    """Something that is done, in order."""

    def __init__(self) -> None:
        self.done = threading.Event()

    def __call__(self) -> None:
        self.done.set()


def test_nothing_of_a_picture_is_kept_while_the_thread_waits_for_the_next() -> None:
    thread = PictureThread("pictures", inbox=cast(Any, None))
    thread.start()
    work = Work()
    done, gone = work.done, weakref.ref(work)
    thread.add(cast(Any, object()), work)
    del work
    assert done.wait(10)
    # The thread is about to wait, or waits already
    deadline = threading.Event()
    for _ in range(100):
        gc.collect()
        if gone() is None:
            break
        deadline.wait(0.01)
    assert gone() is None
    thread.close()
