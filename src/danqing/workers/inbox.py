"""In the worker process: reads what the server sends, in a thread of its own."""

import os
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection
from queue import SimpleQueue

from danqing.workers.messages import FromWorker, RunJob, RunJobs, SendPreviews, Shutdown, StopJob, ToWorker


@dataclass
class _Wishes:
    """What the server said about a job since it gave it."""

    stop: bool = False
    previews: bool = False


class Inbox:
    """Jobs to run, in order, and what was said about them since. Ends the process when the server is gone."""

    def __init__(self, connection: "Connection[FromWorker, ToWorker]") -> None:
        self._connection = connection
        self._jobs: SimpleQueue[tuple[RunJob, ...] | None] = SimpleQueue()
        self._ended = False
        self._wishes: dict[str, _Wishes] = {}  # for every job given and not ended; item access is atomic

    def start(self) -> None:
        """Starts reading."""
        threading.Thread(target=self._read, name="inbox", daemon=True).start()

    def next_jobs(self) -> tuple[RunJob, ...] | None:
        """Waits for jobs to be made together; None when the process shall end."""
        jobs = self._jobs.get()
        return None if self._ended else jobs

    def is_stopped(self, job_id: str) -> bool:
        """True once the server asked to drop this job."""
        wishes = self._wishes.get(job_id)
        return wishes is not None and wishes.stop

    def wants_previews(self, job_id: str) -> bool:
        """True once the server asked for previews of this job."""
        wishes = self._wishes.get(job_id)
        return wishes is not None and wishes.previews

    def ended(self, job_id: str) -> None:
        """Forgets a job that is done, failed or dropped."""
        self._wishes.pop(job_id, None)

    def shut_down(self) -> None:
        """Makes `next_jobs` answer None after the jobs already given. May be called from a signal handler."""
        self._jobs.put(None)

    def end(self) -> None:
        """Makes `next_jobs` answer None from now on: what was given and not begun is not for this process."""
        self._ended = True
        self._jobs.put(None)

    def _read(self) -> None:
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                os._exit(1)  # the server is gone, and nobody is left to finish anything for
            match message:
                case RunJobs():
                    self._wishes.update({job.job_id: _Wishes(previews=job.previews) for job in message.jobs})
                    self._jobs.put(message.jobs)
                case StopJob():
                    if (wishes := self._wishes.get(message.job_id)) is not None:
                        wishes.stop = True
                case SendPreviews():
                    if (wishes := self._wishes.get(message.job_id)) is not None:
                        wishes.previews = True
                case Shutdown():
                    self.shut_down()
