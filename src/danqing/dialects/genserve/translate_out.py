"""From the core to GenServe's wire. Pure."""

from collections.abc import Sequence

from danqing.core.capabilities import ModelCard
from danqing.core.errors import UnknownModel
from danqing.core.ports import ModelCatalogue
from danqing.core.types import Job, Mode, ModelStatus, PoolStatus, WorkerState, WorkerStatus
from danqing.dialects.genserve.echo import Echo
from danqing.dialects.genserve.schemas import (
    DEFAULT_MODEL,
    ConcurrentManager,
    GenerationResult,
    LoadedModel,
    ModelEntry,
    ServiceStatus,
    WorkerEntry,
)

FEATURES: dict[Mode, str] = {
    Mode.TEXT2IMG: "text-to-image",
    Mode.IMG2IMG: "image-to-image",
    Mode.FILL: "fill",
    Mode.CONTROLNET: "controlnet",
}  # the API has no word for an edit, nor a way to ask for one
LOADED = frozenset({WorkerState.READY, WorkerState.BUSY})
ALIVE = LOADED | {WorkerState.STARTING}
DEAD = frozenset({WorkerState.RESTARTING, WorkerState.BROKEN})

# The vendor's own words, for the model that they are about: name and description.
KNOWN_MODELS: dict[str, tuple[str, str]] = {
    "flux1-dev": ("FLUX.1-dev", "Black Forest Labs FLUX.1-dev model for high-quality image generation"),
}


def from_job(job: Job, *, echo: Echo, image_base64: str, gpu_id: str | None) -> GenerationResult:
    """A completed job's picture."""
    return GenerationResult(
        success=True,
        task_id=job.id,
        image_base64=image_base64,
        error=None,
        elapsed_time=elapsed_s(job),
        gpu_id=gpu_id,
        model_id=echo.model_id,
        mode=echo.mode,
    )


def from_error(message: str, *, echo: Echo) -> GenerationResult:
    """No picture."""
    return GenerationResult(
        success=False,
        task_id=echo.task_id,
        image_base64=None,
        error=message,
        elapsed_time=0.0,
        gpu_id=None,
        model_id=echo.model_id,
        mode=echo.mode,
    )


def elapsed_s(job: Job) -> float:
    """From the newest attempt's beginning to the end, in seconds to the millisecond."""
    if job.started_at is None or job.finished_at is None:
        return 0.0
    return round((job.finished_at - job.started_at).total_seconds(), 3)


def gpu_of(job: Job, pool: PoolStatus) -> str | None:
    """The device of the worker that made the picture, as torch names it; None if it is not there any more."""
    maker = job.attempts[-1].worker if job.attempts else None
    return next((worker.device.id for worker in pool.workers if worker.id == maker and worker.device), None)


def from_status(pool: PoolStatus, *, waiting: int, draining: bool) -> ServiceStatus:
    """waiting: jobs that no worker has taken yet."""
    alive = [worker for worker in pool.workers if worker.state in ALIVE and worker.pid is not None]
    if draining:
        status = "draining"
    elif pool.accepts_jobs:
        status = "running"
    else:
        hopeless = bool(pool.workers) and all(worker.state is WorkerState.BROKEN for worker in pool.workers)
        status = "failed" if hopeless else "starting"
    return ServiceStatus(
        status=status,
        concurrent_manager=ConcurrentManager(
            alive_processes=len(alive),
            dead_processes=sum(worker.state in DEAD for worker in pool.workers),
            total_restarts=sum(worker.restarts for worker in pool.workers),
            global_queue_size=waiting,
        ),
        workers=[_worker(worker) for worker in pool.workers],
    )


def _worker(worker: WorkerStatus) -> WorkerEntry:
    device = worker.device
    return WorkerEntry(
        worker_id=worker.id,
        state=worker.state.value,
        device=device.id if device else None,
        device_name=device.name if device else None,
        prompt_cache_bytes=device.prompt_cache_bytes if device else None,
        models=[_loaded(model) for model in device.loaded] if device else [],
    )


def _loaded(model: ModelStatus) -> LoadedModel:
    return LoadedModel(
        model_id=model.id,
        on_device=model.on_device,
        placement=model.placement,
        precision=model.precision,
        dtype=model.dtype,
        attention=model.attention,
        compiled=model.compiled,
        vae=model.vae,
        step_cache=model.step_cache,
    )


def from_models(catalogue: ModelCatalogue, pool: PoolStatus) -> list[ModelEntry]:
    """Every served model under its id, and under the vendor's default id if that stands for some of them."""
    entries = [_own_entry(card, pool.workers) for card in catalogue.cards()]
    if any(entry.model_id == DEFAULT_MODEL for entry in entries):
        return entries
    try:
        return [_alias(catalogue, pool.workers), *entries]
    except UnknownModel:
        return entries


def _own_entry(card: ModelCard, workers: Sequence[WorkerStatus]) -> ModelEntry:
    name, description = KNOWN_MODELS.get(card.id, (card.title, f"{card.title}, a model of the family {card.family}"))
    features = [word for mode, word in FEATURES.items() if mode in card.capabilities.modes]
    return _entry(card.id, name, description, features, [card], workers)


def _alias(catalogue: ModelCatalogue, workers: Sequence[WorkerStatus]) -> ModelEntry:
    """It may stand for another model in each mode. Raises UnknownModel."""
    usual = catalogue.card(DEFAULT_MODEL)
    meant = {mode: catalogue.card(DEFAULT_MODEL, mode=mode) for mode in FEATURES}
    features = {FEATURES[mode]: card for mode, card in meant.items() if mode in card.capabilities.modes}
    cards = {card.id: card for card in (usual, *features.values())}
    description = f"Another name of {usual.id}: {usual.title} answers"
    for card in cards.values():
        if card.id != usual.id:
            words = ", ".join(word for word, of in features.items() if of.id == card.id)
            description += f"; for {words} of {card.id}: {card.title} answers"
    return _entry(DEFAULT_MODEL, usual.title, description, list(features), list(cards.values()), workers)


def _entry(
    model_id: str,
    name: str,
    description: str,
    features: list[str],
    cards: Sequence[ModelCard],
    workers: Sequence[WorkerStatus],
) -> ModelEntry:
    """cards: those that answer. A worker that has several of them counts once."""
    serving = [worker for worker in workers if any(card.id in worker.models for card in cards)]
    return ModelEntry(
        model_id=model_id,
        model_name=name,
        description=description,
        total_gpu_processes=len(serving),
        available_gpu_processes=sum(worker.state in LOADED for worker in serving),
        supported_features=features,
    )
