"""Checkpoints that are damaged, foreign or dangerous are refused with a message that is safe to show."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from danqing.core.errors import EngineFailure, ModelLoadFailure, OutOfMemory
from danqing.engine.build import build_engine
from danqing.engine.catalogue import Catalogue
from danqing.engine.spec import EngineSpec
from tests.contracts.engine import denoise, request_for

TRANSFORMER = Path("transformer") / "diffusion_pytorch_model.safetensors"


def cut_weights(folder: Path) -> None:
    content = (folder / TRANSFORMER).read_bytes()
    (folder / TRANSFORMER).write_bytes(content[: len(content) // 2])


def remove_weights(folder: Path) -> None:
    (folder / TRANSFORMER).unlink()


def pickled_weights(folder: Path) -> None:
    torch.save(load_file(folder / TRANSFORMER), folder / "transformer" / "diffusion_pytorch_model.bin")
    (folder / TRANSFORMER).unlink()


def other_shapes(folder: Path) -> None:
    weights = load_file(folder / TRANSFORMER)
    save_file({name: torch.zeros(3, 3) for name in weights}, folder / TRANSFORMER)


def foreign_part(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    index["transformer"] = ["diffusers", "NoSuchModel"]
    (folder / "model_index.json").write_text(json.dumps(index))


def remove_tokenizer(folder: Path) -> None:
    shutil.rmtree(folder / "tokenizer")


def spoilt_config(folder: Path) -> None:
    (folder / "transformer" / "config.json").write_text("{")


def remove_all(folder: Path) -> None:
    shutil.rmtree(folder)


def no_shift(folder: Path) -> None:
    """Loads, but cannot decode."""
    config = json.loads((folder / "vae" / "config.json").read_text())
    (folder / "vae" / "config.json").write_text(json.dumps(config | {"shift_factor": None}))


@pytest.mark.parametrize(
    "spoil",
    [
        no_shift,
        remove_all,
        cut_weights,
        remove_weights,
        pickled_weights,
        other_shapes,
        foreign_part,
        remove_tokenizer,
        spoilt_config,
    ],
)
def test_a_spoilt_checkpoint_is_refused(tiny_folder: Path, tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    # Given a good checkpoint that something happened to
    folder = tmp_path / "spoilt"
    shutil.copytree(tiny_folder, folder)
    card = Catalogue(str(folder)).default()
    spoil(folder)
    engine = build_engine(EngineSpec(cards=(card,), device="cpu"))
    # When it is loaded, then the error names the model, but neither paths nor what the library said
    with pytest.raises(ModelLoadFailure) as caught:
        engine.load()
    assert caught.value.public_message.startswith("Model spoilt")
    assert str(tmp_path) not in caught.value.public_message
    # And nothing of it stays in memory to be used
    with pytest.raises(EngineFailure):
        denoise(engine, request_for(card))


def test_a_model_too_large_for_the_memory_says_so(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a machine without memory left
    def full(*args: object, **kwargs: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("danqing.engine.families.z_image.model.ZImagePipeline.from_pretrained", full)
    engine = build_engine(EngineSpec(cards=(Catalogue(str(tiny_folder)).default(),), device="cpu"))
    # Then loading fails with that error
    with pytest.raises(OutOfMemory, match="does not fit into memory"):
        engine.load()


def test_a_folder_is_never_looked_up_on_a_hub(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a network that must not be used
    def connect(*args: object, **kwargs: object) -> None:
        raise AssertionError("tried to reach the network")

    monkeypatch.setattr("socket.socket.connect", connect)
    monkeypatch.setattr("socket.getaddrinfo", connect)
    # When a folder is loaded, then it works
    build_engine(EngineSpec(cards=(Catalogue(str(tiny_folder)).default(),), device="cpu")).load()


@pytest.mark.parametrize(
    "dtype, expected", [("auto", torch.float32), ("float32", torch.float32), ("bfloat16", torch.bfloat16)]
)
def test_weights_get_the_number_format_asked_for(
    tiny_folder: Path, dtype: str, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    from danqing.engine.families.z_image import model

    seen: list[torch.dtype] = []
    load_pipeline = model.load_pipeline

    def watched(*args: object) -> object:
        pipeline = load_pipeline(*args)  # type: ignore[arg-type]
        seen.extend(part.dtype for part in (pipeline.transformer, pipeline.vae, pipeline.text_encoder))
        return pipeline

    monkeypatch.setattr(model, "load_pipeline", watched)
    spec = EngineSpec(cards=(Catalogue(str(tiny_folder)).default(),), device="cpu", dtype=dtype)  # type: ignore[arg-type]
    build_engine(spec).load()
    assert seen == [expected] * 3
