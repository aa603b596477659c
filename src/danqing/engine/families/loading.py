"""Files to a ready diffusers pipeline. Weights from safetensors only; no code from a checkpoint is ever run."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog
from safetensors import SafetensorError

from danqing.core.capabilities import ModelCard
from danqing.core.errors import ModelLoadFailure, OutOfMemory
from danqing.engine.device import is_out_of_memory
from danqing.engine.families.adapter import AdapterOptions

log = structlog.get_logger(__name__)


def load_pipeline(pipeline_class: Any, card: ModelCard, options: AdapterOptions) -> Any:  # noqa: ANN401  diffusers is not typed
    """A pipeline of that class on its device, in its number format, in evaluation mode.

    Raises ModelLoadFailure or OutOfMemory.
    """
    with translated_loading(card):
        pipeline = pipeline_class.from_pretrained(
            card.source,
            revision=card.revision,
            dtype=options.device.dtype,
            local_files_only=is_local(card),
            use_safetensors=True,
        )
        _place(pipeline, options)
    return pipeline


def is_local(card: ModelCard) -> bool:
    """True for a folder, which is never looked up on the hub."""
    return Path(card.source).is_absolute()


@contextmanager
def translated_loading(card: ModelCard) -> Generator[None]:
    """Raises ModelLoadFailure or OutOfMemory for what the libraries raise inside."""
    try:
        yield
    # What libraries raise for a missing, cut, foreign or mismatched file has no common base below Exception.
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ImportError, SafetensorError) as exc:
        where = "folder" if is_local(card) else "download or cached copy"
        raise ModelLoadFailure(f"Model {card.id}: its {where} is missing, damaged or of another kind.") from exc
    except (RuntimeError, MemoryError) as exc:
        if is_out_of_memory(exc):
            raise OutOfMemory(f"Model {card.id} does not fit into memory.") from exc
        raise ModelLoadFailure(f"Model {card.id}: its weights do not fit its description.") from exc


def _place(pipeline: Any, options: AdapterOptions) -> None:  # noqa: ANN401
    pipeline.set_progress_bar_config(disable=True)
    if options.cpu_offload and options.device.is_cuda:
        pipeline.enable_model_cpu_offload(device=options.device.torch_device)
    else:
        pipeline.to(options.device.torch_device)
        if options.cpu_offload:
            log.warning("cpu_offload_has_no_effect", device=str(options.device.torch_device))
    if options.attention is not None:
        pipeline.transformer.set_attention_backend(options.attention)
    if options.compile:
        pipeline.transformer.compile_repeated_blocks(dynamic=True)
