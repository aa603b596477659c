"""Which ended jobs a submit was answered with lately: somebody may be about to fetch their pictures."""

import time
from collections.abc import Callable

from danqing.core.keeping import KEPT_AT_LEAST
from danqing.core.neighbours import Neighbours, NoNeighbours
from danqing.core.types import Job

TOPIC = "answered"
REMEMBERED = 100_000  # jobs, some 200 bytes each; of more those are forgotten that were an answer first


class Answered:
    """For one event loop. Forgotten when the process ends. What neighbours were answered with is known as far as they
    could say so.
    """

    def __init__(self, *, neighbours: Neighbours | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: in seconds."""
        self._neighbours = neighbours or NoNeighbours()
        self._clock = clock
        self._at: dict[str, float] = {}  # in this order
        self._neighbours.hear(TOPIC, self._note)

    def note(self, job: Job) -> None:
        """It is the answer. One that is under way is left to its end, which is yet to come."""
        if job.state.is_final:
            self._note(job.id)
            self._neighbours.say(TOPIC, job.id)

    def lately(self, job_id: str) -> bool:
        """Whether it was an answer within KEPT_AT_LEAST."""
        at = self._at.get(job_id)
        return at is not None and self._clock() - at <= KEPT_AT_LEAST.total_seconds()

    def _note(self, job_id: str) -> None:
        self._at.pop(job_id, None)
        self._at[job_id] = self._clock()
        while len(self._at) > REMEMBERED or not self.lately(next(iter(self._at))):
            del self._at[next(iter(self._at))]
