"""Puts the parts together; the only module that knows every concrete class."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import NoReturn

import structlog
from fastapi import FastAPI

from danqing.blobs.local import LocalArtifactStore
from danqing.config import InvalidSettings, Settings, cuda_visible_devices
from danqing.core.errors import ModelLoadFailure, StorageFailure
from danqing.core.ports import ArtifactStore
from danqing.core.studio import Limits, Studio
from danqing.core.types import WorkerState
from danqing.devices import (
    DeviceChoice,
    NoSuchGpu,
    choose_devices,
    installed_gpus,
    torch_has_cuda,
    visible_gpu_count,
)
from danqing.dialects.turbo.dialect import turbo
from danqing.engine.catalogue import Catalogue
from danqing.engine.spec import EngineSpec
from danqing.events.in_process import InProcessEventBus
from danqing.http.app import build_app, build_dialect_app
from danqing.http.dialect import Dialect
from danqing.http.listeners import Listener, OpenListener
from danqing.logs import LogStyle
from danqing.model_files import files_state, obstacles, way_out
from danqing.queue.embedded import EmbeddedQueue
from danqing.store.data_lock import DataDirectoryLock
from danqing.store.sqlite import SqliteJobStore
from danqing.workers.dispatcher import Dispatcher
from danqing.workers.factory import ArtifactStoreFactory, EngineFactory, SetupFactory
from danqing.workers.settlement import JobRules
from danqing.workers.spec import WorkerRules, WorkerSpec
from danqing.workers.supervisor import Supervisor

log = structlog.get_logger(__name__)

DATABASE_NAME = "danqing.sqlite"
READY_CHECK_S = 0.05


def build_catalogue(settings: Settings) -> Catalogue:
    """The models on offer. Blocking; may ask the hub. Raises UnknownModel or ModelLoadFailure."""
    return Catalogue(settings.model)


def build_dialects() -> tuple[Dialect, ...]:
    """Every dialect that this version speaks."""
    return (turbo(),)


def log_style(settings: Settings) -> LogStyle:
    """How this process and its workers write log lines."""
    return LogStyle(shape=settings.log_format, level="debug" if settings.debug else settings.log_level)


def listeners(settings: Settings) -> tuple[Listener, ...]:
    """The shared port first. Raises InvalidSettings for a dialect that nobody speaks."""
    spoken = {dialect.name for dialect in build_dialects()}
    for extra in settings.listen:
        if extra.dialect not in spoken:
            raise InvalidSettings(f"{extra.dialect} is not a dialect; there is {', '.join(sorted(spoken))}.")
    return (
        Listener(host=settings.host, port=settings.port),
        *(Listener(host=settings.host, port=extra.port, dialect=extra.dialect) for extra in settings.listen),
    )


def build_apps(runtime: "Runtime", opened: Sequence[OpenListener]) -> Mapping[OpenListener, FastAPI]:
    """The app that answers on each listener."""
    return {one: build_asgi_app(runtime, one.listener.dialect) for one in opened}


def build_asgi_app(runtime: "Runtime", dialect: str | None) -> FastAPI:
    """The app that speaks one dialect, or all for None."""
    dialects = build_dialects()
    if dialect is None:
        return build_app(studio=runtime.studio, artifacts=runtime.artifacts, dialects=dialects)
    only = next(each for each in dialects if each.name == dialect)
    return build_dialect_app(studio=runtime.studio, artifacts=runtime.artifacts, dialect=only)


def device_choice(settings: Settings) -> DeviceChoice:
    """The devices that get a worker each, as torch names them. Blocking, short. Raises InvalidSettings."""
    try:
        return choose_devices(
            use_gpus=settings.cuda_available,
            only_gpu=settings.gpu_device_id,
            visible=visible_gpu_count(len(installed_gpus()), cuda_visible_devices()),
            torch_can=torch_has_cuda(),
        )
    except NoSuchGpu as exc:
        raise InvalidSettings(str(exc)) from exc


def _warn_of_obstacles(catalogue: Catalogue, devices: Sequence[str]) -> None:
    """Before the worker tries, and perhaps fails with a library's error that tells nobody what to do."""
    on_gpu = any(device != "cpu" for device in devices)
    for card in catalogue.cards():
        if found := obstacles(card, files_state(card), on_gpu=on_gpu):
            log.warning("model_needs_attention", model=card.id, reason=", and ".join(found), hint=way_out(card))


