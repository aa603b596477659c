"""Work that a stop waits for, in tasks of its own; what concerns one attempt is done in the order in which it came."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine

import structlog

from danqing.workers.hands import JobAttempt
from danqing.workers.running import Running

log = structlog.get_logger(__name__)


class InTurn:
    """For use from one event loop only."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._unsettled: Counter[JobAttempt] = Counter()  # news that are not stored yet

    def is_unsettled(self, attempt: JobAttempt) -> bool:
        """Whether there are news of the attempt that are not stored yet."""
        return attempt in self._unsettled

    def settle(self, running: Running, store: Callable[[], Awaitable[None]], *, name: str) -> None:
        """News of one attempt are stored one after the other, in the order in which they came."""
        before = running.told
        self._unsettled[running.attempt] += 1

        async def in_turn() -> None:
            if before is not None:
                await asyncio.wait([before])
            await store()

        def stored(_: asyncio.Task[None]) -> None:
            self._unsettled[running.attempt] -= 1
            self._unsettled += Counter()  # without those that have come to none

        running.told = self.spawn(in_turn(), name=name)
        running.told.add_done_callback(stored)

    def spawn(self, work: Coroutine[None, None, None], *, name: str) -> asyncio.Task[None]:
        """Work that waits for no other. A mistake in it is logged."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)
        return task

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("dispatch_failed", task=task.get_name(), exc_info=error)

    async def stop(self, *, grace_s: float) -> None:
        """Waits until all is done, also what comes meanwhile; what takes longer is cancelled."""
        try:
            async with asyncio.timeout(grace_s):
                while self._tasks:
                    await asyncio.wait(self._tasks)
        except TimeoutError:
            for task in self._tasks:
                log.error("job_not_settled", task=task.get_name())
                task.cancel()
