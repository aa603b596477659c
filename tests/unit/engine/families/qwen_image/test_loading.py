"""Qwen-Image checkpoints that are damaged or of another kind are refused with a message that is safe to show."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from danqing.core.errors import EngineFailure, ModelLoadFailure
from danqing.engine.build import build_engine
from danqing.engine.spec import EngineSpec
from tests.unit.engine.families.qwen_image.making import card_of
from tests.unit.engine.families.qwen_image.tiny_qwen import BASE

TEXT_ENCODER = Path("text_encoder") / "model.safetensors"


def no_processor(folder: Path) -> None:
    shutil.rmtree(folder / "processor")


def spoilt_processor(folder: Path) -> None:
    (folder / "processor" / "preprocessor_config.json").write_text("{")


def no_tokenizer(folder: Path) -> None:
    shutil.rmtree(folder / "tokenizer")


def cut_text_encoder(folder: Path) -> None:
    content = (folder / TEXT_ENCODER).read_bytes()
    (folder / TEXT_ENCODER).write_bytes(content[: len(content) // 2])


def other_transformer(folder: Path) -> None:
    file = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    save_file({name: weights[:1].clone() for name, weights in load_file(file).items()}, file)


def another_family(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": "ZImagePipeline"}))


def wrong_statistics(folder: Path) -> None:
    """Loads, but cannot encode."""
    config = json.loads((folder / "vae" / "config.json").read_text())
    (folder / "vae" / "config.json").write_text(json.dumps(config | {"latents_mean": [0.0]}))


@pytest.mark.parametrize(
    "spoil",
    [
        shutil.rmtree,
        no_processor,
        spoilt_processor,
        no_tokenizer,
        cut_text_encoder,
        other_transformer,
        another_family,
    ],
    ids=lambda spoil: spoil.__name__,
)
def test_a_spoilt_checkpoint_is_refused(plus_folder: Path, tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    # Given a good checkpoint that something happened to
    folder = tmp_path / "spoilt"
    shutil.copytree(plus_folder, folder)
    card = card_of(folder)
    spoil(folder)
    # When it is loaded, then the error names the model, but neither paths nor what the library said
    with pytest.raises(ModelLoadFailure) as caught:
        build_engine(EngineSpec(cards=(card,), device="cpu")).load()
    assert caught.value.public_message.startswith("Model spoilt")
    assert str(tmp_path) not in caught.value.public_message


def test_a_model_that_makes_no_numbers_is_refused(base_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "spoilt"
    shutil.copytree(base_folder, folder)
    config = json.loads((folder / "vae" / "config.json").read_text())
    (folder / "vae" / "config.json").write_text(json.dumps(config | {"latents_std": [float("nan")] * 4}))
    with pytest.raises(EngineFailure, match="not a picture"):
        build_engine(EngineSpec(cards=(card_of(folder),), device="cpu")).load()


def test_the_base_models_text_encoder_is_asked_for_no_processor(base_folder: Path) -> None:
    assert json.loads((base_folder / "model_index.json").read_text())["_class_name"] == BASE
    assert not (base_folder / "processor").exists()
    build_engine(EngineSpec(cards=(card_of(base_folder),), device="cpu")).load()
