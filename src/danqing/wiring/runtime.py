"""Everything that runs behind the wire, opened in order and closed in the reverse one."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn

import structlog

from danqing.blobs.local import LocalArtifactStore
from danqing.config import Settings
from danqing.core.errors import ModelLoadFailure, StorageFailure
from danqing.core.gallery import Gallery
from danqing.core.issued_keys import KeyRing
from danqing.core.pace import Pace
from danqing.core.ports import ArtifactStore
from danqing.core.reconciling import reconcile
from danqing.core.removal import Removal
from danqing.core.studio import Limits, Studio, utc_now
from danqing.core.types import WorkerState
from danqing.events.in_process import InProcessEventBus
from danqing.http.dialect import DialectOptions, Services
from danqing.http.picture_links import PictureLinks
from danqing.intake.sandboxed import SandboxedIntake
from danqing.logs import LogStyle
from danqing.queue.embedded import EmbeddedQueue, QueueRules
from danqing.store.data_lock import DataDirectoryLock
from danqing.store.server_secret import server_secret
from danqing.store.sqlite import SqliteStores
from danqing.wiring.hardware import build_catalogue, device_choice, warn_of_obstacles, worker_devices, worker_specs
from danqing.wiring.keeping import keeping_of
from danqing.wiring.keys import keys_of
from danqing.workers.dispatcher import Dispatcher
from danqing.workers.factory import EngineFactory
from danqing.workers.settlement import JobRules
from danqing.workers.spec import WorkerRules
from danqing.workers.supervisor import Supervisor

log = structlog.get_logger(__name__)

DATABASE_NAME = "danqing.sqlite"
READY_CHECK_S = 0.05


def log_style(settings: Settings) -> LogStyle:
    """How this process and its workers write log lines."""
    return LogStyle(shape=settings.log_format, level="debug" if settings.debug else settings.log_level)


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Everything that runs behind the wire. For use from one event loop only."""

    settings: Settings
    services: Services
    devices: tuple[str, ...]
    dispatcher: Dispatcher
    events: InProcessEventBus

    @property
    def studio(self) -> Studio:
        """The use cases of jobs."""
        return self.services.studio

    @property
    def artifacts(self) -> ArtifactStore:
        """The stored pictures."""
        return self.services.artifacts

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
        await self.dispatcher.stop(deadline_s=deadline_s)
        self.events.close()

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
        workers = self.studio.pool_status().workers
        failures = [worker.failure for worker in workers if worker.state is WorkerState.BROKEN]
        if len(failures) == len(workers):
            raise ModelLoadFailure(next((failure.message for failure in failures if failure), None))


@asynccontextmanager
async def open_runtime(
    settings: Settings, *, engine: EngineFactory | None = None, lock_wait_s: float = 0.0
) -> AsyncGenerator[Runtime]:
    """Lock, stores, recovery, sweep, workers, in this order; on leaving halts and closes in the reverse one.

    engine: builds the engine in each worker; None for the one that the settings describe. Workers load their models in
    the background: jobs are accepted once one is ready. lock_wait_s: how long an earlier server, which is about to
    end, may still hold the data directory.
    Raises InvalidSettings, UnknownModel, ModelLoadFailure, DataDirectoryInUse or StorageFailure.
    """
    catalogue = await asyncio.to_thread(build_catalogue, settings)
    choice = device_choice(settings)
    log.info("settings", **settings.masked())
    if choice.remark:
        log.warning("gpu_not_used", reason=choice.remark)
    devices = await asyncio.to_thread(worker_devices, settings, catalogue.cards(), choice.devices)
    if engine is None:
        await asyncio.to_thread(warn_of_obstacles, settings, catalogue, devices)
    specs = worker_specs(settings, catalogue, devices, log_style=log_style(settings), engine=engine)
    async with AsyncExitStack() as stack:
        await asyncio.to_thread(_make_folders, settings)
        lock = DataDirectoryLock(settings.data_dir)
        await asyncio.to_thread(lock.acquire, wait_s=lock_wait_s)
        stack.callback(lock.release)
        secret = await asyncio.to_thread(server_secret, settings.data_dir) if keys_of(settings).enabled else b""
        stores = await asyncio.to_thread(SqliteStores.open, settings.data_dir / DATABASE_NAME)
        stack.push_async_callback(stores.close)
        artifacts, queue, events = LocalArtifactStore(settings.outputs), _queue(settings), InProcessEventBus()
        pace, keeping = Pace(), keeping_of(settings, kept=stores.kept, artifacts=artifacts)
        intake = SandboxedIntake(artifacts)
        stack.push_async_callback(intake.close)
        supervisor = Supervisor(specs, rules=WorkerRules(task_timeout_s=settings.task_timeout_s))
        dispatcher = Dispatcher(
            queue=queue,
            store=stores.jobs,
            supervisor=supervisor,
            events=events,
            artifacts=artifacts,
            rules=JobRules(
                task_timeout_s=settings.task_timeout_s,
                max_attempts=settings.max_attempts,
                cancel_deadline_s=settings.cancel_deadline_s,
            ),
            pace=pace,
        )
        studio = Studio(
            store=stores.jobs,
            queue=queue,
            pool=supervisor,
            events=events,
            catalogue=catalogue,
            artifacts=artifacts,
            limits=Limits(
                max_queue_size=settings.max_queue_size,
                max_queue_of_owner=settings.max_queue_per_owner,
                max_priority=settings.max_priority,
                cancel_abandoned=settings.cancel_abandoned,
            ),
            secret=secret,
            pace=pace,
            admission=keeping.admission,
            inputs=keeping.inputs,
        )
        services = Services(
            studio=studio,
            gallery=Gallery(stores.batches),
            subscriptions=stores.subscriptions,
            artifacts=artifacts,
            intake=intake,
            removal=Removal(studio=studio, kept=stores.kept, artifacts=artifacts, inputs=keeping.inputs),
            key_ring=KeyRing(stores.issued_keys, clock=utc_now),
            links=PictureLinks(secret or None),
            options=DialectOptions(
                request_timeout_s=settings.request_timeout_s,
                submit_key_lifetime=timedelta(hours=settings.idempotency_hours),
                environment=settings.environment,
                public_url=settings.public_url,
                log_prompts=settings.log_prompts,
                needs_key=keys_of(settings).enabled,
            ),
        )
        runtime = Runtime(
            settings=settings,
            services=services,
            devices=tuple(spec.device for spec in specs),
            dispatcher=dispatcher,
            events=events,
        )
        recovered = await dispatcher.recover()
        reconciled = await reconcile(stores.jobs, artifacts, stores.kept)
        log.info("store_opened", recovered_jobs=recovered, swept_files=reconciled.swept)
        if reconciled.missing:
            log.warning("pictures_missing", pictures=reconciled.missing, hint="their jobs have no picture any more")
        await stack.enter_async_context(keeping.at_work())
        await stack.enter_async_context(services.key_ring.kept_fresh())
        stack.push_async_callback(runtime.halt)
        dispatcher.start()
        yield runtime


def _queue(settings: Settings) -> EmbeddedQueue:
    rules = QueueRules(max_running_of_owner=settings.max_running_per_owner, max_passes=settings.model_passes)
    return EmbeddedQueue(rules)


def _make_folders(settings: Settings) -> None:
    """Tries to write into both: no job is to be accepted whose picture has no place."""
    for folder, what in ((settings.data_dir, "data directory"), (settings.outputs, "output directory")):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise StorageFailure(f"The {what} {folder} cannot be made.") from exc
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as exc:
            raise StorageFailure(f"The {what} {folder} cannot be written.") from exc
