"""Calls in lanes: those of one lane run in the order given, one at a time; different lanes share some threads."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import TypeVar

T = TypeVar("T")


class Lanes:
    """So a lane that must wait for something takes one thread, however many calls are in it."""

    def __init__(self, threads: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix=name)
        self._lock = Lock()
        self._waiting: dict[str, deque[Callable[[], None]]] = {}  # of a lane in which one runs

    def submit(self, lane: str | None, work: Callable[[], T]) -> Future[T]:
        """Queues a call; cancelled in time, it is not run. lane: None for one of its own. Callable from any thread.

        Raises RuntimeError if closed.
        """
        answer = Future[T]()

        def run() -> None:
            if not answer.set_running_or_notify_cancel():
                return
            try:
                result = work()
            except BaseException as exc:
                answer.set_exception(exc)
            else:
                answer.set_result(result)

        if lane is None:
            self._threads.submit(run)
            return answer
        with self._lock:
            if (waiting := self._waiting.get(lane)) is not None:
                waiting.append(run)
            else:
                self._threads.submit(self._run_next, lane, run)
                self._waiting[lane] = deque()
        return answer

    def close(self) -> None:
        """Runs what is queued. Blocking; twice is fine."""
        self._threads.shutdown(wait=True)

    def _run_next(self, lane: str, run: Callable[[], None]) -> None:
        while True:
            run()
            with self._lock:
                waiting = self._waiting[lane]
                if not waiting:
                    del self._waiting[lane]
                    return
                run = waiting.popleft()
                try:
                    self._threads.submit(self._run_next, lane, run)  # other lanes come in between
                    return
                except RuntimeError:
                    pass  # closing: the rest is run here and now
