"""Which layers of Qwen-Image are multiplied in fewer bits, and which only kept in them."""

import dataclasses
from pathlib import Path
from typing import Any, cast

import diffusers
import pytest

from danqing.core.capabilities import Precision
from danqing.engine import quantisation
from danqing.engine.catalogue import Catalogue
from tests.unit.engine.families.fewer_bits import assert_weights_alone, compiled_transformer, needs_torchao

untyped = cast(Any, diffusers)
TEXT = ("txt_mlp.net.0.proj", "txt_mlp.net.2", "attn.add_q_proj", "attn.add_v_proj", "attn.to_add_out")
PICTURE = ("img_mlp.net.0.proj", "img_mlp.net.2")
BOTH = ("attn.to_q", "attn.to_out.0")


@pytest.mark.parametrize(
    ("precision", "kept", "multiplied"),
    [
        ("torchao-fp8", PICTURE, (*TEXT, *BOTH)),  # in which pictures came out black
        ("torchao-int8", TEXT, (*PICTURE, *BOTH)),  # which does not multiply as few tokens as a text may have
    ],
)
def test_layers_that_do_not_stand_it_have_their_weights_alone_in_fewer_bits(
    edit_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: Precision,
    kept: tuple[str, ...],
    multiplied: tuple[str, ...],
) -> None:
    needs_torchao()
    # Given a CPU that is taken for a GPU with fp8
    monkeypatch.setattr(quantisation, "_check_fp8", lambda *_: None)
    monkeypatch.setattr("torchao.quantization.quant_api._check_hardware_support", lambda *_: None)
    card = dataclasses.replace(Catalogue(str(edit_folder)).default(), precision=precision)
    # When its transformer is loaded for a server that compiles
    transformer = compiled_transformer(
        card, untyped.QwenImageEditPipeline, untyped.QwenImageTransformer2DModel, edit_folder
    )
    # Then those layers are kept as int8, and their activations left alone
    assert_weights_alone(transformer.transformer_blocks[1], kept, multiplied)
