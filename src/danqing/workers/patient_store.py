"""A store that fails is asked again until it answers: for what must become known, however long it takes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from danqing.core.errors import JobNotFound, JobUnreadable, StorageFailure
from danqing.core.ports import JobStore
from danqing.core.types import Job
from danqing.workers.job_rules import JobRules

log = structlog.get_logger(__name__)
T = TypeVar("T")


class PatientStore:
    """For use from one event loop only."""

    def __init__(self, store: JobStore, rules: JobRules) -> None:
        self._store = store
        self._rules = rules

    async def asked(self, ask: Callable[[bool], Awaitable[T]]) -> tuple[T, bool]:
        """The store's answer, and whether it was asked more than once: it may have done before what it did not answer.

        ask: given whether it was asked before.
        """
        pause_s, again = self._rules.first_store_retry_s, False
        while True:
            try:
                return await ask(again), again
            except StorageFailure:
                log.exception("store_failed", again_in_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s, again = min(2 * pause_s, self._rules.max_store_retry_s), True

    async def find(self, job_id: str) -> Job | None:
        """None if it is gone, or can be read by a newer version only: that asking again would not change."""

        async def ask(_: bool) -> Job | None:
            try:
                return await self._store.get(job_id)
            except (JobNotFound, JobUnreadable):
                return None

        job, _ = await self.asked(ask)
        return job

    async def is_gone(self, job_id: str) -> bool:
        """Whether there is no such job (any more); one that only a newer version can read is there."""

        async def ask(_: bool) -> bool:
            try:
                await self._store.get(job_id)
            except JobNotFound:
                return True
            except JobUnreadable:
                pass
            return False

        gone, _ = await self.asked(ask)
        return gone
