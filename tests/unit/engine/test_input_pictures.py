"""Input pictures lie in the start picture where the finished picture will be cut from it."""

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from danqing.core.capabilities import FreeSizes, TrainedSizes
from danqing.core.errors import EngineFailure
from danqing.core.images import ImageRef
from danqing.core.sizes import SizePlan, plan_size
from danqing.core.types import GenerationRequest, Mode
from danqing.engine.edges import canny
from danqing.engine.input_pictures import (
    InputPicture,
    control_picture,
    reference_pictures,
    shown_input,
    start_picture,
)
from danqing.engine.picture import finish_picture
from danqing.engine.upscale.upscaler import OnPart, UpscalerTraits
from tests.contracts.engine import Album, chart, half_mask

Pixels = npt.NDArray[np.uint8]
FREE = FreeSizes(multiple_of=16, min_side=64, max_pixels=200 * 200)
TRAINED = TrainedSizes(sizes=((128, 128), (144, 112), (112, 144), (160, 96), (96, 160)))


def request(size: tuple[int, int], *images: ImageRef, mask: ImageRef | None = None) -> GenerationRequest:
    return GenerationRequest(
        model="sample",
        mode=Mode.EDIT,
        prompt="",
        negative_prompt="",
        width=size[0],
        height=size[1],
        num_inference_steps=1,
        guidance_scale=0,
        seed=0,
        strength=0.5,
        input_images=images,
        mask=mask,
    )


def started(plan: SizePlan, album: Album, *images: Image.Image, mask: Image.Image | None = None) -> InputPicture:
    refs = tuple(album.add(image) for image in images)
    start = start_picture(
        request(plan.final, *refs, mask=album.add(mask) if mask else None), plan, read_image=album.read
    )
    assert start is not None
    return start


