"""What the decoding process says of a picture, and what a client is told."""

from enum import StrEnum

from danqing.core.errors import DanqingError, InvalidImage, StorageFailure
from danqing.intake.limits import MIB, IntakeLimits


class Verdict(StrEnum):
    """How one picture went."""

    REBUILT = "rebuilt"
    TOO_LARGE = "too_large"  # in pixels
    TOO_MANY_SCANS = "too_many_scans"
    DAMAGED = "damaged"  # also whatever kills the decoder time after time
    TOO_COSTLY = "too_costly"  # in memory
    TOO_SLOW = "too_slow"
    NOT_STORED = "not_stored"  # the disk's fault, not the picture's


def error_of(verdict: Verdict, limits: IntakeLimits, *, parameter: str) -> DanqingError:
    """For every verdict but REBUILT."""
    if verdict is Verdict.NOT_STORED:
        return StorageFailure()
    messages = {
        Verdict.TOO_LARGE: (
            f"{parameter} is too large: at most {limits.max_side} pixels a side, "
            f"and {limits.max_pixels / 1e6:g} megapixels in all."
        ),
        Verdict.TOO_MANY_SCANS: f"{parameter} has more than {limits.max_scans} scans; save it as an ordinary JPEG.",
        Verdict.TOO_COSTLY: f"{parameter} takes too much memory to decode; send a smaller image.",
        Verdict.TOO_SLOW: f"{parameter} takes too long to decode; send a smaller image.",
    }
    return InvalidImage(messages.get(verdict, f"{parameter} is damaged or incomplete."), parameter=parameter)


def not_a_picture(parameter: str) -> InvalidImage:
    """For what is no picture of a kind that is taken."""
    return InvalidImage(f"{parameter} is not a PNG, JPEG or WebP image.", parameter=parameter)


def too_many_bytes(parameter: str, max_bytes: int) -> InvalidImage:
    """For a file that is too long, whatever is in it."""
    return InvalidImage(f"{parameter} is larger than {max_bytes / MIB:g} MiB.", parameter=parameter)
