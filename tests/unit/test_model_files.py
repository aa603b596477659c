"""Whether a model's files are there and whole, and what else is in its way."""

import json
from pathlib import Path

import pytest

from danqing.config import Settings
from danqing.model_files import BUNDLED, LARGE_BYTES, ModelFiles, files_state, missing_files, obstacles, way_out
from tests.fakes.domain import a_card


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of two components, one of them in two shards."""
    index = {
        "_class_name": "SomePipeline",
        "vae": ["diffusers", "Vae"],
        "transformer": ["d", "T"],
        "gone": [None, None],
    }
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    for file in ("vae/config.json", "transformer/m-1.safetensors", "transformer/m-2.safetensors"):
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
    (folder / "vae/config.json").unlink()
    assert missing_files(folder) == ["vae"]


def test_the_state_in_words(folder: Path) -> None:
    card = a_card(source=str(folder))
    assert files_state(card) == ModelFiles(whole=True, text="on disk, 3 MB", size_bytes=folder_size(folder))
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
    assert obstacles(a_card(source=source), files, on_gpu=on_gpu) == found


def test_the_bundled_model_is_the_way_out_but_for_itself() -> None:
    assert f"MODEL_NAME={BUNDLED}" in way_out(a_card(id="other"))
    assert "MODEL_NAME" not in way_out(a_card(id=BUNDLED))
    assert Settings.model_fields["model"].default == BUNDLED
