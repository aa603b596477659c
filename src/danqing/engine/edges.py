"""Canny edges of a picture: what a ControlNet for edges is shown. numpy only."""

import numpy as np
import numpy.typing as npt

LOW, HIGH = 60.0, 140.0  # of the Sobel gradient (weights 1 2 1), as in other implementations
SIGMA = 1.0  # pixels
_STEEP = 2.414213562  # tan 67.5°: beyond it a gradient counts as upright, below its inverse as level

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.intp]


def canny(
    rgb: npt.NDArray[np.uint8], low: float = LOW, high: float = HIGH, sigma: float = SIGMA
) -> npt.NDArray[np.uint8]:
    """rgb: uint8 (H, W, 3). Returns uint8 (H, W): 255 on edges one pixel wide, 0 elsewhere.

    Gaussian blur, the strongest Sobel gradient of the three channels, thinning along it, then two thresholds: an edge
    is everything above `low` that hangs together with something above `high`.
    """
    strength, across, down = _gradient(rgb, sigma)
    thin = _thinned(strength, across, down)
    edges = _hanging_together(thin & (strength > low), strength > high)
    return edges.astype(np.uint8) * np.uint8(255)


def _gradient(rgb: npt.NDArray[np.uint8], sigma: float) -> tuple[Floats, Floats, Floats]:
    """Squares' root, and the two parts, of the gradient of whichever channel changes most: (H, W) each."""
    reach = max(1, round(3 * sigma))
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * np.square(offsets / sigma)).astype(np.float32)
    blur = weights / weights.sum()
    best: tuple[Floats, Floats, Floats] | None = None
    for channel in range(3):
        flat = rgb[:, :, channel].astype(np.float32)
        soft = _filtered(_filtered(flat, blur, 0), blur, 1)
        across = _difference(_filtered(soft, np.array([1, 2, 1], np.float32), 0), 1)
        down = _difference(_filtered(soft, np.array([1, 2, 1], np.float32), 1), 0)
        square: Floats = np.add(np.square(across), np.square(down))
        if best is None:
            best = square, across, down
        else:
            more = square > best[0]
            for kept, new in zip(best, (square, across, down), strict=True):
                np.copyto(kept, new, where=more)
    assert best is not None
    return np.sqrt(best[0]), best[1], best[2]


def _slice(axis: int, start: int, stop: int) -> tuple[slice, ...]:
    return (slice(start, stop),) if axis == 0 else (slice(None), slice(start, stop))


def _filtered(values: Floats, weights: Floats, axis: int) -> Floats:
    """Weighted sum of each value and its neighbours along one axis; the border repeats outwards."""
    reach, length = len(weights) // 2, values.shape[axis]
    framed = np.pad(values, [(reach, reach) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
    total = np.zeros_like(values)
    for start, weight in enumerate(weights):
        total += framed[_slice(axis, start, start + length)] * weight
    return total


def _difference(values: Floats, axis: int) -> Floats:
    """The value after minus the value before, along one axis."""
    length = values.shape[axis]
    framed = np.pad(values, [(1, 1) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
    return framed[_slice(axis, 2, length + 2)] - framed[_slice(axis, 0, length)]


def _thinned(strength: Floats, across: Floats, down: Floats) -> Mask:
    """True where no neighbour along the gradient is stronger. Of two equal ones the later stays."""
    height, width = strength.shape
    framed = np.pad(strength, 1)

    def neighbour(dy: int, dx: int) -> Floats:
        return framed[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]

    wide, tall = np.abs(across), np.abs(down)
    level = tall * _STEEP <= wide
    upright = ~level & (wide * _STEEP <= tall)
    falling = ~level & ~upright & (across * down > 0)
    rising = ~level & ~upright & ~falling
    thin = np.zeros(strength.shape, bool)
    for where, dy, dx in ((level, 0, 1), (upright, 1, 0), (falling, 1, 1), (rising, 1, -1)):
        thin |= where & (strength > neighbour(dy, dx)) & (strength >= neighbour(-dy, -dx))
    return thin


def _hanging_together(weak: Mask, strong: Mask) -> Mask:
    """The eight-connected pieces of `weak` that have a pixel of `strong`.

    Union by the smallest number, all pairs at once; the rounds grow with the logarithm of a piece's length, so a maze
    of a picture is no slower than a plain one.
    """
    height, width = weak.shape
    framed = np.pad(weak, 1).ravel()
    places: Places = np.flatnonzero(framed)
    number = np.full(framed.shape, -1, np.intp)
    number[places] = np.arange(len(places))
    pairs: list[tuple[Places, Places]] = []
    for step in (1, width + 1, width + 2, width + 3):
        met = number[places + step]
        found = np.flatnonzero(met >= 0)
        pairs.append((found, met[found]))
    one, other = (np.concatenate(side) for side in zip(*pairs, strict=True))
    parent: Places = np.arange(len(places))
    while len(one):
        first, second = parent[one], parent[other]
        apart = first != second
        if not apart.any():
            break
        one, other, first, second = one[apart], other[apart], first[apart], second[apart]
        np.minimum.at(parent, np.maximum(first, second), np.minimum(first, second))
        while not np.array_equal(grand := parent[parent], parent):
            parent = grand
    kept = np.zeros(len(places), bool)
    kept[parent[np.pad(strong, 1).ravel()[places]]] = True
    edges = np.zeros(framed.shape, bool)
    edges[places] = kept[parent]
    return edges.reshape(height + 2, width + 2)[1:-1, 1:-1]
