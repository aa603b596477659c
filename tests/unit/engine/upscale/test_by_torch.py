"""The same weights by torch: what ncnn makes of them, without seams, and with less memory where there is less."""

import os
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import torch
from torch import nn

from danqing.core.errors import ModelLoadFailure
from danqing.engine.device import Device, choose_device
from danqing.engine.launched import sent
from danqing.engine.upscale import by_torch
from danqing.engine.upscale.building import build_upscaler, upscaler_by_torch
from danqing.engine.upscale.by_torch import TorchUpscaler
from danqing.engine.upscale.choice import UpscalerFile, find_upscaler
from danqing.engine.upscale.real_esrgan import RealEsrgan
from danqing.engine.upscale.tiles import Tiling
from tests.unit.engine.upscale.drawings import Picture, drawing
from tests.unit.engine.upscale.tiny_networks import write_compact, write_rrdb

CPU = choose_device("cpu", "auto")
FOLDER = "TEST_UPSCALERS"  # names the folder that has the wheel's .param and .bin files, if it is not installed


def difference(one: Picture, other: Picture) -> float:
    """On average, of 255."""
    return float(np.abs(one.astype(int) - other).mean())


def by_ncnn(found: UpscalerFile) -> RealEsrgan:
    return RealEsrgan(found.path, name=found.name)


def of_the_wheel(name: str) -> UpscalerFile:
    """Skips the test where its files are not to be had."""
    if folder := os.environ.get(FOLDER):
        return find_upscaler(str(Path(folder, f"realesrgan-{name}.param")))
    try:
        return find_upscaler(name)
    except ModelLoadFailure as exc:
        pytest.skip(f"{exc} Or name a folder in {FOLDER}.")


def test_the_bundled_network_by_torch_is_what_ncnn_makes() -> None:
    found = find_upscaler("animevideov3")
    rgb = drawing(60, 44)
    assert difference(upscaler_by_torch(found, CPU).enlarge(rgb), by_ncnn(found).enlarge(rgb)) < 0.01


def test_the_device_is_told_so_that_its_memory_is_not_taken_for_a_models(tmp_path: Path) -> None:
    device = choose_device("cpu", "auto")
    upscaler = upscaler_by_torch(UpscalerFile(name="random", path=write_compact(tmp_path / "net.param")), device)
    seen: list[bool] = []
    was_disturbed = device.side_work.since_now()
    assert not was_disturbed()
    upscaler.enlarge(drawing(20, 16), on_part=lambda *_: seen.append(device.side_work.since_now()()))
    assert seen == [True]  # it goes on
    assert was_disturbed()
    assert not device.side_work.since_now()()


@pytest.mark.parametrize("half", [True, False], ids=["half", "single"])
@pytest.mark.parametrize("write", [write_compact, write_rrdb])
def test_any_network_of_both_kinds_by_torch_is_what_ncnn_makes(write, half: bool, tmp_path: Path) -> None:  # noqa: ANN001
    # Given random weights, whose pictures are lively
    found = UpscalerFile(name="random", path=write(tmp_path / "net.param", half=half))
    rgb = drawing(70, 50)
    expected = by_ncnn(found).enlarge(rgb)
    assert expected.std() > 10
    # Then both agree, in several tiles
    assert difference(upscaler_by_torch(found, CPU).enlarge(rgb), expected) < 0.05
    small = RealEsrgan(found.path, name="random", tile=32)
    assert difference(small.enlarge(rgb), expected) < 0.05


@pytest.mark.parametrize("name", ["x4plus-anime", "x4plus"])
def test_the_wheels_networks_by_torch_are_what_ncnn_makes(name: str) -> None:
    found = of_the_wheel(name)
    rgb = drawing(20, 16)
    expected = by_ncnn(found).enlarge(rgb)
    assert difference(upscaler_by_torch(found, CPU).enlarge(rgb), expected) < 0.05


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["animevideov3", "x4plus-anime", "x4plus"])
def test_a_gpu_makes_what_ncnn_makes(name: str) -> None:
    found = find_upscaler(name) if name == "animevideov3" else of_the_wheel(name)
    rgb = drawing(200, 120)
    upscaler = build_upscaler(str(found.path), choose_device("cuda", "auto"), cpu_threads=1)
    assert isinstance(upscaler, TorchUpscaler)
    enlarged = upscaler.enlarge(rgb)
    assert difference(enlarged, by_ncnn(found).enlarge(rgb)) < 2
    assert np.array_equal(upscaler.enlarge(rgb), enlarged)


