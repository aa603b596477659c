"""In the worker process: a thread that works on pictures in order, and sees each through to a last word if it fails."""

import threading
from collections.abc import Callable
from queue import SimpleQueue

from danqing.workers.inbox import Inbox
from danqing.workers.making import Making, Stopped


class PictureThread:
    """Anything but an Exception that its work raises ends the thread, and with it the process."""

    def __init__(self, name: str, *, inbox: Inbox) -> None:
        self._inbox = inbox
        self._work: SimpleQueue[tuple[Making, Callable[[], None]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._poisoned = False

    @property
    def poisoned(self) -> bool:
        """True once an error has shown that the process cannot be trusted any more; it is told to end then."""
        return self._poisoned

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def add(self, making: Making, work: Callable[[], None]) -> None:
        """Has work done on this picture after everything added before; does not wait.

        work: says the last word of making, hands it on, or raises.
        """
        self._work.put((making, work))

    def close(self) -> None:
        """Returns when everything added is done. Nothing may be added afterwards."""
        self._work.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            making, work = item
            try:
                work()
            except Stopped:
                making.stopped()
            except Exception as error:
                if making.failed(error):
                    self._poisoned = True
                    self._inbox.shut_down()
