"""Files to a ready diffusers pipeline. Weights from safetensors only; no code from a checkpoint is ever run."""

import json
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import structlog
import torch
from huggingface_hub import hf_hub_download  # pyright: ignore[reportUnknownVariableType]
from safetensors import SafetensorError

from danqing.core.capabilities import Companion, ModelCard
from danqing.core.errors import ModelLoadFailure, OutOfMemory
from danqing.engine import one_op_attention
from danqing.engine.device import is_out_of_memory
from danqing.engine.families.adapter import AdapterOptions
from danqing.engine.families.compiling import compile_blocks
from danqing.engine.families.one_frame import for_one_frame
from danqing.engine.families.placement import place
from danqing.engine.families.transformer_attention import set_kernel
from danqing.engine.quantisation import compute_in_floats, quantised_pipeline, quantised_transformer
from danqing.engine.stored_precision import TRANSFORMER

log = structlog.get_logger(__name__)


def load_pipeline(pipeline_class: Any, card: ModelCard, options: AdapterOptions, **instead: Any) -> Any:  # noqa: ANN401  diffusers is not typed
    """A pipeline of that class on its device, in its number format, in evaluation mode.

    instead: parts that are not loaded from the checkpoint. Raises ModelLoadFailure or OutOfMemory.
    """
    with translated_loading(card):
        pipeline = pipeline_class.from_pretrained(
            card.source,
            revision=card.revision,
            dtype=options.device.dtype,
            local_files_only=is_local(card),
            use_safetensors=True,
            **quantised_pipeline(pipeline_class, card, options),
            **instead,
        )
        compute_in_floats(pipeline.components.values())
        for_one_frame(pipeline.vae)
        _make_ready(pipeline, card, options)
    return pipeline


def load_component(
    component_class: Any,  # noqa: ANN401
    companion: Companion,
    card: ModelCard,
    options: AdapterOptions,
    *,
    subfolder: str | None = None,
    config_of: Callable[[Path], Mapping[str, object]] | None = None,
) -> Any:  # noqa: ANN401
    """The one network that a companion of the card's model is, ready as the model's own are, but where parts are
    offloaded still in the host's memory.

    subfolder: where it lies in a companion that is a whole pipeline. config_of: the diffusers configuration of a single
    file; without it diffusers looks for one in the hub's cache.

    Raises ModelLoadFailure or OutOfMemory.
    """
    started = time.monotonic()
    # Not downloaded: that would take longer than the job that needs it may.
    common: dict[str, Any] = {"dtype": options.device.dtype, "local_files_only": True}
    # Networks that are loaded for a first request come into being in the midst of a batch.
    with translated_loading(card, companion), torch.inference_mode(mode=False):
        if companion.file is None:
            place = {"revision": companion.revision, "subfolder": subfolder}
            if subfolder == TRANSFORMER:  # in place of the model's own
                common |= quantised_transformer(companion, card, options)
            component = component_class.from_pretrained(companion.source, use_safetensors=True, **place, **common)
            compute_in_floats([component])
        else:
            component = _from_single_file(component_class, _fetched(companion), config_of, common)
        if not (options.cpu_offload and options.device.is_cuda):
            component.to(options.device.torch_device)
    seconds = round(time.monotonic() - started, 2)
    log.info("companion_loaded", model=card.id, mode=str(companion.mode), seconds=seconds)
    return component


def _fetched(companion: Companion) -> Path:
    name = companion.file or ""
    if Path(name).suffix != ".safetensors":
        raise ValueError("weights that are no safetensors")
    if is_local(companion):
        return Path(companion.source, name)
    return Path(hf_hub_download(companion.source, name, revision=companion.revision, local_files_only=True))


def _from_single_file(
    component_class: Any,  # noqa: ANN401
    file: Path,
    config_of: Callable[[Path], Mapping[str, object]] | None,
    common: Mapping[str, Any],
) -> Any:  # noqa: ANN401
    if config_of is None:
        return component_class.from_single_file(str(file), **common)
    with TemporaryDirectory() as folder:  # diffusers takes a folder or a repository only
        Path(folder, "config.json").write_text(json.dumps(dict(config_of(file))))
        return component_class.from_single_file(str(file), config=folder, **common)


def is_local(weights: ModelCard | Companion) -> bool:
    """True for a folder, which is never looked up on the hub."""
    return Path(weights.source).is_absolute()


@contextmanager
def translated_loading(card: ModelCard, companion: Companion | None = None) -> Generator[None]:
    """Raises ModelLoadFailure or OutOfMemory for what the libraries raise inside.

    companion: that is being loaded, rather than the model itself.
    """
    its = f"its {companion.mode} " if companion else "its "
    try:
        yield
    # What libraries raise for a missing, cut, foreign or mismatched file has no common base below Exception.
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ImportError, SafetensorError) as exc:
        if companion is not None and not is_local(companion):
            raise ModelLoadFailure(
                f"Model {card.id}: what its mode {companion.mode} needs is not downloaded, damaged or of another kind; "
                f"`danqing models pull {card.id}` downloads it."
            ) from exc
        where = "folder" if is_local(companion or card) else "download or cached copy"
        raise ModelLoadFailure(f"Model {card.id}: {its}{where} is missing, damaged or of another kind.") from exc
    except (RuntimeError, MemoryError) as exc:
        if is_out_of_memory(exc):
            raise OutOfMemory(f"Model {card.id} does not fit into memory.") from exc
        raise ModelLoadFailure(f"Model {card.id}: {its}weights do not fit their description.") from exc


def _make_ready(pipeline: Any, card: ModelCard, options: AdapterOptions) -> None:  # noqa: ANN401
    pipeline.set_progress_bar_config(disable=True)
    place(pipeline, options.device, offload=options.cpu_offload)
    if options.compile:
        one_op_attention.register()  # so that the kernels are measured as they are called later
    set_kernel(pipeline.transformer, pipeline, card, options)
    if options.compile:
        compile_blocks(pipeline.transformer)
