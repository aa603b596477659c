"""Waiting jobs that this process has met and cannot read: a newer version's, which are left to its nodes."""

from collections.abc import Collection
from threading import Lock

import structlog

log = structlog.get_logger(__name__)

MOST = 1_000  # are remembered; one that is forgotten is met, and told of, again


class UnreadJobs:
    """Each is told of once. Callable from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._models: dict[str, str] = {}  # by job, in the order in which they were met

    def note(self, job_id: str, model: str) -> None:
        """It stays as it is."""
        with self._lock:
            if job_id in self._models:
                return
            self._models[job_id] = model
            while len(self._models) > MOST:
                del self._models[next(iter(self._models))]
        log.error("waiting_job_unreadable", job_id=job_id, model=model, hint="it is left to nodes of a newer version")

    def of(self, model: str) -> list[str]:
        """Their ids."""
        with self._lock:
            return [job_id for job_id, of_model in self._models.items() if of_model == model]

    def keep(self, model: str, waiting: Collection[str]) -> None:
        """Of this model only these wait still."""
        with self._lock:
            gone = [job for job, of_model in self._models.items() if of_model == model and job not in waiting]
            for job_id in gone:
                del self._models[job_id]
