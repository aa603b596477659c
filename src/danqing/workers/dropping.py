"""Attempts that a worker was asked to drop: one that it does not let go of in time costs it its process."""

from dataclasses import dataclass

from danqing.workers.hands import JobAttempt
from danqing.workers.running import Deadline
from danqing.workers.worker import Worker


@dataclass(frozen=True, kw_only=True)
class _Asked:
    worker: Worker
    deadline: Deadline
    why: str


class Dropping:
    """For use from one event loop only. Times are the loop's, in seconds."""

    def __init__(self) -> None:
        self._asked: dict[JobAttempt, _Asked] = {}

    def __len__(self) -> int:
        """Number of attempts that are still to be let go of."""
        return len(self._asked)

    def ask(self, attempt: JobAttempt, worker: Worker, *, until: float, why: str) -> None:
        """The worker knows that it is to drop the attempt, which it has. why: for the log. Asked before, it has until
        the time said then.
        """
        self._asked.setdefault(attempt, _Asked(worker=worker, deadline=Deadline(until), why=why))

    def ended(self, attempt: JobAttempt) -> None:
        """The worker let go of it, or is gone; unknown ones are fine."""
        self._asked.pop(attempt, None)

    def time_passed(self, now: float, stood_still_s: float) -> None:
        """Ends the processes that had their time. stood_still_s: how much of it the server itself did not run."""
        for attempt, asked in list(self._asked.items()):
            asked.deadline.forgive(stood_still_s)
            if asked.deadline.is_over(now):
                del self._asked[attempt]
                if asked.worker.works_on(attempt):
                    asked.worker.kill(asked.why, because_of=[attempt])
