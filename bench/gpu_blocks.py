"""Parts of Z-Image-Turbo at 1024² on a GPU, with random weights, each in several ways: what compiling them brings.

A block of the transformer: as diffusers has it, compiled, compiled with what Danqing changes for the compiler, and the
same in fp8. The autoencoder's decoder: in both memory formats, and compiled for one size or for any. The text encoder.
Times are of several calls in a row, as in a picture, for a GPU that has just been idle is quicker.

    python bench/gpu_blocks.py [PART …]      needs a CUDA device
    python bench/gpu_blocks.py --tiny        small, on the CPU, nothing compiled: to see that it runs
"""

import argparse
import gc
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

if __name__ == "__main__" and "--tiny" in sys.argv:
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

import torch
from diffusers import AutoencoderKL
from diffusers.models.transformers.transformer_z_image import ZImageTransformerBlock
from random_models import QWEN3_4B, TINY_FLUX, VAE_OF_FLUX
from torch import nn
from transformers import Qwen3Config, Qwen3Model

from danqing.engine import one_op_attention
from danqing.engine.families.compiling import compile_for_one, compile_layers
from danqing.engine.families.rotary import in_real_numbers
from danqing.engine.quantisation import LEAST_ACTIVATION

CALLS, ROUNDS = 20, 5
WIDTH, HEADS, TOKENS, TIMES_WIDTH = 3840, 30, 4128, 256  # of a picture of 1024² with a short prompt
TEXT_TOKENS = 40


