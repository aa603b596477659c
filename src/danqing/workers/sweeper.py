"""What becomes of jobs that a dead node held, and of messages that never came: found in the store, and sent again."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import structlog

from danqing.core.errors import ServerRestarted, StorageFailure
from danqing.core.ports import JobQueue
from danqing.core.shared_store import JobLine, Nodes
from danqing.workers.failures import describe
from danqing.workers.settlement import Settlement

log = structlog.get_logger(__name__)

LOCK = "sweeper"


@dataclass(frozen=True, kw_only=True)
class SweepRules:
    """All times in seconds.

    every_s: between two sweeps, of whichever process. silence_s: for which a node whose lease is over must go on saying
    nothing: when the store was away, all have said nothing. missing_s: for which a message must go on lacking: it may
    just be on its way. most_sent: messages of a model that are sent again by one sweep.
    """

    every_s: float = 2.0
    silence_s: float = 6.0
    missing_s: float = 1.0
    most_sent: int = 1000


class Sweeper:
    """Runs in every process that shares the store. The more there are, the less often each of them sweeps, and a lock
    in the store lets one at a time. For one event loop.
    """

    def __init__(
        self,
        *,
        nodes: Nodes,
        line: JobLine,
        queue: JobQueue,
        settlement: Settlement,
        depths: Callable[[Collection[str]], Mapping[str, int] | None],
        exclusive: Callable[[str], AbstractAsyncContextManager[bool]],
        rules: SweepRules | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """depths: messages that wait in the broker, by model; None while it does not answer. Blocking.

        exclusive: True inside for one of all at a time, by the lock's name. pause: waits for so many seconds.
        """
        self._nodes = nodes
        self._line = line
        self._queue = queue
        self._settlement = settlement
        self._depths = depths
        self._exclusive = exclusive
        self._rules = rules or SweepRules()
        self._pause = pause
        self._processes = 1  # that sweep, as far as is known
        self._failing = False

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self.try_to_sweep()
            await self._pause(self._rules.every_s * self._processes * random.uniform(0.5, 1.5))

    async def try_to_sweep(self) -> None:
        """Once; a failure is logged."""
        try:
            await self.sweep()
            self._failing = False
        except StorageFailure:
            if not self._failing:
                log.exception("sweep_failed")
            self._failing = True
        except Exception:  # the last that would find what is stranded
            log.exception("sweep_failed")

    async def sweep(self) -> None:
        """Does nothing while another process does. Raises StorageFailure."""
        async with self._exclusive(LOCK) as is_ours:
            if is_ours:
                self._processes = 1 + len(await self._nodes.alive())  # and API processes, which are few
                await self._send_what_is_lacking()
                await self._give_back_orphans()

    async def _give_back_orphans(self) -> None:
        suspected = {job.id: len(job.attempts) for job in await self._nodes.orphans()}
        if not suspected:
            return
        await self._pause(self._rules.silence_s)
        orphans = [job for job in await self._nodes.orphans() if suspected.get(job.id) == len(job.attempts)]
        for job in orphans:
            await self._settlement.failed_once(job, describe(ServerRestarted()))
        if orphans:
            log.warning("orphans_given_back", jobs=len(orphans))

    async def _send_what_is_lacking(self) -> None:
        before = await self._lacking()
        if not before:
            return
        await self._pause(self._rules.missing_s)
        for model, number in (await self._lacking()).items():
            lacking = min(number, before.get(model, 0), self._rules.most_sent)
            if lacking:
                for job in await self._line.first(model, lacking):
                    await self._queue.publish(job)
                log.warning("messages_sent_again", model=model, messages=lacking)

    async def _lacking(self) -> dict[str, int]:
        """How many more jobs than messages wait, by model; of models of which none lacks nothing."""
        waiting = await self._line.waiting()
        depths = await asyncio.to_thread(self._depths, list(waiting))
        if depths is None:
            return {}
        lacking = {model: told.jobs - depths.get(model, 0) for model, told in waiting.items()}
        return {model: number for model, number in lacking.items() if number > 0}
