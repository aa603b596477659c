"""Who waits for the jobs of which nobody is told before they have ended: once all have left, nobody wants them."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Protocol

_REMEMBERED = 1000  # abandoned jobs; one is of interest for the moment that its cancel takes


class Attendance(Protocol):
    """Counts those who wait. Each call is atomic.

    A job is attended while everybody who knows of it waits for it in a request of his own. As soon as somebody has its
    id it is wanted, whoever leaves; so is every job that is not known here.
    """

    async def waiting(self, job_id: str) -> int:
        """How many wait for the job; 0 if it is not attended."""
        ...

    def of_new(self, job_ids: Sequence[str]) -> AbstractAsyncContextManager[None]:
        """For the time in which new jobs are stored: they are attended, each by one, from before anybody can know of
        them. Nobody attends them if that fails.
        """
        ...

    async def join(self, job_id: str, *, attended: bool) -> bool:
        """One more wants the job; attended: and does not learn its id.

        False: too late, it has been abandoned; or nobody could say for sure that it will not be.
        """
        ...

    async def asked_for(self, job_id: str) -> None:
        """Somebody has the job's id, and may ask for it again."""
        ...

    async def leave(self, job_id: str, *, ended: bool) -> bool:
        """One who waited does not any more. ended: for the job has. True: now nobody wants it, and it is abandoned."""
        ...

    async def goes_on(self, job_id: str) -> None:
        """An abandoned job was not cancelled: it may be joined again, and is not attended any more."""
        ...


class LocalAttendance:
    """Of one process. For one event loop; no call waits, so each is atomic."""

    def __init__(self) -> None:
        self._waiting: dict[str, int] = {}  # by attended job
        self._abandoned: dict[str, None] = {}  # the newest last

    def __len__(self) -> int:
        """Number of attended jobs."""
        return len(self._waiting)

    async def waiting(self, job_id: str) -> int:
        """See the Protocol; so for all below."""
        return self._waiting.get(job_id, 0)

    def of_new(self, job_ids: Sequence[str]) -> AbstractAsyncContextManager[None]:
        return self._of_new(job_ids) if job_ids else nullcontext()

    @asynccontextmanager
    async def _of_new(self, job_ids: Sequence[str]) -> AsyncGenerator[None]:
        for job_id in job_ids:
            self._waiting[job_id] = 1
        try:
            yield
        except BaseException:
            for job_id in job_ids:
                await self.leave(job_id, ended=True)
            raise

    async def join(self, job_id: str, *, attended: bool) -> bool:
        if job_id in self._abandoned:
            return False
        if not attended:
            await self.asked_for(job_id)
        elif job_id in self._waiting:
            self._waiting[job_id] += 1
        return True

    async def asked_for(self, job_id: str) -> None:
        self._waiting.pop(job_id, None)

    async def leave(self, job_id: str, *, ended: bool) -> bool:
        if job_id not in self._waiting:
            return False
        self._waiting[job_id] -= 1
        if self._waiting[job_id]:
            return False
        del self._waiting[job_id]
        if ended:
            return False
        self._abandoned[job_id] = None
        if len(self._abandoned) > _REMEMBERED:
            del self._abandoned[next(iter(self._abandoned))]
        return True

    async def goes_on(self, job_id: str) -> None:
        self._abandoned.pop(job_id, None)
