"""LoRAs: their files, kept on the device as far as there is room, and applied to a transformer for one batch.

A LoRA is added to what layers give, by hooks that are there for the batch and no longer. So the weights are never
touched, whatever they are (quantised ones, too), and layers do not know of it. Compiled ones run uncompiled meanwhile.
"""

import math
import re
from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.functional import linear

from danqing.core.capabilities import ModelCard
from danqing.core.errors import LoraFailure, OutOfMemory
from danqing.core.sentences import says
from danqing.core.types import Lora
from danqing.engine.device import Device, is_out_of_memory
from danqing.engine.lora_files import LoraFiles

log = structlog.get_logger(__name__)

TEXT_ENCODER = ("lora_te", "text_encoder")  # how keys of its layers begin, in the several ways of writing them
OTHER_KINDS = ("dora_scale", "lora_magnitude_vector", ".lokr_", ".hada_", ".oft_", ".diff")  # in keys
_KEY = re.compile(r"(?:transformer\.)?(?P<layer>.+)\.lora_(?P<side>[AB])\.weight")


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What is added to a linear layer: `up @ down @ input`. down: (rank, in), up: (out, rank)."""

    down: Tensor
    up: Tensor


@dataclass(frozen=True, kw_only=True)
class LoadedLora:
    """layers: by the name of the transformer's layer. more: whether the file has parts for a text encoder, too."""

    layers: Mapping[str, Layer]
    more: bool

    @property
    def held_bytes(self) -> int:
        """Of all its tensors."""
        return sum(layer.down.nbytes + layer.up.nbytes for layer in self.layers.values())


@dataclass(frozen=True)
class _Key:
    """A file that has changed is another one."""

    model: str
    file: Path
    changed_ns: int
    size_bytes: int


