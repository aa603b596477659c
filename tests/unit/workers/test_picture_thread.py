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


def test_a_broken_device_is_given_nothing_more_before_the_server_hears_of_it() -> None:
    happened: list[str] = []

    class Inbox:
        def end(self) -> None:
            happened.append("nothing more is begun")

    class Making:
        def failed(self, error: Exception) -> None:
            happened.append(f"told: {error}")

    def broken() -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def failing() -> None:
        raise RuntimeError("this picture")

    thread = PictureThread("pictures", inbox=cast(Any, Inbox()))
    thread.start()
    thread.add(cast(Any, Making()), failing)
    thread.add(cast(Any, Making()), broken)
    thread.close()
    assert happened[0] == "told: this picture"
    assert happened[1] == "nothing more is begun"
    assert happened[2].startswith("told: CUDA error")
    assert thread.poisoned
