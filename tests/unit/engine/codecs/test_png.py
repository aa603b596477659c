"""The PNG writer: valid files, exact pixels, stable bytes."""

import io
import struct
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from isal import isal_zlib
from PIL import Image, ImageDraw, ImageFilter

from danqing.engine.codecs.png import PngText, encode_png
from danqing.engine.codecs.row_filters import BAND_BYTES

Picture = npt.NDArray[np.uint8]


def chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and content of every chunk; checks all that the format asks of their frame."""
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    found: list[tuple[bytes, bytes]] = []
    position = 8
    while position < len(content):
        (length,) = struct.unpack_from(">I", content, position)
        kind, body = content[position + 4 : position + 8], content[position + 8 : position + 8 + length]
        (check,) = struct.unpack_from(">I", content, position + 8 + length)
        assert check == zlib.crc32(kind + body)
        found.append((kind, body))
        position += 12 + length
    assert position == len(content)
    assert found[0][0] == b"IHDR" and found[-1] == (b"IEND", b"")
    return found


def decoded(content: bytes) -> Picture:
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.mode == "RGB"
        return np.array(picture)


def smooth(width: int, height: int, noise: float = 1.5) -> Picture:
    """Soft colours with a little noise, as models make them."""
    y, x = np.mgrid[0:height, 0:width] / 64
    waves = np.stack([np.sin(x + y), np.cos(x * 1.3), np.sin(y * 0.7)], -1) * 100 + 128
    return np.clip(waves + np.random.default_rng(3).normal(0, noise, waves.shape), 0, 255).astype(np.uint8)


def flat(width: int, height: int) -> Picture:
    """Plain areas with soft edges."""
    image = Image.new("RGB", (width, height), (38, 96, 224))
    for i in range(1, 6):
        box = (width * i // 9, height * i // 12, width * (i + 3) // 9, height * (i + 4) // 12)
        image.paste((40 * i, 250 - 30 * i, 17 * i), box)
    return np.array(image.filter(ImageFilter.GaussianBlur(1.5)))


def ring(side: int, blur: float) -> Picture:
    """As a mask is drawn: white on black, here with a soft rim."""
    image = Image.new("RGB", (side, side))
    ImageDraw.Draw(image).ellipse((side // 5, side // 8, side * 4 // 5, side * 7 // 8), fill="white")
    return np.array(image.filter(ImageFilter.GaussianBlur(blur)))


def page(width: int, height: int) -> Picture:
    """Black writing on white."""
    image = Image.new("RGB", (width, height), "white")
    for y in range(10, height - 20, 18):
        ImageDraw.Draw(image).text((10, y), "The quick brown fox jumps over the lazy dog. " * 9, fill="black")
    return np.array(image)


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))))
def test_any_pixels_come_back(rgb: Picture) -> None:
    content = encode_png(rgb, ())
    assert np.array_equal(decoded(content), rgb)
    kinds = [kind for kind, _ in chunks(content)]
    assert kinds == [b"IHDR", b"IDAT", b"IEND"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.zeros((64, 50, 3), np.uint8),
        lambda: np.full((1, 3000, 3), 255, np.uint8),
        lambda: np.random.default_rng(1).integers(0, 256, (123, 77, 3), np.uint8),
        lambda: smooth(300, 200),
        lambda: np.asfortranarray(smooth(31, 17)),
        lambda: smooth(64, 64)[::2, 1::3],
        lambda: np.concatenate((smooth(90, 70), flat(90, 900), smooth(90, 30))),
        lambda: flat(1, 300),
    ],
    ids=["black", "one row", "noise", "smooth", "other memory order", "a view", "flat in the middle", "one column"],
)
def test_pictures_of_all_kinds_come_back(make: Callable[[], Picture]) -> None:
    rgb = make()
    assert np.array_equal(decoded(encode_png(rgb, ())), rgb)


def test_a_large_picture_comes_back_and_takes_no_second_room() -> None:
    # Given a picture of many megabytes
    rgb = np.tile(smooth(250, 200), (15, 12, 1))
    rgb[-1] = 255 - rgb[-1]
    # When it is encoded, then not even one more copy of it is held
    tracemalloc.start()
    content = encode_png(rgb, ())
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < rgb.nbytes
    assert rgb.nbytes > 4 * BAND_BYTES
    # And it is all there
    assert np.array_equal(decoded(content), rgb)


def test_a_picture_that_cannot_be_made_smaller_is_held_twice_while_its_file_is_put_together() -> None:
    rgb = np.random.default_rng(5).integers(0, 256, (1500, 1500, 3), np.uint8)
    tracemalloc.start()
    content = encode_png(rgb, ())
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 2.2 * len(content) + 2 * BAND_BYTES


@pytest.mark.parametrize("transpose", [False, True])
def test_each_row_gets_the_filter_that_fits_it(transpose: bool) -> None:
    # Given stripes along one direction, different in every line across it
    line = np.random.default_rng(5).integers(0, 256, (200, 1, 3), np.uint8)
    rgb = np.broadcast_to(line, (200, 150, 3)) if not transpose else np.broadcast_to(line[:, 0], (150, 200, 3))
    # Then the file holds little more than one line of them
    assert len(encode_png(np.ascontiguousarray(rgb), ())) < 4000


def test_the_same_picture_gives_the_same_bytes() -> None:
    texts = (PngText(keyword="parameters", text="a\nSteps: 9"), PngText(keyword="danqing", text="{}", utf8=True))
    assert encode_png(smooth(200, 100), texts) == encode_png(smooth(200, 100), texts)


@pytest.mark.parametrize(
    "text, utf8, kind",
    [("café", False, b"tEXt"), ("café", True, b"iTXt"), ("苹果\n🍎", False, b"iTXt"), ("", False, b"tEXt")],
)
def test_texts_are_readable(text: str, utf8: bool, kind: bytes) -> None:
    # When a text is written
    content = encode_png(smooth(4, 4), (PngText(keyword="parameters", text=text, utf8=utf8),))
    # Then it stands before the pixels, in the chunk for its kind, and reads back
    assert [found for found, _ in chunks(content)] == [b"IHDR", kind, b"IDAT", b"IEND"]
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.info["parameters"] == text


@pytest.mark.parametrize(
    "text",
    [PngText(keyword="", text="a"), PngText(keyword="k" * 80, text="a"), PngText(keyword="k", text="a\0b")],
    ids=["no keyword", "long keyword", "NUL"],
)
def test_texts_that_png_cannot_hold_are_refused(text: PngText) -> None:
    with pytest.raises(ValueError, match="PNG text"):
        encode_png(smooth(4, 4), (text,))


@pytest.mark.parametrize(
    "rgb",
    [np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.uint16), np.zeros((0, 4, 3), np.uint8)],
    ids=["RGBA", "16 bits", "empty"],
)
def test_other_arrays_are_refused(rgb: Picture) -> None:
    with pytest.raises(ValueError, match="uint8 RGB"):
        encode_png(rgb, ())


@pytest.mark.parametrize(
    "make, most",
    [
        (lambda: flat(1024, 1024), 1.25),
        (lambda: ring(1024, 0), 1.25),
        (lambda: ring(1024, 20), 1.25),
        (lambda: page(1024, 1024), 1.25),
        (lambda: smooth(1024, 1024), 1.25),
        (lambda: np.random.default_rng(1).integers(0, 256, (512, 512, 3), np.uint8), 1.01),
    ],
    ids=["flat", "mask", "soft mask", "page", "photo", "noise"],
)
def test_a_file_is_not_much_larger_than_by_pillow(make: Callable[[], Picture], most: float) -> None:
    rgb, file = make(), io.BytesIO()
    Image.fromarray(rgb).save(file, "PNG")
    assert len(encode_png(rgb, ())) < most * len(file.getvalue())


def test_is_much_faster_than_pillow_and_not_much_larger() -> None:
    # Given a picture as a model makes it
    rgb = smooth(1024, 1024)

    def pillow() -> bytes:
        file = io.BytesIO()
        Image.fromarray(rgb).save(file, "PNG")
        return file.getvalue()

    def fastest(encode: Callable[[], bytes]) -> float:
        times: list[float] = []
        for _ in range(3):
            started = time.thread_time()
            encode()
            times.append(time.thread_time() - started)
        return min(times)

    # Then ours takes a tenth of the time at most (in one look of a few: a machine may be slower for a while), for a
    # quarter more bytes at most
    assert any(fastest(pillow) > 10 * fastest(lambda: encode_png(rgb, ())) for _ in range(3))
    assert len(encode_png(rgb, ())) < 1.25 * len(pillow())


def test_other_threads_go_on_meanwhile() -> None:
    # Given a picture that takes long, and how long compressing it takes
    rgb = np.tile(smooth(512, 512), (8, 8, 1))
    started = time.thread_time()
    isal_zlib.compress(rgb.tobytes(), 2)  # pyright: ignore[reportUnknownMemberType]
    compression_s = time.thread_time() - started

    def longest_pause_s() -> float:
        """Of a thread that counts while the picture is encoded."""
        ticks: list[float] = []
        done = threading.Event()

        def count() -> None:
            while not done.wait(0.001):
                ticks.append(time.monotonic())

        thread = threading.Thread(target=count)
        thread.start()
        started = time.monotonic()
        encode_png(rgb, ())
        ended = time.monotonic()
        done.set()
        thread.join()
        return float(max(np.diff([started, *(tick for tick in ticks if started < tick < ended), ended])))

    # When it is encoded (up to many times: other processes may hold the thread up as well)
    # Then the thread is held up for much less than that
    assert any(longest_pause_s() < compression_s / 3 for _ in range(30))
