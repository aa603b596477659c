"""Any size is reached: what the model makes is legal and near in shape, and covers what was asked."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danqing.core.capabilities import FreeSizes, SizeRules, TrainedSizes
from danqing.core.sizes import SizePlan, plan_size

SAMPLE = TrainedSizes(sizes=((128, 128), (144, 112), (112, 144), (160, 96), (96, 160)))
SIDES = st.integers(1, 4096)
FREE_RULES = st.builds(
    lambda step, least, most: FreeSizes(multiple_of=step, min_side=least, max_pixels=most * step**2),
    st.sampled_from([8, 16, 32, 64]),
    st.integers(1, 128),
    st.integers(256, 10_000),
)


def distortion(size: tuple[int, int], width: int, height: int) -> float:
    """How far two shapes are apart; 0 for the same."""
    return abs(math.log(size[0] / size[1]) - math.log(width / height))


@given(width=SIDES, height=SIDES)
def test_trained_native_is_one_of_the_sizes_and_nearest_in_shape(width: int, height: int) -> None:
    plan = plan_size(SAMPLE, width, height)
    assert plan.native in SAMPLE.sizes
    assert plan.final == (width, height)
    least = min(distortion(size, width, height) for size in SAMPLE.sizes)
    assert distortion(plan.native, width, height) == pytest.approx(least)


@given(width=SIDES, height=SIDES)
def test_trained_is_enlarged_exactly_when_it_does_not_cover(width: int, height: int) -> None:
    plan = plan_size(SAMPLE, width, height)
    covers = plan.native[0] >= width and plan.native[1] >= height
    assert plan.enlarge is not covers
    assert plan.crop_only is (plan.native == plan.final)


def test_of_equal_shapes_the_larger_is_made() -> None:
    rules = TrainedSizes(sizes=((64, 64), (128, 128), (96, 96)))
    assert plan_size(rules, 1000, 1000).native == (128, 128)


@settings(max_examples=500)
@given(rules=FREE_RULES, width=SIDES, height=SIDES)
def test_free_native_is_a_size_that_the_model_makes(rules: FreeSizes, width: int, height: int) -> None:
    plan = plan_size(rules, width, height)
    assert plan.final == (width, height)
    assert all(side % rules.multiple_of == 0 for side in plan.native)
    assert all(side >= rules.min_side for side in plan.native)
    assert plan.native[0] * plan.native[1] <= rules.max_pixels


@settings(max_examples=500)
@given(rules=FREE_RULES, width=SIDES, height=SIDES)
def test_free_is_cropped_where_it_fits_and_enlarged_where_not(rules: FreeSizes, width: int, height: int) -> None:
    plan = plan_size(rules, width, height)
    if plan.crop_only:
        # Then it covers what was asked with less than one step to spare, the smallest side apart
        assert not plan.enlarge
        for native, final in zip(plan.native, plan.final, strict=True):
            assert native >= final
            assert native - final < rules.multiple_of or native - rules.min_side < rules.multiple_of
    else:
        assert plan.enlarge
        assert plan.native[0] < width or plan.native[1] < height


@given(rules=FREE_RULES, width=SIDES, height=SIDES)
def test_free_keeps_the_shape_of_what_it_shrinks(rules: FreeSizes, width: int, height: int) -> None:
    plan = plan_size(rules, width, height)
    if plan.enlarge and min(plan.native) >= rules.min_side + rules.multiple_of:
        # Then each side is off by less than a step
        step = rules.multiple_of
        allowed = sum(math.log(1 + step / side) for side in plan.native)
        assert distortion(plan.native, width, height) <= allowed + 1e-9


@pytest.mark.parametrize(
    ("plan", "adjustment"),
    [
        (SizePlan(native=(8, 8), final=(8, 8), enlarge=False, crop_only=True), None),
        (SizePlan(native=(16, 8), final=(9, 8), enlarge=False, crop_only=True), "made at 16x8 and cut to 9x8"),
        (
            SizePlan(native=(8, 8), final=(7, 4), enlarge=False, crop_only=False),
            "made at 8x8, cut to 8x5 and scaled to 7x4",
        ),
        (
            SizePlan(native=(8, 8), final=(9, 9), enlarge=True, crop_only=False),
            "made at 8x8 and enlarged by Real-ESRGAN to 9x9",
        ),
    ],
)
def test_the_adjustment_says_what_was_done(plan: SizePlan, adjustment: str | None) -> None:
    assert plan.adjustment == adjustment


@pytest.mark.parametrize(
    ("size", "adjustment"),
    [
        ((2048, 64), "made at 160x96, cut to 160x5 and enlarged by Real-ESRGAN to 2048x64"),
        ((64, 2048), "made at 96x160, cut to 5x160 and enlarged by Real-ESRGAN to 64x2048"),
        ((1024, 768), "made at 144x112, cut to 144x108 and enlarged by Real-ESRGAN to 1024x768"),
        ((1024, 1024), "made at 128x128 and enlarged by Real-ESRGAN to 1024x1024"),
        ((100, 100), "made at 128x128 and scaled to 100x100"),
        ((144, 112), None),
    ],
)
def test_what_is_cut_off_is_said(size: tuple[int, int], adjustment: str | None) -> None:
    assert plan_size(SAMPLE, *size).adjustment == adjustment


@given(rules=st.one_of(st.just(SAMPLE), FREE_RULES), width=SIDES, height=SIDES)
def test_what_is_kept_has_the_final_shape_and_is_as_large_as_it_can_be(
    rules: SizeRules, width: int, height: int
) -> None:
    plan = plan_size(rules, width, height)
    assert all(1 <= kept <= native for kept, native in zip(plan.kept, plan.native, strict=True))
    if plan.crop_only:
        assert plan.kept == plan.final
        return
    assert plan.kept[0] == plan.native[0] or plan.kept[1] == plan.native[1]
    # Then each side is what the final one is made of, to the nearest pixel
    for kept, final in zip(plan.kept, plan.final, strict=True):
        assert abs(kept - final / plan.scale) <= 0.5 + 1e-9 or kept == 1


def test_the_seeds_own_size_on_the_sample_model() -> None:
    plan = plan_size(SAMPLE, 1024, 1024)
    assert (plan.native, plan.enlarge) == ((128, 128), True)