class Limited(nn.Module):
    """Runs out of memory for inputs of more pixels. Its results reach 9 pixels; it sees black outside."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.pixels = pixels
        self.inputs: list[tuple[int, int]] = []
        self.blur = nn.AvgPool2d(19, stride=1, padding=9)

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        height, width = rgb.shape[2:]
        if height * width > self.pixels:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        self.inputs.append((height, width))
        return nn.functional.interpolate(self.blur(rgb), scale_factor=4, mode="nearest")


def upscaler_of(network: nn.Module, *, scale: int = 4, tile: int = 128, device: Device = CPU) -> TorchUpscaler:
    tiling = Tiling(tile=tile, context=9, border=4)
    return TorchUpscaler(network, name="it", device=device, dtype=torch.float32, tiling=tiling, scale=scale)


def test_where_memory_runs_out_smaller_parts_make_the_same_picture() -> None:
    # Given a device that holds a quarter of a tile
    rgb = drawing(150, 100)
    expected = upscaler_of(Limited(10**9)).enlarge(rgb)
    limited = Limited(60 * 60)
    parts: list[tuple[int, int]] = []
    # When a picture is enlarged, then it is the one that a larger device makes, and its parts are told as before
    enlarged = upscaler_of(limited).enlarge(rgb, on_part=lambda *part: parts.append(part))
    assert np.abs(enlarged.astype(int) - expected).max() <= 1
    assert parts == [(1, 2), (2, 2)]
    assert max(limited.inputs) > (30, 30)


@pytest.mark.parametrize("error", [RuntimeError("CUDA error: out of memory"), MemoryError()], ids=["pinned", "host"])
def test_so_do_they_where_the_host_has_no_room_for_a_part(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    rgb = drawing(60, 50)
    expected = upscaler_of(Limited(10**9)).enlarge(rgb)

    def sent_if_small(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        if tensor.shape[0] > 60:
            raise error
        return sent(tensor, device)

    monkeypatch.setattr(by_torch, "sent", sent_if_small)
    assert np.abs(upscaler_of(Limited(10**9)).enlarge(rgb).astype(int) - expected).max() <= 1


def test_where_nothing_fits_it_is_said() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        upscaler_of(Limited(100)).enlarge(drawing(60, 60))


class Repeating(nn.Module):
    """Of another scale than four."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(rgb, scale_factor=self.scale, mode="bilinear")


def test_all_that_a_device_is_given_is_apart_from_what_others_give_it(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []

    class Noting(Repeating):
        def _apply(self, fn: Any, recurse: bool = True) -> Self:  # noqa: ANN401
            happened.append("moved")
            return super()._apply(fn, recurse)

        def forward(self, rgb: torch.Tensor) -> torch.Tensor:
            happened.append("run")
            return super().forward(rgb)

    @contextmanager
    def entered() -> Generator[None]:
        happened.append("in")
        try:
            yield
        finally:
            happened.append("out")

    def apart(device: torch.device) -> Callable[[], AbstractContextManager[None]]:
        return entered

    def noted_sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        happened.append("sent")
        return sent(tensor, device)

    def mark(device: torch.device) -> Callable[[], None]:
        happened.append("marked")
        return lambda: happened.append("waited")

    for noted in (apart, mark):
        monkeypatch.setattr(by_torch, noted.__name__, noted)
    monkeypatch.setattr(by_torch, "sent", noted_sent)

    def told(part: int, parts: int) -> None:
        happened.append(f"told {part}")
        if happened.count("in") > 1:
            raise BrokenPipeError

    # When a picture is enlarged in two parts, and another one that is cancelled after the first
    upscaler = upscaler_of(Noting(4), tile=30)
    upscaler.enlarge(drawing(60, 30), on_part=told)
    with pytest.raises(BrokenPipeError):
        upscaler.enlarge(drawing(60, 30), on_part=told)
    # Then all of it is apart, the network too, and nothing is waited for but the result of each part
    part = ["sent", "run", "marked", "waited"]
    assert happened == ["in", "moved", "moved", *part, "told 1", *part, "told 2", "out", "in", *part, "told 1", "out"]


@pytest.mark.parametrize("scale", [2, 3, 8])
def test_another_scale_is_brought_to_four_and_told(scale: int) -> None:
    # Given a network of another scale
    rgb = drawing(100, 60)
    upscaler = upscaler_of(Repeating(scale), scale=scale)
    # Then the picture is four times as large, the same one, and it is said how
    enlarged = upscaler.enlarge(rgb)
    assert enlarged.shape == (240, 400, 3)
    expected = upscaler_of(Repeating(4)).enlarge(rgb)
    assert difference(enlarged, expected) < 3
    assert difference(np.roll(enlarged, 4, axis=1), expected) > 2 * difference(enlarged, expected)
    assert upscaler.traits.adjustments == (
        f"enlarged {scale} times by it, then brought to 4 times the size by Lanczos",
    )
    # And no seam shows
    assert np.abs(upscaler_of(Repeating(scale), scale=scale, tile=30).enlarge(rgb).astype(int) - enlarged).max() <= 1


def test_results_outside_the_range_are_cut_to_it() -> None:
    class Beyond(nn.Module):
        def forward(self, rgb: torch.Tensor) -> torch.Tensor:
            return nn.functional.interpolate(3 * rgb - 1, scale_factor=4, mode="nearest")

    enlarged = upscaler_of(Beyond()).enlarge(np.array([[[0, 85, 255]]], np.uint8))
    assert enlarged[0, 0].tolist() == [0, 0, 255]


def test_on_a_cpu_ncnn_runs_its_own_files() -> None:
    upscaler = build_upscaler("animevideov3", CPU, cpu_threads=1)
    assert isinstance(upscaler, RealEsrgan)
    assert upscaler.traits.name == "realesr-animevideov3"
    assert upscaler.traits.margin == 18
    assert upscaler.traits.adjustments == ()
