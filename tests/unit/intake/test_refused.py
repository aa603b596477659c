"""What cannot be used is refused, in words that say why, and leaves nothing behind."""

import io
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from danqing.blobs.local import LocalArtifactStore
from danqing.core.errors import InvalidImage
from danqing.intake.sandboxed import SandboxedIntake
from tests.unit.intake.conftest import an_intake
from tests.unit.intake.pictures import a_picture, chunk, encoded, many_scans, noise, png

NOT_TAKEN = "mask is not a PNG, JPEG or WebP image."
DAMAGED = "mask is damaged or incomplete."
TOO_LARGE = "mask is too large: at most 8192 pixels a side, and 40 megapixels in all."


def headed(width: int, height: int, rows: bytes = b"") -> bytes:
    """A PNG that promises more than it holds."""
    return png(width, height, bits=8, colour=2, rows=rows)


def with_a_wrong_checksum() -> bytes:
    content = bytearray(encoded(a_picture(), "PNG"))
    content[40] ^= 0xFF
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "mask is an empty file."),
        (b"no picture", NOT_TAKEN),
        (b"\x89", NOT_TAKEN),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", NOT_TAKEN),
        (encoded(a_picture(), "GIF"), NOT_TAKEN),
        (encoded(a_picture(), "BMP"), NOT_TAKEN),
        (encoded(a_picture(), "TIFF"), NOT_TAKEN),
        (b"\x89PNG\r\n\x1a\n", DAMAGED),
        (b"\xff\xd8\xff\xe0", DAMAGED),
        (b"RIFF\x10\0\0\0WEBPVP8 ", DAMAGED),
        (b"\x89PNG\r\n\x1a\n" + encoded(a_picture(), "JPEG"), DAMAGED),
        (b"\xff\xd8\xff" + encoded(a_picture(), "PNG"), DAMAGED),
        (encoded(a_picture(), "PNG")[:-60], DAMAGED),
        (encoded(a_picture(), "JPEG")[:-200], DAMAGED),
        (encoded(a_picture(), "WEBP")[:-20], DAMAGED),
        (with_a_wrong_checksum(), DAMAGED),
        (headed(8192, 4096), DAMAGED),
        (headed(0, 10), DAMAGED),
        (headed(8193, 1), TOO_LARGE),
        (headed(1, 8193), TOO_LARGE),
        (headed(8000, 8000), TOO_LARGE),
        (headed(2**31 - 1, 2**31 - 1), TOO_LARGE),
        (headed(60_000, 60_000, bytes(1_000_000)), TOO_LARGE),
        (encoded(Image.new("1", (30_000, 2)), "PNG"), TOO_LARGE),
        (encoded(Image.new("L", (9000, 100)), "JPEG"), TOO_LARGE),
        (encoded(Image.new("L", (9000, 100)), "WEBP"), TOO_LARGE),
    ],
)
async def test_why(
    intake: SandboxedIntake, staged_files: Callable[[], list[Path]], content: bytes, message: str
) -> None:
    with pytest.raises(InvalidImage) as caught:
        await intake.stage(content, parameter="mask")

    assert (caught.value.public_message, caught.value.parameter) == (message, "mask")
    assert staged_files() == []


@pytest.mark.parametrize("as_file", [False, True])
async def test_files_have_a_length_limit(artifacts: LocalArtifactStore, tmp_path: Path, as_file: bool) -> None:
    content = encoded(noise(700, 700), "PNG") + bytes(1024 * 1024)
    sent = tmp_path / "sent"
    sent.write_bytes(content)
    async with an_intake(artifacts, max_bytes=1024 * 1024) as intake:
        with pytest.raises(InvalidImage, match=r"^image is larger than 1 MiB, which is what is taken\.$"):
            await intake.stage(sent if as_file else content, parameter="image")

        assert intake.pids == ()  # nothing was started for it
    assert sent.exists()


async def test_what_unpacks_to_more_than_the_picture_holds_costs_nothing(intake: SandboxedIntake) -> None:
    # Given a picture of four pixels with a gigabyte of zeros behind them, and one of text that is as long
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1 << 24)) for _ in range(64)) + packer.flush()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0))
    long_rows = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    text = chunk(b"zTXt", b"parameters\0\0" + packed)
    long_text = png(2, 2, bits=8, colour=2, rows=bytes(14), before=text)

    # Then they are taken for the four pixels, or refused, and the process is there for the next one
    pids = set[int]()
    for content in (long_rows, long_text, encoded(a_picture(), "PNG")):
        try:
            staged = await intake.stage(content, parameter="image")
        except InvalidImage as refused:
            assert refused.public_message == "image is damaged or incomplete."
        else:
            assert (staged.width, staged.height) in ((2, 2), (40, 30))
        pids.update(intake.pids)
    assert len(pids) == 1


async def test_a_few_bytes_do_not_buy_thousands_of_passes_over_the_picture(intake: SandboxedIntake) -> None:
    # Given a small file that would keep a decoder busy for long
    content = many_scans(1500, side=4000)
    assert len(content) < 4_000_000

    with pytest.raises(InvalidImage, match=r"^mask has more than 100 scans; save it as an ordinary JPEG\.$"):
        await intake.stage(content, parameter="mask")

    # Then the process was not given up for it, and a file with a few scans more than usual is taken
    (pid,) = intake.pids
    assert (await intake.stage(many_scans(60), parameter="mask")).width == 40
    assert intake.pids == (pid,)


async def test_too_much_memory_is_a_reason(
    artifacts: LocalArtifactStore, staged_files: Callable[[], list[Path]]
) -> None:
    async with an_intake(artifacts, memory_bytes=300 * 1024 * 1024) as intake:
        await intake.stage(encoded(a_picture(), "PNG"), parameter="image")  # a small one is no matter
        big = encoded(Image.new("RGB", (8000, 5000)), "PNG")
        for _ in range(2):
            with pytest.raises(InvalidImage, match="takes too much memory"):
                await intake.stage(big, parameter="image")
        await intake.stage(encoded(a_picture(), "PNG"), parameter="image")
    assert len(staged_files()) == 2


async def test_noise_does_no_harm(intake: SandboxedIntake, staged_files: Callable[[], list[Path]]) -> None:
    # Given real files of each kind with bytes changed, cut out and doubled, always the same ones
    chance = random.Random(3)
    taken = 0
    for number in range(150):
        content = bytearray(encoded(a_picture(), ("PNG", "JPEG", "WEBP")[number % 3]))
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(8, len(content))
            match chance.randrange(3):
                case 0:
                    content[at] = chance.randrange(256)
                case 1:
                    del content[at : at + chance.randint(1, 30)]
                case _:
                    content[at:at] = content[at : at + chance.randint(1, 30)]

        # Then each is taken or refused
        try:
            staged = await intake.stage(bytes(content), parameter="image")
        except InvalidImage:
            continue
        taken += 1
        with Image.open(io.BytesIO(staged.path.read_bytes()), formats=("PNG",)) as image:
            image.load()
    assert len(staged_files()) == taken
    assert 0 < taken < 150
