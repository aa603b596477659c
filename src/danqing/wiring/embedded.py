"""A server that makes its pictures itself: workers, queue and events in or below this process."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog

from danqing.config import Settings
from danqing.core.pace import Pace
from danqing.core.picture_ports import ArtifactStore
from danqing.core.reconciling import reconcile
from danqing.events.in_process import InProcessEventBus
from danqing.intake.sandboxed import SandboxedIntake
from danqing.queue.embedded import EmbeddedQueue, QueueRules
from danqing.store.data_lock import DataDirectoryLock
from danqing.wiring.hardware import build_catalogue, planned_workers, queued_models
from danqing.wiring.keeping import keeping_of
from danqing.wiring.keys import secret_of
from danqing.wiring.measuring import Measuring
from danqing.wiring.pictures import make_folders, open_artifacts
from danqing.wiring.rules import job_rules, worker_rules
from danqing.wiring.runtime import Runtime
from danqing.wiring.services import Parts, services_of
from danqing.wiring.start_wait import DATABASE, PICTURES, StartWait
from danqing.wiring.stores import Stores, open_stores
from danqing.workers.dispatcher import Dispatcher
from danqing.workers.factory import EngineFactory
from danqing.workers.prepared import PreparedProcess
from danqing.workers.supervisor import Supervisor

log = structlog.get_logger(__name__)


@asynccontextmanager
async def open_embedded(
    settings: Settings,
    *,
    engine: EngineFactory | None = None,
    lock_wait_s: float = 0.0,
    wait: StartWait | None = None,
    prepared: PreparedProcess | None = None,
) -> AsyncGenerator[Runtime]:
    """Lock, stores, recovery, sweep, workers, in this order; on leaving halts and closes in the reverse one.

    engine: builds the engine in each worker; None for the one that the settings describe. Workers load their models in
    the background: jobs are accepted once one is ready. lock_wait_s: how long an earlier server, which is about to
    end, may still hold the data directory. wait: for a database or an object store that is away. prepared: for one of
    the workers.
    Raises InvalidSettings, UnknownModel, ModelLoadFailure, DataDirectoryInUse or StorageFailure.
    """
    catalogue = await asyncio.to_thread(build_catalogue, settings)
    specs = await planned_workers(settings, catalogue, engine=engine)
    measuring = Measuring.of(settings, queued_models(catalogue))
    wait = wait or StartWait(most_s=settings.start_wait_s)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(measuring.at_work(patient=lock_wait_s > 0))
        await asyncio.to_thread(make_folders, settings)
        artifacts = await wait.until_there(PICTURES, lambda: asyncio.to_thread(open_artifacts, settings))
        lock = DataDirectoryLock(settings.data_dir)
        await asyncio.to_thread(lock.acquire, wait_s=lock_wait_s)
        stack.callback(lock.release)
        stores = await wait.until_there(
            DATABASE,
            lambda: stack.enter_async_context(
                open_stores(settings, alone=True, lock_wait_s=lock_wait_s, around=measuring.around)
            ),
        )
        secret = await secret_of(settings, stores, wait)
        queue, events = _queue(settings), InProcessEventBus()
        pace, keeping = Pace(), keeping_of(settings, kept=stores.kept, artifacts=artifacts)
        intake = SandboxedIntake(artifacts)
        stack.push_async_callback(intake.close)
        supervisor = Supervisor(specs, rules=worker_rules(settings), prepared=prepared)
        dispatcher = Dispatcher(
            queue=queue,
            store=stores.jobs,
            supervisor=supervisor,
            events=events,
            artifacts=artifacts,
            rules=job_rules(settings),
            pace=pace,
            witness=measuring.witness,
        )
        measuring.look_at(
            pool=supervisor.status, jobs=stores.jobs, waiting=queue.waiting, dropped=lambda: events.dropped
        )

        async def stop(deadline_s: float) -> None:
            await dispatcher.stop(deadline_s=deadline_s)
            events.close()

        runtime = Runtime(
            settings=settings,
            services=services_of(
                settings,
                Parts(
                    stores=stores,
                    queue=queue,
                    pool=supervisor,
                    events=events,
                    catalogue=catalogue,
                    artifacts=artifacts,
                    intake=intake,
                    keeping=keeping,
                    pace=pace,
                    measuring=measuring,
                    secret=secret,
                ),
            ),
            devices=tuple(spec.device for spec in specs),
            measuring=measuring,
            stop=stop,
        )
        await _take_up(dispatcher, stores, artifacts)
        await stack.enter_async_context(keeping.at_work())
        await stack.enter_async_context(runtime.at_work(stores))
        dispatcher.start()
        yield runtime


async def _take_up(dispatcher: Dispatcher, stores: Stores, artifacts: ArtifactStore) -> None:
    """What an earlier server left: its jobs, and its pictures."""
    recovered = await dispatcher.recover()
    reconciled = await reconcile(stores.jobs, artifacts, stores.kept)
    log.info("store_opened", recovered_jobs=recovered, swept_files=reconciled.swept)
    if reconciled.missing:
        log.warning("pictures_missing", pictures=reconciled.missing, hint="their jobs have no picture any more")


def _queue(settings: Settings) -> EmbeddedQueue:
    rules = QueueRules(
        max_running_of_owner=settings.max_running_per_owner,
        max_passes=settings.model_passes,
        offers=settings.database_url is None,  # PostgreSQL finds nothing that is not stored yet
    )
    return EmbeddedQueue(rules)