class Parts:
    """Makes the parts on one device, and times them."""

    def __init__(self, *, tiny: bool) -> None:
        self._tiny = tiny
        self._device = torch.device("cpu" if tiny else "cuda")
        self._dtype = torch.float32 if tiny else torch.bfloat16

    def block(self, *, compiled: bool, one_op: bool = False, real: bool = False, fp8: bool = False) -> dict[str, float]:
        """one_op: attention is one for the compiler. real: so are the numbers of rotary embedding."""
        width, heads, tokens = (256, 8, 64) if self._tiny else (WIDTH, HEADS, TOKENS)
        torch.manual_seed(0)
        block: Any = ZImageTransformerBlock(0, width, heads, heads, 1e-5, True).to(self._device, self._dtype)
        block.eval().requires_grad_(False)
        angles = torch.rand((1, tokens, width // heads // 2), device=self._device)
        given = (
            torch.randn((1, tokens, width), device=self._device, dtype=self._dtype),
            None,
            torch.polar(torch.ones_like(angles), angles),
            torch.randn((1, TIMES_WIDTH), device=self._device, dtype=self._dtype),
        )
        if not self._tiny:
            block.attention.processor._attention_backend = one_op_attention.CUDNN
        if one_op:
            one_op_attention.register()
        if real:
            in_real_numbers(block)
        if fp8:
            _to_fp8(block)
        if compiled:
            block.compile(dynamic=True)
        try:
            return self._timed(lambda: block(*given), calls=CALLS)
        finally:
            one_op_attention.forget()

    def decoder(self, how: str) -> dict[str, float]:
        """how: "contiguous" or "channels_last"; or compiled: "one_size", "any_size", or "any_size_parts"."""
        vae: Any = AutoencoderKL.from_config(TINY_FLUX["vae"] if self._tiny else VAE_OF_FLUX)
        vae.to(self._device, self._dtype).eval().requires_grad_(False)
        side = 8 if self._tiny else 128
        latents = torch.randn((1, 16, side, side), device=self._device, dtype=self._dtype)
        if how == "channels_last" or how.startswith("any_size"):
            vae.to(memory_format=torch.channels_last)
        if how == "one_size":
            compile_for_one(vae.decoder, latents.shape)
        if how == "any_size":
            vae.decoder.compile(dynamic=True)
        if how == "any_size_parts":
            for part in (vae.decoder.mid_block, *vae.decoder.up_blocks, vae.decoder.conv_norm_out):
                part.compile(dynamic=True)
        return self._timed(lambda: vae.decode(latents), calls=2)

    def text(self, *, compiled: bool) -> dict[str, float]:
        """The encoder, of a short prompt."""
        small = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "layer_types": None}
        before = torch.get_default_dtype()
        torch.set_default_dtype(self._dtype)
        with torch.device(self._device):
            encoder: Any = Qwen3Model(Qwen3Config(**(QWEN3_4B | (small if self._tiny else {})))).eval()
        torch.set_default_dtype(before)
        if compiled:
            compile_layers(encoder.layers)
        ids = torch.randint(0, 1000, (1, TEXT_TOKENS), device=self._device)
        return self._timed(lambda: encoder(input_ids=ids, use_cache=False), calls=2)

    def _timed(self, call: Callable[[], object], *, calls: int) -> dict[str, float]:
        """Of one call, and of the first, in which things are compiled."""
        with torch.inference_mode():
            began = self._now()
            call()
            first = self._now() - began
            call()
            seconds: list[float] = []
            for _ in range(ROUNDS):
                began = self._now()
                for _ in range(calls):
                    call()
                seconds.append((self._now() - began) / calls)
        gc.collect()
        torch._dynamo.reset()
        return {"ms": round(1000 * statistics.median(seconds), 3), "first_s": round(first, 1)}

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def ways(parts: Parts) -> Mapping[str, Callable[[], dict[str, float]]]:
    """By name, of which the first word is the part's."""
    return {
        "block": lambda: parts.block(compiled=False),
        "block_compiled": lambda: parts.block(compiled=True),
        "block_compiled_one_op": lambda: parts.block(compiled=True, one_op=True),
        "block_compiled_real": lambda: parts.block(compiled=True, real=True),
        "block_compiled_both": lambda: parts.block(compiled=True, one_op=True, real=True),
        "fp8block": lambda: parts.block(compiled=False, fp8=True),
        "fp8block_compiled": lambda: parts.block(compiled=True, fp8=True),
        "fp8block_compiled_both": lambda: parts.block(compiled=True, one_op=True, real=True, fp8=True),
        "decoder_contiguous": lambda: parts.decoder("contiguous"),
        "decoder_channels_last": lambda: parts.decoder("channels_last"),
        "decoder_one_size": lambda: parts.decoder("one_size"),
        "decoder_any_size_parts": lambda: parts.decoder("any_size_parts"),
        "decoder_any_size": lambda: parts.decoder("any_size"),
        "text": lambda: parts.text(compiled=False),
        "text_compiled": lambda: parts.text(compiled=True),
    }


def measure(quick: bool = False) -> dict[str, object]:
    """Milliseconds of each way; where there is no CUDA device, only that."""
    if not torch.cuda.is_available():
        return {"left_out": "there is no CUDA device"}
    del quick  # there is nothing to leave out
    found = {name: way() for name, way in ways(Parts(tiny=False)).items()}
    return {"device": torch.cuda.get_device_name(), "ways": found}


def _to_fp8(block: nn.Module) -> None:
    """As Danqing's precision torchao-fp8 does."""
    from torchao.quantization import Float8DynamicActivationFloat8WeightConfig, PerRow, quantize_

    config = Float8DynamicActivationFloat8WeightConfig(
        granularity=PerRow(), activation_value_lb=LEAST_ACTIVATION, set_inductor_config=False
    )
    quantize_(block, config, filter_fn=lambda layer, name: isinstance(layer, nn.Linear) and "adaLN" not in name)


def main() -> None:
    """Prints milliseconds of each way, and seconds of the first call."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="*", help="block, fp8block, decoder or text, or a way by its name (all)")
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args()
    for name, way in ways(Parts(tiny=args.tiny)).items():
        if args.part and not {name, name.split("_")[0]}.intersection(args.part):
            continue
        if args.tiny and name.startswith("fp8"):
            continue
        print(f"{name:26}", way(), flush=True)


if __name__ == "__main__":
    main()
