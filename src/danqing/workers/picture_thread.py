"""In the worker process: a thread that works on pictures in order, and sees each through to a last word if it fails."""

import itertools
import threading
from collections.abc import Callable
from enum import IntEnum
from queue import PriorityQueue

from danqing.workers.failures import poisons_process
from danqing.workers.inbox import Inbox
from danqing.workers.making import Making, Stopped


class _Turn(IntEnum):
    NEXT = 0
    IN_ORDER = 1
    END = 2


class PictureThread:
    """Anything but an Exception that its work raises ends the thread, and with it the process."""

    def __init__(self, name: str, *, inbox: Inbox) -> None:
        self._inbox = inbox
        self._work: PriorityQueue[tuple[_Turn, int, tuple[Making, Callable[[], None]] | None]] = PriorityQueue()
        self._numbers = itertools.count()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._poisoned = False

    @property
    def poisoned(self) -> bool:
        """True once an error has shown that the process cannot be trusted any more; it is told to end then."""
        return self._poisoned

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def add(self, making: Making, work: Callable[[], None], *, next_up: bool = False) -> None:
        """Has work done on this picture after everything added before; does not wait.

        work: says the last word of making, hands it on, or raises. next_up: before everything that was added without.
        """
        self._put(_Turn.NEXT if next_up else _Turn.IN_ORDER, (making, work))

    def close(self) -> None:
        """Returns when everything added is done. Nothing may be added afterwards."""
        self._put(_Turn.END, None)
        self._thread.join()

    def _put(self, turn: _Turn, item: tuple[Making, Callable[[], None]] | None) -> None:
        self._work.put((turn, next(self._numbers), item))  # the number differs, so items are never compared

    def _run(self) -> None:
        while (item := self._work.get()[2]) is not None:
            making, work = item
            try:
                work()
            except Stopped:
                making.stopped()
            except Exception as error:
                if poisons_process(error):  # before the server hears of it: what is begun is what it knows to be begun
                    self._poisoned = True
                    self._inbox.end()
                making.failed(error)
            del item, making, work  # while it waits for the next one, nothing of this one is to be kept
