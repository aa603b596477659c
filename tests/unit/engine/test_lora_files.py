"""Which LoRAs there are, and for whom."""

from pathlib import Path

import pytest

from danqing.engine.catalogue import Catalogue
from danqing.engine.lora_files import LoraFiles

TURBO = {"family": "z_image", "model": "z-image-turbo"}
FLUX = {"family": "flux", "model": "flux1-dev"}


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_a_sub_folder_is_for_the_family_or_model_it_is_named_after(tmp_path: Path) -> None:
    put(tmp_path, "every.safetensors", "z_image/zed.safetensors", "flux1-dev/dev.safetensors", "other/x.safetensors")
    files = LoraFiles(tmp_path)
    assert files.names(**TURBO) == ("every", "zed")
    assert files.names(**FLUX) == ("dev", "every")
    assert files.find("zed", **FLUX) is None
    assert files.find("zed", **TURBO) == tmp_path / "z_image" / "zed.safetensors"


def test_of_equal_names_the_nearest_goes_first(tmp_path: Path) -> None:
    for place in (".", "z_image", "z-image-turbo"):
        put(tmp_path, f"{place}/ink.safetensors")
        files = LoraFiles(tmp_path)
        assert files.find("ink", **TURBO) == tmp_path / place / "ink.safetensors"
        assert files.names(**TURBO) == ("ink",)


def test_only_safetensors_with_names_that_can_be_told_count(tmp_path: Path) -> None:
    put(
        tmp_path,
        "水墨 v1.0.safetensors",
        "a.pt",
        "b.bin",
        ".safetensors",
        "line\nbreak.safetensors",
        "deep/er/c.safetensors",
    )
    (tmp_path / "folder.safetensors").mkdir()
    assert LoraFiles(tmp_path).names(**TURBO) == ("水墨 v1.0",)


@pytest.mark.parametrize("name", ["../secret", "z_image/ink", "/etc/passwd", "..", "", "ink.safetensors"])
def test_a_name_is_no_path(tmp_path: Path, name: str) -> None:
    put(tmp_path, "secret.safetensors", "loras/ink.safetensors", "loras/z_image/ink.safetensors")
    assert LoraFiles(tmp_path / "loras").find(name, **TURBO) is None


def test_what_comes_and_goes_is_seen_at_the_next_look(tmp_path: Path) -> None:
    files = LoraFiles(tmp_path)
    put(tmp_path, "new.safetensors")
    assert files.names(**TURBO) == ()
    files.read()
    assert files.names(**TURBO) == ("new",)
    (tmp_path / "new.safetensors").unlink()
    tmp_path.rmdir()
    files.read()
    assert files.names(**TURBO) == ()


def test_without_a_folder_there_are_none() -> None:
    files = LoraFiles(None)
    files.read()
    assert files.names(**TURBO) == ()


def test_cards_tell_those_of_their_model(tmp_path: Path) -> None:
    put(tmp_path, "every.safetensors", "z_image/zed.safetensors", "sample/own.safetensors", "flux/no.safetensors")
    catalogue = Catalogue("sample", others=("sample-int8",), loras=LoraFiles(tmp_path))
    assert catalogue.default().loras == ("every", "own", "zed")
    assert catalogue.card("sample-int8").loras == ("every", "zed")

    put(tmp_path, "later.safetensors")
    assert "later" not in catalogue.default().loras
    catalogue.refresh()
    assert catalogue.default().loras == ("every", "later", "own", "zed")
    assert Catalogue("sample").default().loras == ()
