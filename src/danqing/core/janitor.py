"""Removes what has been kept long enough: the oldest jobs that have ended, with their pictures."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from danqing.core.errors import DanqingError, StorageFailure
from danqing.core.keeping import KeptBytes, KeptJobs
from danqing.core.ports import ArtifactStore
from danqing.core.taking_over import InputImages
from danqing.core.types import Job

log = structlog.get_logger(__name__)

SWEEP_EVERY_S = 600.0
JOBS_AT_ONCE = 50
# However short of room: somebody may be about to fetch it, and signed addresses are good for so long.
KEPT_AT_LEAST = timedelta(hours=1)

Exclusive = Callable[[str], AbstractAsyncContextManager[bool]]


@asynccontextmanager
async def _alone(name: str) -> AsyncGenerator[bool]:
    """There is no other process."""
    yield True


@dataclass(frozen=True, kw_only=True)
class Retention:
    """What is kept. max_age: since a job ended; max_bytes: of all pictures. None: for ever, however much."""

    max_age: timedelta | None = None
    max_bytes: int | None = None

    @property
    def is_endless(self) -> bool:
        """Whether nothing is ever removed."""
        return self.max_age is None and self.max_bytes is None


@dataclass(frozen=True, kw_only=True)
class Swept:
    """jobs: removed, with their pictures. bytes_left: of pictures; None where nobody asked."""

    jobs: int
    bytes_left: int | None = None


class Janitor:
    """A job's files go before its row: after a crash in between, the next sweep finds it again. Pictures that were sent
    go after the rows, at the end of a sweep: what a crash leaves, the next start finds. For one event loop.

    Jobs that wait or are being made are never touched, nor those that ended less than KEPT_AT_LEAST ago. Who reads a
    picture while it is removed still gets it whole, as far as its place can do that (`OpenPicture`).
    """

    def __init__(
        self,
        retention: Retention,
        *,
        kept: KeptJobs,
        sizes: KeptBytes,
        artifacts: ArtifactStore,
        inputs: InputImages,
        now: Callable[[], datetime],
    ) -> None:
        self._retention = retention
        self._kept = kept
        self._sizes = sizes
        self._artifacts = artifacts
        self._inputs = inputs
        self._now = now
        self._left_inputs: set[str] = set()  # of removed jobs; what a crash forgets, the next start finds

    async def run(self, *, exclusive: Exclusive = _alone) -> None:
        """Until it is cancelled. Returns at once where nothing is ever removed.

        exclusive: True inside for one of all processes at a time, by a name: two that add up and remove at once would
        remove twice as much.
        """
        while not self._retention.is_endless:
            try:
                async with exclusive("janitor") as is_ours:
                    if is_ours:
                        await self.sweep()
            except DanqingError as exc:
                log.error("retention_sweep_failed", code=exc.code)
            await asyncio.sleep(SWEEP_EVERY_S)

    async def sweep(self) -> Swept:
        """Raises StorageFailure."""
        swept = await self._sweep_jobs()
        if self._left_inputs:
            self._left_inputs = await self._inputs.remove_unused(self._left_inputs, self._in_use)
        return swept

    async def _sweep_jobs(self) -> Swept:
        removed = 0
        if self._retention.max_age is not None:
            removed += await self._remove_all(self._now() - max(self._retention.max_age, KEPT_AT_LEAST))
        left = None
        if self._retention.max_bytes is not None:
            left = await self._sizes.of(None)
            if left > self._retention.max_bytes:
                removed += await self._remove_all(self._now() - KEPT_AT_LEAST, until_bytes=self._retention.max_bytes)
                left = await self._sizes.of(None)
                if left > self._retention.max_bytes:
                    log.warning("retention_over_its_bytes", bytes=left, hint="what is left ended within the last hour")
        if removed:
            log.info("retention_swept", jobs=removed, bytes_left=left)
        return Swept(jobs=removed, bytes_left=left)

    async def _remove_all(self, ended_before: datetime, *, until_bytes: int | None = None) -> int:
        """Oldest first; until_bytes: no more than are needed to come down to it."""
        removed, after = 0, 0
        while jobs := await self._kept.ended_before(ended_before, now=self._now(), after=after, limit=JOBS_AT_ONCE):
            after = jobs[-1].sequence
            if until_bytes is not None:
                jobs = _first_that_free(jobs, await self._sizes.of(None) - until_bytes)
                if not jobs:
                    break
            removed += await self._remove(jobs)
        return removed

    async def _remove(self, jobs: Sequence[Job]) -> int:
        await self._kept.begin_removal([job.id for job in jobs])
        gone = [job for job in jobs if await asyncio.to_thread(self._remove_pictures, job)]
        self._left_inputs |= {image.name for job in gone for image in job.request.inputs}
        return await self._kept.remove([job.id for job in gone])

    async def _in_use(self) -> frozenset[str]:
        return await self._kept.input_names(None)

    def _remove_pictures(self, job: Job) -> bool:
        """False if one of them cannot be removed; then the job stays, to be tried again. Blocking."""
        try:
            for artifact in job.artifacts:
                self._artifacts.remove(artifact.name)
        except StorageFailure:
            return False
        return True


def _first_that_free(jobs: Sequence[Job], needed_bytes: int) -> Sequence[Job]:
    """As many from the beginning as it takes; none if nothing is needed."""
    freed = 0
    for place, job in enumerate(jobs):
        if freed >= needed_bytes:
            return jobs[:place]
        freed += sum(artifact.size_bytes for artifact in job.artifacts)
    return jobs
