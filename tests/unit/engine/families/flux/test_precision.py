"""Which layers of FLUX are multiplied in fewer bits, and which only kept in them."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import diffusers

from danqing.core.capabilities import ModelCard
from tests.unit.engine.families.fewer_bits import assert_weights_alone, compiled_transformer, needs_torchao

untyped = cast(Any, diffusers)
TEXT = ("ff_context.net.0.proj", "ff_context.net.2", "attn.add_q_proj", "attn.add_v_proj", "attn.to_add_out")
PICTURE = ("ff.net.0.proj", "ff.net.2", "attn.to_q", "attn.to_out.0")


def test_the_layers_of_a_text_which_may_be_too_short_for_int8_have_their_weights_alone_in_it(
    flux_folder: Path, plain_card: ModelCard
) -> None:
    needs_torchao()
    card = replace(plain_card, precision="torchao-int8")
    transformer = compiled_transformer(card, untyped.FluxPipeline, untyped.FluxTransformer2DModel, flux_folder)
    assert_weights_alone(transformer.transformer_blocks[0], TEXT, PICTURE)
