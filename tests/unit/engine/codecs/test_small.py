"""Small copies: their format, their size, the same bytes."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from danqing.core.types import EncodedPicture
from danqing.engine.codecs.small import encode_jpeg, encode_webp
from tests.contracts.engine import chart


@pytest.mark.parametrize("encode, name", [(encode_jpeg, "JPEG"), (encode_webp, "WEBP")])
@pytest.mark.parametrize(
    "size, expected", [((100, 60), (100, 60)), ((64, 64), (64, 64)), ((400, 200), (100, 50)), ((3, 900), (1, 100))]
)
def test_a_small_copy_shows_the_same(
    encode: Callable[..., EncodedPicture], name: str, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    rgb = np.asarray(chart(*size))
    picture = encode(rgb, max_side=100)
    assert (picture.width, picture.height) == expected
    assert encode(rgb, max_side=100) == picture
    with Image.open(io.BytesIO(picture.content)) as image:
        assert (image.format, image.size, picture.media_type) == (name, expected, f"image/{name.lower()}")
        shown = np.asarray(image.convert("RGB"), int)
    assert np.abs(shown - np.asarray(chart(*expected), int)).mean() < 6
