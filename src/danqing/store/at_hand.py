"""Jobs in the memory of the one process that moves and removes them: who asks for one of these waits for no thread."""

from collections.abc import Collection

from danqing.core.types import Job

WAITING = 2_000  # jobs that may be kept; those that run are, however many
ENDED = 500  # the newest of them: clients fetch what has just been made
TEXT = 8_000  # characters of one: what says more is not kept


class JobsAtHand:
    """As the newest committed transaction left them. For the writing thread; `find` for any."""

    def __init__(self, *, waiting: int = WAITING, ended: int = ENDED) -> None:
        """How many jobs are kept."""
        self._most_waiting, self._most_ended = waiting, ended
        self._under_way: dict[str, Job] = {}
        self._ended: dict[str, Job] = {}  # in the order of their ends

    def moved(self, job: Job) -> None:
        """It was committed so."""
        if job.state.is_final:
            self._under_way.pop(job.id, None)
            if _is_short(job):
                self._ended[job.id] = job
                if len(self._ended) > self._most_ended:
                    del self._ended[next(iter(self._ended))]
        elif self._has_room_for(job) and _is_short(job):
            self._under_way[job.id] = job

    def _has_room_for(self, job: Job) -> bool:
        return job.id in self._under_way or job.state.is_running or len(self._under_way) < self._most_waiting

    def removed(self, job_ids: Collection[str]) -> None:
        """They were committed as gone, as far as they had ended."""
        for job_id in job_ids:
            self._ended.pop(job_id, None)

    def find(self, job_id: str) -> Job | None:
        """None if it is not at hand; it may be there all the same."""
        return self._under_way.get(job_id) or self._ended.get(job_id)

    def forget(self) -> None:
        """From now on none is."""
        self._under_way.clear()
        self._ended.clear()


def _is_short(job: Job) -> bool:
    """Its request and metadata never change, so that what is kept once is kept until it ends."""
    said = len(job.request.prompt) + len(job.request.negative_prompt or "")
    return said <= TEXT and (not job.metadata or said + len(str(job.metadata)) <= TEXT)
