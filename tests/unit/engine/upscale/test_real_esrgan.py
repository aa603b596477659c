"""Real-ESRGAN by ncnn: sizes, seams, edges, stable bytes."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from danqing.core.errors import ModelLoadFailure
from danqing.engine.upscale.choice import find_upscaler
from danqing.engine.upscale.real_esrgan import RealEsrgan
from tests.unit.engine.upscale.drawings import Picture, drawing
from tests.unit.engine.upscale.tiny_networks import write_rrdb

BUNDLED = find_upscaler("animevideov3")


def ncnn_upscaler(tile: int | None = None) -> RealEsrgan:
    return RealEsrgan(BUNDLED.path, name=BUNDLED.name, tile=tile)


@pytest.fixture(scope="module")
def upscaler() -> RealEsrgan:
    return ncnn_upscaler()


@pytest.mark.parametrize("size", [(1, 1), (2, 7), (17, 5), (64, 64), (63, 41)], ids=str)
def test_every_size_becomes_four_times_as_large(upscaler: RealEsrgan, size: tuple[int, int]) -> None:
    width, height = size
    enlarged = upscaler.enlarge(drawing(width, height))
    assert enlarged.shape == (4 * height, 4 * width, 3)
    assert enlarged.dtype == np.uint8


def test_the_result_is_the_same_picture(upscaler: RealEsrgan) -> None:
    # Given an enlarged drawing
    small = drawing(96, 64)
    enlarged = Image.fromarray(upscaler.enlarge(small))
    # When it is made small again, then it is what it was: colours in order, nothing moved
    again = np.asarray(enlarged.resize((96, 64), Image.Resampling.BOX), int)
    assert np.abs(again - small).mean() < 6
    moved = np.roll(small, 2, axis=1).astype(int)
    assert np.abs(again - moved).mean() > 10


def test_it_is_sharper_than_interpolation(upscaler: RealEsrgan) -> None:
    # Given a drawing and a small copy of it
    large = drawing(256, 256)
    small = np.asarray(Image.fromarray(large).resize((64, 64), Image.Resampling.BOX))

    def edges(picture: Picture) -> float:
        return float(np.sort(np.abs(np.diff(picture.astype(int), axis=1)).ravel())[-2000:].mean())

    # Then its edges come out steeper than Lanczos makes them
    lanczos = np.asarray(Image.fromarray(small).resize((256, 256), Image.Resampling.LANCZOS))
    assert edges(upscaler.enlarge(small)) > 1.2 * edges(lanczos)


@pytest.mark.parametrize("tile", [24, 40])
def test_tiles_leave_no_seams(upscaler: RealEsrgan, tile: int) -> None:
    # Given a picture that is one tile, and the same in many
    rgb = drawing(100, 70)
    whole, tiled = upscaler.enlarge(rgb).astype(int), ncnn_upscaler(tile).enlarge(rgb).astype(int)
    # Then they differ by no more than rounding, here and there
    assert np.abs(whole - tiled).max() <= 1
    assert (whole != tiled).mean() < 0.001


def test_every_tile_is_told_in_turn() -> None:
    parts: list[tuple[int, int]] = []
    ncnn_upscaler(40).enlarge(drawing(100, 70), on_part=lambda *part: parts.append(part))
    assert parts == [(part, 6) for part in range(1, 7)]


def test_edges_are_like_the_inside(upscaler: RealEsrgan) -> None:
    # Given one colour, where anything the edges did would show
    rgb = np.full((40, 40, 3), (200, 90, 30), np.uint8)
    enlarged = upscaler.enlarge(rgb).astype(int)
    assert np.ptp(enlarged.reshape(-1, 3), axis=0).max() <= 3
    assert np.abs(enlarged - rgb[0, 0]).max() <= 4


def test_the_same_picture_gives_the_same_bytes(upscaler: RealEsrgan) -> None:
    rgb = drawing(64, 48)
    first = upscaler.enlarge(rgb)
    upscaler.enlarge(drawing(30, 30))
    assert np.array_equal(upscaler.enlarge(rgb), first)
    assert np.array_equal(ncnn_upscaler().enlarge(rgb), first)


def test_a_view_is_enlarged_like_its_copy(upscaler: RealEsrgan) -> None:
    view = drawing(60, 60)[::2, ::-1]
    assert np.array_equal(upscaler.enlarge(view), upscaler.enlarge(view.copy()))


def test_the_picture_is_the_one_that_it_always_was(upscaler: RealEsrgan) -> None:
    # Given a picture of three tiles
    y, x = np.mgrid[0:70, 0:300]
    rgb = np.stack([x * 255 // 300, y * 255 // 70, (x * y) % 256], -1).astype(np.uint8)
    # Then some of its pixels are as they were when first made; another processor may round one differently
    known = np.array(
        [
            [[1, 2, 1], [45, 0, 0], [128, 0, 0], [139, 0, 17], [181, 0, 22]],
            [[7, 66, 20], [25, 79, 172], [68, 50, 137], [78, 58, 89], [199, 52, 237]],
            [[3, 145, 22], [82, 116, 82], [115, 149, 151], [69, 130, 90], [196, 137, 84]],
            [[1, 218, 0], [55, 254, 123], [105, 233, 130], [110, 196, 78], [203, 205, 39]],
        ]
    )
    assert np.abs(upscaler.enlarge(rgb)[::80, ::240].astype(int) - known).max() <= 1


def test_a_deep_network_looks_as_far_as_shows(tmp_path: Path) -> None:
    # Given one whose results depend on 64 pixels to each side
    param = write_rrdb(tmp_path / "net.param", features=4, growth=2, blocks=4)
    assert RealEsrgan(param, name="deep").traits.margin == 48


def test_missing_or_damaged_weights_are_refused(tmp_path: Path) -> None:
    param = tmp_path / BUNDLED.path.name
    with pytest.raises(ModelLoadFailure):
        RealEsrgan(param, name="gone")
    param.write_bytes(BUNDLED.path.read_bytes())
    with pytest.raises(ModelLoadFailure):
        RealEsrgan(param, name="half gone")
    param.with_suffix(".bin").write_bytes(BUNDLED.path.with_suffix(".bin").read_bytes())
    RealEsrgan(param, name="there")
    param.write_bytes(b"damaged")
    with pytest.raises(ModelLoadFailure):
        RealEsrgan(param, name="damaged")


def test_the_bundled_weights_are_the_ones_the_readme_names() -> None:
    folder = BUNDLED.path.parent
    readme = (folder / "README.md").read_text()
    for file in folder.glob("realesr*"):
        assert f"`{file.name}`: sha256 `{hashlib.sha256(file.read_bytes()).hexdigest()}`" in readme
