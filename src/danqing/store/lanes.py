"""Calls in lanes: those of one lane are run in the order given, those that wait together; lanes share some threads."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Generic, TypeVar

C = TypeVar("C")

TOGETHER = 32  # calls at most: bounds how long the first of them waits for the last


class Lanes(Generic[C]):
    """So a lane that must wait for something takes one thread, however many calls are in it."""

    def __init__(self, threads: int, name: str, run: Callable[[Sequence[C]], None]) -> None:
        """run: does some calls of one lane, in order, in one of the threads; answers them, and raises nothing."""
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix=name)
        self._run = run
        self._lock = Lock()
        self._waiting: dict[str, list[C]] = {}  # of a lane in which some run

    def submit(self, lane: str, call: C) -> None:
        """Queues a call. Callable from any thread. Raises RuntimeError if closed."""
        with self._lock:
            if (waiting := self._waiting.get(lane)) is not None:
                waiting.append(call)
            else:
                self._threads.submit(self._run_next, lane, [call])
                self._waiting[lane] = []

    def close(self) -> None:
        """Runs what is queued. Blocking; twice is fine."""
        self._threads.shutdown(wait=True)

    def _run_next(self, lane: str, calls: Sequence[C]) -> None:
        while True:
            self._run(calls)
            with self._lock:
                waiting = self._waiting[lane]
                if not waiting:
                    del self._waiting[lane]
                    return
                calls, self._waiting[lane] = waiting[:TOGETHER], waiting[TOGETHER:]
                try:
                    self._threads.submit(self._run_next, lane, calls)  # other lanes come in between
                    return
                except RuntimeError:
                    pass  # closing: the rest is run here and now
