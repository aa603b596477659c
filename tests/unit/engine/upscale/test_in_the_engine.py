"""The engine says which upscaler was at work, and what it did that a client may want to know."""

import io
import json
import struct
from collections.abc import Sequence

import pytest
from PIL import Image

from danqing import __version__
from danqing.core.errors import EngineFailure, ModelLoadFailure
from danqing.core.types import ArtifactKind, GenerationRequest, Mode, RawPicture
from danqing.core.upscaling import UPSCALER
from danqing.dialects.openai.pictures import converted
from danqing.engine import build
from danqing.engine.build import build_engine
from danqing.engine.spec import EngineSpec
from danqing.engine.upscale.upscaler import OnPart, UpscalerTraits, unheard
from tests.contracts.engine import Album
from tests.fakes.domain import a_card, a_request
from tests.unit.engine.upscale.drawings import Picture

SAID = "enlarged 2 times by 2x-mine, then brought to 4 times the size by Lanczos"


class Repeating:
    """An upscaler that has something to say."""

    traits = UpscalerTraits(name="2x-mine", margin=3, adjustments=(SAID,))

    def enlarge(self, rgb: Picture, *, on_part: OnPart = unheard) -> Picture:
        on_part(1, 1)
        return rgb.repeat(4, 0).repeat(4, 1)


def never(ref: object) -> bytes:
    """No picture is read."""
    raise AssertionError


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Sequence[str]:
    """What upscalers were asked for; each is `Repeating`."""
    asked: list[str] = []

    def build_fake(wanted: str, device: object, *, cpu_threads: int) -> Repeating:
        asked.append(wanted)
        return Repeating()

    monkeypatch.setattr(build, "build_upscaler", build_fake)
    return asked


def test_an_upscaled_copy_says_what_made_it(asked: Sequence[str]) -> None:
    # Given an engine with an upscaler of one's own
    engine = build_engine(EngineSpec(cards=(a_card(),), device="cpu", upscaler="2x-mine.pth"))
    assert asked == ["2x-mine.pth"]
    # When a picture is enlarged
    request = a_request(width=128, height=128, further=(ArtifactKind.UPSCALED,))
    picture = RawPicture(width=128, height=128, rgb=bytes(3 * 128 * 128), adjustments=("made with care",))
    enlarged = engine.enlarge(picture, on_part=unheard)
    # Then it is told what was done to it, once
    assert (enlarged.width, enlarged.height) == (512, 512)
    assert enlarged.adjustments == ("made with care", SAID)
    assert engine.enlarge(enlarged, on_part=unheard).adjustments == ("made with care", SAID)
    # And the file names the upscaler
    content = engine.encode(enlarged, request, ArtifactKind.UPSCALED).content
    text = Image.open(io.BytesIO(content)).info["parameters"]
    assert "Postprocess upscaler: 2x-mine," in text


@pytest.mark.parametrize(("size", "told"), [((256, 256), (SAID,)), ((128, 128), ())])
def test_a_picture_larger_than_the_model_makes_is_told_too(
    size: tuple[int, int], told: tuple[str, ...], asked: Sequence[str]
) -> None:
    engine = build_engine(EngineSpec(cards=(a_card(),), device="cpu"))
    assert asked == ["animevideov3"]
    raw = RawPicture(width=128, height=128, rgb=bytes(3 * 128 * 128))
    finished = engine.finish(raw, a_request(width=size[0], height=size[1]), read_image=never)
    assert (finished.width, finished.height) == size
    assert finished.adjustments == told


def test_an_upscaler_that_is_not_there_is_told_when_the_engine_is_built() -> None:
    with pytest.raises(ModelLoadFailure, match="no upscaler nonsense"):
        build_engine(EngineSpec(cards=(a_card(),), device="cpu", upscaler="nonsense"))


