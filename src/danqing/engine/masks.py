"""Puts what a mask keeps back into a picture that was made."""

import numpy as np
import numpy.typing as npt

FEATHER = 3  # pixels on the white side of an edge, over which the new picture grows in


def keep_masked(
    made: npt.NDArray[np.uint8], kept: npt.NDArray[np.uint8], mask: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """made, kept: uint8 (H, W, 3). mask: uint8 (H, W). Returns uint8 (H, W, 3).

    Where the mask is 0 the pixels are those of `kept`, exactly; where it is 255, farther than FEATHER from anything
    darker, those of `made`; in between they are mixed.
    """
    share = _share_of_new(mask)[:, :, None]  # (H, W, 1), 0 to whole
    whole = 255 * (FEATHER + 1)
    mixed = (made * share + kept * (whole - share) + whole // 2) // whole
    return mixed.astype(np.uint8)


def _share_of_new(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """The sum of the mask and of what is left of it when its dark parts grow by 1, 2, … FEATHER pixels: (H, W)."""
    share = mask.astype(np.int32)
    for _ in range(FEATHER):
        mask = _darkest_around(mask)
        share += mask
    return share


def _darkest_around(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Each pixel becomes the darkest of the 3x3 around it; beyond the edges there is nothing."""
    for axis in (0, 1):
        framed = np.pad(mask, [(int(axis == 0),) * 2, (int(axis == 1),) * 2], mode="edge")
        length = mask.shape[axis]
        mask = np.minimum.reduce([np.take(framed, range(start, start + length), axis) for start in range(3)])
    return mask
