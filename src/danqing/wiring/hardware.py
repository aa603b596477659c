"""From settings to models, devices and the workers on them."""

from collections.abc import Sequence

import structlog

from danqing.config import InvalidSettings, Settings, cuda_visible_devices
from danqing.devices import (
    DeviceChoice,
    NoSuchGpu,
    choose_devices,
    installed_gpus,
    torch_has_cuda,
    visible_gpu_count,
)
from danqing.engine.catalogue import Catalogue
from danqing.engine.spec import EngineSpec
from danqing.logs import LogStyle
from danqing.model_files import files_state, obstacles, way_out
from danqing.workers.factory import ArtifactStoreFactory, EngineFactory, SetupFactory
from danqing.workers.spec import WorkerSpec

log = structlog.get_logger(__name__)


def build_catalogue(settings: Settings) -> Catalogue:
    """The models on offer. Blocking; may ask the hub. Raises UnknownModel or ModelLoadFailure."""
    return Catalogue(settings.model, aliases={alias.pattern: alias.model for alias in settings.model_aliases})


def device_choice(settings: Settings) -> DeviceChoice:
    """The devices that get a worker each, as torch names them. Blocking, short. Raises InvalidSettings."""
    only_gpu = settings.gpu_device_id
    if only_gpu is None and settings.device_map == "cuda" and installed_gpus():
        only_gpu = 0
    try:
        return choose_devices(
            use_gpus=settings.cuda_available,
            only_gpu=only_gpu,
            visible=visible_gpu_count(len(installed_gpus()), cuda_visible_devices()),
            torch_can=torch_has_cuda(),
        )
    except NoSuchGpu as exc:
        raise InvalidSettings(str(exc)) from exc


def warn_of_obstacles(catalogue: Catalogue, devices: Sequence[str]) -> None:
    """Before the worker tries, and perhaps fails with a library's error that tells nobody what to do."""
    on_gpu = any(device != "cpu" for device in devices)
    for card in catalogue.cards():
        if found := obstacles(card, files_state(card), on_gpu=on_gpu):
            log.warning("model_needs_attention", model=card.id, reason=", and ".join(found), hint=way_out(card))


def worker_specs(
    settings: Settings,
    catalogue: Catalogue,
    devices: Sequence[str],
    *,
    log_style: LogStyle,
    engine: EngineFactory | None,
) -> tuple[WorkerSpec, ...]:
    """A worker for each device, with every model on it. engine: another than the settings describe."""
    return tuple(
        WorkerSpec(
            id=device.replace(":", "-"),
            device=device,
            models=tuple(card.id for card in catalogue.cards()),
            engine=engine or _engine_factory(settings, catalogue, device),
            artifacts=ArtifactStoreFactory(target="danqing.blobs.local:LocalArtifactStore", argument=settings.outputs),
            setup=SetupFactory(target="danqing.logs:configure_logging", argument=log_style),
        )
        for device in devices
    )


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