@pytest.mark.usefixtures("asked")
def test_a_picture_that_exists_is_enlarged_as_it_is_and_says_so() -> None:
    engine = build_engine(EngineSpec(cards=(a_card(),), device="cpu"))
    # Given a picture whose shape no model makes, with a transparent corner
    image = Image.new("RGBA", (30, 21), (10, 200, 30, 255))
    image.putpixel((0, 0), (1, 2, 3, 0))
    album = Album()
    request = GenerationRequest(
        model=UPSCALER,
        mode=Mode.UPSCALE,
        prompt="a fox",
        negative_prompt="",
        width=120,
        height=84,
        num_inference_steps=1,
        guidance_scale=0.0,
        seed=0,
        input_images=(album.add(image),),
    )
    # When it is enlarged
    picture = engine.to_enlarge(request, read_image=album.read)
    enlarged = engine.enlarge(picture, on_part=unheard)
    encoded = engine.encode(enlarged, request, ArtifactKind.ORIGINAL)
    # Then its pixels are that picture's, with white where it was transparent
    with Image.open(io.BytesIO(encoded.content)) as made:
        assert made.size == (encoded.width, encoded.height) == (120, 84)
        seen = made.convert("RGB").resize((30, 21), Image.Resampling.NEAREST)
        assert seen.getpixel((0, 0)) == (255, 255, 255)
        assert {seen.getpixel((x, y)) for x in range(30) for y in range(21) if (x, y) != (0, 0)} == {(10, 200, 30)}
        # And the file says that it was enlarged, and nothing of steps that nobody made
        assert made.info["parameters"].splitlines() == [
            "a fox",
            f"Size: 120x84, Mode: upscale, Postprocess upscale by: 4, Postprocess upscaler: 2x-mine, "
            f"Version: danqing {__version__}",
        ]
        own = json.loads(made.info["danqing"])
        assert (own["request"]["mode"], own["size_plan"]["native"]) == ("upscale", [30, 21])
    assert enlarged.adjustments == (SAID,)


def test_a_damaged_picture_is_not_enlarged(asked: Sequence[str]) -> None:
    engine, album = build_engine(EngineSpec(cards=(a_card(),), device="cpu")), Album()
    ref = album.add(Image.new("RGB", (8, 8)))
    album.damage(ref)
    request = a_request(model=UPSCALER, mode=Mode.UPSCALE, width=32, height=32, input_images=(ref,))
    with pytest.raises(EngineFailure, match="damaged"):
        engine.to_enlarge(request, read_image=album.read)


@pytest.mark.parametrize("mode", [Mode.TEXT2IMG, Mode.UPSCALE])
@pytest.mark.usefixtures("asked")
def test_pictures_without_texts_are_pixels_alone_in_every_format(mode: Mode) -> None:
    # Given an engine whose pictures tell nothing, and requests with something to tell
    engine, telling = (
        build_engine(EngineSpec(cards=(a_card(),), device="cpu", picture_texts=texts)) for texts in (False, True)
    )
    album = Album()
    start = {} if mode is Mode.TEXT2IMG else {"input_images": (album.add(Image.new("RGB", (32, 32))),)}
    request = a_request(
        model=a_card().id if mode is Mode.TEXT2IMG else UPSCALER,
        mode=mode,
        prompt="SECRET 秘密",
        negative_prompt="SECRET too",
        width=128,
        height=128,
        seed=987654321,
        **start,
    )
    picture = RawPicture(width=128, height=128, rgb=bytes(3 * 128 * 128), adjustments=("SECRET adjustment",))
    # When they are encoded, then a PNG has no text
    for kind in (ArtifactKind.ORIGINAL, ArtifactKind.UPSCALED):
        content = engine.encode(picture, request, kind).content
        assert [name for name, _ in chunks(content)] == [b"IHDR", b"IDAT", b"IEND"]
        with Image.open(io.BytesIO(content)) as made:
            made.load()
            assert made.info == {}
        told = telling.encode(picture, request, kind).content
        assert [name for name, _ in chunks(told)] == [b"IHDR", b"iTXt", b"iTXt", b"IDAT", b"IEND"]
        # And neither has what the openai API encodes of it
        for output_format in ("jpeg", "webp"):
            with Image.open(io.BytesIO(converted(content, output_format, 90))) as made:
                assert not made.getexif() and not {"exif", "xmp", "comment", "parameters"} & set(made.info)
            with Image.open(io.BytesIO(converted(told, output_format, 90))) as made:
                assert made.getexif()
    # And previews never had any
    with Image.open(io.BytesIO(engine.encode(picture, request, ArtifactKind.PREVIEW).content)) as preview:
        assert not preview.getexif() and not {"exif", "xmp", "comment"} & set(preview.info)


def chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    """Names and contents."""
    found: list[tuple[bytes, bytes]] = []
    at = 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        found.append((png[at + 4 : at + 8], png[at + 8 : at + 8 + length]))
        at += 12 + length
    return found
