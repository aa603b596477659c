"""Removes what has been kept long enough: the oldest jobs that have ended, with their pictures."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from danqing.core.answered import Answered
from danqing.core.background import outliving
from danqing.core.errors import DanqingError
from danqing.core.exclusive import Exclusive, alone
from danqing.core.keeping import KEPT_AT_LEAST, KeptBytes, KeptJobs
from danqing.core.picture_names import names_to_remove
from danqing.core.picture_ports import ArtifactStore
from danqing.core.taking_over import InputImages
from danqing.core.types import Job

log = structlog.get_logger(__name__)

SWEEP_EVERY_S = 600.0
JOBS_AT_ONCE = 500


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
    """A job's files go before its row: after a crash in between, the next sweep finds it again. So do those that a lost
    attempt left, for without the row nobody could tell whose they are. Pictures that were sent go after the rows, at
    the end of a sweep: what a crash leaves, the next start finds. For one event loop.

    Jobs that wait or are being made are never touched, nor those that ended, or that a submit was answered with, less
    than KEPT_AT_LEAST ago. Who reads a picture while it is removed still gets it whole, as far as its place can do that
    (`OpenPicture`).
    """

    def __init__(
        self,
        retention: Retention,
        *,
        kept: KeptJobs,
        sizes: KeptBytes,
        artifacts: ArtifactStore,
        inputs: InputImages,
        answered: Answered | None = None,
    ) -> None:
        """answered: shared with the Studio; None where nothing joins jobs."""
        self._answered = answered or Answered()
        self._retention = retention
        self._kept = kept
        self._sizes = sizes
        self._artifacts = artifacts
        self._inputs = inputs
        self._left_inputs: set[str] = set()  # of removed jobs; what a crash forgets, the next start finds

    async def run(self, *, exclusive: Exclusive = alone) -> None:
        """Until it is cancelled. Returns at once where nothing is ever removed.

        exclusive: True inside for one of all processes at a time, by a name: two that add up and remove at once would
        remove twice as much.
        """
        while not self._retention.is_endless:
            with outliving("retention_sweep_failed"):
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
        removed, now = 0, await self._kept.now()
        if self._retention.max_age is not None:
            removed += await self._remove_all(max(self._retention.max_age, KEPT_AT_LEAST), now=now)
        left = None
        if self._retention.max_bytes is not None:
            left = await self._sizes.of(None)
            while left > self._retention.max_bytes:
                needed_bytes = left - self._retention.max_bytes
                freed = await self._remove_all(KEPT_AT_LEAST, now=now, needed_bytes=needed_bytes)
                if not freed:
                    log.warning(
                        "retention_over_its_bytes",
                        bytes=left,
                        hint="what is left ended, or was asked for again, within an hour",
                    )
                    break
                removed += freed
                left = await self._sizes.of(None)
        if removed:
            log.info("retention_swept", jobs=removed, bytes_left=left)
        return Swept(jobs=removed, bytes_left=left)

    async def _remove_all(self, age: timedelta, *, now: datetime, needed_bytes: int | None = None) -> int:
        """Those that ended so long ago, oldest first; needed_bytes: no more than may free so much. Less is freed if
        they share pictures that were sent, which only adding up again can tell.
        """
        removed, after, freed = 0, 0, _Freed()
        while jobs := await self._kept.ended_before(now - age, now=now, after=after, limit=JOBS_AT_ONCE):
            after, due = jobs[-1].sequence, self._not_lately_answered(jobs)
            if not due:
                continue
            if needed_bytes is not None:
                sent = await self._sizes.sent({image.name for job in due for image in job.request.inputs})
                due = freed.first_that_free(due, sent, needed_bytes)
                if not due:
                    break
                after = due[-1].sequence
            gone = await self._remove(due)
            removed += len(gone)
            freed.count(gone)
        return removed

    async def _remove(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """Returns those that are gone. One of whose pictures one cannot be removed stays, to be tried again."""
        await self._kept.begin_removal([job.id for job in jobs])
        # What was joined before it could not be any more stays; reconciling finds that its picture is not missing.
        jobs = self._not_lately_answered(jobs)
        names = {job.id: names_to_remove(job) for job in jobs}
        stay = await asyncio.to_thread(
            self._artifacts.remove_all, {name for of_job in names.values() for name in of_job}
        )
        gone = [job for job in jobs if stay.isdisjoint(names[job.id])]
        self._left_inputs |= {image.name for job in gone for image in job.request.inputs}
        await self._kept.remove([job.id for job in gone])
        return gone

    def _not_lately_answered(self, jobs: Sequence[Job]) -> Sequence[Job]:
        return [job for job in jobs if not self._answered.lately(job.id)]

    async def _in_use(self) -> frozenset[str]:
        return await self._kept.input_names(None)


class _Freed:
    """What jobs that are gone took at most: as if nobody else had the pictures that they were sent with."""

    def __init__(self) -> None:
        self._bytes = 0
        self._sent: dict[str, int] = {}

    def first_that_free(self, jobs: Sequence[Job], sent: Mapping[str, int], needed_bytes: int) -> Sequence[Job]:
        """As many from the beginning as it takes; none where no more is needed. sent: sizes of what they start from."""
        self._sent = {**sent, **self._sent}
        freed, counted = self._bytes, set[str]()
        for place, job in enumerate(jobs):
            if freed >= needed_bytes:
                return jobs[:place]
            freed += self._of(job, counted)
        return jobs

    def count(self, gone: Sequence[Job]) -> None:
        """They are gone."""
        counted = set[str]()
        self._bytes += sum(self._of(job, counted) for job in gone)
        for name in counted:
            self._sent[name] = 0

    def _of(self, job: Job, counted: set[str]) -> int:
        """counted: what they start from, each once; what was counted for jobs that are gone is nothing any more."""
        new = {image.name for image in job.request.inputs} - counted
        counted |= new
        return sum(artifact.size_bytes for artifact in job.artifacts) + sum(self._sent.get(name, 0) for name in new)
