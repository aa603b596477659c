"""What a request starts from, brought to the size of the picture that is made.

Decodes nothing but PNG files of our own: clients' files were checked and rebuilt before a request named them.
"""

import io
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from danqing.core.engine_port import ReadImage
from danqing.core.errors import EngineFailure
from danqing.core.images import ImageRef
from danqing.core.sentences import says
from danqing.core.sizes import SizePlan
from danqing.core.types import GenerationRequest
from danqing.engine.edges import canny

Pixels = npt.NDArray[np.uint8]
Size = tuple[int, int]  # width, height
WHITE = (255, 255, 255, 255)
NEARLY_BLACK, NEARLY_WHITE, MOSTLY = 32, 223, 0.9  # of a line drawing: levels, and the share of pixels beyond them


@dataclass(frozen=True, kw_only=True)
class InputPicture:
    """rgb: uint8 (H, W, 3). mask: uint8 (H, W), 255 where it is made anew, 0 where it stays; None: all is made anew.

    adjustments: as in `RawPicture`.
    """

    rgb: Pixels
    mask: Pixels | None = None
    adjustments: tuple[str, ...] = ()


def start_picture(request: GenerationRequest, plan: SizePlan, *, read_image: ReadImage) -> InputPicture | None:
    """The input at the model's size: where the finished picture will be cut from, its edges drawn out beyond that.

    None for a request that starts from nothing. Raises ArtifactNotFound, or EngineFailure for a damaged file.
    """
    shown = shown_input(request, plan.kept, read_image=read_image)
    if shown is None:
        return None
    mask = None if shown.mask is None else _drawn_out(shown.mask, plan.native)
    return InputPicture(rgb=_drawn_out(shown.rgb, plan.native), mask=mask, adjustments=shown.adjustments)


def shown_input(request: GenerationRequest, size: Size, *, read_image: ReadImage) -> InputPicture | None:
    """The input as the finished picture shows it, at `size`, which has that picture's shape but for rounding.

    It covers the whole, its centre in the middle, by Lanczos. Several are laid side by side, in rows that keep their
    cells near to square; but a mask, which belongs to the first one, leaves no place for others. Transparent parts are
    white. Errors as in `start_picture`.
    """
    if not request.input_images:
        return None
    frame = _frame(request)
    if request.mask is None:
        pictures = [_read_rgb(ref, read_image) for ref in request.input_images]
        return InputPicture(
            rgb=_side_by_side(pictures, size) if len(pictures) > 1 else _cover(pictures[0], size, frame)
        )
    first, *others = request.input_images
    left_out = (says("only_first_input", count=1 + len(others)),) if others else ()
    return InputPicture(
        rgb=_cover(_read_rgb(first, read_image), size, frame),
        mask=_cover_mask(_read_mask(request.mask, read_image), size, frame),
        adjustments=left_out,
    )


def whole_input(request: GenerationRequest, *, read_image: ReadImage) -> Pixels:
    """The first input image as it is. Errors as above."""
    return np.array(_read_rgb(request.input_images[0], read_image))


def control_picture(request: GenerationRequest, plan: SizePlan, *, read_image: ReadImage) -> Pixels | None:
    """The map of a ControlNet at the model's size, uint8 (H, W, 3), laid over the picture as an input is.

    A photo's edges are drawn at that size, as the network learned them. A line drawing that shrinks keeps its lines
    bright, which Lanczos would thin out. Errors as above.
    """
    if request.control_image is None:
        return None
    image, frame = _read_rgb(request.control_image, read_image), _frame(request)
    if request.control_preprocess is not None:
        edges = canny(_drawn_out(_cover(image, plan.kept, frame), plan.native))
        return np.repeat(edges[:, :, None], 3, axis=2)
    lines = _cover_lines(image, plan.kept, frame)
    return _drawn_out(_cover(image, plan.kept, frame) if lines is None else lines, plan.native)


def reference_pictures(
    request: GenerationRequest, *, read_image: ReadImage, frame: SizePlan | None = None
) -> tuple[Pixels, ...]:
    """The input images as they are, each uint8 (h, w, 3). Errors as above.

    frame: of the picture that is made; they are then one picture that lies in it as `start_picture` would.
    """
    if frame is None:
        return tuple(np.array(_read_rgb(ref, read_image)) for ref in request.input_images)
    shown = shown_input(request, frame.kept, read_image=read_image)
    return () if shown is None else (_drawn_out(shown.rgb, frame.native),)


def _frame(request: GenerationRequest) -> Size:
    return request.width, request.height


