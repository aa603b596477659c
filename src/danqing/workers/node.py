"""A node: the workers of one machine that make jobs of a shared store, as long as they say that they live."""

import asyncio
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import structlog

from danqing.core.errors import StorageFailure
from danqing.core.shared_store import Node, Nodes
from danqing.core.types import WorkerState, WorkerStatus
from danqing.workers.dispatcher import Dispatcher
from danqing.workers.supervisor import Supervisor

log = structlog.get_logger(__name__)

BEATS_A_LEASE = 5
_RETRY_S = 1.0  # after a store that did not answer
_LAST_BEAT_S = 5.0  # that a node which ends waits for the store
_LOOK_S = 0.2  # pause between two looks whether there is news of the workers


def new_node_id(name: str) -> str:
    """Unique, begins with the name; has no slash, for the ids of its workers begin with it and one."""
    return f"{name.replace('/', '-')}-{secrets.token_hex(4)}"


@dataclass(frozen=True, kw_only=True)
class NodeIdentity:
    """lease_s: how long its jobs stay its own when it says nothing."""

    id: str
    name: str
    started_at: datetime
    lease_s: float


class NodeLife:
    """Beats: tells the store that the node lives, and hears what has become of its jobs and whether it is to drain.

    For one event loop.
    """

    def __init__(self, identity: NodeIdentity, *, nodes: Nodes, supervisor: Supervisor, dispatcher: Dispatcher) -> None:
        self._identity = identity
        self._nodes = nodes
        self._supervisor = supervisor
        self._dispatcher = dispatcher
        self._lease_until = 0.0
        self._away = False
        self._told: Sequence[tuple[str, WorkerState]] = ()
        self._unknown: Mapping[str, int] = {}  # attempts, by job, at the beat before
        self._storing: asyncio.Task[bool] | None = None  # the newest beat
        self.draining = False
        self.asked_to_drain = asyncio.Event()

    @property
    def holds_its_lease(self) -> bool:
        """Whether what it claims now is its own for a while: the last beat is not long ago."""
        return _now() < self._lease_until

    async def run(self) -> None:
        """Until it is cancelled. A store that is away is asked again until it answers."""
        while True:
            pause_s = self._identity.lease_s / BEATS_A_LEASE
            try:
                await self.beat()
            except StorageFailure:
                if not self._away:
                    log.exception("store_away", hint="running jobs go on, and no more are taken")
                self._away, pause_s = True, min(_RETRY_S, pause_s)
            except Exception:  # without beats all that this node has would be given to others
                log.exception("beat_failed")
            else:
                if self._away:
                    log.info("store_back")
                self._away = False
            await self._pause(pause_s)

    async def _pause(self, seconds: float) -> None:
        """Shorter if a worker has become ready, or has ceased to be: others ask the store for that."""
        for _ in range(max(1, round(seconds / _LOOK_S))):
            await asyncio.sleep(_LOOK_S)
            if not self._away and self._shown() != self._told:
                return

    async def beat(self) -> None:
        """Once. Raises StorageFailure."""
        asked_at = _now()
        status = self._supervisor.status().workers
        told = _shown(status)
        node = Node(
            id=self._identity.id,
            name=self._identity.name,
            started_at=self._identity.started_at,
            workers=tuple(status),
            draining=self.draining,
        )
        self._storing = asyncio.create_task(self._nodes.beat(node, lease_s=self._identity.lease_s))
        self._storing.add_done_callback(_heed)  # nobody waits for it any more where the node ends meanwhile
        if await asyncio.shield(self._storing):
            self.asked_to_drain.set()
        self._told = told
        self._lease_until = asked_at + self._identity.lease_s
        await self._drop_outdated()
        await self._give_back_unknown()

    async def _drop_outdated(self) -> None:
        """Cancelled by somebody whose word did not come through, or given to others while this node said nothing."""
        if attempts := self._dispatcher.attempts():
            for job_id in await self._nodes.outdated(attempts):
                self._dispatcher.drop(job_id, attempts[job_id])

    async def _give_back_unknown(self) -> None:
        """What was claimed by a call whose answer never came. A job that is just being claimed is known soon."""
        held = await self._nodes.held(self._identity.id)
        unknown = {job_id: n for job_id, n in held.items() if not self._dispatcher.knows(job_id, n)}
        for job_id, attempt in unknown.items():
            if self._unknown.get(job_id) == attempt:
                await self._dispatcher.give_back(job_id, attempt)
        self._unknown = unknown

    def _shown(self) -> Sequence[tuple[str, WorkerState]]:
        return _shown(self._supervisor.status().workers)

    async def leave(self) -> None:
        """The node has ended; what it still held is given to others at once."""
        if self._storing is not None:  # stored after the goodbye, a beat that was under way would be a new lease
            _, under_way = await asyncio.wait((self._storing,), timeout=_LAST_BEAT_S)
            if under_way:
                return  # the lease ends by itself
        with suppress(StorageFailure):  # logged; its lease ends by itself
            await self._nodes.leave(self._identity.id)


def _heed(beat: asyncio.Task[bool]) -> None:
    """What became of it is logged where it is waited for."""
    if not beat.cancelled():
        beat.exception()


def _now() -> float:
    """Seconds, by a clock that goes on while the machine sleeps, if it has one: leases end all the same."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()


def _shown(workers: Sequence[WorkerStatus]) -> Sequence[tuple[str, WorkerState]]:
    """What others should know of soon; whether a worker is busy they need not."""
    usual = {WorkerState.BUSY: WorkerState.READY}
    return [(worker.id, usual.get(worker.state, worker.state)) for worker in workers]
