"""Waiting jobs that this process has met and cannot read: a newer version's, which are left to its nodes."""

import time
from collections.abc import Callable, Collection
from threading import Lock

import structlog

log = structlog.get_logger(__name__)

MOST = 1_000  # of one model are remembered; where there are more, they would be met for ever, again and again
REST_S = 10.0  # for which a model of which there are more is left to the newer nodes altogether


class UnreadJobs:
    """Each is told of once. Callable from any thread."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: seconds."""
        self._clock = clock
        self._lock = Lock()
        self._jobs: dict[str, dict[str, None]] = {}  # by model, in the order in which they were met
        self._rests_until: dict[str, float] = {}  # by model

    def note(self, job_id: str, model: str) -> bool:
        """It stays as it is. False: there are too many of this model, and it is not remembered."""
        with self._lock:
            met = self._jobs.setdefault(model, {})
            if job_id in met:
                return True
            if len(met) >= MOST:
                return False
            met[job_id] = None
        log.error("waiting_job_unreadable", job_id=job_id, model=model, hint="it is left to nodes of a newer version")
        return True

    def of(self, model: str) -> list[str]:
        """Their ids."""
        with self._lock:
            return list(self._jobs.get(model, ()))

    def keep(self, model: str, waiting: Collection[str]) -> None:
        """Of this model only these wait still."""
        with self._lock:
            if (met := self._jobs.get(model)) is not None:
                self._jobs[model] = {job_id: None for job_id in met if job_id in waiting}

    def rest(self, model: str) -> None:
        """Nothing of this model is claimed for a while: its line is full of what cannot be read."""
        with self._lock:
            self._rests_until[model] = self._clock() + REST_S
        log.warning("too_many_waiting_jobs_unreadable", model=model, at_least=MOST, again_in_s=REST_S)

    def rests(self, model: str) -> bool:
        """Whether it does just now."""
        with self._lock:
            until = self._rests_until.get(model)
            return until is not None and self._clock() < until
