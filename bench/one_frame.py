"""Qwen-Image's autoencoder in two dimensions beside the library's own, on one core; and whole edits with either.

Both work in turn, so that what else the machine does bears on both.

    python bench/one_frame.py [--quick]
"""

import logging
import sys
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from typing import Any
from unittest.mock import patch

import structlog
import torch
from comparison import Findings, over_rounds
from cpu_attention import in_turn, maker_of
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import AutoencoderKLQwenImage
from report import told
from step_cache import begun_with, request_of

from danqing.engine.build import build_engine
from danqing.engine.device import choose_device
from danqing.engine.families import loading
from danqing.engine.families.one_frame import for_one_frame
from danqing.engine.families.qwen_image.latents import decode, encode
from danqing.engine.families.vae_format import set_vae_format
from danqing.engine.known_models import KnownModels
from danqing.engine.spec import EngineSpec

SAMPLE, SAMPLE_SIDE = "sample-edit", 128  # pixels
WIDTH, SIDE = 48, 256  # channels of a random one as deep as Qwen-Image's, which has 96; pixels
PEER = "the library's"

# diffusers is not typed: an autoencoder is Any.


def measure(quick: bool) -> dict[str, Any]:
    """The sample edit model's autoencoder and a random one, each way; and an edit from instruction to pixels."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    torch.set_num_threads(1)
    found, rounds = Findings(), 2 if quick else 5
    source: Any = AutoencoderKLQwenImage
    sample = source.from_pretrained(KnownModels().find(SAMPLE).source, subfolder="vae", torch_dtype=torch.float32)
    compare(found, "the sample edit model's", sample, SAMPLE_SIDE, rounds)
    torch.manual_seed(1)
    width, side = (8, 64) if quick else (WIDTH, SIDE)
    compare(found, f"as deep as Qwen-Image's, {width} channels", source(base_dim=width), side, rounds)
    editors = {"ours": editor(), "its": editor(two_dimensions=False)}
    ours, its = (over_rounds(times) for times in in_turn(editors, rounds).values())
    what = f"a whole edit of the sample edit model, {SAMPLE_SIDE}x{SAMPLE_SIDE}"
    found.compare(what, ours, PEER, its, "ms", better="less")
    return found.as_dict()


def compare(found: Findings, which: str, vae: Any, side: int, rounds: int) -> None:  # noqa: ANN401
    """Decoding and encoding a picture, in float32."""
    own = vae.eval().requires_grad_(False)
    ours = deepcopy(own)
    for_one_frame(ours)
    set_vae_format(ours, choose_device("cpu", "float32"), whole=True, compiled_for=None)
    image = torch.rand((1, 3, side, side)) * 2 - 1
    with torch.inference_mode():
        latents = encode(own, image)
        for word, way, given in (("decoding", decode, latents), ("encoding", encode, image)):
            times = in_turn({"ours": partial(way, ours, given), "its": partial(way, own, given)}, rounds)
            both = (over_rounds(each) for each in times.values())
            found.compare(f"{word}, {which}, {side}x{side}", next(both), PEER, next(both), "ms", better="less")


def editor(*, two_dimensions: bool = True) -> Callable[[], None]:
    """See `maker_of`; edits with the sample edit model."""
    card = KnownModels().find(SAMPLE)
    engine = build_engine(EngineSpec(cards=(card,), device="cpu", cpu_threads=1))
    convert = for_one_frame if two_dimensions else lambda _: None
    with patch.object(loading, "for_one_frame", convert):
        engine.load()
    request = request_of(card, side=SAMPLE_SIDE, steps=card.defaults.num_inference_steps)
    picture = begun_with(SAMPLE_SIDE)
    return maker_of(engine, request, lambda _: picture)


def main(arguments: Sequence[str]) -> None:
    """Prints what was found."""
    print("\n".join(told(measure("--quick" in arguments))))


if __name__ == "__main__":
    main(sys.argv[1:])
