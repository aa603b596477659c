"""What becomes of jobs that a dead node held, and of messages that never came: found in the store, and sent again."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass

import structlog

from danqing.core.errors import ServerRestarted, StorageFailure
from danqing.core.exclusive import Exclusive
from danqing.core.ports import JobQueue
from danqing.core.shared_store import JobLine, Nodes, Waiting
from danqing.core.types import Job
from danqing.workers.failures import describe
from danqing.workers.settlement import Settlement

log = structlog.get_logger(__name__)

ORPHANS, MESSAGES = "sweeper", "messages"  # locks, of which no process has both at once


@dataclass(frozen=True, kw_only=True)
class SweepRules:
    """All times in seconds.

    every_s: between two sweeps, of whichever process; longest_s: of one process, however many there are. silence_s: for
    which a node whose lease is over must go on saying nothing: when the store was away, all have said nothing.
    missing_s: for which a message must go on lacking: it may just be on its way. answer_s: a broker may think so long.
    most_orphans, most_sent (of a model): that are given back, or sent again, by one sweep.
    tells: warns of jobs that no living node can make.
    """

    every_s: float = 2.0
    longest_s: float = 15.0
    silence_s: float = 6.0
    missing_s: float = 1.0
    answer_s: float = 3.0
    most_orphans: int = 1000
    most_sent: int = 1000
    tells: bool = False


class Sweeper:
    """Runs in every process that shares the store. All of them look; a lock in the store lets one at a time act on what
    it has seen, and is held for no longer than that: a process that stands still must not keep the others from it. The
    more nodes live, the less often each process looks. For one event loop.
    """

    def __init__(
        self,
        *,
        nodes: Nodes,
        line: JobLine,
        queue: JobQueue,
        settlement: Settlement,
        depths: Callable[[Collection[str]], Mapping[str, int] | None],
        exclusive: Exclusive,
        rules: SweepRules | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
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
        self._clock = clock
        self._processes = 1  # that sweep, as far as is known
        self._suspects: Mapping[tuple[str, int], float] = {}  # orphaned attempts, and since when they are seen
        self._asking: asyncio.Future[Mapping[str, int] | None] | None = None
        self._unmade = set[str]()  # models of which jobs wait and that no node has, as told
        self._failing = False

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self.try_to_sweep()
            await self._pause(self._until_next_s())

    def _until_next_s(self) -> float:
        usual_s = min(self._rules.every_s * self._processes, self._rules.longest_s) * random.uniform(0.5, 1.5)
        return min(usual_s, self._rules.silence_s) if self._suspects else usual_s

    async def try_to_sweep(self) -> None:
        """Once; a failure is logged."""
        try:
            await self.sweep()
            self._failing = False
        except StorageFailure:
            self._suspects = {}  # while the store was away nobody could say that he lives
            if not self._failing:
                log.exception("sweep_failed")
            self._failing = True
        except Exception:  # the last that would find what is stranded
            log.exception("sweep_failed")

    async def sweep(self) -> None:
        """Orphans are given back by a later sweep than the one that sees them first. Raises StorageFailure."""
        living = await self._nodes.alive()
        self._processes = 1 + len(living)  # and API processes, which are few
        await self._give_back_orphans()
        await self._send_what_is_lacking()
        if self._rules.tells:
            await self._tell_what_nobody_makes({model for node in living for at in node.workers for model in at.models})

    async def _tell_what_nobody_makes(self, made: set[str]) -> None:
        """They wait until a node has their model, which may be one that nobody offers any more."""
        unmade = (await self._line.waiting()).keys() - made
        if new := sorted(unmade - self._unmade):
            log.warning("no_node_for_jobs", models=new, hint="start a node with these models, or cancel their jobs")
        self._unmade = unmade

    async def _give_back_orphans(self) -> None:
        orphans = await self._nodes.orphans(most=self._rules.most_orphans)
        now, before = self._clock(), self._suspects
        self._suspects = {_attempt(job): before.get(_attempt(job), now) for job in orphans}
        silent = [job for job in orphans if now - self._suspects[_attempt(job)] >= self._rules.silence_s]
        if not silent:
            return
        async with self._exclusive(ORPHANS) as is_ours:
            if is_ours:
                given_back = [await self._settlement.failed_once(job, describe(ServerRestarted())) for job in silent]
                if number := sum(job is not None for job in given_back):
                    log.warning("orphans_given_back", jobs=number)

    async def _send_what_is_lacking(self) -> None:
        if not await self._lacking(await self._line.waiting()):  # perhaps of seconds ago: for no more than a glance
            return
        before = await self._lacking(await self._line.waiting_now())
        if not before:
            return
        await self._pause(self._rules.missing_s)
        async with self._exclusive(MESSAGES) as is_ours:
            after = await self._lacking(await self._line.waiting_now()) if is_ours else {}
            for model, number in after.items():
                lacking = min(number, before.get(model, 0), self._rules.most_sent)
                jobs = await self._line.first(model, lacking) if lacking else ()
                for job in jobs:
                    await self._queue.publish(job)
                if jobs:
                    log.warning("messages_sent_again", model=model, messages=len(jobs), lacking=number)

    async def _lacking(self, waiting: Mapping[str, Waiting]) -> dict[str, int]:
        """How many more jobs than messages wait, by model; of models of which none lacks nothing."""
        depths = await self._answered(list(waiting)) if waiting else None
        if depths is None:
            return {}
        lacking = {model: told.jobs - depths.get(model, 0) for model, told in waiting.items()}
        return {model: number for model, number in lacking.items() if number > 0}

    async def _answered(self, models: Collection[str]) -> Mapping[str, int] | None:
        """None for a broker that thinks too long; it is not asked again before it has answered."""
        if self._asking is not None and not self._asking.done():
            return None
        self._asking = asyncio.ensure_future(asyncio.to_thread(self._depths, models))
        await asyncio.wait([self._asking], timeout=self._rules.answer_s)
        return self._asking.result() if self._asking.done() else None


def _attempt(job: Job) -> tuple[str, int]:
    return job.id, len(job.attempts)
