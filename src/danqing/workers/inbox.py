"""In the worker process: reads what the server sends, in a thread of its own."""

import os
import threading
from dataclasses import dataclass
from queue import SimpleQueue

from danqing.workers.framing import Frames
from danqing.workers.messages import RunJob, RunJobs, SendPreviews, Shutdown, StopJob, ToWorker

_PIECE_BYTES = 64 * 1024


@dataclass
class _Wishes:
    """What the server said about a job since it gave it."""

    stop: bool = False
    previews: bool = False


class Inbox:
    """Jobs to run, in order, and what was said about them since. Ends the process when the server is gone."""

    def __init__(self, pipe: int) -> None:
        """pipe: the file descriptor, which blocks."""
        self._pipe = pipe
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
        frames = Frames()
        while True:
            try:
                data = os.read(self._pipe, _PIECE_BYTES)
            except OSError:
                data = b""
            if not data:
                os._exit(1)  # the server is gone, and nobody is left to finish anything for
            for message in frames.feed(data):
                self._hear(message)

    def _hear(self, message: ToWorker) -> None:
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
