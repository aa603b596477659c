"""How an asked-for size is reached: what the model makes, how it is enlarged, what is cropped. Pure arithmetic."""

import math
from dataclasses import dataclass

from danqing.core.capabilities import FreeSizes, SizeRules, TrainedSizes


@dataclass(frozen=True, kw_only=True)
class SizePlan:
    """native: (width, height) the model makes. enlarge: run the x4 upscaler on it first.

    Then the picture is scaled to cover `final` (no scaling where it is at least as large and `crop_only`) and
    centre-cropped to exactly `final`.
    """

    native: tuple[int, int]
    final: tuple[int, int]
    enlarge: bool
    crop_only: bool

    @property
    def adjustment(self) -> str | None:
        """What was done, for people; None when the model makes the size itself."""
        if self.native == self.final:
            return None
        made, asked = (f"{w}x{h}" for w, h in (self.native, self.final))
        how = "cropped" if self.crop_only else "enlarged by Real-ESRGAN and scaled" if self.enlarge else "scaled"
        return f"made at {made} and {how} to {asked}"


def plan_size(rules: SizeRules, width: int, height: int) -> SizePlan:
    """The plan for a picture of exactly width x height pixels; both positive."""
    match rules:
        case FreeSizes():
            return _plan_free(rules, width, height)
        case TrainedSizes():
            return _plan_trained(rules, width, height)


def _plan_free(rules: FreeSizes, width: int, height: int) -> SizePlan:
    step = rules.multiple_of
    least = math.ceil(rules.min_side / step) * step
    native_width, native_height = (max(least, math.ceil(side / step) * step) for side in (width, height))
    if native_width * native_height <= rules.max_pixels:
        return SizePlan(native=(native_width, native_height), final=(width, height), enlarge=False, crop_only=True)
    shrink = min(1.0, math.sqrt(rules.max_pixels / (width * height)))
    shorter, longer = (max(least, int(side * shrink) // step * step) for side in sorted((width, height)))
    # Where the shorter side could not shrink any more, the longer one gives way, at the cost of the shape.
    longer = min(longer, rules.max_pixels // shorter // step * step)
    native = (shorter, longer) if width < height else (longer, shorter)
    return SizePlan(native=native, final=(width, height), enlarge=True, crop_only=False)


def _plan_trained(rules: TrainedSizes, width: int, height: int) -> SizePlan:
    def mismatch(size: tuple[int, int]) -> tuple[float, int]:
        larger = size[0] * size[1]
        return abs(math.log(size[0] / size[1]) - math.log(width / height)), -larger

    native = min(rules.sizes, key=mismatch)
    cover = max(width / native[0], height / native[1])
    return SizePlan(native=native, final=(width, height), enlarge=cover > 1, crop_only=native == (width, height))
