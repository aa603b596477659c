"""How an asked-for size is reached: what the model makes, what of it is kept, how that is enlarged. Pure arithmetic."""

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

from danqing.core.capabilities import FreeSizes, ModelCard, SizeRules, TrainedSizes
from danqing.core.sentences import says

_REMEMBERED = 256  # plans; most requests ask for the same few sizes


@dataclass(frozen=True, kw_only=True)
class SizePlan:
    """native: (width, height) the model makes; its centre, of the shape of `final`, is kept and brought to `final`.

    crop_only: that part has the final size already. Otherwise it is scaled; enlarge: by the x4 upscaler first.
    """

    native: tuple[int, int]
    final: tuple[int, int]
    enlarge: bool
    crop_only: bool

    @cached_property
    def scale(self) -> float:
        """Pixels of `final` for each pixel of `native`, the same both ways."""
        if self.crop_only:
            return 1.0
        return max(final / native for final, native in zip(self.final, self.native, strict=True))

    @cached_property
    def kept(self) -> tuple[int, int]:
        """(width, height) of the part of `native` that is kept, to the nearest pixel, at least one."""
        width, height = (
            min(native, max(1, round(final / self.scale)))
            for final, native in zip(self.final, self.native, strict=True)
        )
        return width, height

    @cached_property
    def adjustment(self) -> str | None:
        """What was done, for people; None when the model makes the size itself."""
        if self.native == self.final:
            return None
        done = ["made"]
        if self.kept != self.native:
            done.append("cut")
        if not self.crop_only:
            done.append("enlarged" if self.enlarge else "scaled")
        return says("_".join(done), native=_text(self.native), kept=_text(self.kept), final=_text(self.final))


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


@lru_cache(maxsize=_REMEMBERED)
def plan_size(rules: SizeRules, width: int, height: int) -> SizePlan:
    """The plan for a picture of exactly width x height pixels; both positive."""
    match rules:
        case FreeSizes():
            return _plan_free(rules, width, height)
        case TrainedSizes():
            return _plan_trained(rules, width, height)


def usual_size(card: ModelCard) -> tuple[int, int]:
    """(width, height) that the model makes for clients who say nothing of a size."""
    return plan_size(card.capabilities.size_rules, card.defaults.width, card.defaults.height).native


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
