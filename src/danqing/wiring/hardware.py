"""From settings to models, devices and the workers on them."""

import asyncio
import os
from collections.abc import Sequence

import structlog

from danqing.config import InvalidSettings, Settings, cuda_visible_devices, load_models_file
from danqing.core.batching import BatchRule
from danqing.core.capabilities import ModelCard
from danqing.core.shared_store import worker_of_node
from danqing.core.upscaling import UPSCALER
from danqing.devices import (
    GROUP,
    DeviceChoice,
    NoSuchGpu,
    choose_devices,
    device_groups,
    installed_gpus,
    torch_has_cuda,
    visible_gpu_count,
)
from danqing.engine.catalogue import Catalogue
from danqing.engine.host_memory import host_memory
from danqing.engine.known_models import KnownModels
from danqing.engine.lora_files import LoraFiles
from danqing.engine.spec import EngineSpec
from danqing.engine.upscale.choice import find_upscaler
from danqing.engine.weight_files import expected_bytes
from danqing.logs import LogStyle
from danqing.model_files import files_state, missing_companions, obstacles, way_out
from danqing.wiring.pictures import artifact_factory
from danqing.wiring.runtime import log_settings, log_style
from danqing.workers.factory import EngineFactory, SetupFactory
from danqing.workers.spec import WorkerSpec

log = structlog.get_logger(__name__)

PEAKS_NAME = "memory-peaks.json"


def known_models(settings: Settings) -> KnownModels:
    """The models that have an id, on offer or not. Blocking: reads the models file. Raises InvalidSettings."""
    return KnownModels(entries=load_models_file(settings.models_file), precision=settings.precision)


def build_catalogue(settings: Settings) -> Catalogue:
    """The models on offer. Blocking; may ask the hub. Raises InvalidSettings, UnknownModel or ModelLoadFailure."""
    return Catalogue(
        settings.model,
        others=settings.models,
        aliases={alias.pattern: alias.model for alias in settings.model_aliases},
        known=known_models(settings),
        loras=lora_files(settings),
    )


def queued_models(catalogue: Catalogue) -> tuple[str, ...]:
    """The ids under which jobs wait for workers: every worker has an upscaler beside its models."""
    return (*(card.id for card in catalogue.cards()), UPSCALER)


async def planned_workers(
    settings: Settings, catalogue: Catalogue, *, engine: EngineFactory | None, node_id: str | None = None
) -> tuple[WorkerSpec, ...]:
    """The workers on this machine's devices. The log tells the settings, and what came of them that may surprise.

    engine, node_id, and what it raises: see `worker_specs`.
    """
    choice = device_choice(settings)
    log_settings(settings)
    if choice.remark:
        log.warning("gpu_not_used", reason=choice.remark)
    devices = await asyncio.to_thread(worker_devices, settings, catalogue.cards(), choice.devices)
    if engine is None:
        await asyncio.to_thread(warn_of_obstacles, settings, catalogue, devices)
    return worker_specs(settings, catalogue, devices, log_style=log_style(settings), engine=engine, node_id=node_id)


def lora_files(settings: Settings) -> LoraFiles:
    """The LoRAs on offer. Blocking, short. Raises InvalidSettings for a folder that is not there."""
    folder = settings.lora_dir
    if folder is not None and not folder.is_dir():
        raise InvalidSettings(f"DANQING_LORA_DIR: {folder} is no folder.")
    return LoraFiles(folder and folder.absolute())


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


def most_memory(settings: Settings, devices: Sequence[str]) -> int | None:
    """Bytes of the device that has most, or of all of them together where a model may be spread over them.

    None where that is not known, or where a model need not be there as a whole. Blocking, short.
    """
    if settings.cpu_offload:
        return None
    if all(device == "cpu" for device in devices):
        return _limited(settings, host_memory().total_bytes)
    largest = max((gpu.memory_total_bytes for gpu in installed_gpus() if gpu.memory_total_bytes), default=None)
    if largest is None:
        return None
    several = sum(len(device.split(GROUP)) for device in devices) if settings.device_map == "balanced" else 1
    return _limited(settings, largest) * several


