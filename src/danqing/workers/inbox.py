"""In the worker process: reads what the server sends, in a thread of its own."""

import os
import threading
from multiprocessing.connection import Connection
from queue import SimpleQueue

from danqing.workers.messages import FromWorker, RunJob, Shutdown, StopJob, ToWorker


class Inbox:
    """Jobs to run, in order, and which of them were stopped. Ends the process when the server is gone."""

    def __init__(self, connection: "Connection[FromWorker, ToWorker]") -> None:
        self._connection = connection
        self._jobs: SimpleQueue[RunJob | None] = SimpleQueue()
        self._stopped: dict[str, bool] = {}  # every job given and not ended; its item access is atomic

    def start(self) -> None:
        """Starts reading."""
        threading.Thread(target=self._read, name="inbox", daemon=True).start()

    def next_job(self) -> RunJob | None:
        """Waits for a job; None when the process shall end."""
        return self._jobs.get()

    def is_stopped(self, job_id: str) -> bool:
        """True once the server asked to drop this job."""
        return self._stopped.get(job_id, False)

    def ended(self, job_id: str) -> None:
        """Forgets a job that is done, failed or dropped."""
        self._stopped.pop(job_id, None)

    def shut_down(self) -> None:
        """Makes `next_job` answer None after the jobs already given. May be called from a signal handler."""
        self._jobs.put(None)

    def _read(self) -> None:
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                os._exit(1)  # the server is gone, and nobody is left to finish anything for
            match message:
                case RunJob():
                    self._stopped[message.job_id] = False
                    self._jobs.put(message)
                case StopJob():
                    if message.job_id in self._stopped:
                        self._stopped[message.job_id] = True
                case Shutdown():
                    self.shut_down()
