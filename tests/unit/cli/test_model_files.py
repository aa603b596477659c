"""Whether a model's files are there and whole."""

import json
from pathlib import Path

import pytest

from danqing.cli.model_files import files_state, missing_files
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
    assert files_state(card) == (True, "on disk, 3 MB")
    (folder / "transformer/m-1.safetensors").unlink()
    assert files_state(card) == (False, "incomplete: no transformer/m-1.safetensors")
    assert files_state(a_card(source=str(folder / "nowhere"))) == (False, "not there")
