"""The workers of all nodes, as an API process sees them, which has none of its own."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog

from danqing.core.background import outliving
from danqing.core.errors import StorageFailure
from danqing.core.shared_store import Node, Nodes
from danqing.core.types import PoolStatus, WorkerStatus

log = structlog.get_logger(__name__)

LOOK_S = 1.0
KEEP_S = 30.0  # how long what was seen last is believed when the store does not answer

Say = Callable[[str], Awaitable[None]]


class RemotePool:
    """Implements the core's `WorkerPool`. For one event loop."""

    def __init__(self, nodes: Nodes, *, stop_job: Say, send_previews: Say, keep_s: float = KEEP_S) -> None:
        """stop_job, send_previews: say a job's id to all nodes."""
        self._nodes = nodes
        self._stop_job = stop_job
        self._send_previews = send_previews
        self._keep_s = keep_s
        self._status = PoolStatus(elsewhere=True)
        self._seen_at = 0.0  # loop time
        self._failing = False

    def status(self) -> PoolStatus:
        """As of a moment ago. Workers are called "node/worker", for each machine has its own w1, and its own cuda:0."""
        return self._status

    def takes_jobs(self, *, when_loaded: bool) -> bool:
        """See the port."""
        return self._status.accepts_jobs or (when_loaded and self._status.is_coming_up)

    async def stop_job(self, job_id: str) -> None:
        """Soon, where a node hears of it; at its next beat, where it does not."""
        await self._stop_job(job_id)

    async def send_previews(self, job_id: str) -> None:
        """Where a node hears of it."""
        await self._send_previews(job_id)

    async def run(self) -> None:
        """Looks again every second, until it is cancelled."""
        while True:
            with outliving("nodes_not_known"):
                await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Once. A store that does not answer is believed for a while to have what it had; then there are no workers."""
        now = asyncio.get_running_loop().time()
        try:
            nodes = await self._nodes.alive()
        except StorageFailure as exc:
            if not self._failing:
                log.warning("nodes_not_known", code=exc.code)
            self._failing = True
            if now - self._seen_at > self._keep_s:
                self._status = PoolStatus(elsewhere=True, out_of_sight=True)
            return
        self._failing = False
        self._seen_at = now
        self._status = PoolStatus(workers=tuple(w for node in nodes for w in _workers_of(node)), elsewhere=True)


def _workers_of(node: Node) -> list[WorkerStatus]:
    prefix = f"{node.id}/"
    return [
        worker if worker.id.startswith(prefix) else replace(worker, id=f"{prefix}{worker.id}")
        for worker in node.workers
    ]
