"""Reads Real-ESRGAN's networks from the files of ncnn: a .param with the layers, a .bin with their numbers.

Two architectures of https://github.com/xinntao/Real-ESRGAN are known, each four times each way: `SRVGGNetCompact`
(realesr-animevideov3) and `RRDBNet` (realesrgan-x4plus, realesrgan-x4plus-anime). Another network is refused rather
than run: how far its results reach, and that it enlarges four times, is not written in the file. Imports no torch.

The formats: https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure, and `ModelBinFromDataReader` in ncnn's
`src/modelbin.cpp`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from danqing.core.errors import ModelLoadFailure
from danqing.engine.upscale.upscaler import SCALE

Numbers = npt.NDArray[np.float32]

MAGIC = "7767517"
HALF_PRECISION = 0x01306B47  # flag before a layer's weights: float16, filled up to a multiple of four bytes
SINGLE_PRECISION = (0, 0x0002C056)  # flags: float32
KERNEL = 3  # of every convolution, in both directions
ARRAY_KEYS = -23300  # an option k that is a list is written as the key -23300 - k
# Options of a Convolution, by their keys.
OUTPUTS, KERNEL_SIZE, PADDING, HAS_BIAS, WEIGHT_COUNT, ACTIVATION, ACTIVATION_SLOPE = 0, 1, 4, 5, 6, 9, 10
LEAKY_RELU = 2.0

Option = float | tuple[float, ...]


@dataclass(frozen=True)
class Layer:
    """A line of a .param file, without its name and its wires."""

    kind: str
    options: Mapping[int, Option]


@dataclass(frozen=True, kw_only=True)
class CompactLayout:
    """`SRVGGNetCompact`: depth is the number of convolutions between the first and the last one."""

    features: int
    depth: int

    @property
    def reach(self) -> int:
        """Pixels that a result depends on to each side: one for each convolution."""
        return self.depth + 2


@dataclass(frozen=True, kw_only=True)
class RrdbLayout:
    """`RRDBNet`: blocks of three dense blocks of five convolutions."""

    features: int
    growth: int
    blocks: int

    @property
    def reach(self) -> int:
        """Pixels that a result depends on to each side: one for each convolution, fewer behind the enlargements."""
        return 15 * self.blocks + 4


Layout = CompactLayout | RrdbLayout


def read_layout(param: Path) -> Layout:
    """The network that a .param file describes. Blocking. Raises ModelLoadFailure if it is none of those known."""
    try:
        layers = _read_layers(param)
        fitting = [layout for layout in _candidates(layers) if layers_of(layout) == layers]
    except (OSError, ValueError, IndexError, OverflowError) as exc:
        raise ModelLoadFailure("The upscaler's weights are missing or damaged.") from exc
    if fitting:
        return fitting[0]
    raise ModelLoadFailure(f"The upscaler's {param.name} is no Real-ESRGAN network that enlarges four times.")


def read_numbers(binary: Path, layout: Layout) -> list[Numbers]:
    """In the order of the layers: weight (out, in, 3, 3) and bias (out) of a convolution, slope (n) of a PReLU.

    Blocking. Raises ModelLoadFailure.
    """
    try:
        content = _Content(binary.read_bytes())
        arrays: list[Numbers] = []
        for layer in layers_of(layout):
            outputs = int(_number(layer, OUTPUTS))
            if layer.kind == "Convolution":
                inputs = int(_number(layer, WEIGHT_COUNT)) // (outputs * KERNEL * KERNEL)
                arrays.append(
                    content.flagged(outputs * inputs * KERNEL * KERNEL).reshape(outputs, inputs, KERNEL, KERNEL)
                )
                arrays.append(content.plain(outputs))
            elif layer.kind == "PReLU":
                arrays.append(content.plain(outputs))
        content.end()
    except (OSError, ValueError) as exc:
        raise ModelLoadFailure("The upscaler's weights are missing or damaged.") from exc
    return arrays


class _Content:
    """A .bin file, read from its beginning. Raises ValueError where it is not what it should be."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def plain(self, count: int) -> Numbers:
        """float32, as biases and slopes are."""
        return np.frombuffer(self._take(4 * count), "<f4").astype(np.float32)

    def flagged(self, count: int) -> Numbers:
        """A flag, then what it says."""
        flag = int.from_bytes(self._take(4), "little")
        if flag == HALF_PRECISION:
            return np.frombuffer(self._take((2 * count + 3) // 4 * 4), "<f2")[:count].astype(np.float32)
        if flag in SINGLE_PRECISION:
            return self.plain(count)
        raise ValueError(f"weights of the unknown kind {flag:#x}")

    def end(self) -> None:
        """Nothing may follow."""
        if self._at != len(self._content):
            raise ValueError("more numbers than the layers have")

    def _take(self, count: int) -> bytes:
        taken = self._content[self._at : self._at + count]
        if len(taken) != count:
            raise ValueError("fewer numbers than the layers have")
        self._at += count
        return taken


def _read_layers(param: Path) -> list[Layer]:
    """Without the splits, which only say that a result is used more than once."""
    magic, counts, *lines = param.read_text(encoding="ascii").splitlines()
    layers = [_layer(line) for line in lines if line.strip()]
    if magic.strip() != MAGIC or len(layers) != int(counts.split()[0]):
        raise ValueError("cut, or no .param file")
    return [layer for layer in layers if layer.kind != "Split"]


def _layer(line: str) -> Layer:
    """A line is: kind, name, number of inputs and of outputs, their names, and options as `key=value`."""
    kind, _, inputs, outputs, *rest = line.split()
    options: dict[int, Option] = {}
    for text in rest[int(inputs) + int(outputs) :]:
        key, _, value = text.partition("=")
        if int(key) <= ARRAY_KEYS:
            options[ARRAY_KEYS - int(key)] = tuple(float(part) for part in value.split(",")[1:])  # the first: how many
        else:
            options[int(key)] = float(value)
    return Layer(kind, options)


def _candidates(layers: Sequence[Layer]) -> Sequence[Layout]:
    """What the first convolutions and the number of them would fit."""
    convolutions = [layer for layer in layers if layer.kind == "Convolution"]
    if len(convolutions) < 2:
        return ()
    features, growth = (int(_number(layer, OUTPUTS)) for layer in convolutions[:2])
    return (
        CompactLayout(features=features, depth=len(convolutions) - 2),
        RrdbLayout(features=features, growth=growth, blocks=(len(convolutions) - 6) // 15),
    )


def _number(layer: Layer, key: int) -> float:
    value = layer.options.get(key, 0.0)
    return value if isinstance(value, float) else 0.0


def layers_of(layout: Layout) -> list[Layer]:
    """As they follow each other in a .param file, without the splits."""
    return [Layer("Input", {}), *(_compact(layout) if isinstance(layout, CompactLayout) else _rrdb(layout))]


def _compact(layout: CompactLayout) -> list[Layer]:
    slopes = Layer("PReLU", {OUTPUTS: float(layout.features)})
    layers = [_convolution(3, layout.features), slopes]
    layers += [_convolution(layout.features, layout.features), slopes] * layout.depth
    layers += [_convolution(layout.features, 3 * SCALE * SCALE), Layer("PixelShuffle", {0: float(SCALE)})]
    return [*layers, _nearest(SCALE), Layer("BinaryOp", {})]


def _rrdb(layout: RrdbLayout) -> list[Layer]:
    features, growth = layout.features, layout.growth
    residual = Layer("Eltwise", {0: 1.0, 1: (0.2, 1.0)})
    dense: list[Layer] = []
    for index in range(4):
        dense += [_convolution(features + index * growth, growth, leaky=True), Layer("Concat", {})]
    dense += [_convolution(features + 4 * growth, features), residual]
    plain, leaky = _convolution(features, features), _convolution(features, features, leaky=True)
    return [
        _convolution(3, features),
        *[*dense * 3, residual] * layout.blocks,
        *[plain, Layer("BinaryOp", {})],
        *[_nearest(2), leaky] * 2,
        *[leaky, _convolution(features, 3)],
    ]


def _convolution(inputs: int, outputs: int, *, leaky: bool = False) -> Layer:
    options: dict[int, Option] = {
        OUTPUTS: float(outputs),
        KERNEL_SIZE: float(KERNEL),
        PADDING: 1.0,
        HAS_BIAS: 1.0,
        WEIGHT_COUNT: float(inputs * outputs * KERNEL * KERNEL),
    }
    return Layer("Convolution", options | {ACTIVATION: LEAKY_RELU, ACTIVATION_SLOPE: (0.2,)} if leaky else options)


def _nearest(scale: int) -> Layer:
    return Layer("Interp", {0: 1.0, 1: float(scale), 2: float(scale)})
