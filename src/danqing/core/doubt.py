"""What a store left in doubt: it went away as it was told something, and may have written it down, now or later."""

import asyncio
from collections.abc import Awaitable, Callable, Collection

import structlog

from danqing.core.errors import JobNotFound, JobUnreadable, StorageFailure
from danqing.core.ports import JobStore
from danqing.core.types import Job

log = structlog.get_logger(__name__)

Seen = Callable[[Job], Awaitable[bool]]


class Doubts:
    """Asks until it is known, in the background, so that what was written down has its consequences. For one event
    loop; what is not known by then is looked at by the next start.
    """

    def __init__(
        self, store: JobStore, *, first_pause_s: float = 0.5, longest_pause_s: float = 15.0, late_s: float = 120.0
    ) -> None:
        """late_s: for how long a store that answers may still write down what it was told before."""
        self._store = store
        self._first_pause_s = first_pause_s
        self._longest_pause_s = longest_pause_s
        self._late_s = late_s
        self._asking: set[asyncio.Task[None]] = set()

    def look_into(self, job_ids: Collection[str], seen: Seen) -> None:
        """Does not wait. seen: is given each of these jobs that is there, until it says that this was it."""
        task = asyncio.create_task(self._look_into(set(job_ids), seen), name="doubt")
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _look_into(self, left: set[str], seen: Seen) -> None:
        pause_s, answered_s = self._first_pause_s, 0.0
        while left and answered_s < self._late_s:
            await asyncio.sleep(pause_s)
            try:
                for job_id in sorted(left):
                    if await self._is_so(job_id, seen):
                        log.warning("doubt_resolved", job_id=job_id)
                        left.discard(job_id)
            except StorageFailure:
                answered_s = 0.0
            else:
                answered_s += pause_s
            pause_s = min(2 * pause_s, self._longest_pause_s)

    async def _is_so(self, job_id: str, seen: Seen) -> bool:
        try:
            job = await self._store.get(job_id)
        except (JobNotFound, JobUnreadable):
            return False
        return await seen(job)
