"""Weights in fewer bits than the engine's number format: how the libraries are told to load or to make them.

Quantised are a pipeline's transformer and its large text encoder. What of these stays native, and why, is told in
docs/models.md; the autoencoder and companions that are no transformers of their own stay native altogether.
"""

import importlib
import inspect
import logging
import os
from collections.abc import Iterable
from typing import Any

import structlog
import torch
from diffusers.quantizers.pipe_quant_config import PipelineQuantizationConfig
from diffusers.quantizers.quantization_config import TorchAoConfig as TransformerConfig
from torch import nn
from transformers.utils.quantization_config import TorchAoConfig as TextEncoderConfig

from danqing.core.capabilities import Companion, ModelCard
from danqing.core.errors import ModelLoadFailure
from danqing.core.extras import how_to_install
from danqing.engine.device import Device
from danqing.engine.families.adapter import AdapterOptions
from danqing.engine.stored_precision import TRANSFORMER, stored_precision

log = structlog.get_logger(__name__)

# diffusers and transformers are not typed: their configurations are Any. The two packages are extras, so that they are
# imported by name: code and types must hold without them.

# Of a token's largest number as fp8 scales it: else one of zeros, as texts of a batch are padded with, is none at all.
LEAST_ACTIVATION = 1e-12
FP8_CAPABILITY = (8, 9)  # compute capability of the first GPUs that multiply fp8
# Parameters of a repeated block: "layers.0.attention.to_q.weight", but not "cap_embedder.1.weight".
IN_BLOCK = r"re:\w+\.\d+\..+\..+"
# Those that turn the timestep into scales and shifts, in Z-Image, FLUX and Qwen-Image.
MODULATION = r"re:\w+\.\d+\.(adaLN_modulation|norm1?(_context)?|(img|txt)_mod)\..+"
# Those whose activations are left alone, by torchao's kind. In fp8 Qwen-Image's pictures came out black or far off
# (LPIPS 0.30 to 0.51) unless the feed-forward of the picture's tokens was left out (vllm-omni#1034). int8 multiplies no
# 16 tokens or fewer, and a text may have as few: of Qwen-Image, which is not padded, and of FLUX, where a request says
# how far.
WEIGHTS_ONLY = {
    "fp8": r"re:\w+\.\d+\.img_mlp\..+",
    "int8": r"re:\w+\.\d+\.(txt_mlp|ff_context|attn\.(add_\w+_proj|to_add_out))\..+",
}


def quantised_pipeline(pipeline_class: Any, card: ModelCard, options: AdapterOptions) -> dict[str, Any]:  # noqa: ANN401
    """What `from_pretrained` of the pipeline is called with for the card's precision; {} where that is native.

    Parts that are quantised in the checkpoint are loaded as they are. Blocking; may ask the hub for configurations.
    Raises ModelLoadFailure for a missing package, a device that cannot run the precision, and weights that have another
    one already; else what reading raises.
    """
    parts = _quantised_parts(pipeline_class)
    stored = {part: stored_precision(card, part) for part in parts}
    _prepare(card, set(stored.values()) | {card.precision}, options.device)
    if any(stored.values()):
        log.info("checkpoint_is_quantised", model=card.id, **stored)
    if card.precision == "native":
        return {}
    for precision in stored.values():
        if precision not in (None, card.precision):
            raise ModelLoadFailure(
                f"Model {card.id}: its weights are quantised already ({precision}); {card.precision} cannot be made of "
                "them."
            )
    made = {part: _configuration(card, part, options) for part in parts if stored[part] is None}
    return {"quantization_config": PipelineQuantizationConfig(quant_mapping=made)} if made else {}


def quantised_transformer(companion: Companion, card: ModelCard, options: AdapterOptions) -> dict[str, Any]:
    """As `quantised_pipeline`, for the transformer that the companion has in place of the model's own."""
    stored = stored_precision(companion, TRANSFORMER)
    _prepare(card, {stored, card.precision}, options.device)
    if card.precision == "native" or stored is not None:
        return {}
    return {"quantization_config": _configuration(card, TRANSFORMER, options)}


def compute_in_floats(networks: Iterable[Any]) -> None:
    """Switches SDNQ's integer multiplication off in what was loaded, where a quantised checkpoint's maker had it on.

    It quantises activations on the way, so that a picture of a batch differs visibly from the one that is made alone
    (measured: by 9 levels of 255). On a GPU it also compiles anew for each new number of tokens, and whoever asked for
    that size would wait.
    """
    for network in networks:
        own = vars(network).get("quantization_config") if isinstance(network, nn.Module) else None
        if getattr(own, "use_quantized_matmul", False):
            loader: Any = importlib.import_module("sdnq.loader")
            loader.apply_sdnq_options_to_model(network, use_quantized_matmul=False)