def _engine_factory(settings: Settings, catalogue: Catalogue, device: str) -> EngineFactory:
    spec = EngineSpec(
        cards=tuple(catalogue.cards()),
        device=device,
        dtype=settings.dtype,
        attention=settings.attention,
        compile=settings.compile_model,
        cpu_offload=settings.cpu_offload,
        cpu_threads=settings.cpu_threads,
    )
    return EngineFactory(target="danqing.engine.build:build_engine", argument=spec)


def _worker_specs(
    settings: Settings, catalogue: Catalogue, devices: Sequence[str], engine: EngineFactory | None
) -> tuple[WorkerSpec, ...]:
    return tuple(
        WorkerSpec(
            id=device.replace(":", "-"),
            device=device,
            models=tuple(card.id for card in catalogue.cards()),
            engine=engine or _engine_factory(settings, catalogue, device),
            artifacts=ArtifactStoreFactory(target="danqing.blobs.local:LocalArtifactStore", argument=settings.outputs),
            setup=SetupFactory(target="danqing.logs:configure_logging", argument=log_style(settings)),
        )
        for device in devices
    )


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Everything that runs behind the wire. For use from one event loop only."""

    settings: Settings
    studio: Studio
    artifacts: ArtifactStore
    devices: tuple[str, ...]
    dispatcher: Dispatcher
    events: InProcessEventBus

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
async def open_runtime(settings: Settings, *, engine: EngineFactory | None = None) -> AsyncGenerator[Runtime]:
    """Lock, store, recovery, sweep, workers, in this order; on leaving halts and closes in the reverse one.

    engine: builds the engine in each worker; None for the one that the settings describe. Workers load their models in
    the background: jobs are accepted once one is ready.
    Raises InvalidSettings, UnknownModel, ModelLoadFailure, DataDirectoryInUse or StorageFailure.
    """
    catalogue = await asyncio.to_thread(build_catalogue, settings)
    choice = device_choice(settings)
    log.info("settings", **settings.masked())
    if choice.remark:
        log.warning("gpu_not_used", reason=choice.remark)
    if engine is None:
        await asyncio.to_thread(_warn_of_obstacles, catalogue, choice.devices)
    specs = _worker_specs(settings, catalogue, choice.devices, engine)
    async with AsyncExitStack() as stack:
        _make_data_dir(settings)
        lock = DataDirectoryLock(settings.data_dir)
        lock.acquire()
        stack.callback(lock.release)
        store = await asyncio.to_thread(SqliteJobStore.open, settings.data_dir / DATABASE_NAME)
        stack.push_async_callback(store.close)
        artifacts, queue, events = LocalArtifactStore(settings.outputs), EmbeddedQueue(), InProcessEventBus()
        supervisor = Supervisor(specs, rules=WorkerRules(task_timeout_s=settings.task_timeout_s))
        dispatcher = Dispatcher(
            queue=queue,
            store=store,
            supervisor=supervisor,
            events=events,
            artifacts=artifacts,
            rules=JobRules(task_timeout_s=settings.task_timeout_s, max_attempts=settings.max_attempts),
        )
        runtime = Runtime(
            settings=settings,
            studio=Studio(
                store=store,
                queue=queue,
                pool=supervisor,
                events=events,
                catalogue=catalogue,
                limits=Limits(max_queue_size=settings.max_queue_size),
            ),
            artifacts=artifacts,
            devices=tuple(spec.device for spec in specs),
            dispatcher=dispatcher,
            events=events,
        )
        recovered = await dispatcher.recover()
        swept = await asyncio.to_thread(artifacts.sweep, await store.without_artifacts())
        log.info("store_opened", recovered_jobs=recovered, swept_files=swept)
        stack.push_async_callback(runtime.halt)
        dispatcher.start()
        yield runtime


def _make_data_dir(settings: Settings) -> None:
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise StorageFailure(f"The data directory {settings.data_dir} cannot be made.") from exc
