"""FLUX checkpoints and companions that are damaged, foreign or dangerous are refused."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from danqing.core.capabilities import Companion, ModelCard
from danqing.core.errors import EngineFailure, ModelLoadFailure
from danqing.core.types import Mode
from danqing.engine.build import build_engine
from danqing.engine.spec import EngineSpec
from tests.contracts.engine import Album, denoise, request_for, starting
from tests.contracts.engine_control import controlled
from tests.unit.engine.families.flux.tiny_flux import write_tiny_controlnet

WEIGHTS = "diffusion_pytorch_model.safetensors"


def cut(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def pickled(file: Path) -> None:
    torch.save(load_file(file), file.with_suffix(".bin"))
    file.unlink()


def no_t5(folder: Path) -> None:
    shutil.rmtree(folder / "text_encoder_2")


def no_clip_tokenizer(folder: Path) -> None:
    shutil.rmtree(folder / "tokenizer")


def no_t5_tokenizer(folder: Path) -> None:
    shutil.rmtree(folder / "tokenizer_2")


def cut_transformer(folder: Path) -> None:
    cut(folder / "transformer" / WEIGHTS)


def pickled_transformer(folder: Path) -> None:
    pickled(folder / "transformer" / WEIGHTS)


def other_width(folder: Path) -> None:
    config = json.loads((folder / "transformer" / "config.json").read_text())
    (folder / "transformer" / "config.json").write_text(json.dumps(config | {"joint_attention_dim": 8}))


@pytest.mark.parametrize(
    "spoil",
    [no_t5, no_clip_tokenizer, no_t5_tokenizer, cut_transformer, pickled_transformer, other_width, shutil.rmtree],
)
def test_a_spoilt_checkpoint_is_refused(
    flux_folder: Path, plain_card: ModelCard, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    # Given a good checkpoint that something happened to
    folder = tmp_path / "spoilt"
    shutil.copytree(flux_folder, folder)
    spoil(folder)
    card = replace(plain_card, source=str(folder))
    # When it is loaded, then the error names the model, but neither paths nor what the library said
    with pytest.raises(ModelLoadFailure) as caught:
        build_engine(EngineSpec(cards=(card,), device="cpu")).load()
    assert caught.value.public_message.startswith("Model tiny")
    assert str(tmp_path) not in caught.value.public_message


def cut_controlnet(folder: Path) -> None:
    cut(folder / WEIGHTS)


def pickled_controlnet(folder: Path) -> None:
    pickled(folder / WEIGHTS)


def controlnet_of_another_model(folder: Path) -> None:
    write_tiny_controlnet(folder, joint_attention_dim=8)


def controlnet_that_wants_to_be_told(folder: Path) -> None:
    write_tiny_controlnet(folder, num_mode=3)


@pytest.mark.parametrize(
    "spoil",
    [
        cut_controlnet,
        pickled_controlnet,
        controlnet_of_another_model,
        controlnet_that_wants_to_be_told,
        shutil.rmtree,
    ],
)
def test_a_spoilt_controlnet_is_refused_and_the_model_goes_on(
    controlnet_folder: Path, plain_card: ModelCard, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    # Given a good model beside which a ControlNet is spoilt
    folder = tmp_path / "spoilt"
    shutil.copytree(controlnet_folder, folder)
    spoil(folder)
    card = replace(plain_card, companions=(Companion(mode=Mode.CONTROLNET, source=str(folder)),))
    engine = build_engine(EngineSpec(cards=(card,), device="cpu", cpu_threads=1))
    engine.load()
    before = denoise(engine, request_for(card))
    # When it is needed, then the error says so
    album = Album()
    with pytest.raises(EngineFailure) as caught:
        denoise(engine, controlled(card, album), album=album)
    assert isinstance(caught.value, ModelLoadFailure)
    assert "controlnet" in caught.value.public_message.lower() or "beside itself" in caught.value.public_message
    assert str(tmp_path) not in caught.value.public_message
    # And other pictures are made as before
    assert denoise(engine, request_for(card)) == before


def test_a_checkpoint_that_sees_no_masks_does_not_fill(flux_folder: Path, plain_card: ModelCard) -> None:
    # Given an ordinary checkpoint in the place of one for filling
    card = replace(plain_card, companions=(Companion(mode=Mode.FILL, source=str(flux_folder)),))
    engine = build_engine(EngineSpec(cards=(card,), device="cpu", cpu_threads=1))
    engine.load()
    album = Album()
    with pytest.raises(ModelLoadFailure, match="does not see masks"):
        denoise(engine, starting(card, album, Mode.FILL), album=album)


@pytest.mark.parametrize("fills", [False, True])
def test_every_mode_runs_in_bfloat16(plain_card: ModelCard, filling_card: ModelCard, fills: bool) -> None:
    card = filling_card if fills else plain_card
    engine = build_engine(EngineSpec(cards=(card,), device="cpu", dtype="bfloat16", cpu_threads=1))
    engine.load()
    album = Album()
    for request in (
        request_for(card),
        starting(card, album, Mode.IMG2IMG),
        starting(card, album, Mode.FILL),
        controlled(card, album),
        controlled(card, album, strength=0.6),
    ):
        few = replace(request, num_inference_steps=2)
        assert np.frombuffer(denoise(engine, few, album=album).rgb, np.uint8).std() > 5