def _read(ref: ImageRef, read_image: ReadImage) -> Image.Image:
    content = read_image(ref)
    try:
        image = Image.open(io.BytesIO(content), formats=("PNG",))
        image.load()
    except (OSError, SyntaxError, ValueError) as exc:
        raise EngineFailure(says("input_damaged")) from exc
    if image.size != ref.size:
        raise EngineFailure("A stored input image is not of the size that it had.")
    return image


def _read_rgb(ref: ImageRef, read_image: ReadImage) -> Image.Image:
    image = _read(ref, read_image)
    if not ref.has_alpha:
        return image.convert("RGB")
    return Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image.convert("RGBA")).convert("RGB")


def _read_mask(ref: ImageRef, read_image: ReadImage) -> Image.Image:
    """Mode "L", white where the picture is made anew."""
    image = _read(ref, read_image)
    if not ref.has_alpha:
        return image.convert("L")
    return image.convert("RGBA").getchannel("A").point([255 - level for level in range(256)])


def _covering_box(size: Size, frame: Size) -> tuple[float, float, float, float]:
    """The largest centred part of a picture of `size` that has the shape of `frame`: left, top, right, bottom."""
    shrink = min(side / framed for side, framed in zip(size, frame, strict=True))
    width, height = (min(float(side), framed * shrink) for side, framed in zip(size, frame, strict=True))
    left, top = (size[0] - width) / 2, (size[1] - height) / 2
    return left, top, left + width, top + height


def _cover(image: Image.Image, size: Size, frame: Size) -> Pixels:
    return np.array(image.resize(size, Image.Resampling.LANCZOS, box=_covering_box(image.size, frame)))


def _cover_lines(image: Image.Image, size: Size, frame: Size) -> Pixels | None:
    """As `_cover`, but each pixel is as bright as the brightest that it stands for.

    None for a picture that is not shrunk, or is no drawing of white lines on black.
    """
    left, top, right, bottom = (round(edge) for edge in _covering_box(image.size, frame))
    width, height = right - left, bottom - top
    pixels = np.asarray(image)[top:bottom, left:right]  # (height, width, 3)
    if width <= size[0] or height <= size[1] or not _is_line_drawing(pixels):
        return None
    rows, columns = (np.arange(small) * large // small for small, large in ((size[1], height), (size[0], width)))
    return np.maximum.reduceat(np.maximum.reduceat(pixels, rows, axis=0), columns, axis=1)


def _is_line_drawing(pixels: Pixels) -> bool:
    """Hardly anything but black and white, and black more than anything: what depths and poses are not."""
    dark, bright = (pixels.max(axis=2) < NEARLY_BLACK).mean(), (pixels.min(axis=2) > NEARLY_WHITE).mean()
    return bool(dark + bright > MOSTLY and dark > bright)


def _cover_mask(mask: Image.Image, size: Size, frame: Size) -> Pixels:
    """Where the nearest pixel is black, so is the result: what is to stay must not grow soft."""
    box = _covering_box(mask.size, frame)
    soft, hard = (
        np.array(mask.resize(size, method, box=box)) for method in (Image.Resampling.BILINEAR, Image.Resampling.NEAREST)
    )
    return np.where(hard == 0, np.uint8(0), soft)


def _side_by_side(pictures: list[Image.Image], size: Size) -> Pixels:
    """Each covers its cell; rows from the top, an early one may hold a picture more than a later one."""
    width, height = size
    laid_out = Image.new("RGB", size)
    rows = _rows(len(pictures), size)
    left_over = iter(pictures)
    for row, columns in enumerate(rows):
        top, bottom = row * height // len(rows), (row + 1) * height // len(rows)
        for column in range(columns):
            left, right = column * width // columns, (column + 1) * width // columns
            cell = (right - left, bottom - top)
            laid_out.paste(Image.fromarray(_cover(next(left_over), cell, cell)), (left, top))
    return np.array(laid_out)


def _rows(count: int, size: Size) -> list[int]:
    """How many pictures each row holds, so that cells are as near to square as can be."""

    def distance_from_square(rows: int) -> float:
        return abs(math.log((size[0] / math.ceil(count / rows)) / (size[1] / rows)))

    rows = min(range(1, count + 1), key=distance_from_square)
    return [count // rows + (row < count % rows) for row in range(rows)]


def _drawn_out(pixels: Pixels, native: Size) -> Pixels:
    """In the middle of a picture of the native size, whose margin repeats the edge. pixels: (H, W, …)."""
    height, width = pixels.shape[:2]
    top, left = (native[1] - height) // 2, (native[0] - width) // 2
    margins = [(top, native[1] - height - top), (left, native[0] - width - left)]
    return np.pad(pixels, margins + [(0, 0)] * (pixels.ndim - 2), mode="edge")