class Smooth:
    """An upscaler that interpolates."""

    traits = UpscalerTraits(name="smooth", margin=18)

    def enlarge(self, rgb: Pixels, *, on_part: OnPart = lambda part, parts: None) -> Pixels:
        image = Image.fromarray(rgb)
        return np.array(image.resize((image.width * 4, image.height * 4), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("rules", [FREE, TRAINED], ids=["any size", "a few sizes"])
@pytest.mark.parametrize("size", [(128, 128), (90, 61), (250, 70), (700, 500), (64, 190)], ids=str)
@pytest.mark.parametrize("given", [(300, 200), (40, 90)], ids=str)
def test_what_the_model_leaves_alone_comes_out_where_it_was(
    rules: FreeSizes | TrainedSizes, size: tuple[int, int], given: tuple[int, int]
) -> None:
    # Given a model that changes nothing
    plan = plan_size(rules, *size)
    album = Album()
    start = started(plan, album, chart(*given))
    assert start.rgb.shape == (plan.native[1], plan.native[0], 3)
    # When its picture is finished, then it is the input, resized
    finished = finish_picture(start.rgb, plan, Smooth()).astype(int)
    shown = shown_input(request(size, album.add(chart(*given))), size, read_image=album.read)
    assert shown is not None
    steepest = 255 / min(plan.native)  # of the chart: what a pixel is worth
    assert np.abs(finished - shown.rgb).max() <= 2 + steepest * 2


def test_beyond_what_is_shown_the_edge_is_drawn_out() -> None:
    plan = SizePlan(native=(96, 64), final=(90, 61), enlarge=False, crop_only=True)
    rgb = started(plan, Album(), chart(90, 61)).rgb
    assert np.array_equal(rgb[1:62, 3:93], np.asarray(chart(90, 61)))
    assert (rgb[:, :3] == rgb[:, 3:4]).all() and (rgb[:, 93:] == rgb[:, 92:93]).all()
    assert (rgb[:1] == rgb[1:2]).all() and (rgb[62:] == rgb[61:62]).all()


def test_a_picture_of_the_right_size_is_left_alone() -> None:
    plan = plan_size(TRAINED, 128, 128)
    start = started(plan, Album(), chart(128, 128), mask=half_mask(128, 128))
    assert np.array_equal(start.rgb, np.asarray(chart(128, 128)))
    assert start.mask is not None
    assert np.array_equal(start.mask, np.asarray(half_mask(128, 128))[:, :, 0])


def test_references_are_looked_at_whole_or_in_the_frame_of_the_picture() -> None:
    plan, album = plan_size(TRAINED, 200, 150), Album()
    images = [chart(300, 200), chart(40, 90)]
    asked = request(plan.final, *(album.add(image) for image in images))
    whole = reference_pictures(asked, read_image=album.read)
    assert [np.array_equal(found, np.asarray(image)) for found, image in zip(whole, images, strict=True)] == [True] * 2
    (framed,) = reference_pictures(asked, read_image=album.read, frame=plan)
    assert np.array_equal(framed, started(plan, album, *images).rgb)


def test_transparent_is_white_and_half_transparent_half() -> None:
    image = Image.new("RGBA", (64, 64), (200, 0, 0, 0))
    image.paste((200, 0, 0, 128), (32, 0, 64, 64))
    rgb = started(plan_size(FREE, 64, 64), Album(), image).rgb
    assert rgb[10, 10].tolist() == [255, 255, 255]
    assert rgb[10, 50].tolist() == [227, 127, 127]


@pytest.mark.parametrize("factor", [0.6, 3, 7.3])
def test_black_in_a_mask_stays_black_however_it_is_resized(factor: float) -> None:
    # Given a mask of fine lines
    size = (round(64 * factor), round(64 * factor))
    mask = Image.new("RGB", size, "white")
    mask.paste((0, 0, 0), (0, 0, size[0] // 3, size[1]))
    resized = started(plan_size(FREE, 64, 64), Album(), Image.new("RGB", size), mask=mask).mask
    nearest = np.asarray(mask.convert("L").resize((64, 64), Image.Resampling.NEAREST))
    # Then what is black where one looks is black, and white stays mostly white
    assert resized is not None
    assert (resized[nearest == 0] == 0).all()
    assert (resized[:, 64 // 3 + 3 :] == 255).all()


@pytest.mark.parametrize(
    "count, size, rows",
    [
        (2, (128, 128), [2]),
        (2, (64, 190), [1, 1]),
        (3, (190, 64), [3]),
        (4, (128, 128), [2, 2]),
        (5, (160, 96), [3, 2]),
        (16, (128, 128), [4, 4, 4, 4]),
    ],
)
def test_cells_are_as_near_to_square_as_can_be(count: int, size: tuple[int, int], rows: list[int]) -> None:
    # Given flat pictures of different colours
    colours = [(12 * index, 255 - 12 * index, 5) for index in range(count)]
    plan = plan_size(FREE, *size)
    album = Album()
    shown = shown_input(
        request(plan.final, *(album.add(Image.new("RGB", (30, 20), colour)) for colour in colours)),
        plan.final,
        read_image=album.read,
    )
    # Then each has one cell, in order, and nothing is left over
    assert shown is not None
    seen: list[list[tuple[int, int, int]]] = []
    for row in range(len(rows)):
        line = shown.rgb[round((row + 0.5) * size[1] / len(rows))]
        seen.append(list(dict.fromkeys(tuple(int(level) for level in pixel) for pixel in line)))  # type: ignore[misc]
    assert [len(row) for row in seen] == rows
    assert [colour for row in seen for colour in row] == colours


def test_a_request_that_starts_from_nothing_has_no_start() -> None:
    assert start_picture(request((64, 64)), plan_size(FREE, 64, 64), read_image=Album().read) is None


def test_a_file_of_another_size_or_format_is_refused() -> None:
    album = Album()
    ref = album.add(chart(64, 64))
    larger = dataclasses.replace(ref, width=65)
    plan = plan_size(FREE, 64, 64)
    with pytest.raises(EngineFailure, match="not of the size"):
        start_picture(request((64, 64), larger), plan, read_image=album.read)
    with pytest.raises(EngineFailure, match="damaged"):
        start_picture(request((64, 64), ref), plan, read_image=lambda ref: b"GIF89a")


def controlled(plan: SizePlan, image: Image.Image, *, preprocess: str | None = None) -> Pixels:
    album = Album()
    asked = dataclasses.replace(
        request(plan.final), mode=Mode.CONTROLNET, control_image=album.add(image), control_preprocess=preprocess
    )
    made = control_picture(asked, plan, read_image=album.read)
    assert made is not None
    return made


@pytest.mark.parametrize("size", [(128, 128), (90, 61), (250, 70), (700, 500)], ids=str)
def test_a_map_lies_where_an_input_lies(size: tuple[int, int]) -> None:
    plan = plan_size(TRAINED, *size)
    assert np.array_equal(controlled(plan, chart(300, 200)), started(plan, Album(), chart(300, 200)).rgb)
    assert control_picture(request(size), plan, read_image=Album().read) is None


@pytest.mark.parametrize("given", [(128, 128), (300, 200), (60, 90)], ids=str)
def test_the_edges_of_a_photo_are_drawn_at_the_size_that_the_model_makes(given: tuple[int, int]) -> None:
    plan = SizePlan(native=(96, 64), final=(90, 61), enlarge=False, crop_only=True)
    photo = Image.new("RGB", given, "red")
    photo.paste((0, 200, 0), (given[0] // 3, given[1] // 3, given[0], given[1]))
    edges = controlled(plan, photo, preprocess="canny")
    assert np.array_equal(edges, canny(started(plan, Album(), photo).rgb)[:, :, None].repeat(3, axis=2))
    assert set(np.unique(edges)) == {0, 255}


@pytest.mark.parametrize("factor", [2, 3.7, 9])
def test_fine_lines_stay_bright_where_a_drawing_shrinks(factor: float) -> None:
    # Given a drawing with lines one pixel wide, the first and the last row among them
    side = round(64 * factor)
    lines = np.zeros((side, side, 3), np.uint8)
    lines[[0, side // 2, side - 1]] = 255
    lines[:, side // 3] = 255
    small = controlled(plan_size(FREE, 64, 64), Image.fromarray(lines))
    # Then each is there, white, one pixel wide, and the rest is black
    assert set(np.unique(small)) == {0, 255}
    assert np.flatnonzero(small[:, 10, 0]).tolist() == [0, 32, 63]
    assert len(np.flatnonzero(small[10, :, 0])) == 1


def test_what_is_no_drawing_shrinks_as_an_input_does() -> None:
    plan = plan_size(FREE, 64, 64)
    white = Image.new("RGB", (300, 300), "white")  # mostly bright
    white.paste((0, 0, 0), (0, 0, 300, 100))
    for image in (chart(300, 300), half_mask(300, 300), white):
        assert np.array_equal(controlled(plan, image), started(plan, Album(), image).rgb)
