"""Whether a model's files are there and whole, and what else is in its way."""

import json
from pathlib import Path

import pytest

from danqing.config import Settings
from danqing.core.capabilities import Companion
from danqing.core.types import Mode
from danqing.model_files import ModelFiles, companion_state, files_state, is_bundled, missing_files, obstacles, way_out
from danqing.model_files.state import BUNDLED, LARGE_BYTES
from danqing.wiring import known_models
from tests.fakes.domain import a_card


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of two components, one of them in two shards."""
    index = {
        "_class_name": "SomePipeline",
        "vae": ["diffusers", "Vae"],
        "transformer": ["d", "T"],
        "tokenizer": ["transformers", "SomeTokenizer"],
        "gone": [None, None],
    }
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    files = ("vae/m.safetensors", "transformer/m-1.safetensors", "transformer/m-2.safetensors", "tokenizer/config.json")
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(b"x" * 1_000_000)
    weight_map = {"a": "m-1.safetensors", "b": "m-2.safetensors", "c": "m-1.safetensors"}
    (tmp_path / "transformer/m.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return tmp_path


def test_a_whole_model_lacks_nothing(folder: Path) -> None:
    assert missing_files(folder) == []


@pytest.mark.parametrize("lost", ["model_index.json", "transformer/m-2.safetensors"])
def test_a_lost_file_is_named(folder: Path, lost: str) -> None:
    (folder / lost).unlink()
    assert missing_files(folder) == [lost]


def test_a_lost_component_is_named(folder: Path) -> None:
    (folder / "vae/m.safetensors").unlink()
    assert missing_files(folder) == ["vae"]
    # And so are weights that a description speaks of
    (folder / "vae/config.json").write_text("{}")
    assert missing_files(folder) == ["vae/*.safetensors"]


def test_the_state_in_words(folder: Path) -> None:
    card = a_card(source=str(folder))
    assert files_state(card) == ModelFiles(whole=True, text="on disk, 4 MB", size_bytes=folder_size(folder))
    (folder / "transformer/m-1.safetensors").unlink()
    state = files_state(card)
    assert (state.whole, state.text) == (False, "incomplete: no transformer/m-1.safetensors")
    assert files_state(a_card(source=str(folder / "nowhere"))) == ModelFiles(whole=False, text="not there")


def folder_size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


WHOLE, LARGE = (
    ModelFiles(whole=True, text="on disk"),
    ModelFiles(whole=True, text="on disk", size_bytes=LARGE_BYTES + 1),
)
ABSENT = ModelFiles(whole=False, text="not downloaded")
DOWNLOAD, NO_GPU = "the model is not downloaded (a start downloads it)", "there is no GPU for it"


@pytest.mark.parametrize(
    ("source", "files", "on_gpu", "found"),
    [
        ("someone/model", WHOLE, True, ()),
        ("someone/model", WHOLE, False, ()),  # a small one runs anywhere
        ("someone/model", LARGE, True, ()),
        ("someone/model", LARGE, False, (NO_GPU,)),
        ("someone/model", ABSENT, True, (DOWNLOAD,)),
        ("someone/model", ABSENT, False, (DOWNLOAD, NO_GPU)),
        ("/a/folder", ModelFiles(whole=False, text="not there"), False, ("the model is not there",)),
        ("/a/folder", LARGE, False, (NO_GPU,)),
    ],
)
def test_what_is_in_the_way(source: str, files: ModelFiles, on_gpu: bool, found: tuple[str, ...]) -> None:
    assert obstacles(a_card(source=source), files, on_gpu=on_gpu, memory_bytes=None) == found


@pytest.mark.parametrize(
    ("needed", "memory", "in_the_way"),
    [(20, 24, False), (20, 20, False), (20, 16, True), (None, 16, False), (20, None, False)],
)
def test_a_model_larger_than_every_device(needed: int | None, memory: int | None, in_the_way: bool) -> None:
    found = obstacles(
        a_card(memory_bytes=needed and needed * 10**9), WHOLE, on_gpu=True, memory_bytes=memory and memory * 10**9
    )
    assert bool(found) == in_the_way
    if in_the_way:
        assert "about 20.0 GB of memory where no device has more than 16.0 GB" in found[0]


def test_the_bundled_model_is_the_way_out_but_for_itself() -> None:
    sample = known_models(Settings()).find(BUNDLED)
    assert is_bundled(sample)
    assert "MODEL_NAME" not in way_out(sample)
    assert f"MODEL_NAME={BUNDLED}" in way_out(a_card(id="other"))
    assert Settings.model_fields["model"].default == BUNDLED


def test_a_companions_files(tmp_path: Path) -> None:
    # Given a network's folder, and that of a whole pipeline
    for file in ("net/config.json", "whole/transformer/config.json"):
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).write_text("{}")
    for name in ("net", "whole"):
        companion = Companion(mode=Mode.CONTROLNET, source=str(tmp_path / name))
        # Then they are not whole without weights
        assert companion_state(companion).text == "incomplete: no weights"
    (tmp_path / "net/model.safetensors").write_bytes(b"x" * 1_000_000)
    assert companion_state(Companion(mode=Mode.FILL, source=str(tmp_path / "net"))).text == "on disk, 1 MB"
    # And a single file is there or not
    one = Companion(mode=Mode.FILL, source=str(tmp_path / "net"), file="model.safetensors")
    assert companion_state(one).whole
    (tmp_path / "net/model.safetensors").unlink()
    assert companion_state(one) == ModelFiles(whole=False, text="not there")
