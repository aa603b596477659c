"""What the end of an attempt means for its job: completed, tried again, failed. Stores it and tells watchers."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import structlog

from danqing.core.errors import JobNotFound, StorageFailure
from danqing.core.events import StateChanged
from danqing.core.ports import EventBus, JobQueue, JobStore
from danqing.core.types import Job, JobFailure
from danqing.workers.messages import JobDone

log = structlog.get_logger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class JobRules:
    """All times in seconds.

    task_timeout_s: from claim to stored picture, each attempt. max_attempts: at failures worth another try.
    stop_grace_s: for a worker to drop an overdue job, before it is killed. first_store_retry_s: pause after a store's
    failure; doubles up to max_store_retry_s. settle_grace_s: for the store to take the last news at stop.
    """

    task_timeout_s: float
    max_attempts: int = 3
    stop_grace_s: float = 10.0
    first_store_retry_s: float = 0.1
    max_store_retry_s: float = 5.0
    settle_grace_s: float = 5.0


class Settlement:
    """Every `job` given here is as it was when claimed: its last attempt is the one that ended.

    Where the store says that the job has moved on (cancelled, overdue, another attempt), nothing happens. A failing
    store is asked again until it answers.
    """

    def __init__(
        self, *, store: JobStore, queue: JobQueue, events: EventBus, rules: JobRules, clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._queue = queue
        self._events = events
        self._rules = rules
        self._clock = clock

    async def done(self, job: Job, news: JobDone) -> None:
        """The picture is stored."""
        completed = await self.until_stored(
            lambda: self._store.complete(job.id, len(job.attempts), news.artifacts, news.adjustments, self._clock())
        )
        if completed is None:  # cancelled meanwhile: the picture stays until the next sweep
            return
        self._events.publish(StateChanged(job=completed))
        times = {"denoise_s": round(news.denoise_s, 3), "finish_s": round(news.finish_s, 3)}
        log.info("job_completed", job_id=job.id, attempt=len(job.attempts), **times)

    async def failed(self, job: Job, failure: JobFailure) -> None:
        """The attempt failed: the job waits for another one, or ends with this failure."""
        attempt = len(job.attempts)
        again = failure.retryable and attempt < self._rules.max_attempts
        move = self._store.give_back if again else self._store.fail
        moved = await self.until_stored(lambda: move(job.id, attempt, failure, self._clock()))
        if moved is None:
            return
        log.warning("job_attempt_failed", job_id=job.id, attempt=attempt, code=failure.code, again=again)
        self._events.publish(StateChanged(job=moved))
        if again:
            await self._queue.publish(moved)

    async def publish_again(self, job_id: str) -> None:
        """Puts an id that was taken, and not claimed, back into its place in the queue."""
        try:
            job = await self.until_stored(lambda: self._store.get(job_id))
        except JobNotFound:
            return
        await self._queue.publish(job)

    async def until_stored(self, ask: Callable[[], Awaitable[T]]) -> T:
        """The store's answer, however often it must be asked."""
        pause_s = self._rules.first_store_retry_s
        while True:
            try:
                return await ask()
            except StorageFailure:
                log.exception("store_failed", again_in_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, self._rules.max_store_retry_s)
