"""Real-ESRGAN by ncnn: sizes, seams, edges, stable bytes."""

import hashlib
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw, ImageFilter

from danqing.core.errors import ModelLoadFailure
from danqing.engine.upscale.real_esrgan import RealEsrgan

Picture = npt.NDArray[np.uint8]
WEIGHTS = Path(str(resources.files("danqing.engine") / "checkpoints" / "real_esrgan"))


def drawing(width: int, height: int) -> Picture:
    """Shapes with soft edges and a little noise, like what the sample model makes."""
    picture = Image.new("RGB", (width, height), (60, 120, 220))
    draw = ImageDraw.Draw(picture)
    for step in range(0, max(width, height), 24):
        draw.ellipse(
            (step, step // 2, step + 18, step // 2 + 30), fill=(250, 200 - step % 150, 60), outline=(90, 50, 10)
        )
        draw.line((width - step, 0, step, height), fill=(20, step % 255, 90), width=2)
    soft = np.asarray(picture.filter(ImageFilter.GaussianBlur(0.6)), float)
    return np.clip(soft + np.random.default_rng(4).normal(0, 2, soft.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def upscaler() -> RealEsrgan:
    return RealEsrgan()


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
    whole, tiled = upscaler.enlarge(rgb).astype(int), RealEsrgan(tile=tile).enlarge(rgb).astype(int)
    # Then they differ by no more than rounding, here and there
    assert np.abs(whole - tiled).max() <= 1
    assert (whole != tiled).mean() < 0.001


def test_every_tile_is_told_in_turn() -> None:
    parts: list[tuple[int, int]] = []
    RealEsrgan(tile=40).enlarge(drawing(100, 70), on_part=lambda *part: parts.append(part))
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
    assert np.array_equal(RealEsrgan().enlarge(rgb), first)


def test_a_view_is_enlarged_like_its_copy(upscaler: RealEsrgan) -> None:
    view = drawing(60, 60)[::2, ::-1]
    assert np.array_equal(upscaler.enlarge(view), upscaler.enlarge(view.copy()))


def test_missing_or_damaged_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadFailure):
        RealEsrgan(weights=tmp_path)
    for file in WEIGHTS.glob("realesr*"):
        (tmp_path / file.name).write_bytes(b"damaged" if file.suffix == ".param" else file.read_bytes())
    with pytest.raises(ModelLoadFailure):
        RealEsrgan(weights=tmp_path)


def test_the_bundled_weights_are_the_ones_the_readme_names() -> None:
    readme = (WEIGHTS / "README.md").read_text()
    for file in WEIGHTS.glob("realesr*"):
        assert f"`{file.name}`: sha256 `{hashlib.sha256(file.read_bytes()).hexdigest()}`" in readme
