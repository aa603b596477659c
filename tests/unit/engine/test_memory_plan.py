"""What was measured, what is foreseen from it, and what fits."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from danqing.core.capabilities import FreeSizes, TrainedSizes
from danqing.engine.memory_plan import (
    MARGIN,
    Call,
    Peaks,
    Size,
    Way,
    foreseen_bytes,
    largest_batch,
    largest_size,
)

CALL = Call(
    model="/m", precision="native bfloat16", mode="text2img", way=Way.PLAIN, guided=False, width=100, height=100,
    pictures=1,
)  # fmt: skip
ESTIMATE = 7


def estimate(call: Call) -> int:
    """Half of it grows with the work."""
    return ESTIMATE * (10_000 + call.work) // 20_000


def test_what_was_measured_counts_and_the_most_of_it() -> None:
    peaks = Peaks(None)
    assert foreseen_bytes(peaks, CALL, estimate) == int(ESTIMATE * MARGIN)
    for taken in (500, 900, 700):
        peaks.note(CALL, taken)
    assert foreseen_bytes(peaks, CALL, estimate) == 900


def test_other_sizes_and_batches_are_foreseen_as_far_as_the_estimate_differs_from_that_of_the_nearest() -> None:
    # Given an estimate of which only half grows with the work, and a picture and a batch that were measured
    peaks = Peaks(None)
    peaks.note(CALL, 1000)
    peaks.note(replace(CALL, pictures=7), 5000)

    def half(call: Call) -> int:
        return 100 * (10_000 + call.work)

    # Then a size and a batch between take as much more or less as is thought
    assert foreseen_bytes(peaks, replace(CALL, width=200), half) == int(1500 * MARGIN)
    assert foreseen_bytes(peaks, replace(CALL, width=50), half) == int(750 * MARGIN)
    assert foreseen_bytes(peaks, replace(CALL, pictures=9), half) == int(6250 * MARGIN)
    # And far away it is at least what less work took
    assert foreseen_bytes(peaks, replace(CALL, pictures=40), lambda _: 0) == 5000


@pytest.mark.parametrize(
    "other",
    [
        replace(CALL, model="/n"),
        replace(CALL, precision="sdnq-int8 bfloat16"),
        replace(CALL, mode="fill"),
        replace(CALL, way=Way.TILED),
        replace(CALL, guided=True),
        replace(CALL, width=1000),  # ten times the work: too far away
    ],
)
def test_where_nothing_alike_was_measured_the_estimate_counts(other: Call) -> None:
    peaks = Peaks(None)
    peaks.note(other, 1_000_000)
    assert foreseen_bytes(peaks, CALL, estimate) == int(ESTIMATE * MARGIN)


def test_peaks_outlive_the_process_and_workers_share_them(tmp_path: Path) -> None:
    file = tmp_path / "memory-peaks.json"
    one, other = Peaks(file), Peaks(file)
    one.note(CALL, 10)
    other.note(replace(CALL, pictures=2), 20)
    one.note(replace(CALL, pictures=3), 30)
    later = Peaks(file)
    assert [later.get(replace(CALL, pictures=n)) for n in (1, 2, 3)] == [10, 20, 30]
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


@pytest.mark.parametrize("content", ["", "{}", "[{]", '[{"model": 1}]'])
def test_a_damaged_file_is_said_and_begun_anew(tmp_path: Path, content: str) -> None:
    file = tmp_path / "memory-peaks.json"
    file.write_text(content)
    with capture_logs() as lines:
        peaks = Peaks(file)
    assert [line["event"] for line in lines] == ["memory_peaks_not_read"]
    peaks.note(CALL, 10)
    assert len(json.loads(file.read_text())) == 1


def test_a_file_that_cannot_be_written_does_no_harm(tmp_path: Path) -> None:
    peaks = Peaks(tmp_path / "gone" / "memory-peaks.json")
    with capture_logs() as lines:
        peaks.note(CALL, 10)
    assert [line["event"] for line in lines] == ["memory_peaks_not_written"]
    assert peaks.get(CALL) == 10


def test_the_file_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("danqing.engine.memory_plan.MOST_PEAKS", 3)
    peaks = Peaks(tmp_path / "peaks.json")
    for width in range(1, 6):
        peaks.note(replace(CALL, width=width), 10)
    kept = json.loads((tmp_path / "peaks.json").read_text())
    assert [line["width"] for line in kept] == [3, 4, 5]


@pytest.mark.parametrize(
    "pictures, most, together", [(4, 4, 4), (4, 3, 2), (5, 4, 3), (16, 5, 4), (3, 1, 1), (2, 0, 0)]
)
def test_batches_come_out_about_equal(pictures: int, most: int, together: int) -> None:
    assert largest_batch(lambda count: count <= most, pictures) == together


FREE = FreeSizes(multiple_of=16, min_side=64, max_pixels=2048 * 2048)


@pytest.mark.parametrize(
    "size, pixels, largest",
    [
        ((1536, 1536), 1280 * 1280, (1280, 1280)),
        ((1536, 1536), 1281 * 1281, (1280, 1280)),
        ((2048, 1024), 1024 * 1024, (1456, 720)),
        ((512, 512), 64 * 64, (64, 64)),
        ((512, 512), 63 * 64, None),
        ((2048, 128), 64 * 64, None),
    ],
)
def test_the_largest_size_that_fits_has_the_shape(size: Size, pixels: int, largest: Size | None) -> None:
    found = largest_size(FREE, size, lambda each: each[0] * each[1] <= pixels)
    assert found == largest


def test_a_model_of_few_sizes_has_one_of_them() -> None:
    rules = TrainedSizes(sizes=((128, 128), (160, 96), (96, 96)))
    assert largest_size(rules, (128, 128), lambda size: size[0] * size[1] < 128 * 128) == (160, 96)
    assert largest_size(rules, (128, 128), lambda size: False) is None