def _quantised_parts(pipeline_class: Any) -> tuple[str, str]:  # noqa: ANN401
    """Of two text encoders the second one is large; the first, a CLIP, sums the prompt up for every block."""
    names = inspect.signature(pipeline_class.__init__).parameters
    return TRANSFORMER, "text_encoder_2" if "text_encoder_2" in names else "text_encoder"


def _prepare(card: ModelCard, precisions: set[str | None], device: Device) -> None:
    """Sees that the packages are there, and the device is able. Raises ModelLoadFailure."""
    for package in ("sdnq", "torchao"):
        needing = sorted(p for p in precisions if p is not None and p.startswith(package))
        if needing:
            _import(package, card, needing[0], device)
    if "torchao-fp8" in precisions:
        _check_fp8(card, device)


def _import(package: str, card: ModelCard, precision: str, device: Device) -> None:
    if package == "sdnq":
        # What it would find out by trying when it is imported. Its own compiling takes a C++ compiler on a CPU.
        os.environ.setdefault("SDNQ_DEVICE", str(device.torch_device))
        os.environ.setdefault("SDNQ_USE_OPENVINO_MM", "0")
        if not device.is_cuda:
            os.environ.setdefault("SDNQ_USE_TORCH_COMPILE", "0")
    # It warns of float32, which works with what is used of it here.
    logging.getLogger("diffusers.quantizers.torchao.torchao_quantizer").setLevel(logging.ERROR)
    try:
        importlib.import_module(package)
    except ImportError as exc:
        raise ModelLoadFailure(
            f"Model {card.id}: precision {precision} needs the package {package}; install it with: "
            f"{how_to_install(package)}"
        ) from exc


def _check_fp8(card: ModelCard, device: Device) -> None:
    able = device.is_cuda and torch.cuda.get_device_capability(device.torch_device) >= FP8_CAPABILITY
    if not able:
        raise ModelLoadFailure(
            f"Model {card.id}: precision torchao-fp8 needs an NVIDIA GPU of compute capability 8.9 or higher; this is "
            f"{device.name}."
        )
    if device.dtype is not torch.bfloat16:
        raise ModelLoadFailure(f"Model {card.id}: precision torchao-fp8 needs the number format bfloat16.")


def _configuration(card: ModelCard, part: str, options: AdapterOptions) -> Any:  # noqa: ANN401
    if card.precision.startswith("sdnq-"):
        return _of_sdnq(card.precision.removeprefix("sdnq-"), options.device)
    return _of_torchao(card.precision.removeprefix("torchao-"), part, options)


def _of_sdnq(weights_dtype: str, device: Device) -> Any:  # noqa: ANN401
    """Keeps native what the library itself lists for each kind of transformer. Calculated layer by layer on the device,
    the result is in the host's memory still.
    """
    sdnq: Any = importlib.import_module("sdnq")
    return sdnq.SDNQConfig(
        weights_dtype=weights_dtype,
        quant_conv=False,
        use_quantized_matmul=False,  # see `compute_in_floats`
        quantization_device=device.torch_device if device.is_cuda else None,
    )


def _of_torchao(kind: str, part: str, options: AdapterOptions) -> Any:  # noqa: ANN401
    """kind: "int8" or "fp8".

    Weights are quantised by row; so are activations, for each token, where that pays: for fp8, and for int8 in blocks
    that are compiled. Modulation sees one row a picture, and text encoders run once a prompt: their weights alone, and
    as int8, which is the finer of the two; and so for `WEIGHTS_ONLY`.
    """
    torchao: Any = importlib.import_module("torchao.quantization")
    # Else it has everything that this process compiles tuned, which takes minutes and gains nothing.
    as_it_is = {"set_inductor_config": False}
    weights_only = torchao.Int8WeightOnlyConfig(**as_it_is)
    if part != TRANSFORMER:
        return TextEncoderConfig(weights_only)
    if kind == "fp8":
        in_block = torchao.Float8DynamicActivationFloat8WeightConfig(
            granularity=torchao.PerRow(), activation_value_lb=LEAST_ACTIVATION, **as_it_is
        )
    else:
        in_block = torchao.Int8DynamicActivationInt8WeightConfig(**as_it_is) if options.compile else weights_only
    return TransformerConfig(
        torchao.FqnToConfig({MODULATION: weights_only, WEIGHTS_ONLY[kind]: weights_only, IN_BLOCK: in_block})
    )
