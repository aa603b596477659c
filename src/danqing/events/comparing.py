"""What watchers were told of their jobs, compared with the store, which alone is true."""

from collections.abc import Callable, Collection

import structlog

from danqing.core.errors import JobNotFound, StorageFailure
from danqing.core.events import StateChanged
from danqing.core.shared_store import JobAges
from danqing.core.types import Job

log = structlog.get_logger(__name__)

_NOTHING = (-1, -1)


class Comparing:
    """For one event loop."""

    def __init__(self, store: JobAges, *, tell: Callable[[StateChanged], None], gone: Callable[[str], None]) -> None:
        """tell: is given each job that has moved on since its watchers were told of it. gone: is given the id of one
        that the store does not know in two looks in a row.
        """
        self._store = store
        self._tell = tell
        self._gone = gone
        self._told: dict[str, tuple[int, int]] = {}
        self._unknown = frozenset[str]()  # at the last look
        self._failing = False

    def told(self, job: Job) -> None:
        """The watchers know of this state of it."""
        self._told[job.id] = max(job.age, self._told.get(job.id, _NOTHING))

    def forget(self, job_id: str) -> None:
        """Nobody watches the job any more."""
        self._told.pop(job_id, None)
        self._unknown -= {job_id}

    async def compare(self, job_ids: Collection[str]) -> None:
        """Tells of those of these jobs, which somebody watches, that have moved on, or are gone."""
        if not job_ids:
            return
        asked = list(job_ids)
        try:
            ages = await self._store.ages(asked)
        except StorageFailure as exc:
            if not self._failing:
                log.warning("watched_jobs_not_compared", code=exc.code)
            self._failing = True
            return
        self._failing = False
        for job_id, age in ages.items():
            if age > self._told.get(job_id, _NOTHING) and job_id in job_ids:
                await self._tell_of(job_id)
        before, self._unknown = self._unknown, frozenset(asked) - ages.keys()
        for job_id in self._unknown & before:
            self._gone(job_id)

    async def _tell_of(self, job_id: str) -> None:
        try:
            job = await self._store.get(job_id)
        except (JobNotFound, StorageFailure):  # removed meanwhile, or not to be read just now
            return
        if job.age > self._told.get(job_id, _NOTHING):
            self._tell(StateChanged(job=job))
