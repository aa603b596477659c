"""What this host and the queue have been doing for the last hour, for people to look at. Held in memory.

Each process that answers keeps its own; of several on one host each tells the same.
"""

import asyncio
import hashlib
import socket
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

import psutil

from danqing.core.background import outliving
from danqing.core.clock import utc_now
from danqing.core.errors import StorageFailure
from danqing.core.studio import QueueStatus
from danqing.core.types import DeviceStatus, PoolStatus

EVERY_S = 5.0
KEPT = 720  # samples: an hour
FIRST_AFTER_S = 0.5
_ID_DIGITS = 12


@dataclass(frozen=True, kw_only=True)
class HostLoad:
    """cpu_percent: of all its cores, since the last look."""

    cpu_percent: float
    memory_used_bytes: int
    memory_total_bytes: int


@dataclass(frozen=True, kw_only=True)
class MachineSample:
    """One look. completed: of all jobs that there are. workers: bytes of their devices' memory in use, by worker."""

    at: datetime
    host: HostLoad
    pending: int
    processing: int
    completed: int
    workers: dict[str, int] = field(default_factory=dict[str, int])


def host_load() -> HostLoad:
    """Since the last call; does not wait."""
    memory = psutil.virtual_memory()
    return HostLoad(
        cpu_percent=psutil.cpu_percent(interval=None),
        memory_used_bytes=memory.total - memory.available,
        memory_total_bytes=memory.total,
    )


class MachineLog:
    """For one event loop."""

    def __init__(
        self,
        *,
        queue: Callable[[], Awaitable[QueueStatus]],
        pool: Callable[[], PoolStatus],
        load: Callable[[], HostLoad] = host_load,
        clock: Callable[[], datetime] = utc_now,
        host_name: str | None = None,
    ) -> None:
        """load: nobody else may call what it reads from, for that counts since the last call."""
        self.host_name = host_name or socket.gethostname()
        self.host_id = hashlib.sha256(self.host_name.encode()).hexdigest()[:_ID_DIGITS]
        self._queue = queue
        self._pool = pool
        self._load = load
        self._clock = clock
        self._samples: deque[MachineSample] = deque(maxlen=KEPT)

    @property
    def latest(self) -> HostLoad:
        """As of the last look; of now, where there was none yet."""
        return self._samples[-1].host if self._samples else self._load()

    def since(self, moment: datetime | None) -> Sequence[MachineSample]:
        """The samples after that moment, oldest first; None: all that are kept."""
        return [sample for sample in self._samples if moment is None or sample.at > moment]

    @property
    def began_at(self) -> datetime | None:
        """When the oldest sample that is kept was taken."""
        return self._samples[0].at if self._samples else None

    async def look(self) -> None:
        """Takes a sample; none while the store does not answer."""
        load = self._load()
        try:
            queue = await self._queue()
        except StorageFailure:  # logged where it was raised
            return
        used = {worker.id: _used(worker.device) for worker in self._pool().workers if worker.device is not None}
        self._samples.append(
            MachineSample(
                at=self._clock(),
                host=load,
                pending=queue.pending,
                processing=queue.processing,
                completed=queue.completed,
                workers={name: count for name, count in used.items() if count is not None},
            )
        )

    @asynccontextmanager
    async def kept_going(self, *, every_s: float = EVERY_S) -> AsyncGenerator[None]:
        """Inside, it looks again and again, whatever a look fails of."""
        self._load()  # from which the first look counts
        looking = asyncio.create_task(self._look_for_ever(every_s), name="machine-log")
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.wait([looking])  # and raise nothing of it

    async def _look_for_ever(self, every_s: float) -> None:
        await asyncio.sleep(min(every_s, FIRST_AFTER_S))
        while True:
            with outliving("machine_look_failed", again_in_s=every_s):
                await self.look()
            await asyncio.sleep(every_s)


def _used(device: DeviceStatus) -> int | None:
    return device.memory_reserved_bytes or device.memory_allocated_bytes
