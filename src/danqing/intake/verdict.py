"""What the decoding process says of a picture, and what a client is told."""

from enum import StrEnum

from danqing.core.errors import DanqingError, InvalidImage, StorageFailure
from danqing.core.sentences import says
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
        Verdict.TOO_LARGE: says(
            "picture_too_large",
            parameter=parameter,
            most=limits.max_side,
            megapixels=f"{limits.max_pixels / 1e6:g}",
        ),
        Verdict.TOO_MANY_SCANS: says("picture_scans", parameter=parameter, most=limits.max_scans),
        Verdict.TOO_COSTLY: says("picture_too_costly", parameter=parameter),
        Verdict.TOO_SLOW: says("picture_too_slow", parameter=parameter),
    }
    damaged = says("picture_damaged", parameter=parameter)
    return InvalidImage(messages.get(verdict, damaged), parameter=parameter)


def not_a_picture(parameter: str) -> InvalidImage:
    """For what is no picture of a kind that is taken."""
    return InvalidImage(says("picture_of_no_kind", parameter=parameter), parameter=parameter)


def too_many_bytes(parameter: str, max_bytes: int) -> InvalidImage:
    """For a file that is too long, whatever is in it."""
    return InvalidImage(
        says("picture_too_many_bytes", parameter=parameter, most=f"{max_bytes / MIB:g}"), parameter=parameter
    )


def empty(parameter: str) -> InvalidImage:
    """For a file of no length."""
    return InvalidImage(says("picture_empty", parameter=parameter), parameter=parameter)
