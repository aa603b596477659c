"""What runs behind the wire, and which of the ways in which it can: alone, or as one of several over one store."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NoReturn

import structlog

from danqing.config import Settings, env_files
from danqing.core.errors import ModelLoadFailure
from danqing.core.picture_ports import ArtifactStore
from danqing.core.studio import Studio
from danqing.core.tickets import Tickets
from danqing.core.types import WorkerState
from danqing.http.dialect import Services
from danqing.http.tickets import LocalTickets
from danqing.logs import LogStyle
from danqing.wiring.measuring import Measuring
from danqing.wiring.stores import Stores

log = structlog.get_logger(__name__)

READY_CHECK_S = 0.05


def log_style(settings: Settings) -> LogStyle:
    """How this process and its workers write log lines."""
    return LogStyle(shape=settings.log_format, level="debug" if settings.debug else settings.log_level)


def log_settings(settings: Settings) -> None:
    """Which they are, and the files that they came from."""
    log.info("settings", env_files=[str(file.absolute()) for file in env_files()], **settings.masked())


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Everything that runs behind the wire. For use from one event loop only.

    devices: of this process's workers; none where other processes make the pictures. stop: what is done beside
    accepting no more, within so many seconds; fine to call again.
    """

    settings: Settings
    services: Services
    devices: tuple[str, ...]
    measuring: Measuring
    stop: Callable[[float], Awaitable[None]]
    tickets: Tickets = field(default_factory=LocalTickets)

    @property
    def studio(self) -> Studio:
        """The use cases of jobs."""
        return self.services.studio

    @property
    def artifacts(self) -> ArtifactStore:
        """The stored pictures."""
        return self.services.artifacts

    @asynccontextmanager
    async def at_work(self, stores: Stores) -> AsyncGenerator[None]:
        """Inside, what goes on beside the jobs does; on leaving halts first."""
        ring, machine_log = self.services.key_ring, self.services.machine_log
        async with stores.kept_indexed(), ring.kept_fresh(), machine_log.kept_going():
            try:
                yield
            finally:
                await self.halt()

    async def drain(self) -> None:
        """Takes no more jobs, lets running ones end until the deadline, stops the workers."""
        await self._stop(self.settings.drain_deadline_s)

    async def halt(self) -> None:
        """Stops the workers at once. Fine after `drain`, or after one that was cancelled.

        Jobs that did not make it are pending in the store and are made after the next start.
        """
        await self._stop(0.0)

    async def _stop(self, deadline_s: float) -> None:
        self.studio.stop_accepting()
        await self.stop(deadline_s)

    async def until_ready(self) -> None:
        """Returns when a worker has its models loaded. Raises ModelLoadFailure once all are broken."""
        while not self.studio.pool_status().model_loaded:
            self._raise_if_broken()
            await asyncio.sleep(READY_CHECK_S)

    async def until_broken(self) -> NoReturn:
        """Raises ModelLoadFailure once every worker is broken, though each goes on trying."""
        while True:
            self._raise_if_broken()
            await asyncio.sleep(READY_CHECK_S)

    def _raise_if_broken(self) -> None:
        pool = self.studio.pool_status()
        failures = [worker.failure for worker in pool.workers if worker.state is WorkerState.BROKEN]
        if len(failures) == len(pool.workers) and not pool.elsewhere:
            raise ModelLoadFailure(next((failure.message for failure in failures if failure), None))