class LoraPool:
    """LoRAs that were used lately, within a number of bytes; the least recently used one leaves first. One thread."""

    def __init__(self, files: LoraFiles, device: Device, *, max_bytes: int) -> None:
        self._files = files
        self._device = device
        self._max_bytes = max_bytes
        self._entries: OrderedDict[_Key, LoadedLora] = OrderedDict()

    @property
    def held_bytes(self) -> int:
        """Of all LoRAs held; at most max_bytes."""
        return sum(lora.held_bytes for lora in self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def forget(self, model: str | None = None) -> None:
        """The model's, or all; memory is given back once no batch uses them."""
        for key in [key for key in self._entries if model in (None, key.model)]:
            del self._entries[key]

    @contextmanager
    def applied(self, loras: Sequence[Lora], card: ModelCard, pipeline: Any) -> Generator[tuple[str, ...]]:  # noqa: ANN401
        """Inside, the pipeline's transformer has these LoRAs, and no others. Yields adjustments, as in `RawPicture`.

        pipeline: a diffusers pipeline of the model, with the mixin that knows how LoRAs of its family are written.
        Raises LoraFailure, which names the LoRA, or OutOfMemory.
        """
        loaded = [(lora, self._loaded(lora.name, card, pipeline)) for lora in loras]
        added: dict[str, list[tuple[Layer, float]]] = {}
        for lora, content in loaded:
            _check_fit(content, pipeline.transformer, lora.name, card.id)
            for name, layer in content.layers.items():
                added.setdefault(name, []).append((layer, lora.scale))
        with ExitStack() as stack:
            if any(module._compiled_call_impl is not None for module in pipeline.transformer.modules()):
                stack.enter_context(torch.compiler.set_stance("force_eager"))  # what is compiled looks for no hooks
            for name, layers in added.items():
                module: nn.Module = pipeline.transformer.get_submodule(name)
                stack.callback(module.register_forward_hook(_adding(layers)).remove)
            yield tuple(says("lora_in_part", name=lora.name) for lora, content in loaded if content.more)

    def _loaded(self, name: str, card: ModelCard, pipeline: Any) -> LoadedLora:  # noqa: ANN401
        file = self._file(name, card)
        try:
            about = file.stat()
        except OSError as exc:
            raise LoraFailure(says("lora_gone", name=name)) from exc
        key = _Key(card.id, file, about.st_mtime_ns, about.st_size)
        if (held := self._entries.get(key)) is not None:
            self._entries.move_to_end(key)
            return held
        loaded = read_lora(file, pipeline, self._device, name=name, model=card.id)
        log.info("lora_loaded", lora=name, model=card.id, megabytes=round(loaded.held_bytes / 1e6, 1))
        if loaded.held_bytes <= self._max_bytes:
            self._entries[key] = loaded
            while self.held_bytes > self._max_bytes:
                gone, _ = self._entries.popitem(last=False)
                log.info("lora_evicted", file=gone.file.name, model=gone.model)
        return loaded

    def _file(self, name: str, card: ModelCard) -> Path:
        for look_again in (False, True):
            if look_again:
                self._files.read()
            if (file := self._files.find(name, family=card.family, model=card.id)) is not None:
                return file
        raise LoraFailure(says("no_lora_any_more", name=name, model=card.id))


def read_lora(file: Path, pipeline: Any, device: Device, *, name: str, model: str) -> LoadedLora:  # noqa: ANN401
    """On the device, in its number format. pipeline: as in `LoraPool.applied`. Raises LoraFailure or OutOfMemory."""
    try:
        # Tensors of inference mode could not be used outside it, and a batch is under way.
        with torch.inference_mode(mode=False), torch.no_grad():
            return _read(file, pipeline, device)
    except _NotUsable as exc:
        raise LoraFailure(f"LoRA {name}: {exc}") from exc
    # What the libraries raise for a damaged or foreign file has no common base below Exception.
    except (OSError, ValueError, TypeError, LookupError, AttributeError, SafetensorError) as exc:
        log.error("lora_unreadable", lora=name, model=model, exc_info=True)
        raise LoraFailure(says("lora_damaged", name=name, model=model)) from exc
    except (RuntimeError, MemoryError) as exc:
        if is_out_of_memory(exc):
            raise OutOfMemory from exc
        log.error("lora_unreadable", lora=name, model=model, exc_info=True)
        raise LoraFailure(f"LoRA {name}: its parts do not fit each other.") from exc


class _NotUsable(Exception):
    """The message is for the client, after the LoRA's name."""


def _read(file: Path, pipeline: Any, device: Device) -> LoadedLora:  # noqa: ANN401
    opening: Any = safe_open  # not typed
    with opening(file, framework="pt") as opened:
        keys: list[str] = list(opened.keys())
    if any(kind in key for key in keys for kind in OTHER_KINDS):
        raise _NotUsable("it is of another kind (DoRA, LoKr, LoHa or the like), which is not supported.")
    tensors, alphas, told = _in_diffusers_words(file, pipeline)
    sides: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith(TEXT_ENCODER):
            continue
        if (match := _KEY.fullmatch(key)) is None or tensor.ndim != 2:
            log.warning("lora_has_other_parts", file=file.name, key=key)
            raise _NotUsable("it changes more than linear layers, which is not supported.")
        sides.setdefault(match["layer"], {})[match["side"]] = tensor
    if not sides:
        raise _NotUsable("it has nothing for this model.")
    strength = _Strength(alphas, told)
    layers = {
        layer: _layer(both["A"], both["B"], strength.of(layer, both["A"].shape[0]), device)
        for layer, both in sides.items()
    }
    strength.check_all_used()
    return LoadedLora(layers=layers, more=any(key.startswith(TEXT_ENCODER) for key in keys))


def _in_diffusers_words(
    file: Path,
    pipeline: Any,  # noqa: ANN401
) -> tuple[Mapping[str, Tensor], Mapping[str, Any], Mapping[str, Any]]:
    """Tensors, alphas by key, and what diffusers or peft wrote beside them; from any of the ways that LoRAs of the
    family are written in. Nothing of that is passed on to a library, which might import what a file names.
    """
    tensors, *alphas, told = pipeline.lora_state_dict(
        str(file),
        weight_name=file.name,
        use_safetensors=True,
        local_files_only=True,
        return_alphas=True,  # of those families that have them still apart
        return_lora_metadata=True,
    )
    return tensors, (alphas[0] if alphas else None) or {}, told or {}


class _Strength:
    """How strong each layer is meant to be: its alpha by its rank, 1 where nothing is said."""

    def __init__(self, alphas: Mapping[str, Any], told: Mapping[str, Any]) -> None:
        """alphas: a tensor or number by `transformer.LAYER.alpha`. told: peft's words, each after `transformer.`."""
        own = {name.removeprefix("transformer."): value for name, value in told.items()}
        if own.get("use_dora"):
            raise _NotUsable("it is a DoRA, which is not supported.")
        self._alphas = {
            key.removeprefix("transformer.").removesuffix(".alpha"): float(of) for key, of in alphas.items()
        }
        self._usual = own.get("lora_alpha")
        pattern: dict[str, float] = own.get("alpha_pattern") or {}
        self._pattern = {layers: float(alpha) for layers, alpha in pattern.items()}
        self._by_root = bool(own.get("use_rslora"))
        self._unused = {*self._alphas, *self._pattern}

    def of(self, layer: str, rank: int) -> float:
        """What `up @ down` is multiplied with."""
        alpha = self._usual
        if layer in self._alphas:
            alpha = self._alphas[layer]
            self._unused.discard(layer)
        for layers, other in self._pattern.items():
            name = layers.lstrip("^")
            if layer == name or layer.endswith(f".{name}"):
                alpha = other
                self._unused.discard(layers)
        if alpha is None:
            return 1.0
        return float(alpha) / (math.sqrt(rank) if self._by_root else rank)

    def check_all_used(self) -> None:
        """Raises for what is said of layers that there are not, or in words that are not understood here."""
        if any(not name.startswith(TEXT_ENCODER) for name in self._unused):
            raise _NotUsable("how strong its layers are is said in a way that is not understood.")


def _layer(down: Tensor, up: Tensor, strength: float, device: Device) -> Layer:
    if up.shape[1] != down.shape[0]:
        raise _NotUsable("its parts do not fit each other.")
    place, number_format = device.torch_device, device.dtype
    return Layer(down=down.to(place, number_format), up=(up.float() * strength).to(place, number_format))


def _check_fit(lora: LoadedLora, transformer: Any, name: str, model: str) -> None:  # noqa: ANN401
    for layer_name, layer in lora.layers.items():
        try:
            module = transformer.get_submodule(layer_name)
            wanted = module.in_features, module.out_features
        except AttributeError:
            wanted = None  # there is no such layer, or it is none that is linear
        if wanted != (layer.down.shape[1], layer.up.shape[0]):
            log.warning("lora_does_not_fit", lora=name, model=model, layer=layer_name, expected=wanted)
            raise LoraFailure(says("lora_does_not_fit", name=name, model=model))


def _adding(layers: Sequence[tuple[Layer, float]]) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
    """A forward hook. Where a layer is on another device than the LoRA, or in another number format, so is the LoRA."""

    def add(_: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> Tensor:
        for layer, scale in layers:
            down, up = layer.down.to(given[0]), layer.up.to(given[0])
            result = torch.add(result, linear(linear(given[0], down), up).to(result.dtype), alpha=scale)
        return result

    return add
