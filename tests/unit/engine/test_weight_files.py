"""What weights will take, by what their files say."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import diffusers
import pytest
import torch
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]

from danqing.core.capabilities import ModelCard
from danqing.engine.catalogue import Catalogue
from danqing.engine.families.placement import networks, weights_bytes
from danqing.engine.weight_files import expected_bytes


@pytest.fixture(scope="module")
def card(tiny_folder: Path) -> ModelCard:
    return Catalogue(str(tiny_folder)).default()


def test_it_is_what_the_loaded_networks_take(card: ModelCard) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        pipeline = cast(Any, diffusers).ZImagePipeline.from_pretrained(card.source, dtype=dtype)
        taken = sum(weights_bytes(part) for part in networks([pipeline]).values())
        expected = expected_bytes(card, float_bytes=dtype.itemsize)
        # Buffers that no file has (the encoder's frequencies) come to less than a hundredth
        assert expected is not None and taken * 0.99 <= expected <= taken


def test_other_numbers_and_variants(card: ModelCard, tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "X", "vae": ["diffusers", "Y"]}))
    save = cast(Any, save_file)
    (tmp_path / "vae").mkdir()
    save({"a": torch.zeros(10, dtype=torch.uint8), "b": torch.zeros(3)}, tmp_path / "vae" / "model.safetensors")
    save({"a": torch.zeros(999)}, tmp_path / "vae" / "model.fp16.safetensors")
    assert expected_bytes(replace(card, source=str(tmp_path)), float_bytes=2) == 10 + 3 * 2


def test_where_no_file_says_it_the_card_does(card: ModelCard, tmp_path: Path) -> None:
    shutil.copy(Path(card.source) / "model_index.json", tmp_path)
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "model.safetensors").write_bytes(b"\x08" + bytes(7) + b"damaged!")
    for source in (tmp_path, tmp_path / "none"):
        assert expected_bytes(replace(card, source=str(source)), float_bytes=4) is None
        assert expected_bytes(replace(card, source=str(source), memory_bytes=5), float_bytes=4) == 5
    # And where it is quantised while it loads the files say another thing
    assert expected_bytes(replace(card, precision="sdnq-int8", memory_bytes=5), float_bytes=4) == 5
