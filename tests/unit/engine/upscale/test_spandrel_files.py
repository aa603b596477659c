"""Files for spandrel. Skipped without that extra, which may bring another torch than the one that is pinned."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from danqing.core.errors import ModelLoadFailure
from danqing.engine.device import choose_device
from danqing.engine.upscale.building import build_upscaler
from danqing.engine.upscale.by_torch import TorchUpscaler
from danqing.engine.upscale.networks import CompactNetwork, RrdbNetwork
from danqing.engine.upscale.tiles import BORDER, Tiling
from tests.unit.engine.upscale.drawings import Picture, drawing

pytest.importorskip("spandrel", reason="needs spandrel and torchvision: the extra spandrel", exc_type=ImportError)

CPU = choose_device("cpu", "auto")
PICTURE = drawing(40, 30)


def compact(scale: int = 4, channels: int = 3) -> Mapping[str, Tensor]:
    """A `SRVGGNetCompact` as it is published: the names are those of our own network."""
    torch.manual_seed(0)
    tensors = dict(CompactNetwork(features=8, depth=2).state_dict())
    last = f"body.{len(CompactNetwork(features=8, depth=2).body) - 1}"
    tensors["body.0.weight"] = tensors["body.0.weight"][:, :channels].contiguous()
    for name in (f"{last}.weight", f"{last}.bias"):
        tensors[name] = tensors[name][: channels * scale * scale].contiguous()
    return tensors


def rrdb(network: RrdbNetwork) -> Mapping[str, Tensor]:
    """A `RRDBNet` as it is published: the same layers in the same order, under other names."""
    layers = ["conv_first"]
    for block in range(len(network.body)):
        layers += [f"body.{block}.rdb{dense}.conv{index}" for dense in (1, 2, 3) for index in (1, 2, 3, 4, 5)]
    layers += ["conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last"]
    names = [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]
    return {name: parameter.detach() for name, parameter in zip(names, network.parameters(), strict=True)}


def save(file: Path, tensors: Mapping[str, Tensor]) -> str:
    if file.suffix == ".pth":
        torch.save({"params_ema": dict(tensors)}, file)
    else:
        safetensors.torch.save_file(dict(tensors), file)
    return str(file)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_network_is_read_from_both_kinds_of_file(suffix: str, tmp_path: Path) -> None:
    # Given a saved network
    upscaler = build_upscaler(save(tmp_path / f"4x-mine{suffix}", compact()), CPU, cpu_threads=1)
    assert upscaler.traits.name == "4x-mine"
    assert upscaler.traits.adjustments == ()
    # Then it makes what our own network makes of the same numbers
    network = CompactNetwork(features=8, depth=2)
    network.load_state_dict(compact())
    assert np.abs(upscaler.enlarge(PICTURE).astype(int) - by_ourselves(network)).max() <= 1


def test_another_architecture_is_known_by_its_tensors(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = RrdbNetwork(features=8, growth=32, blocks=1)
    upscaler = build_upscaler(save(tmp_path / "net.safetensors", rrdb(network)), CPU, cpu_threads=1)
    assert np.abs(upscaler.enlarge(PICTURE).astype(int) - by_ourselves(network)).max() <= 1


def by_ourselves(network: nn.Module) -> Picture:
    tiling = Tiling(tile=100, context=48, border=BORDER)
    ours = TorchUpscaler(network.eval(), name="ours", device=CPU, dtype=torch.float32, tiling=tiling)
    return ours.enlarge(PICTURE)


def test_another_scale_becomes_four_and_says_so(tmp_path: Path) -> None:
    upscaler = build_upscaler(save(tmp_path / "2x-mine.pth", compact(scale=2)), CPU, cpu_threads=1)
    assert upscaler.enlarge(PICTURE).shape == (120, 160, 3)
    assert upscaler.traits.adjustments == ("enlarged 2 times by 2x-mine, then brought to 4 times the size by Lanczos",)


class Evil:
    """Pickled, it would run code."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("ran"),)  # type: ignore[return-value]


def test_no_code_of_a_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"params": Evil()}, "evil.pth")
    with pytest.raises(ModelLoadFailure, match="missing or damaged"):
        build_upscaler("evil.pth", CPU, cpu_threads=1)
    assert not Path("ran").exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_damaged_file_is_refused(suffix: str, tmp_path: Path) -> None:
    file = Path(save(tmp_path / f"net{suffix}", compact()))
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(ModelLoadFailure, match="missing or damaged"):
        build_upscaler(str(file), CPU, cpu_threads=1)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (lambda: {"a": torch.zeros(3)}, "architecture that spandrel does not know"),
        (lambda: compact(scale=1), "does not enlarge"),
        (lambda: compact(channels=1), "not for RGB"),
    ],
)
def test_what_does_not_enlarge_pictures_is_refused(tensors, message: str, tmp_path: Path) -> None:  # noqa: ANN001
    file = save(tmp_path / "net.safetensors", tensors())
    with pytest.raises(ModelLoadFailure, match=message):
        build_upscaler(file, CPU, cpu_threads=1)
