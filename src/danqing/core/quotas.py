"""How much an owner may have: pictures a day, and bytes kept."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Protocol

from danqing.core.errors import QuotaExceeded, StorageFailure
from danqing.core.keeping import KeptBytes, KeptJobs
from danqing.core.sentences import says

DAY = timedelta(days=1)
KEPT_FOR = timedelta(seconds=30)  # how old a figure of kept bytes may be: to add it up takes a while
FAR_FROM_FULL = 0.9  # of the quota: who keeps less need not wait until an older figure is added up anew
REMEMBERED_FOR = timedelta(minutes=10)  # and so old may that one be
ROOM_RETRY_S = 3600  # room comes when pictures are removed, and nobody knows when that is


@dataclass(frozen=True, kw_only=True)
class Quota:
    """Of each owner; None for no limit. jobs_per_day: accepted within 24 hours, each of one picture. kept_bytes: of all
    pictures that are stored for him, those that he sent included.
    """

    jobs_per_day: int | None = None
    kept_bytes: int | None = None


class DayCounts(Protocol):
    """How many jobs of each owner were accepted within 24 hours. owner: None for all."""

    async def load(self) -> None:
        """What was accepted before the server started counts too. Raises StorageFailure."""
        ...

    async def take(self, owner: str | None, jobs: int, most: int) -> timedelta | None:
        """Counts so many more, unless that were more than `most`: then, how long it takes until it may be otherwise.

        Raises StorageFailure.
        """
        ...

    async def give_back(self, owner: str | None, jobs: int) -> None:
        """What was counted last, for what came to nothing."""
        ...


class LocalDayCounts:
    """Of a server that alone accepts jobs. For one event loop."""

    def __init__(self, *, kept: KeptJobs, now: Callable[[], datetime], per_owner: bool = True) -> None:
        """per_owner: see `Admission`; without, all that there is counts for all."""
        self._kept = kept
        self._now = now
        self._per_owner = per_owner
        self._accepted: dict[str | None, deque[datetime]] = {}  # of the last day, by owner

    async def load(self) -> None:
        """See the Protocol; so for all below."""
        self._accepted.clear()
        for owner, moment in sorted(await self._kept.accepted_since(self._now() - DAY), key=itemgetter(1)):
            self._accepted.setdefault(owner if self._per_owner else None, deque()).append(moment)

    async def take(self, owner: str | None, jobs: int, most: int) -> timedelta | None:
        now, accepted = self._now(), self._of_the_day(owner)
        if len(accepted) + jobs > most:
            freed = accepted[min(len(accepted), len(accepted) + jobs - most) - 1] if accepted else now
            return freed + DAY - now
        accepted.extend([now] * jobs)
        return None

    async def give_back(self, owner: str | None, jobs: int) -> None:
        accepted = self._of_the_day(owner)
        for _ in range(min(jobs, len(accepted))):
            accepted.pop()

    def _of_the_day(self, owner: str | None) -> deque[datetime]:
        now = self._now()
        oldest = now - DAY
        for name, moments in list(self._accepted.items()):
            if not moments or moments[-1] <= oldest:
                del self._accepted[name]
            elif moments[-1] > now:  # the clock was ahead: it counts for a day from now, not for as long as it was
                self._accepted[name] = deque(min(moment, now) for moment in moments)
        accepted = self._accepted.setdefault(owner, deque())
        while accepted and accepted[0] <= oldest:
            accepted.popleft()
        return accepted


class Quotas:
    """For one event loop. Use `load` first."""

    def __init__(self, quota: Quota, *, days: DayCounts, sizes: KeptBytes, now: Callable[[], datetime]) -> None:
        self._quota = quota
        self._days = days
        self._sizes = sizes
        self._now = now
        self._bytes: dict[str | None, tuple[datetime, int]] = {}  # when it was added up, and what it was
        self._adding_up: dict[str | None, asyncio.Task[None]] = {}

    async def load(self) -> None:
        """What was accepted before the server started counts too. Raises StorageFailure."""
        if self._quota.jobs_per_day is not None:
            await self._days.load()

    async def take(self, owner: str | None, jobs: int) -> None:
        """owner: None for all. Raises QuotaExceeded, which says when it may be better; StorageFailure."""
        await self._check_bytes(owner)
        most = self._quota.jobs_per_day
        if most is not None and (wait := await self._days.take(owner, jobs, most)) is not None:
            retry_after_s = max(1, int(wait.total_seconds()))
            raise QuotaExceeded(says("day_is_full", most=most), retry_after_s=retry_after_s)

    async def give_back(self, owner: str | None, jobs: int) -> None:
        """What was taken, for what came to nothing."""
        if self._quota.jobs_per_day is not None and jobs:
            await self._days.give_back(owner, jobs)

    async def _check_bytes(self, owner: str | None) -> None:
        most = self._quota.kept_bytes
        if most is None:
            return
        now = self._now()
        self._bytes = {
            name: entry for name, entry in self._bytes.items() if timedelta() <= now - entry[0] < REMEMBERED_FOR
        }
        at, kept = self._bytes.get(owner, (now, 0))
        if owner not in self._bytes or (now - at >= KEPT_FOR and kept >= FAR_FROM_FULL * most):
            kept = await self._add_up(owner)
        elif now - at >= KEPT_FOR and owner not in self._adding_up:
            self._adding_up[owner] = asyncio.create_task(self._add_up_meanwhile(owner), name="quota")
        if kept >= most:
            raise QuotaExceeded(says("room_is_full", most=f"{most / 1e9:g}"), retry_after_s=ROOM_RETRY_S)

    async def _add_up(self, owner: str | None) -> int:
        now = self._now()
        kept = await self._sizes.of(owner)
        self._bytes[owner] = now, kept
        return kept

    async def _add_up_meanwhile(self, owner: str | None) -> None:
        """Whoever submits next waits for it only if this has failed for a while."""
        try:
            with suppress(StorageFailure):  # logged
                await self._add_up(owner)
        finally:
            del self._adding_up[owner]