def worker_devices(settings: Settings, cards: Sequence[ModelCard], devices: Sequence[str]) -> tuple[str, ...]:
    """The device, or group of devices, of each worker. Blocking: looks into the models' files.

    There are groups only with `balanced`, and if one of the models is too large for a device alone.
    """
    memory = min((gpu.memory_total_bytes for gpu in installed_gpus() if gpu.memory_total_bytes), default=None)
    if settings.device_map != "balanced" or settings.cpu_offload or len(devices) < 2 or memory is None:
        return tuple(devices)
    float_bytes = 4 if settings.dtype == "float32" else 2
    needed = max((expected_bytes(card, float_bytes=float_bytes) or 0 for card in cards), default=0)
    if needed == 0:
        return tuple(devices)
    groups = device_groups(devices, memory_bytes=_limited(settings, memory), needed_bytes=needed)
    if len(groups) < len(devices):
        log.info("devices_grouped", groups=groups, needed_bytes=needed)
    return groups


def _limited(settings: Settings, memory_bytes: int) -> int:
    limit = _memory_limit(settings)
    return memory_bytes if limit is None else min(memory_bytes, limit)


def _memory_share(settings: Settings, device: str) -> int | None:
    """What a worker may use of each of its devices; None: all of it."""
    if settings.workers_per_device == 1:
        return _memory_limit(settings)
    if device == "cpu":
        total = host_memory().total_bytes
    else:
        total = min((gpu.memory_total_bytes for gpu in installed_gpus() if gpu.memory_total_bytes), default=0)
    return (_limited(settings, total) if total else _memory_limit(settings) or 0) // settings.workers_per_device or None


def _threads_share(settings: Settings, device: str) -> int | None:
    """Which models on a CPU compute with; None: what is usual for one."""
    if settings.cpu_threads is not None or settings.workers_per_device == 1 or device != "cpu":
        return settings.cpu_threads
    return max(1, ((os.cpu_count() or 1) - 1) // settings.workers_per_device)


def _memory_limit(settings: Settings) -> int | None:
    return None if settings.device_memory_gb is None else int(settings.device_memory_gb * 1e9)


def warn_of_obstacles(settings: Settings, catalogue: Catalogue, devices: Sequence[str]) -> None:
    """Before the worker tries, and perhaps fails with a library's error that tells nobody what to do."""
    on_gpu, memory_bytes = any(device != "cpu" for device in devices), most_memory(settings, devices)
    for card in catalogue.cards():
        if found := obstacles(card, files_state(card), on_gpu=on_gpu, memory_bytes=memory_bytes):
            log.warning("model_needs_attention", model=card.id, reason=", and ".join(found), hint=way_out(card))
        for companion in missing_companions(card):
            hint = f"danqing models pull {card.id}"
            log.warning("mode_needs_download", model=card.id, mode=str(companion.mode), hint=hint)


def worker_specs(
    settings: Settings,
    catalogue: Catalogue,
    devices: Sequence[str],
    *,
    log_style: LogStyle,
    engine: EngineFactory | None,
    node_id: str | None = None,
) -> tuple[WorkerSpec, ...]:
    """A worker for each device, or several, with every model on each. engine: another than the settings describe.
    node_id: of the node whose workers they are, if they are a node's.

    Blocking, short. Raises ModelLoadFailure if there is no such upscaler, InvalidSettings.
    """
    find_upscaler(settings.upscaler)  # rather here than in every worker
    batches = BatchRule(pixels=settings.batch_pixels, pictures=settings.batch_pictures, cards=tuple(catalogue.cards()))
    artifacts = artifact_factory(settings)
    return tuple(
        WorkerSpec(
            id=_worker_id(device, number, node_id),
            device=device,
            models=queued_models(catalogue),
            engine=engine or _engine_factory(settings, catalogue, device),
            artifacts=artifacts,
            batches=batches,
            setup=SetupFactory(target="danqing.logs:configure_logging", argument=log_style),
        )
        for device in devices
        for number in range(1, settings.workers_per_device + 1)
    )


def _worker_id(device: str, number: int, node_id: str | None) -> str:
    name = device.replace(":", "-") + (f"-{number}" if number > 1 else "")
    return name if node_id is None else worker_of_node(node_id, name)


def _engine_factory(settings: Settings, catalogue: Catalogue, device: str) -> EngineFactory:
    spec = EngineSpec(
        cards=tuple(catalogue.cards()),
        device=device,
        dtype=settings.dtype,
        attention=settings.attention,
        compile=settings.compile_model,
        cpu_offload=settings.cpu_offload,
        memory_bytes=_memory_share(settings, device),
        peaks_file=settings.data_dir.absolute() / PEAKS_NAME,
        cpu_threads=_threads_share(settings, device),
        upscaler=settings.upscaler,
        picture_texts=settings.picture_texts,
        lora_folder=settings.lora_dir and settings.lora_dir.absolute(),
    )
    return EngineFactory(target="danqing.engine.build:build_engine", argument=spec)
